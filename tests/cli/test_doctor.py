"""`graphc doctor`: what is there, what is missing, and how to get that."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import pytest

from fake_driver import FakeDriver
from graphc.backends.cuda.nvidia import bindings
from graphc.cli import doctor
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.runner import BACKENDS


@pytest.fixture
def facts(graphc, monkeypatch):
    """What doctor finds, with a word about trying instead of the trials of backends."""

    def find(**tried: str) -> dict[str, str]:
        monkeypatch.setattr(doctor, "_tried", lambda name: tried.get(name, doctor.READY))
        ran = graphc("doctor", "--json")
        return {"status": ran.status, **json.loads(ran.out)}

    return find


def test_doctor_tries_every_backend(graphc):
    ran = graphc("doctor")
    assert ran.status == 0
    said = dict(line.split("  ", 1) for line in ran.out.splitlines())
    assert all(f"backend {name}" in said for name in BACKENDS)
    assert said["backend numpy"].strip() == said["backend llvm"].strip() == "ready"


def test_doctor_names_versions_and_the_machine(facts):
    found = facts()
    assert found["numpy"] == version("numpy")
    assert found["python"].startswith("CPython 3")
    for fact in ("processor", "features", "threads", "cache", "C++ compiler", "NVRTC"):
        assert found[fact], fact


def test_only_what_must_run_decides_the_status(facts):
    assert facts(cuda="no GPU")["status"] == 0
    assert facts(llvm="no LLVM")["status"] == 1
    assert facts(numpy="broken")["status"] == 1


def test_a_backend_that_computes_nonsense_is_found(monkeypatch):
    monkeypatch.setattr(Executable, "__call__", lambda self, x: [x])
    assert doctor._tried("numpy").startswith("computes [3.")


def test_what_is_missing_comes_with_a_remedy(facts, monkeypatch):
    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    def no_module(name: str) -> None:
        raise bindings.unavailable(
            "the package cuda-bindings is not installed", "", bindings.INSTALL
        )

    def no_compiler() -> None:
        raise UserError("GC0403", "there is none", fix="install one")

    monkeypatch.setattr(doctor, "version", nothing)
    monkeypatch.setattr(bindings, "_module", no_module)
    simulator = import_module("graphc.backends.cuda.sim.about")
    monkeypatch.setattr(simulator, "compiler", no_compiler)
    for cached in (bindings.driver, bindings.nvrtc):
        cached.cache_clear()
    found = facts()
    assert found["pillow"] == 'not installed; pip install "graphc[data]"'
    assert found["onnx"] == 'not installed; pip install "graphc[onnx]"'
    assert found["NVRTC"] == 'none; pip install "graphc[cuda]"'
    assert found["NVIDIA driver"].startswith("none; for GPUs install a driver")
    assert found["C++ compiler"] == "none; install one"
    assert found["status"] == 0


def test_a_gpu_is_listed(facts, monkeypatch):
    fake = FakeDriver(memory=141 << 30)
    monkeypatch.setattr(bindings, "driver", lambda: fake)
    assert facts()["GPU 0"] == "Fake H200, sm_90, 141 GiB"
    fake.version = 12080
    assert "too old: install driver 580" in facts()["NVIDIA driver"]
    fake.version, fake.fail["cuInit"] = 13010, "CUDA_ERROR_NO_DEVICE"
    assert facts()["NVIDIA driver"].startswith("for CUDA 13.1; it finds no GPU")
