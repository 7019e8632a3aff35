"""The sample table with an axis of no elements: both backends agree, in shapes and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from execute import interpreted, native
from graphc.errors import UserError
from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.ops.elementwise import full_like
from samples import DISTINCT, Sample

pytestmark = pytest.mark.sweep

LEFT_OUT = {"to_tiles", "from_tiles", "while"}
"""Made by passes, which leave empty tensors alone; a loop until a sum of nothing is large."""


def emptied(sample: Sample) -> Iterator[Sample]:
    """The sample with no elements where it has as many as along one of its axes."""
    sizes = {n for v in sample.values for n in v.shape if n}
    for size in sorted(sizes):
        shapes = [tuple(0 if n == size else n for n in v.shape) for v in sample.values]
        values = [replace(v, shape=s) for v, s in zip(sample.values, shapes, strict=True)]
        yield replace(sample, name=f"{sample.name}-without-{size}", values=tuple(values))


def built(sample: Sample) -> tuple[list[Node], Node] | None:
    """The sample on its inputs; None where no such tensor is allowed."""
    inputs = sample.inputs()
    try:
        return inputs, sample.build(*inputs)
    except UserError:
        return None


def slopes(inputs: list[Node], y: Node) -> list[Node]:
    """The gradient by all inputs, where there is one."""
    wrt = [x for x in inputs if x.dtype.is_float]
    if not wrt or not y.dtype.is_float:
        return []
    try:
        return [g for g in gradients(y, wrt, full_like(1, y)) if g is not None]
    except UserError:
        return []


def outcome(run, graph: Graph, arrays):
    try:
        return run(graph, arrays)
    except UserError as error:
        return error.code


EMPTY = [e for s in DISTINCT for e in emptied(s) if built(e) is not None]
EMPTY = [e for e in EMPTY if built(e)[1].op.name not in LEFT_OUT]


def test_most_operations_take_empty_tensors():
    names = {e.name.split("-")[0] for e in EMPTY}
    assert len(names) > 100


@pytest.mark.parametrize("sample", EMPTY, ids=str)
def test_both_backends_agree_on_empty_tensors(sample: Sample):
    inputs, y = built(sample)
    graph, arrays = Graph(tuple(inputs), (y, *slopes(inputs, y))), sample.draw()
    wanted, found = (outcome(run, graph, arrays) for run in (interpreted, native))
    if isinstance(wanted, str):  # an index into nothing is a fault only where it is read
        assert found == wanted or found[0].size == 0
        return
    for ours, numpys, node in zip(found, wanted, graph.outputs, strict=True):
        assert ours.shape == node.type.static_shape
        assert ours.dtype == numpys.dtype
        wide = (x.astype("float64") for x in (ours, numpys))
        np.testing.assert_allclose(*wide, rtol=1e-3, atol=1e-3)
