"""The identity of a graph: everything that compilation depends on, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.identity import graph_identity
from graphc.kernels.identity import kernel_identity
from graphc.kernels.lower import lower
from graphc.ops.contraction import matmul
from graphc.ops.indexing import Take
from graphc.ops.leaves import Input, Parameter, Storage, Table
from graphc.ops.movement import Reshape, Transpose
from graphc.ops.reduction import sum_over
from graphc.scalars import exp, tanh
from graphc.types import FLOAT32, FLOAT64, INT64, DType, TensorType

SERIALS = itertools.count()


def model(
    scale: float = 0.5,
    dtype: DType = FLOAT32,
    rows: int = 4,
    axis: int = 0,
    function: Callable[[Node], Node] = tanh,
    table: float = 1.0,
    start: float = 0.0,
    update: str = "first",
    order: int = 1,
) -> Graph:
    x = Input("x", TensorType(dtype, (rows, rows)), serial=next(SERIALS))()
    type_, value = TensorType(dtype, (rows, rows)), np.full((rows, rows), start)
    first, second = (Parameter(n, type_, Storage(value, dtype))() for n in ("first", "second"))
    weights = Table.of(np.full((rows, rows), table), dtype)()
    y = function(matmul(x, first)) * scale + second * weights
    outputs = (sum_over(y, (axis,)), y)[::order]
    target = first if update == "first" else second
    return Graph((x,), outputs, ((target, target - y),))


def test_equal_graphs_are_one():
    assert graph_identity(model()) == graph_identity(model())


def test_values_of_parameters_do_not_matter():
    assert graph_identity(model()) == graph_identity(model(start=3.0))


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 0.25}, {"scale": -0.5}, {"dtype": FLOAT64}, {"rows": 5}, {"axis": 1},
        {"function": exp}, {"table": 2.0}, {"update": "second"}, {"order": -1},
    ],
    ids=", ".join,
)  # fmt: skip
def test_what_matters(change: dict[str, object]):
    assert graph_identity(model()) != graph_identity(model(**change))  # type: ignore[arg-type]


def test_signs_of_zero_and_nan():
    scales = [0.0, -0.0, float("nan"), float("inf"), 1.0, 1.0 + 2**-40]
    assert len({graph_identity(model(scale=s)) for s in scales}) == len(scales)
    assert graph_identity(model(float("nan"))) == graph_identity(model(float("nan")))


def test_which_operand_is_which():
    x, y = (Input(n, TensorType(FLOAT32, (3, 3)))() for n in "xy")
    graphs = [Graph((x, y), (x - y,)), Graph((x, y), (y - x,)), Graph((y, x), (x - y,))]
    assert graph_identity(graphs[0]) != graph_identity(graphs[1])
    assert graph_identity(graphs[1]) == graph_identity(graphs[2])


def test_parameters_that_share_memory():
    def graph(share: bool) -> Graph:
        storage = Storage(np.ones(3), FLOAT32)
        other = storage if share else Storage(np.ones(3), FLOAT32)
        a, b = (Parameter("w", TensorType(FLOAT32, (3,)), s)() for s in (storage, other))
        return Graph((), (a * b,), ((a, a + 1.0),))

    assert graph_identity(graph(True)) != graph_identity(graph(False))


def test_every_attribute_counts():
    x = Input("x", TensorType(FLOAT32, (2, 3, 4)))()
    i = Input("i", TensorType(INT64, (2,)))()
    made = [
        Transpose((0, 2, 1))(x), Transpose((2, 1, 0))(x), Reshape((3, 2, 4))(x), Reshape((6, 4))(x),
        Take(0)(x, i), Take(1)(x, i),
    ]  # fmt: skip
    assert len({graph_identity(Graph((x, i), (y,))) for y in made}) == len(made)


def test_a_gradient_is_told_from_the_same_forward_pass():
    x = Input("x", TensorType(FLOAT32, (3,)))()
    loss = sum_over(exp(x), (0,))
    (slope,) = gradients(loss, [x])
    assert slope is not None
    assert graph_identity(Graph((x,), (slope,))) != graph_identity(Graph((x,), (exp(x),)))


# Kernels ------------------------------------------------------------------------------------------
def kernels(graph: Graph) -> list[str]:
    return [kernel_identity(k)[0] for k in lower(graph).kernels]


def test_equal_kernels_have_one_text():
    assert kernels(model()) == kernels(model(start=2.0))


@pytest.mark.parametrize(
    "change", [{"scale": 0.25}, {"dtype": FLOAT64}, {"rows": 5}, {"function": exp}], ids=", ".join
)
def test_other_kernels_have_another(change: dict[str, object]):
    assert kernels(model()) != kernels(model(**change))  # type: ignore[arg-type]


def test_notes_are_part_of_the_text():
    (kernel, *_) = lower(model()).kernels
    text, buffers = kernel_identity(kernel)
    assert set(kernel.read) <= set(buffers)
    assert kernel_identity(kernel, {buffers[0]: 7})[0] != text


def test_a_text_grows_with_the_kernel_and_not_with_the_tree():
    def length(depth: int) -> int:
        x = Input("x", TensorType(FLOAT32, (8,)))()
        y = x
        for _ in range(depth):
            y = tanh(y) * y  # as a tree, twice as large each time
        return max(map(len, kernels(Graph((x,), (y,)))))

    assert length(24) < 3 * length(12)
