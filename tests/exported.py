"""What tests of exported models share: graphs of samples, what ONNX lacks, how near is near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from graphc.errors import UserError
from graphc.frontends.onnx.exporting.model import model_of
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node, toposort
from graphc.ops.reduction import sum_over
from graphc.types import dtype
from samples import Sample

DECOMPOSITIONS = {"inverse", "solve", "solve_triangular", "cholesky", "qr", "eigh", "svd"}
"""What ONNX cannot say: it has no decomposition of a matrix, and a formula would be a program."""

REFERENCE_LACKS = {
    "Scan": "its reference evaluator takes scans along the first axis only, and only forward",
    "Erf": "its reference evaluator computes it in float32",
}


def can_be_said(outputs: Sequence[Node]) -> bool:
    computed = {node.op.name for node in toposort(outputs) if 0 not in node.shape}
    return not computed & DECOMPOSITIONS


def values_of(sample: Sample) -> tuple[Graph, list[Array]]:
    inputs = sample.inputs()
    return Graph(tuple(inputs), (sample.build(*inputs),)), sample.draw()


def slopes_of(sample: Sample) -> tuple[Graph, list[Array]]:
    inputs = sample.inputs()
    y = sample.build(*inputs)
    loss = sum_over(y * y, tuple(range(y.type.rank)))
    found = gradients(loss, [inputs[k] for k in sample.wrt])
    return Graph(tuple(inputs), (loss, *(g for g in found if g is not None))), sample.draw()


def check_same(found: Sequence[Array], wanted: Sequence[Array], tolerance: float) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        is_float = dtype(ours.dtype).is_float
        close = max(tolerance, {2: 4e-3, 4: 2e-5, 8: 1e-12}[ours.itemsize]) if is_float else 0
        np.testing.assert_allclose(ours, theirs, rtol=close, atol=close)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def expect_refusal(graph: Graph) -> None:
    with pytest.raises(UserError, match="has no counterpart in ONNX"):
        model_of(graph)
