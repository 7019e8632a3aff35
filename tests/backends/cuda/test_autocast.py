"""Training in 16 bits: tensor cores multiply forwards and backwards, and every backend agrees.

Tolerances: the numpy backend rounds the same numbers, but sums in another order fall on the other
side of a rounding here and there, and a step of a bfloat16 is 2**-8 of its value, of a float16
2**-11. Where scores stay in a kernel, weights are rounded before they are divided by their sum,
not after.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda.matrices import matrices
from graphc.backends.cuda.schedule import normal, plan
from graphc.backends.cuda.tensor_cores import LEAST
from graphc.compile import Executable
from graphc.frontends.dsl.function import graph_of
from graphc.graph import Array, Graph
from graphc.kernels.contraction import find
from graphc.stages import Stages
from simulated import BACKEND, device

pytestmark = pytest.mark.sweep

STEP = {"bfloat16": 2.0**-8, "float16": 2.0**-11}
ROWS = 16
"""Images or sequences: enough for a matrix instruction."""


def perceptron() -> tuple[nn.Module, tuple[int, ...]]:
    layers = nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 24), nn.Tanh(), nn.Linear(24, 10)
    return nn.Sequential(*layers), (ROWS, 24)


def convolutions() -> tuple[nn.Module, tuple[int, ...]]:
    """With borders, with strides, transposed; gradients are convolutions over inserted zeros."""
    layers = (
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 2, stride=2), nn.Flatten(), nn.Linear(8 * 36, 8),
    )  # fmt: skip
    return nn.Sequential(*layers), (ROWS, 8, 8, 8)


def large_convolution() -> tuple[nn.Module, tuple[int, ...]]:
    """So large that in float32 it is computed by tiles of results."""
    layers = nn.Conv2d(48, 40, 3), nn.Flatten(), nn.Linear(40 * 15 * 16, 8)
    return nn.Sequential(*layers), (8, 48, 17, 18)


def attention() -> tuple[nn.Module, tuple[int, ...]]:
    """Queries, keys and values from one product, and a mean over places."""
    layers = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True), Places()
    return nn.Sequential(*layers, nn.Linear(16, 8)), (ROWS, 9, 16)


def recurrence() -> tuple[nn.Module, tuple[int, ...]]:
    """A loop, after which the gradient of the weights is one product."""
    return nn.Sequential(nn.LSTM(8, 24, batch_first=True, unroll=0), States()), (ROWS, 9, 8)


class States(nn.Module):
    """The first of several results."""

    def forward(self, several: tuple[gc.Tensor, gc.Tensor]) -> gc.Tensor:
        return several[0]


class Places(nn.Module):
    """The mean over places."""

    def forward(self, x: gc.Tensor) -> gc.Tensor:
        return x.mean(1)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "perceptron": perceptron,
    "convolutions": convolutions,
    "attention": attention,
    "recurrence": recurrence,
}
PRODUCTS = {"perceptron": 9, "convolutions": 12, "attention": 15, "recurrence": 4, "large": 6}
"""Outside of loops and of attention itself, forwards and backwards, at least."""


def slopes(make: Callable[[], tuple[nn.Module, tuple[int, ...]]], kind: str) -> tuple[Graph, Array]:
    """The loss and the gradients of all parameters and the input; products of ``kind``."""
    nn.seed(0)
    model, shape = make()
    x = gc.input("x", shape)
    with nn.autocast(kind):
        loss = (model(x) ** 2).mean()
    outputs = [loss, *gc.grad(loss, [*model.parameters(), x])]
    return graph_of([x], outputs, {}), np.random.default_rng(0).normal(size=shape).astype(
        np.float32
    )


@pytest.mark.parametrize("name", PRODUCTS)
def test_tensor_cores_compute_all_products_forwards_and_backwards(name: str):
    graph, _ = slopes(MODELS.get(name, large_convolution), "bfloat16")
    number = 0
    for kernel in map(normal, Stages(graph, {}, "program").program.kernels):
        found = None if kernel.call is not None else find(kernel)
        if found is not None and min(matrices(found).sizes[1:]) >= LEAST:
            assert all("tensor cores" in p.how for p in plan(kernel, device().limits)), kernel
            number += 1
    assert number >= PRODUCTS[name]


@pytest.mark.parametrize("kind", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["llvm", BACKEND])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_numpy(name: str, backend: str, kind: str):
    graph, x = slopes(MODELS[name], kind)
    ours, wanted = (Executable(graph, b)(x) for b in (backend, "numpy"))
    for mine, numpys in zip(ours, wanted, strict=True):
        assert mine.dtype == numpys.dtype == np.float32
        largest = np.abs(numpys).max()
        np.testing.assert_allclose(mine, numpys, 0, 8 * STEP[kind] * largest)
