"""New parameter values: in place where nobody needs the old one any more, else by a copy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from execute import interpreted, looped, native
from graphc.graph import Graph, Node
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.ops.contraction import matmul
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Parameter, Storage, Table
from graphc.ops.movement import transpose
from graphc.ops.reduction import expand, sum_over
from graphc.ops.selection import Flip
from graphc.scalars import exp
from graphc.types import INT64, TensorType
from kernels.models import adam_graph, parameter, rows, sgd_graph, softmax
from random_graphs import Drawn, graphs

SHAPE = (5, 5)
P, Q = parameter("p", *SHAPE), parameter("q", *SHAPE)
X, Y, B = parameter("x", *SHAPE), parameter("y", *SHAPE), parameter("b", 5)


def graph(*outputs: Node, **updates: Node) -> Graph:
    targets = {"p": P, "q": Q, "b": B}
    return Graph((), outputs, tuple((targets[name], v) for name, v in updates.items()))


def in_place(program: Program) -> list[bool]:
    """For each update whether its kernel writes straight into the parameter."""
    memory = dict(program.leaves)
    found = []
    for target, value in program.graph.updates:
        writers = [k for k in program.kernels if memory[target] in k.written]
        found.append(value in writers[0].nodes and not _is_copy(program, writers[0]))
    return found


def _is_copy(program: Program, kernel: object) -> bool:
    """Whether the kernel is one of the copies at the end, from a buffer of the same node."""
    owner = program.owners
    (store, *_), (read, *_) = kernel.stores, [*kernel.read, None]
    return (
        read is not None and owner[read] in kernel.nodes and owner[store.buffer] not in kernel.nodes
    )


def kept_and_read() -> Graph:
    """A value that later stages compute again reads the parameter: it must be the old one."""
    h = X * Y
    b = P * h
    return graph(b - rows("add", b), p=P + h)


CASES = {
    "plain": (lambda: graph(p=P - X), [True]),
    "itself": (lambda: graph(p=P), [True]),
    "scaled by its own norm": (lambda: graph(p=P / rows("add", P * P)), [True]),
    "a number per row": (lambda: graph(b=B - sum_over(X * Y, (1,))), [True]),
    "read by rows, updated by row sums": (
        lambda: graph(b=B - sum_over(X * expand(B, SHAPE, (1,)), (1,))),
        [True],
    ),
    "read before": (lambda: graph(exp(P) * X, p=P - X), [True]),
    "read beside": (lambda: graph(P * exp(X), p=P - exp(X)), [True]),
    "read by a later kernel": (lambda: graph(matmul(value := P - X, P), p=value), [False]),
    "read by a later update": (lambda: graph(p=exp(P), q=Q - P), [False, True]),
    "read transposed": (lambda: graph(p=P + transpose(P, (1, 0))), [False]),
    "read backwards": (lambda: graph(p=P + Flip((0,))(P)), [False]),
    "read by its own contraction": (lambda: graph(p=P - matmul(P, P)), [False]),
    "read by another's contraction": (lambda: graph(matmul(P, X), p=P - X), [True]),
    "two parameters": (lambda: graph(p=P + Q, q=Q - X), [True, True]),
    "two that need each other": (lambda: graph(p=P + Q, q=Q + P), [False, True]),
    "swapped": (lambda: graph(p=Q, q=P), [False, True]),
    "one value for two": (lambda: graph(p=(value := P + X), q=value), [True, True]),
    "the value is an output": (lambda: graph(value := P + X, p=value), [True]),
    "the value is used by others": (lambda: graph(matmul(value := P + X, Y), p=value), [True]),
    "the value is moved": (lambda: graph(p=transpose(X, (1, 0))), [True]),
    "the old one is an output": (lambda: graph(P, p=P + X), [True]),
    "old and new in one kernel": (lambda: graph((v := P + X) * P, p=v), [True]),
    "later stage": (lambda: graph(p=softmax(P)), [True]),
    "earlier stage read": (lambda: graph(rows("add", P * X), p=P * X + rows("add", P * X)), [True]),
    "computed again later": (kept_and_read, [True]),
}
"""Parameters p and q of one shape and b of one row; whether each update is in place."""


@pytest.mark.parametrize("name", CASES)
def test_updates(name: str):
    make, expected = CASES[name]
    made = make()
    program = lower(made)
    for found in (looped(made), native(made)):
        for ours, wanted in zip(found, interpreted(made), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)
    assert in_place(program) == expected


def test_training_steps_copy_nothing():
    """Weights and biases, and both moments of Adam."""
    for make in (sgd_graph, adam_graph):
        assert all(in_place(lower(make())))
        assert len(lower(make()).kernels) == 8


def test_a_scatter_is_copied_back():
    """Its result is complete only after the last addition."""
    made = graph(p=ScatterAdd(0)(P, Table.of([1, 3, 1], INT64)(), parameter("u", 3, 5)))
    assert in_place(lower(made)) == [False]
    for ours, wanted in zip(native(made), interpreted(made), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)


def test_places_read_from_a_new_value_in_a_new_value():
    """A load at an index that is itself a load: both are where the updates put them."""
    table = parameter("table", 5, 3)
    kind = TensorType(INT64, (4,))
    places = Parameter("places", kind, Storage(np.array([0, 1, 2, 1]), INT64))()
    new, further = exp(table), places * places
    made = Graph((), (Take(0)(new, further),), ((table, new), (places, further)))
    for ours, wanted in zip(native(made), interpreted(made), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)


@given(graphs(steps=25, state=True))
def test_random_updates(drawn: Drawn):
    drawn.check(looped(drawn.graph, drawn.arrays()), interpreted(drawn.graph, drawn.arrays()))
