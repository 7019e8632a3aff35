"""The sample table with an axis of no elements: both backends agree, in shapes and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from execute import interpreted, native
from graphc.errors import UserError
from graphc.graph import Graph, Node
from samples import DISTINCT, Sample

ONLY_PASSES = {"to_tiles", "from_tiles"}
"""Made by passes, which leave empty tensors alone."""


def emptied(sample: Sample) -> Iterator[Sample]:
    """The sample with no elements where it has as many as along one of its axes."""
    sizes = {n for v in sample.values for n in v.shape if n}
    for size in sorted(sizes)[-1:]:
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


def outcome(run, graph: Graph, arrays):
    try:
        return run(graph, arrays)
    except UserError as error:
        return error.code


FIRST = {s.name.split("-")[0]: s for s in reversed(DISTINCT) if any(v.shape for v in s.values)}
"""One sample of each operation is enough."""
EMPTY = [e for s in FIRST.values() for e in emptied(s) if built(e) is not None]
EMPTY = [e for e in EMPTY if built(e)[1].op.name not in ONLY_PASSES]


def test_most_operations_take_empty_tensors():
    assert len(EMPTY) > 0.8 * len(FIRST)


@pytest.mark.parametrize("sample", EMPTY, ids=str)
def test_both_backends_agree_on_empty_tensors(sample: Sample):
    inputs, y = built(sample)
    graph, arrays = Graph(tuple(inputs), (y,)), sample.draw()
    wanted, found = (outcome(run, graph, arrays) for run in (interpreted, native))
    if isinstance(wanted, str):  # an index into nothing is a fault only where it is read
        assert found == wanted or found[0].size == 0
        return
    assert found[0].shape == y.type.static_shape
    assert found[0].dtype == wanted[0].dtype
    np.testing.assert_allclose(
        found[0].astype("float64"), wanted[0].astype("float64"), rtol=1e-3, atol=1e-3
    )
