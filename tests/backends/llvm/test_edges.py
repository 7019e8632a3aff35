"""Padded windows and the spread of their gradients: the middle apart from the edges."""

from __future__ import annotations

import numpy as np
import pytest

from execute import interpreted, looped, native
from graphc.backends.llvm.edges import without_edges
from graphc.backends.llvm.machine import named
from graphc.backends.llvm.schedule import schedule
from graphc.expr import Select, walk
from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.kernels.lower import lower
from graphc.ops.leaves import Input
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS
from graphc.types import TensorType, dtype

CASES = {
    "stem of a residual network": ((2, 9, 56), (3, 3), (2, 2), (1, 1), (1, 1), (1, 1)),
    "halves": ((3, 6, 40), (2, 2), (2, 2), (1, 1), (0, 0), (0, 0)),
    "left only": ((1, 5, 37), (2, 5), (1, 1), (1, 1), (0, 3), (0, 0)),
    "right only": ((1, 5, 37), (2, 5), (1, 1), (1, 1), (0, 0), (1, 4)),
    "rest": ((2, 7, 50), (3, 3), (3, 3), (1, 1), (1, 2), (0, 1)),
    "dilated": ((1, 9, 45), (2, 3), (1, 2), (2, 3), (1, 4), (1, 5)),
    "stride above the window": ((1, 4, 70), (1, 2), (1, 3), (1, 1), (0, 1), (0, 1)),
    "one image of one row": ((1, 1, 33), (1, 3), (1, 1), (1, 1), (0, 1), (0, 1)),
    "too short for a middle": ((2, 5, 9), (3, 3), (1, 1), (1, 1), (1, 1), (1, 1)),
}


def pooled(name: str, function: str, kind: str) -> Graph:
    """A window of a case and its gradient."""
    shape, *geometry = CASES[name]
    x = Input("x", TensorType(dtype(kind), shape))()
    y = Window(SCALARS[function], Windows(*geometry))(x)
    g = Input("g", y.type)()
    (dx,) = gradients(y, [x], g)
    assert isinstance(dx, Node)
    return Graph((x, g), (y, dx))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("function", "kind"), [("maximum", "float32"), ("add", "float64")])
def test_windows_and_their_gradients(name: str, function: str, kind: str, rng: np.random.Generator):
    graph = pooled(name, function, kind)
    arrays = [rng.normal(size=x.shape).astype(kind) for x in graph.inputs]
    for ours, theirs in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_loops_mean_the_same_on_another_machine(rng: np.random.Generator):
    graph = pooled("left only", "maximum", "float32")
    arrays = [rng.normal(size=x.shape).astype("float32") for x in graph.inputs]
    found = looped(graph, arrays, lambda kernel: schedule(kernel, named("haswell")))
    for ours, theirs in zip(found, interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_middle_has_no_guards_that_lanes_move():
    kernel = lower(pooled("left only", "maximum", "float32")).kernels[0]
    lane = kernel.iters[-1]
    (middle, found), *edges = without_edges(kernel, lane)
    assert found is not None
    assert [lane for _, lane in edges] == [None]
    assert found.extent + sum(part.iters[-1].extent for part, _ in edges) == lane.extent
    assert not any(isinstance(e, Select) for s in middle.stores for e in walk(s.value))
    short = lower(pooled("too short for a middle", "maximum", "float32")).kernels[0]
    assert without_edges(short, short.iters[-1]) == [(short, short.iters[-1])]
