"""Every system computes the same; who does not has no time."""

import importlib
from dataclasses import dataclass

import numpy as np
import pytest

from graphc.cli.bench import worker as workers
from graphc.cli.bench.compare import distance, mismatch
from graphc.cli.bench.growth import exponent
from graphc.cli.bench.systems import SYSTEMS, takes
from graphc.cli.bench.systems.job import job_of
from graphc.cli.bench.worker import Worker, first_results
from graphc.cli.bench.workload import (
    FORWARD,
    Backward,
    Model,
    Train,
    Update,
    Workload,
    normal,
)
from graphc.errors import UserError


@dataclass(frozen=True)
class Layer(Model):
    """mean((tanh(x @ w + b) - t) ** 2)"""

    def inputs(self, rng):
        return {"x": normal(rng, 8, 5), "t": normal(rng, 8, 3)}

    def parameters(self, rng):
        return {"w": normal(rng, 5, 3), "b": normal(rng, 3)}

    def graphc(self, gc, x, t, w, b):
        return ((gc.tanh(x @ w + b) - t) ** 2).mean()

    def numpy(self, np, x, t, w, b):
        return ((np.tanh(x @ w + b) - t) ** 2).mean()

    def torch(self, torch, x, t, w, b):
        return ((torch.tanh(x @ w + b) - t) ** 2).mean()

    def jax(self, jax, x, t, w, b):
        return ((jax.numpy.tanh(x @ w + b) - t) ** 2).mean()

    def numpy_gradients(self, np, x, t, w, b):
        y = np.tanh(x @ w + b)
        g = 2 * (y - t) / t.size * (1 - y * y)
        return ((y - t) ** 2).mean(), {"w": x.T @ g, "b": g.sum(0), "x": g @ w.T}


@dataclass(frozen=True)
class Square(Model):
    """x * x, with a cotangent for its gradient."""

    def inputs(self, rng):
        return {"x": normal(rng, 4, 3), "cotangent": normal(rng, 4, 3)}

    def graphc(self, gc, x):
        return x * x

    def torch(self, torch, x):
        return x * x

    def jax(self, jax, x):
        return x * x

    def numpy_gradients(self, np, x, cotangent):
        return x * x, {"x": 2 * x * cotangent}


@dataclass(frozen=True)
class Given(Model):
    """A parameter and its gradient."""

    def inputs(self, rng):
        return {"w_gradient": normal(rng, 8, 6)}

    def parameters(self, rng):
        return {"w": normal(rng, 8, 6)}


WORKLOADS = {
    "forward": Workload("forward", Layer(), Layer(), 1.0),
    "gradients": Workload("gradients", Layer(), Layer(), 1.0, Backward(("x", "w", "b"))),
    "cotangent": Workload("cotangent", Square(), Square(), 1.0, Backward(("x",))),
    "sgd": Workload("sgd", Layer(), Layer(), 1.0, Train("sgd", 0.1)),
    "adam": Workload("adam", Layer(), Layer(), 1.0, Train("adam", 0.01)),
    "update": Workload("update", Given(), Given(), 1.0, Update("adam", 0.01)),
    "plain update": Workload("plain update", Given(), Given(), 1.0, Update("sgd", 0.01)),
}


def computed(system, workload):
    """What a system makes of a workload, by name."""
    modules = [importlib.import_module(name) for name in SYSTEMS[system].modules]
    job = job_of(workload, True, 1)
    program = SYSTEMS[system].prepare(job, *modules)
    made = first_results(program, job, program.step())
    return {name: np.array(array) for name, array in made.items()}


@pytest.mark.parametrize("system", ["graphc llvm", "numpy", "torch", "jax"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_every_task_gives_the_same_in_every_system(system, name):
    if SYSTEMS[system].missing:
        pytest.skip(f"{system} is not installed")
    workload = WORKLOADS[name]
    expected = computed("graphc numpy", workload)
    assert expected
    assert mismatch(computed(system, workload), expected) == ""


def test_training_compares_what_the_second_step_sees():
    once, twice = (computed("numpy", WORKLOADS[name]) for name in ("forward", "sgd"))
    assert set(twice) == {"result 0", "w", "b"}
    assert twice["result 0"] < once["result 0"]


def test_a_system_takes_what_is_written_for_it():
    assert takes("graphc llvm", WORKLOADS["sgd"])
    assert takes("numpy", WORKLOADS["sgd"])
    assert takes("numpy", WORKLOADS["update"])
    assert not takes("numpy", Workload("s", Square(), Square(), 1.0, FORWARD))
    assert takes("torch.compile", WORKLOADS["cotangent"])
    assert takes("onnxruntime", WORKLOADS["forward"])
    assert not takes("onnxruntime", WORKLOADS["gradients"])
    assert not takes("onnxruntime", WORKLOADS["update"])
    with pytest.raises(UserError, match="Given is not written in jax"):
        job_of(WORKLOADS["update"], True, 1).formula("jax")


# The worker ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Wrong(Square):
    """NumPy computes something else."""

    def numpy(self, np, x):
        return x * x + np.float32(0.01)

    def numpy_gradients(self, np, x, cotangent):
        raise ValueError("the abacus\nis broken")


@pytest.fixture
def ask(monkeypatch, tmp_path):
    """A worker in this process that knows the workloads of this file, asked to start one."""
    known = {
        **WORKLOADS,
        "wrong": Workload("wrong", Wrong(), Wrong(), 1.0),
        "broken": Workload("broken", Wrong(), Wrong(), 1.0, Backward(("x",))),
    }
    monkeypatch.setattr(workers, "workload_of", known.__getitem__)
    monkeypatch.setattr(workers, "reset_peak", lambda: None)
    worker, file = Worker(), str(tmp_path / "expected.npz")

    def start(workload):
        asked = {"workload": workload, "quick": True, "file": file}
        worker.answer({"do": "expect", "right": "graphc numpy", **asked})
        asked["do"] = "start"
        return worker, worker.answer({**asked, "system": "numpy", "threads": 1})

    return start


def test_wrong_results_have_no_time(ask):
    _, answer = ask("wrong")
    assert answer.keys() == {"failed"}
    assert "result 0 differs by" in answer["failed"]


def test_a_failure_is_one_line(ask):
    _, answer = ask("broken")
    assert answer == {"failed": "ValueError: the abacus"}


def test_turns_have_samples(ask):
    worker, answer = ask("forward")
    assert answer["first"] > 0
    turn = worker.answer({"do": "turn", "seconds": 0.0, "least": 3, "most": 5})
    assert len(turn["samples"]) == 3
    assert all(sample > 0 for sample in turn["samples"])
    assert turn["peak"] > 1e6


# Comparing ----------------------------------------------------------------------------------------
def test_differences_are_measured_by_the_scale_of_the_array():
    wanted = np.array([1e-9, 1000.0])
    assert distance(wanted + 0.05, wanted) == pytest.approx(5e-5)
    assert mismatch({"y": wanted + 0.05}, {"y": wanted}) == ""
    assert mismatch({"y": wanted + 0.2}, {"y": wanted}) == "y differs by 2.0e-04 of its scale"
    assert distance(np.zeros(3), np.zeros(3)) == 0.0
    assert distance(np.zeros((0, 3)), np.zeros((0, 3))) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_differs(value):
    assert mismatch({"y": np.array([value, 1.0])}, {"y": np.ones(2)})
    assert mismatch({"y": np.ones(2)}, {"y": np.array([value, 1.0])})


def test_other_names_and_shapes_differ():
    assert mismatch({"a": np.ones(2)}, {"b": np.ones(2)}) == "computes a instead of b"
    assert "shape (2,)" in mismatch({"a": np.ones(2)}, {"a": np.ones(3)})


# Growth -------------------------------------------------------------------------------------------
def test_exponents_are_fitted_to_the_larger_half():
    sizes = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert exponent(sizes, [n**2 for n in sizes]) == pytest.approx(2.0)
    assert exponent(sizes, [9.0, 9.0, 9.0, 8.0, 16.0, 32.0]) == pytest.approx(1.0)
    assert np.isnan(exponent([1.0], [1.0]))
    assert np.isnan(exponent(sizes, [float("nan")] * 6))
