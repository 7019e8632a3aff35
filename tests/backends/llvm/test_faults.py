"""An index out of bounds: GC0306 at the user's line, and the process lives on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphc.backends import interpreter, llvm
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.kernels.lower import lower
from graphc.ops.indexing import ScatterAdd, ScatterAddAlongAxis, Take, TakeAlongAxis
from graphc.ops.leaves import Input, Parameter, Storage
from graphc.ops.reduction import sum_over
from graphc.scalars import exp
from graphc.types import FLOAT32, TensorType, dtype

ROWS, MANY = 5, 40


def graph_of(kind: str, indices: str) -> Graph:
    x = Input("x", TensorType(FLOAT32, (ROWS, 6)))()
    flat = Input("i", TensorType(dtype(indices), (MANY,)))()
    along = Input("i", TensorType(dtype(indices), (MANY, 6)))()
    made = {
        "take": lambda: (Take(0)(x, flat), flat),
        "take along": lambda: (TakeAlongAxis(0)(x, along), along),
        "scatter": lambda: (ScatterAdd(0)(x, flat, Take(0)(x, flat * 0)), flat),
        "scatter along": lambda: (
            ScatterAddAlongAxis(0)(x, along, TakeAlongAxis(0)(x, along * 0)),
            along,
        ),
        "fused": lambda: (sum_over(exp(Take(0)(x, flat)), (1,)), flat),
    }
    y, i = made[kind]()
    return Graph((x, i), (y,))


def arrays_for(graph: Graph, wrong: int, place: int) -> list[Array]:
    x, i = graph.inputs
    places = (np.arange(np.prod(i.type.static_shape)) % ROWS).astype(i.dtype.numpy)
    places[place] = wrong
    return [np.ones(x.shape, np.float32), places.reshape(i.type.static_shape)]


@pytest.mark.parametrize("kind", ["take", "take along", "scatter", "scatter along", "fused"])
@pytest.mark.parametrize(("wrong", "indices"), [(5, "int64"), (-6, "int32"), (200, "uint8")])
def test_the_line_is_named_and_the_next_call_works(kind: str, wrong: int, indices: str):
    graph = graph_of(kind, indices)
    runner = llvm.build(lower(graph))
    for place in (0, 17, MANY - 1):
        with pytest.raises(UserError) as caught:
            runner.run(arrays_for(graph, wrong, place))
        assert caught.value.code == "GC0306"
        assert Path(__file__).name in caught.value.where
        assert kind.split()[0] in caught.value.where.lower().replace("exp(", "take")
        right = arrays_for(graph, 1, place)
        (found,), (wanted,) = runner.run(right), interpreter.build(graph).run(right)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("wrong", [2**40, -(2**40), np.iinfo(np.int64).min, np.iinfo(np.int64).max])
def test_far_indices_touch_no_memory(wrong: int):
    graph = graph_of("scatter", "int64")
    runner = llvm.build(lower(graph))
    with pytest.raises(UserError, match="GC0306"):
        runner.run(arrays_for(graph, wrong, 3))


@pytest.mark.parametrize("kind", ["float32", "float16", "int8", "bool"])
@pytest.mark.parametrize("row", [3, 4000])
def test_an_empty_axis_has_no_element_to_touch(kind: str, row: int):
    """Every index misses, and there is no memory to read from or to write to instead."""
    x = Input("x", TensorType(dtype(kind), (0, row)))()
    i = Input("i", TensorType(dtype("int64"), (2,)))()
    u = Input("u", TensorType(dtype(kind), (2, row)))()
    arrays = [np.zeros(node.shape, node.dtype.numpy) for node in (x, i, u)]
    results = [Take(0)(x, i)] if kind == "bool" else [Take(0)(x, i), ScatterAdd(0)(x, i, u)]
    for y in results:
        with pytest.raises(UserError, match="GC0306"):
            llvm.build(lower(Graph((x, i, u), (y,)))).run(arrays)


def test_negative_indices_count_from_the_end():
    graph = graph_of("take", "int64")
    arrays = arrays_for(graph, -ROWS, 0)
    arrays[0] = np.arange(ROWS * 6, dtype=np.float32).reshape(ROWS, 6)
    arrays[1] -= ROWS * (np.arange(MANY) % 2 == 1)
    (found,) = llvm.build(lower(graph)).run(arrays)
    np.testing.assert_array_equal(found, arrays[0][arrays[1]])


def test_no_index_is_no_fault():
    x = Input("x", TensorType(FLOAT32, (0, 3)))()
    i = Input("i", TensorType(dtype("int64"), (0,)))()
    (found,) = llvm.build(lower(Graph((x, i), (Take(0)(x, i),)))).run(
        [np.zeros((0, 3), np.float32), np.zeros(0, np.int64)]
    )
    assert found.shape == (0, 3)


def test_of_two_lookups_the_one_that_missed_is_named():
    x = Input("x", TensorType(FLOAT32, (ROWS,)))()
    i, j = (Input(name, TensorType(dtype("int64"), (MANY,)))() for name in "ij")
    first = Take(0)(x, i)
    second = Take(0)(x, j)
    run = Executable(Graph((x, i, j), (first + second,)))
    right, wrong = np.zeros(MANY, np.int64), np.full(MANY, 7)
    for arrays, line in (((wrong, right), "first"), ((right, wrong), "second")):
        with pytest.raises(UserError) as caught:
            run(np.ones(ROWS, np.float32), *arrays)
        assert f"{line} = Take" in caught.value.where


def test_a_fault_of_one_call_is_gone_in_the_next():
    """Also after a fault in a kernel that another one follows."""
    w = Parameter("w", TensorType(FLOAT32, (ROWS,)), Storage(np.zeros(ROWS), FLOAT32))()
    i = Input("i", TensorType(dtype("int64"), (MANY,)))()
    taken: Node = Take(0)(w, i)
    run = Executable(Graph((i,), (sum_over(taken, (0,)),), ((w, w + 1.0),)))
    for _ in range(3):
        with pytest.raises(UserError, match="GC0306"):
            run(np.full(MANY, ROWS))
    before = w.op.storage.array[0]
    (found,) = run(np.zeros(MANY, np.int64))
    assert found == MANY * before
