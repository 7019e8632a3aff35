"""Every sample and its gradient, lowered to loops and run by the plain-Python meaning of loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from execute import interpreted, looped
from graphc.errors import UserError
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Input
from graphc.ops.reduction import sum_over
from graphc.types import FLOAT32, INT64, TensorType
from samples import DISTINCT, Sample

pytestmark = pytest.mark.sweep

DIFFERENTIABLE = [s for s in DISTINCT if s.wrt]


def check(graph: Graph, arrays: Sequence[Array], tolerance: float) -> None:
    for ours, wanted in zip(looped(graph, arrays), interpreted(graph, arrays), strict=True):
        assert ours.dtype == wanted.dtype
        np.testing.assert_allclose(ours, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_loops_give_the_values(sample: Sample):
    inputs, arrays = sample.inputs(), sample.draw()
    check(Graph(tuple(inputs), (sample.build(*inputs),)), arrays, sample.tolerance)


@pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=str)
def test_loops_give_the_gradients(sample: Sample):
    sample = sample.wide()
    inputs, arrays = sample.inputs(), sample.draw()
    y = sample.build(*inputs)
    loss = sum_over(y * y, tuple(range(y.type.rank)))
    found = gradients(loss, [inputs[k] for k in sample.wrt])
    graph = Graph(tuple(inputs), (loss, *(g for g in found if g is not None)))
    check(graph, arrays, 1e-12)


@pytest.mark.parametrize("wrong", [3, -4])
def test_loops_find_an_index_out_of_bounds(wrong: int):
    x, i = (Input("x", TensorType(FLOAT32, (3,)))(), Input("i", TensorType(INT64, (2,)))())
    arrays = [np.zeros(3, np.float32), np.array([0, wrong])]
    nodes: list[Node] = [Take(0)(x, i), ScatterAdd(0)(x, i, Take(0)(x, i * 0))]
    for node in nodes:
        with pytest.raises(UserError) as caught:
            looped(Graph((x, i), (node,)), arrays)
        assert caught.value.code == "GC0306"
