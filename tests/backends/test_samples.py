"""Every sample and its gradient, compiled: the same numbers as the interpreter's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fences import fenced
from graphc.compile import build
from graphc.grad import gradients
from graphc.graph import Array, Graph
from graphc.ops.reduction import sum_over
from samples import DISTINCT, Sample

pytestmark = pytest.mark.sweep

DIFFERENTIABLE = [s for s in DISTINCT if s.wrt]


def run(graph: Graph, backend: str, arrays: Sequence[Array]) -> list[Array]:
    with fenced():
        runner = build(graph, backend, {}).runner
        assert runner is not None
        return runner.run(arrays)


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_compiled_values(sample: Sample):
    inputs, arrays = sample.inputs(), sample.draw()
    graph = Graph(tuple(inputs), (sample.build(*inputs),))
    (wanted,) = run(graph, "numpy", arrays)
    (found,) = run(graph, "llvm", arrays)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=sample.tolerance, atol=sample.tolerance)


@pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=str)
def test_compiled_gradients(sample: Sample):
    inputs, arrays = sample.inputs(), sample.draw()
    y = sample.build(*inputs)
    loss = sum_over(y * y, tuple(range(y.type.rank)))
    found = gradients(loss, [inputs[k] for k in sample.wrt])
    graph = Graph(tuple(inputs), (loss, *(g for g in found if g is not None)))
    for wanted, ours in zip(run(graph, "numpy", arrays), run(graph, "llvm", arrays), strict=True):
        # sums in another order, of numbers up to 100
        np.testing.assert_allclose(ours, wanted, rtol=2e-5, atol=2e-5)
