"""Training steps of small networks on the simulated GPU: the numpy backend's losses and parameters.

Tolerances: float32 results differ by the order of sums, 2e-5 of numbers near 1; where products are
of bfloat16, some numbers fall on the other side of a rounding, 8 bits of which are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from execute import restored
from graphc.compile import Executable
from graphc.graph import Array
from networks import NETWORKS, Network
from simulated import BACKEND, device

STEPS = 2
SEED = 7
"""Of the order of threads: random."""


@pytest.fixture(autouse=True)
def shuffled(monkeypatch):
    monkeypatch.setattr(device(), "seed", SEED, raising=False)


def losses_and_parameters(network: Network, backend: str) -> dict[str, Array]:
    """After some steps; the parameters are put back."""
    with restored(network.graph):
        step = Executable(network.graph, backend)
        found = {f"loss {k}": step(*network.arrays)[0] for k in range(STEPS)}
        for k, (target, _) in enumerate(network.graph.updates):
            found[f"{target.op.label} {k}"] = target.op.storage.array.copy()
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_of_training(name: str):
    network = NETWORKS[name]()
    wanted = losses_and_parameters(network, "numpy")
    assert wanted["loss 0"] != wanted["loss 1"]
    tolerance = 0.02 if "bfloat16" in name else 2e-5
    for what, array in losses_and_parameters(network, BACKEND).items():
        np.testing.assert_allclose(array, wanted[what], tolerance, tolerance, err_msg=what)


# Everything that is no kernel ---------------------------------------------------------------------
def assert_same(make: Callable[..., object], *arrays: Array) -> None:
    """A function of tensors gives the same on both backends."""
    inputs = [gc.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    outputs = make(*inputs)
    results = (gc.compile(inputs, outputs, backend=b)(*arrays) for b in (BACKEND, "numpy"))
    for ours, wanted in zip(*results, strict=True):
        assert ours.dtype == wanted.dtype
        np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=2e-5)


def test_a_scan_and_its_gradient(rng):
    def of(x, w):
        def step(h, row):
            h = gc.tanh(h @ w + row)
            return h, h.sum()

        last, sums = gc.scan(step, gc.zeros((4,)), x)
        return [last, sums, *gc.grad((last * last).sum() + sums.sum(), [x, w])]

    assert_same(
        of, rng.normal(size=(6, 4)).astype("float32"), rng.normal(size=(4, 4)).astype("float32")
    )


def test_a_loop_of_unknown_length(rng):
    def of(x):
        def step(state):
            return state[0] + 1, state[1] * 1.5

        return gc.while_loop(lambda state: (state[1] ** 2).sum() < 100, step, (gc.constant(0), x))

    assert_same(of, rng.normal(size=(3, 4)).astype("float32"))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_branch_and_its_gradient(sign: int, rng):
    def of(x):
        y = gc.cond(x.sum() > 0, lambda x: gc.softmax(x), lambda x: x * x, x)
        return [y, *gc.grad(y[0].sum(), [x])]

    assert_same(of, sign * np.abs(rng.normal(size=(3, 40))).astype("float32"))


def test_what_libraries_compute_between_kernels(rng):
    def of(x, b):
        a = x @ x.mT + 3 * gc.eye(5)
        factor = gc.linalg.cholesky(a)
        solved = gc.linalg.solve(a * 2, b)
        return [gc.exp(factor), solved.sum(0), gc.sort(b, 0) + 1, *gc.grad(solved.sum(), [x, b])]

    assert_same(of, *(rng.normal(size=s).astype("float32") for s in ((2, 5, 5), (5, 3))))


def test_named_sizes_and_an_empty_batch(rng):
    x, w = gc.input("x", ("batch", 40)), gc.input("w", (40, 7))
    outputs = [gc.softmax(x @ w), x.sum(0), x.T * 2, (x * x).mean()]
    ours, wanted = (gc.compile([x, w], outputs, backend=b) for b in (BACKEND, "numpy"))
    weights = rng.normal(size=(40, 7)).astype("float32")
    for batch in (3, 17, 0, 3):
        array = rng.normal(size=(batch, 40)).astype("float32")
        with np.errstate(invalid="ignore"):
            pairs = zip(ours(array, weights), wanted(array, weights), strict=True)
        for a, b in pairs:
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    assert len(ours.specialisations) == 3


def test_dropout_draws_other_numbers_each_time():
    gc.nn.seed(0)
    x = gc.input("x", (50,))
    runs = []
    for backend in (BACKEND, "numpy"):
        gc.nn.seed(0)
        drop = gc.compile([x], gc.nn.Dropout(0.5)(x), backend=backend)
        runs.append([drop(np.ones(50, np.float32)) for _ in range(3)])
    np.testing.assert_array_equal(*runs)
    assert not np.array_equal(runs[0][0], runs[0][1])
