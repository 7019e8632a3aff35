"""What nobody reads of loops and branches is not computed, and what is read has the same value."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import graphc as gc
from execute import interpreted, native
from graphc.control import Cond, Scan, While, closed
from graphc.graph import Graph, Node, toposort
from graphc.ops.contraction import Contract
from graphc.ops.elementwise import ELEMENTWISE
from graphc.ops.leaves import new_input
from graphc.passes import Ledger, without_unread
from graphc.types import FLOAT64, TensorType

STEPS = 4


def leaf(*shape: int) -> Node:
    return new_input("x", TensorType(FLOAT64, shape))


def product(a: Node, b: Node) -> Node:
    """``a.T @ b``, larger than both."""
    return Contract((0, 1), (0, 2), (1, 2))(a, b)


def busy_scan() -> tuple[list[Node], tuple[Node, ...]]:
    """Carries: a state, two sums of products, one of other things, one that stays, one unused."""
    state, total, both, odd, same, unused = (
        leaf(1, 3),
        leaf(5, 3),
        *(leaf(3, 3) for _ in range(4)),
    )
    x, y, constant = leaf(1, 5), leaf(1, 3), leaf(1, 3)
    tanh = ELEMENTWISE["tanh"]
    new = tanh(state * y + constant)
    outputs = [
        new,
        total + product(x, new),
        product(new, state) + (both + product(y, new) + product(state, constant)),
        odd + product(new, y) * odd,
        same,
        tanh(unused),
        new * 2.0,
        product(y, y) + same,
    ]
    carries = [state, total, both, odd, same, unused]
    body, outside = closed(outputs, [*carries, x, y])
    given = [leaf(*c.type.static_shape) for c in carries]
    operands = [*given, leaf(STEPS, 1, 5), leaf(STEPS, 1, 3), *outside]
    scan = Scan(body=body, carries=6, sequences=2, length=STEPS)
    return operands, scan.each(*operands)


OPERANDS, RESULTS = busy_scan()
FEW = [*combinations(range(len(RESULTS)), 1), *combinations(range(9), 2), range(len(RESULTS))]


def calls(graph: Graph) -> list[Node]:
    return [n for n in graph.nodes if n.op.kind == "call"]


@pytest.mark.parametrize("wanted", FEW, ids=str)
def test_whatever_is_wanted_of_a_scan_has_the_same_value(wanted, rng):
    graph = Graph(tuple(OPERANDS), tuple(RESULTS[k] for k in wanted))
    arrays = [rng.standard_normal(x.type.static_shape) for x in OPERANDS]
    lean = without_unread(graph)
    for before, after in zip(interpreted(graph, arrays), interpreted(lean, arrays), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-12)


def test_products_are_added_up_after_the_loop():
    graph = without_unread(Graph(tuple(OPERANDS), (RESULTS[1], RESULTS[2])))
    op = calls(graph)[0].op
    assert op.carries == 2  # the state, and products with what stays the same
    assert not any(n.op.kind == "contract" for n in op.body.nodes if n.shape == (5, 3))
    late = [n for n in graph.nodes if n.op.kind == "contract"]
    assert {n.shape for n in late} == {(5, 3), (3, 3)}


def test_a_sum_that_is_smaller_than_its_factors_stays_in_the_loop():
    total, row = leaf(2, 2), leaf(9, 2)
    body = Graph((total, row), (total + product(row, row),))
    scan = Scan(body=body, carries=1, sequences=1, length=STEPS)
    inputs = (leaf(2, 2), leaf(STEPS, 9, 2))
    graph = Graph(inputs, scan.each(*inputs)[:1])
    assert without_unread(graph) is graph


def test_a_chain_of_scans_is_lean_from_its_end():
    """The second reads the first's stack only for a result that nobody reads."""
    x = gc.input("x", (STEPS, 3))
    last, ys = gc.scan(lambda c, v: (c * v, gc.exp(c)), gc.ones(3), x)
    final, _ = gc.scan(lambda c, v: (c + v[0], v[1] * 2), gc.zeros(3), (x, ys))
    ledger = Ledger()
    lean = without_unread(Graph((x.node,), (final.node,)), ledger)
    assert len(calls(lean)) == 0  # a sum of the elements of x
    assert {r.stage for r in ledger} == {"unread"}
    array = np.arange(12, dtype=np.float32).reshape(STEPS, 3)
    np.testing.assert_allclose(native(lean, [array])[0], array.sum(0))
    assert last.shape == (3,)


def test_branches_compute_what_is_read():
    given = leaf(3)
    outputs = [given * 2.0, ELEMENTWISE["exp"](given), given, ELEMENTWISE["sin"](given)]
    both, _ = closed(outputs, [given])
    op = Cond(then=Graph(both.inputs, both.outputs[:2]), other=Graph(both.inputs, both.outputs[2:]))
    choice, x = gc.input("choice", (), "bool").node, leaf(3)
    graph = Graph((choice, x), op.each(choice, x)[1:])
    lean = without_unread(graph)
    (call,) = calls(lean)
    assert len(call.op.then.outputs) == 1
    for flag, function in ((True, np.exp), (False, np.sin)):
        found = interpreted(lean, [np.array(flag), np.ones(3)])
        np.testing.assert_allclose(found[0], function(np.ones(3)))


def test_a_while_loop_stays_as_it_is():
    carry = leaf()
    never = Graph((carry,), (ELEMENTWISE["less"](carry, carry),))
    op = While(condition=never, body=Graph((carry,), (carry,)), carries=1)
    x = leaf()
    graph = Graph((x,), (op(x),))
    assert without_unread(graph) is graph


def test_the_gradient_of_weights_is_one_product(rng):
    """Of the LSTM kind: the factors are smaller than the weights."""
    weights = gc.param(rng.standard_normal((4, 6)) / 2, "w", dtype="float64")
    x = gc.input("x", (STEPS, 1, 2), "float64")

    def step(h, v):
        z = gc.concat([v, h], -1) @ weights
        h = gc.tanh(z[:, :2]) * gc.sigmoid(z[:, 2:4]) + z[:, 4:]
        return h, h

    _, ys = gc.scan(step, gc.zeros((1, 2), "float64"), x)
    (slope,) = gc.grad((ys * ys).sum(), [weights])
    lean = without_unread(Graph((x.node,), (slope.node,)))
    back = next(n.op for n in toposort(lean.outputs) if n.op.name == "scan" and n.op.reverse)
    assert all(y.shape != (4, 6) for y in back.body.outputs)
    array = rng.standard_normal((STEPS, 1, 2))
    state, states = gc.zeros((1, 2), "float64"), []
    for t in range(STEPS):
        state, y = step(state, x[t])
        states.append(y)
    (unrolled,) = gc.grad(sum((y * y).sum() for y in states), [weights])
    f = gc.compile([x], [slope, unrolled])
    np.testing.assert_allclose(*f(array), rtol=1e-10)


@pytest.mark.parametrize("wrap", [lambda step: step, gc.checkpoint])
def test_products_are_kept_for_the_gradient_unless_a_checkpoint_says_no(wrap, rng):
    weights = gc.param(rng.standard_normal((3, 3)) / 2, "w", dtype="float64")
    x = gc.input("x", (STEPS, 1, 3), "float64")
    last, _ = gc.scan(
        wrap(lambda h, v: (gc.tanh(h @ weights + v), None)), gc.zeros((1, 3), "float64"), x
    )
    (slope,) = gc.grad(last.sum(), [weights])
    ops = {n.op.reverse: n.op for n in calls(without_unread(Graph((x.node,), (slope.node,))))}
    stacks = len(ops[False].body.outputs) - ops[False].carries
    assert stacks == (1 if wrap is not gc.checkpoint else 0)
    products = [n for n in ops[True].body.nodes if n.op.kind == "contract"]
    assert len(products) == (1 if wrap is not gc.checkpoint else 2)
