"""Export: every sample and its gradient, run by ONNX Runtime where that is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from exported import can_be_said, check_same, operators, slopes_of, values_of
from graphc.backends.interpreter import Interpreter
from graphc.frontends.onnx.exporting.model import model_of
from graphc.graph import Array, Graph
from samples import DISTINCT, Sample

runtime: Any = pytest.importorskip("onnxruntime")

NO_KERNEL_FOR_FLOAT64 = {
    *("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Softplus", "Erf"),
    *("Conv", "AveragePool", "Det"),
}
"""Operators of the standard that ONNX Runtime does not compute in float64 on a CPU."""


def cannot_run(graph: Graph, names: Sequence[str]) -> str:
    """Why ONNX Runtime, or NumPy in front of it, cannot run a model, or ""."""
    kinds = {node.dtype.name for node in graph}
    if any(x.dtype == "bfloat16" for x in (*graph.inputs, *graph.outputs)):
        return "bfloat16 has no place in NumPy's arrays"
    missing = {*names} & NO_KERNEL_FOR_FLOAT64
    return f"no kernel of {missing} for float64" if missing and "float64" in kinds else ""


def check(graph: Graph, arrays: Sequence[Array], tolerance: float) -> None:
    if not can_be_said(graph.outputs):
        pytest.skip("a decomposition")
    model = model_of(graph)
    if reason := cannot_run(graph, operators(model)):
        pytest.skip(reason)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    content = model.SerializeToString()
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feeds = dict(zip((x.name for x in model.graph.input), arrays, strict=True))
    check_same(session.run(None, feeds), Interpreter(graph).run(arrays), tolerance)


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_a_sample_has_its_values(sample: Sample):
    check(*values_of(sample), sample.tolerance)


@pytest.mark.parametrize("sample", [s for s in DISTINCT if s.wrt], ids=str)
def test_a_sample_has_its_gradients(sample: Sample):
    check(*slopes_of(sample), max(sample.tolerance, 3e-5))
