"""Export: samples and their gradients, read again by graphc's importer and ONNX's reference."""

from __future__ import annotations

import warnings

import onnx
import pytest
from hypothesis import given, settings
from onnx.reference import ReferenceEvaluator

from exported import (
    REFERENCE_LACKS,
    can_be_said,
    check_same,
    expect_refusal,
    operators,
    slopes_of,
    values_of,
)
from graphc.backends.interpreter import Interpreter
from graphc.frontends.onnx import load
from graphc.frontends.onnx.exporting.model import model_of
from graphc.graph import Graph
from random_graphs import Drawn, graphs
from samples import DISTINCT, Sample

pytestmark = pytest.mark.outside


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_a_sample_comes_back_as_it_was(sample: Sample):
    graph, arrays = values_of(sample)
    if can_be_said(graph.outputs):
        found = load(model_of(graph)).run(*arrays, backend="numpy")
        check_same(found, Interpreter(graph).run(arrays), sample.tolerance)
    else:
        expect_refusal(graph)


@pytest.mark.parametrize("sample", [s for s in DISTINCT if s.wrt], ids=str)
def test_gradients_of_a_sample_come_back_as_they_were(sample: Sample):
    graph, arrays = slopes_of(sample)
    if can_be_said(graph.outputs):
        found = load(model_of(graph)).run(*arrays, backend="numpy")
        check_same(found, Interpreter(graph).run(arrays), max(sample.tolerance, 2e-5))
    else:
        expect_refusal(graph)


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_a_sample_has_its_values_by_the_reference_of_onnx(sample: Sample):
    graph, arrays = values_of(sample)
    if not can_be_said(graph.outputs):
        return expect_refusal(graph)
    model = model_of(graph)
    if {*operators(model)} & {*REFERENCE_LACKS}:
        return onnx.checker.check_model(model, full_check=True)
    feeds = dict(zip((x.name for x in model.graph.input), arrays, strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ReferenceEvaluator(model).run(None, feeds)
    check_same(found, Interpreter(graph).run(arrays), sample.tolerance)


@given(graphs(steps=12))
@settings(max_examples=60)
def test_random_graphs_come_back_as_they_were(drawn: Drawn):
    graph = Graph(drawn.graph.inputs, drawn.graph.outputs)
    arrays = drawn.arrays()
    found = load(model_of(graph)).run(*arrays, backend="numpy") if graph.outputs else []
    wanted = Interpreter(graph).run(arrays)
    for ours, theirs, error in zip(found, wanted, drawn.errors, strict=False):
        check_same([ours], [theirs], error)
