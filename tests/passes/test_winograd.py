"""Convolutions by tiles give what convolutions give: odd sizes, tails, padding, what is fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from execute import interpreted, looped, native
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.ops.convolution import convolution
from graphc.ops.leaves import Table
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.reduction import sum_over
from graphc.ops.winograd import Scheme
from graphc.passes.winograd import SCHEMES, fast_convolutions
from graphc.scalars import maximum
from kernels.models import leaf

SIZES = [
    # batch, channels, filters, height, width, padding, taps
    (2, 3, 5, 9, 11, 1, (3, 3)),
    (1, 1, 1, 3, 3, 0, (3, 3)),
    (1, 4, 4, 8, 8, 1, (3, 3)),
    (2, 3, 2, 7, 6, 0, (3, 3)),
    (1, 17, 33, 5, 70, 1, (3, 3)),
    (3, 2, 1, 4, 4, 2, (3, 3)),
    (1, 2, 3, 1, 66, 1, (3, 3)),
    (2, 3, 4, 19, 23, 0, (9, 9)),
    (2, 3, 4, 16, 16, 3, (7, 7)),
    (1, 5, 2, 13, 9, 2, (5, 5)),
    (2, 2, 3, 11, 12, 1, (3, 5)),
    (1, 3, 2, 30, 9, 0, (11, 2)),
    (17, 1, 2, 8, 8, 1, (4, 4)),
]


@pytest.fixture(autouse=True)
def every_convolution(monkeypatch):
    """Whatever it costs."""
    monkeypatch.setattr("graphc.passes.winograd.WORTH", 0.0)


def layer(sizes: tuple[Any, ...]) -> tuple[Graph, list[Array]]:
    """A convolution with its bias and relu, and its gradients."""
    batch, channels, filters, height, width, padding, taps = sizes
    x, w = leaf("x", batch, channels, height, width), leaf("w", filters, channels, *taps)
    y = convolution(x, w, (1, 1), ((padding, padding),) * 2, (1, 1))
    bias = leaf("bias", filters)
    shifted = y + broadcast_to(reshape(bias, (filters, 1, 1)), y.shape)
    z = maximum(shifted, shifted * 0.1)
    slope = leaf("slope", *y.shape)
    means = sum_over(z, (0, 2, 3))
    found = gradients(sum_over(z * slope, (0, 1, 2, 3)), [x, w, bias])
    wanted = [g for g in found if g is not None]
    rng = np.random.default_rng([*sizes[:-1], *taps])
    leaves = (x, w, bias, slope)
    arrays = [rng.standard_normal(i.type.static_shape).astype(np.float32) for i in leaves]
    return Graph(leaves, (z, means, *wanted)), arrays


def tiles(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op.name in ("to_tiles", "from_tiles")]


@pytest.mark.sweep
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("run", [interpreted, native])
def test_values_and_gradients(sizes, run):
    graph, arrays = layer(sizes)
    fast = fast_convolutions(graph)
    assert len(tiles(fast)) >= 6
    for ours, wanted in zip(run(fast, arrays), interpreted(graph, arrays), strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        np.testing.assert_allclose(ours / scale, wanted / scale, atol=2e-6)


def test_the_loop_language_agrees():
    graph, arrays = layer((1, 2, 2, 5, 6, 1, (3, 3)))
    fast = fast_convolutions(graph)
    for ours, wanted in zip(looped(fast, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_matrices_correlate(scheme: Scheme, rng: np.random.Generator):
    numbers, factors = rng.standard_normal(scheme.size), rng.standard_normal(scheme.taps)
    products = (np.array(scheme.input) @ numbers) * (np.array(scheme.filter) @ factors)
    wanted = np.correlate(numbers, factors, "valid")
    np.testing.assert_allclose(np.array(scheme.output) @ products, wanted, atol=1e-13)


def test_infinity_spoils_its_tile_only():
    graph, arrays = layer((1, 1, 1, 16, 16, 1, (3, 3)))
    arrays[0][0, 0, 1, 1] = np.inf
    fast = fast_convolutions(graph)
    ours, wanted = native(fast, arrays)[0], interpreted(graph, arrays)[0]
    np.testing.assert_allclose(ours[..., 8:, 8:], wanted[..., 8:, 8:], atol=1e-4)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_constant_filters_are_transformed_once(sizes, rng):
    batch, channels, filters, height, width, padding, taps = sizes
    x = leaf("x", batch, channels, height, width)
    w = rng.standard_normal((filters, channels, *taps)).astype(np.float32)
    y = convolution(x, Table.of(w, x.dtype)(), (1, 1), ((padding, padding),) * 2, (1, 1))
    graph = Graph((x,), (y,))
    changed = [n for n in tiles(fast_convolutions(graph)) if n.op.name == "to_tiles"]
    assert len(changed) == 1  # of the images; the filters are a table
    arrays = [rng.standard_normal(x.type.static_shape).astype(np.float32)]
    (wanted,), (found,) = interpreted(graph, arrays), native(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
