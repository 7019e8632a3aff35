"""Operands that are written where they belong, and indices that addresses no longer divide."""

from __future__ import annotations

import numpy as np
import pytest

from execute import interpreted, looped, native
from graphc.expr import Apply, Lit, walk
from graphc.graph import Graph, Node
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.ops.contraction import Contract
from graphc.ops.indexing import ScatterAdd
from graphc.ops.leaves import Table
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import sum_over
from graphc.ops.selection import Concatenate, concatenate
from graphc.scalars import exp, tanh
from graphc.show.program import fusion_text
from graphc.types import FLOAT32, INT64
from kernels.models import draw, leaf, parameter

X, Y, Z = leaf("x", 4, 6), leaf("y", 3, 6), leaf("z", 6, 4)


def checked(*outputs: Node, updates: tuple[tuple[Node, Node], ...] = ()) -> Program:
    """The program of a graph that every executor agrees on."""
    graph = Graph((X, Y, Z), outputs, updates)
    arrays = draw(graph)
    for run in (native, looped):
        for ours, theirs in zip(run(graph, arrays), interpreted(graph, arrays), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    return lower(graph)


def ops(program: Program) -> list[list[str]]:
    return [[n.op.name for n in k.nodes] for k in program.kernels]


def steps(count: int) -> list[Node]:
    """Tensors that are computed one from another."""
    found = [tanh(X)]
    for k in range(count - 1):
        found.append(tanh(found[-1] * float(k + 2) + X))
    return found


def stack(parts: list[Node]) -> Node:
    return concatenate([reshape(x, (1, *x.shape)) for x in parts], 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_computed_operands_are_written_in_place(axis):
    second = exp(Y) if axis == 0 else exp(transpose(Z, (1, 0)))
    made = checked(tanh(concatenate([exp(X), second], axis)))
    assert ["concatenate"] not in ops(made)
    assert len(made.places) == 2
    assert "lies in" in fusion_text(made)


def test_an_operand_may_be_transposed_and_reshaped_on_the_way():
    turned = reshape(transpose(exp(Z), (1, 0)), (2, 2, 6))
    made = checked(sum_over(concatenate([turned, reshape(exp(X), (2, 2, 6))], 1), (1,)))
    assert len(made.places) == 2
    assert ops(made)[-1] == ["sum"]


def test_what_was_not_computed_is_copied():
    made = checked(concatenate([exp(X), exp(Y), X], 0))
    assert ops(made).count(["concatenate"]) == 1
    assert len(made.places) == 2


def test_mostly_copied_is_copied_at_once():
    made = checked(concatenate([X, exp(Y), X], 0))
    assert not made.places
    assert ["concatenate"] in ops(made)


def test_a_tensor_has_one_place():
    a = exp(X)
    made = checked(concatenate([a, exp(transpose(Z, (1, 0))), a], 1), a * 2.0)
    assert len(made.places) == 2
    assert sum("concatenate" in names for names in ops(made)) == 1  # the second copy of a


def test_an_output_keeps_its_own_memory():
    a = exp(X)
    made = checked(a, concatenate([a, exp(Y)], 0))
    assert a not in made.places


def test_a_scatter_is_not_moved():
    places = Table.of(np.array([2, 0, 2]), INT64)()
    made = checked(tanh(concatenate([ScatterAdd(0)(exp(X), places, exp(Y)), exp(X)], 0)))
    assert all(x.op.kind != "scatter" for x in made.places)


def test_a_new_parameter_value_is_not_put_together_in_the_old_one():
    p = parameter("p", 7, 6)
    new = concatenate([exp(X) * 2.0, exp(Y) * 3.0], 0)
    made = checked(sum_over(p * new, (0, 1)), updates=((p, new),))
    assert not made.places


def test_a_whole_may_lie_in_a_larger_one():
    rows = [concatenate([x, exp(x) * 2.0], 1) for x in steps(3)]
    made = checked(sum_over(stack(rows), (0, 1)))
    assert not any("concatenate" in names for names in ops(made))
    assert len(set(made.places.values())) == 1


@pytest.mark.parametrize("part", [slice(None, -1), slice(1, None), slice(None, None, -1)])
def test_operands_side_by_side_already_are_a_view(part):
    """h[0..n-1] beside h[0..n]: the second stack is a part of the first, or runs backwards."""
    h = steps(5)
    whole, other = stack(h), stack(h[part])
    made = checked(sum_over(whole, (0,)), tanh(other))
    assert not any("concatenate" in names for names in ops(made))
    assert other in made.places or whole in made.places


def test_a_view_of_longer_operands():
    h = steps(4)
    made = checked(sum_over(concatenate(h, 0), (0,)), tanh(concatenate(h[1:3], 0)))
    assert not any("concatenate" in names for names in ops(made))


def test_operands_in_another_order_are_no_view():
    h = steps(4)
    made = checked(sum_over(stack(h), (0,)), tanh(stack([h[2], h[0], h[1]])))
    assert sum("concatenate" in names for names in ops(made)) == 1


def test_empty_operands():
    empty = leaf("e", 0, 6)
    graph = Graph((empty,), (concatenate([exp(empty), tanh(empty)], 0),))
    (found,) = native(graph, [np.zeros((0, 6), np.float32)])
    assert found.shape == (0, 6)


def test_where_elements_land():
    """`lands` is the inverse of `at`, operand by operand."""
    a, b = exp(X), exp(Y)
    for node in (concatenate([a, b], 0), transpose(a, (1, 0)), reshape(a, (2, 3, 4))):
        value = node.op.eval(*(np.arange(24.0).reshape(4, 6)[: x.shape[0]] for x in node.inputs))
        for number, x in enumerate(node.inputs):
            source = np.arange(24.0).reshape(4, 6)[: x.shape[0]]
            for place in np.ndindex(*x.shape):
                index = tuple(Lit(i, INT64) for i in place)
                landed = node.op.lands(number, index, *(i.type for i in node.inputs))
                assert value[tuple(int(i.value) for i in landed)] == source[place]
    assert tanh(X).op.lands(0, (), X.type) is None
    assert isinstance(concatenate([a, b], 0).op, Concatenate)


# Divided indices ----------------------------------------------------------------------------------
def divisions(program: Program) -> int:
    """How many divisions are left in the addresses of a program."""
    roots = [e for k in program.kernels for s in k.stores for e in (*s.index, s.value)]
    divided = ("floor_divide", "remainder")
    return sum(isinstance(e, Apply) and e.function in divided for e in walk(*roots))


@pytest.mark.parametrize(("heads", "size"), [(2, 3), (3, 8), (5, 16), (1, 7)])
def test_heads_side_by_side_need_no_division(heads, size):
    """``[n, heads, t, size]`` to ``[n, t, heads * size]``, times a matrix: no ``k // size``."""
    x = leaf("x", 2, heads, 5, size)
    w = leaf("w", heads * size, 9)
    joined = reshape(transpose(x, (0, 2, 1, 3)), (2, 5, heads * size))
    y = Contract((0, 1, 2), (2, 3), (0, 1, 3))(joined, w)
    slope = Contract((0, 1, 2), (0, 1, 3), (2, 3))(joined, tanh(y))
    graph = Graph((x, w), (y, slope))
    arrays = draw(graph)
    for run in (native, looped):
        for ours, theirs in zip(run(graph, arrays), interpreted(graph, arrays), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not divisions(lower(graph))


def test_short_parts_of_a_plain_copy_stay_divided():
    x = leaf("x", 4, 3, 5)
    graph = Graph((x,), (exp(reshape(transpose(x, (1, 0, 2)), (60,))),))
    arrays = draw(graph)
    for run in (native, looped):
        np.testing.assert_allclose(run(graph, arrays)[0], interpreted(graph, arrays)[0], rtol=1e-6)


def test_a_softmax_over_a_reshaped_axis():
    """The rows' own memory is indexed by both parts."""
    x = leaf("x", 3, 16, 2, 8)
    rows = reshape(transpose(x, (0, 2, 1, 3)), (6, 128))
    e = exp(rows)
    whole = reshape(sum_over(e, (1,)), (6, 1))
    spread = Contract((0, 1), (2, 1), (0, 2))(whole, Table.of(np.ones((128, 1)), FLOAT32)())
    graph = Graph((x,), (e / spread, sum_over(e, (1,))))
    arrays = draw(graph)
    for run in (native, looped):
        for ours, theirs in zip(run(graph, arrays), interpreted(graph, arrays), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
