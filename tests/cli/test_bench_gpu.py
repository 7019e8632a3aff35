"""What a GPU is measured by runs without one: on the simulator, at tiny sizes.

Nothing here judges a time, and nothing needs PyTorch or a GPU.
"""

import json
import os
import stat
import sys
import time

import numpy as np
import pytest

from graphc.cli.bench import checks, order, watched, workload
from graphc.cli.bench.child import Child
from graphc.cli.bench.compare import MOST, mismatch, sampled
from graphc.cli.bench.report import asking, doubts, family_means, holds, host_holds, rates
from graphc.cli.bench.results import (
    FAILED,
    GPU,
    LEFT_OUT,
    PASSED,
    Outcome,
    Plan,
    Result,
    Run,
    Times,
)
from graphc.cli.bench.spares import Spares
from graphc.cli.bench.systems import GPU_PEERS, SYSTEMS, takes
from graphc.cli.bench.systems.native import timed
from graphc.cli.bench.workload import normal
from graphc.cli.bench.workloads import FAMILIES, ON_GPU, WORKLOADS
from graphc.cli.bench.workloads.gpu import FAMILY_BARS, SHAPES
from graphc.runner import load_backend

OURS = "graphc cuda-sim"


@pytest.fixture(scope="module")
def no_gpu():
    """Skips where there is one: what is said without it is what is tested."""
    if SYSTEMS["copy cuda"].missing == "":
        pytest.skip("there is a GPU")


# A whole run --------------------------------------------------------------------------------------
def test_the_suite_runs_on_the_simulator(graphc, no_gpu, tmp_path):
    file = tmp_path / "run.json"
    asked = ("--suite", "gpu", "--backends", "cuda-sim", "--quick")
    ran = graphc("bench", "gpu-sum-rows", *asked, "--json", file)
    assert ran.status == 0, ran.err
    assert "its times say nothing about a GPU" in ran.out
    assert "torch cuda (" in ran.err, "a peer that is absent is named"
    report = json.loads(file.read_text())
    assert report["plan"]["threads"] == [GPU]
    assert set(report["plan"]["absent"]) == set(GPU_PEERS) - {"copy cuda", "copy cuda-sim"}
    (sums,) = report["results"]
    assert set(sums["outcomes"]) == {OURS, "copy cuda-sim"}
    for outcome in sums["outcomes"].values():
        assert not outcome["failed"]
        assert outcome["times"]["median"] > 0
        assert outcome["host"] > 0
    assert {c["name"]: c["state"] for c in report["checks"]} == {
        f"{name}, cuda-sim": LEFT_OUT for name in checks.CHECKS
    }
    assert graphc("bench", "--from", file).out == ran.out
    again = graphc("bench", "--resume", file)
    assert again.status == 0
    assert json.loads(file.read_text()) == report, "nothing was missing"


def test_without_a_gpu_it_says_what_is_missing(graphc, no_gpu, tmp_path):
    ran = graphc("bench", "--suite", "gpu", "--json", tmp_path / "run.json")
    assert ran.status == 1
    assert "GC0403: the cuda backend is not available" in ran.err
    assert "cuda-sim" in ran.err
    assert not (tmp_path / "run.json").exists()


def test_unknown_checks_are_refused(graphc):
    ran = graphc("bench", "gpu-add", "--suite", "gpu", "--verify", "golf")
    assert ran.err.startswith("GC0503: no check 'golf'")


# What is measured ---------------------------------------------------------------------------------
def test_workloads_of_a_gpu_are_measured_on_request():
    assert {w.name for family in ON_GPU for w in FAMILIES[family]} == {
        name for name in WORKLOADS if name.startswith("gpu-")
    }
    assert len(SHAPES) == 12
    assert set(FAMILY_BARS) <= set(FAMILIES)


def test_arrays_whose_bar_is_a_copy_are_larger_than_any_cache():
    for each in FAMILIES["gpu-memory"]:
        if each.against != ("copy",):
            continue
        fields = vars(each.model)
        sizes = [n for n in fields.values() if isinstance(n, int)]
        elements = max(np.prod([float(n) for n in sizes]), max(sizes) ** 2)
        assert 4 * elements >= 200e6


def test_peers_on_a_gpu_are_those_that_a_workload_names():
    chain, sums = WORKLOADS["gpu-chain"], WORKLOADS["gpu-sum-rows"]
    assert all(takes(name, chain) for name in GPU_PEERS)
    assert takes("torch cuda", sums)
    assert takes("copy cuda", sums)
    assert not takes("torch.compile cuda", sums)
    assert not takes("jax cuda", WORKLOADS["gpu-gpt2"])
    assert takes("torch cuda", WORKLOADS["call"]), "somebody may ask for it"


@pytest.mark.parametrize(
    ("systems", "quick", "right"),
    [
        (("copy cuda", "torch cuda"), False, "torch cuda"),
        (("copy cuda",), False, "graphc llvm"),
        (("torch cuda",), True, "graphc numpy"),
    ],
)
def test_what_is_right_is_computed_by_who_is_fast_enough(systems, quick, right):
    assert order._on_gpu(Plan(systems=systems, quick=quick)).right == right


def test_copies_are_made_by_the_device_of_the_backend():
    assert order._gpu_peers(["cuda-sim"])[0] == "copy cuda-sim"
    assert "copy cuda" not in order._gpu_peers(["cuda-sim"])
    device, calls = load_backend("cuda-sim").device(), []
    taken, busy = timed(device, lambda: calls.append(time.sleep(0.001)), 3)
    assert len(calls) == 3
    assert taken >= busy >= 0.003


# Processes ----------------------------------------------------------------------------------------
def test_a_child_that_does_not_answer_is_given_up():
    with Child(1, limit=0.01) as worker:
        asked = dict(workload="call", quick=True, file="nowhere", right="graphc numpy")
        assert worker.ask("expect", **asked) == {"failed": "no answer within 0.01 s"}
        assert worker.process.poll() is not None
        assert worker.ask("expect", **asked)["failed"].startswith("the process ended with status")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="nobody can choose processors")
def test_workers_are_made_ahead_and_end_with_their_house():
    with Spares(ahead=True) as spares:
        with spares.child("numpy", GPU) as first:
            assert os.sched_getaffinity(first.process.pid) == os.sched_getaffinity(0)
            (waiting,) = spares.ready.values()
        assert first.process.poll() is not None
        with spares.child("numpy", GPU) as second:
            assert second is waiting
        (last,) = spares.ready.values()
    assert last.process.poll() is not None
    assert not os.path.exists(last.folder)


# Bars ---------------------------------------------------------------------------------------------
def _result(name, outcomes, bar=0.9, **more):
    found = {
        system: Outcome(Times(median, median, median, 5), host=host)
        for system, (median, host) in outcomes.items()
    }
    return Result(name, "", GPU, bar, outcomes=found, **more)


def test_a_bar_is_about_the_peers_that_it_names():
    times = {"graphc cuda": (1.0, 9e-6), "copy cuda": (0.8, 0.0), "torch cuda": (0.5, 0.0)}
    assert _result("gpu-add", times).best == "torch cuda"
    result = _result("gpu-add", times, against=("copy",), host_bar=15e-6)
    assert result.best == "copy cuda"
    assert holds(result, "graphc cuda") == "NO"
    assert host_holds(result, "graphc cuda") == "yes"
    assert host_holds(result, "torch cuda") == ""
    assert asking([result])[1] == [["gpu-add", "9 us", "-", "-", "15 us", "yes"]]


def test_rates_are_of_bytes_or_of_operations():
    times = {"graphc cuda": (1e-3, 0.0), "copy cuda": (2e-3, 0.0)}
    moving = _result("gpu-add", times, bytes=4 * 10**9, flops=10**9)
    computing = _result("gpu-matmul-2048", times, bytes=10**9, flops=2 * 10**10)
    assert rates([moving, computing])[1] == [
        ["gpu-add", "4000 GB/s", "2000 GB/s"],
        ["gpu-matmul-2048", "20 TFLOP/s", "10 TFLOP/s"],
    ]


def test_a_family_has_a_bar_for_its_mean():
    names = [w.name for w in FAMILIES["gpu-shapes"]][:2]
    pairs = zip(names, (2.0, 0.5), strict=True)
    results = [_result(n, {"graphc cuda": (1.0, 0), "torch cuda": (t, 0)}, 0.0) for n, t in pairs]
    ((family, mean, bar),) = family_means(Run({}, {}, results))
    assert (family, round(mean, 9), bar) == ("gpu-shapes", 1.0, 0.8)
    assert family_means(Run({}, {}, [])) == []


def test_times_that_say_nothing_are_called_so():
    assert doubts(Run({}, {}, [], Plan(systems=("graphc cuda",)))) == []
    assert len(doubts(Run({}, {}, [], Plan(systems=(OURS,), quick=True)))) == 2


def test_large_arrays_are_drawn_in_pieces(monkeypatch):
    monkeypatch.setattr(workload, "DRAWN", 997)
    found = normal(np.random.default_rng(0), 3, 997, dtype="float16")
    assert found.dtype == np.float16
    assert (found[0] == found[2]).all()
    assert found[0].std() > 0.9


def test_large_arrays_are_compared_in_places():
    large = np.zeros((MOST // 1024, 2 * 1024 + 1), np.float32)
    assert sampled(large).size <= MOST
    assert sampled(large[:3]) is not large
    assert sampled(np.ones(3, np.float16)).dtype == np.float32
    wrong = {"y": np.array([1.0, 1.001])}
    assert mismatch(wrong, {"y": np.ones(2)})
    assert mismatch(wrong, {"y": np.ones(2)}, 1e-2) == ""


# Checks -------------------------------------------------------------------------------------------
def test_a_program_that_ends_well_has_passed():
    said = checks.ended("it", [sys.executable, "-c", "print('all is well')"], {})
    assert (said.state, said.said) == (PASSED, "all is well")
    assert said.seconds > 0
    said = checks.ended("it", [sys.executable, "-c", "raise SystemExit('wrong')"], {})
    assert (said.state, said.said) == (FAILED, "wrong")
    said = checks.ended("it", [sys.executable, "-c", "import time; time.sleep(60)"], {}, 0.1)
    assert said.said == "no end within 0.1 s"


def test_the_sanitizer_watches_a_gpus_kernels(monkeypatch, tmp_path):
    tool = tmp_path / checks.SANITIZER
    tool.write_text('#!/bin/sh\necho "$2 $@" | cut -c1-40; exit 9\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    check = checks.CHECKS["racecheck"]("racecheck, cuda", "cuda", False)
    assert check.state == FAILED
    assert check.said.startswith("racecheck")
    monkeypatch.setenv("PATH", "")
    assert "not installed" in checks.CHECKS["memcheck"]("memcheck, cuda", "cuda", False).said


def test_the_suite_of_tests_runs_on_the_device_that_is_named(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "ended", lambda *given: seen.append(given))
    checks.suite("suite, cuda", "cuda", False)
    ((_, command, variables),) = seen
    names = {os.path.basename(file) for file in command if file.endswith(".py")}
    assert {"test_samples.py", "test_models.py"} <= names
    assert "test_simulator.py" not in names
    assert variables == {checks.DEVICE_VARIABLE: "cuda"}


def test_what_is_watched_is_compared(capsys):
    assert watched.main("llvm", ["gpu-sum-rows", "gpu-linear-256*"]) == 0
    assert capsys.readouterr().out.count("right") == 2
