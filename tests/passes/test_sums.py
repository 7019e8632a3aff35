"""Sums of many terms as one operation: what is merged, what is not, and equal values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from execute import interpreted
from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.ops.contraction import Contract, matmul
from graphc.ops.leaves import Input
from graphc.ops.movement import reshape
from graphc.ops.reduction import sum_over
from graphc.ops.selection import concatenate, pad, pad_axis, slice_axis
from graphc.passes import merge_sums
from graphc.rewrite import Ledger
from graphc.scalars import exp, tanh
from graphc.types import FLOAT32, TensorType
from random_graphs import Drawn, graphs


def leaf(name: str, *shape: int) -> Node:
    return Input(name, TensorType(FLOAT32, shape))()


X = leaf("x", 5, 4, 6)


def merged(*outputs: Node, inputs: tuple[Node, ...] = (X,)) -> list[str]:
    """The ops after the pass, whose values are those before."""
    graph, ledger = Graph(inputs, outputs), Ledger()
    after = merge_sums(graph, ledger)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in inputs]
    for new, old in zip(interpreted(after, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)
    assert (len(ledger) > 0) == (after.outputs != graph.outputs)
    return [n.op.name for n in after.nodes]


def added(terms: list[Node]) -> Node:
    total = terms[0]
    for x in terms[1:]:
        total = total + x
    return total


def padded(starts: list[int], size: int = 1) -> list[Node]:
    """Slices of exp(X) along its first axis, put back where they were."""
    y = exp(X)
    return [pad_axis(slice_axis(y, 0, s, s + size), 0, s, 5 - s - size) for s in starts]


@pytest.mark.parametrize("starts", [[0, 1, 2, 3, 4], [4, 2, 3, 0, 1], [0, 4], [1, 3], [2, 3]])
def test_disjoint_pads_are_one_concatenation(starts):
    ops = merged(added(padded(starts)))
    assert ops.count("concatenate") == 1
    assert "pad" not in ops
    assert "add" not in ops


def test_other_terms_stay():
    ops = merged(added([*padded([0, 3]), tanh(X), *padded([1])]))
    assert (ops.count("concatenate"), ops.count("add"), ops.count("pad")) == (1, 1, 0)


def test_overlapping_pads_are_added():
    ops = merged(added([*padded([0, 1, 3], 2)]))
    assert (ops.count("concatenate"), ops.count("pad"), ops.count("add")) == (1, 1, 1)
    assert merged(added(padded([0, 1], 3))).count("pad") == 2


def test_pads_along_other_axes_are_left_alone():
    y = slice_axis(exp(X), 1, 0, 2)
    both = pad(slice_axis(y, 0, 0, 3), (0, 2, 0), (2, 0, 0))
    rows = pad_axis(slice_axis(exp(X), 0, 0, 2), 0, 0, 3)
    ops = merged(added([pad_axis(y, 1, 0, 2), rows, both]))
    assert ops.count("pad") == 3


def test_a_pad_with_another_number_is_left_alone():
    y = slice_axis(exp(X), 0, 0, 2)
    ones = pad(y, (0, 0, 0), (3, 0, 0), value=1.0)
    assert "concatenate" not in merged(ones + pad_axis(y, 0, 3, 0))


def test_a_sum_that_others_read_is_a_term():
    first = added(padded([0, 1]))
    ops = merged(first, first + padded([2])[0])
    assert ops.count("concatenate") == 1
    assert ops.count("add") == 1


def test_the_gradient_of_a_shared_weight_is_one_contraction():
    w = leaf("w", 6, 6)
    h = [reshape(tanh(slice_axis(X, 0, 0, 1)), (4, 6))]
    for _ in range(6):
        h.append(tanh(matmul(h[-1], w)))
    (slope,) = gradients(sum_over(h[-1], (0, 1)), [w])
    assert slope is not None
    ops = merged(slope, inputs=(X, w))
    assert "add" not in ops
    assert ops.count("concatenate") == 2
    assert ops[-1] == "contract"


def test_copies_must_pay():
    """Two products of inputs: putting large weights side by side costs more than one addition."""
    a, b = leaf("a", 2, 64), leaf("b", 2, 64)
    v, w = leaf("v", 64, 64), leaf("w", 64, 64)
    inputs = (a, b, v, w)
    assert merged(matmul(a, v) + matmul(b, w), inputs=inputs).count("matmul") == 2
    c, d = leaf("c", 64, 2), leaf("d", 64, 2)
    outer = Contract((0, 1), (2, 1), (0, 2))
    assert merged(outer(c, d) + outer(d, c), inputs=(c, d)).count("contract") == 1


def test_consecutive_slices_are_what_they_were_cut_from():
    """x[t] of every step and a cotangent of each: no copy of x."""
    parts = [reshape(slice_axis(X, 0, t, t + 1), (4, 6)) for t in range(1, 5)]
    slopes = [tanh(x * float(t)) for t, x in enumerate(parts)]
    outer = Contract((0, 1), (0, 2), (1, 2))
    ops = merged(added([outer(x, g) for x, g in zip(parts, slopes, strict=True)]))
    assert ops.count("contract") == 1
    assert ops.count("concatenate") == 1
    outer = [outer(x, g) for x, g in zip(parts[::-1], slopes[::-1], strict=True)]
    assert merged(added(outer)).count("concatenate") == 1


def test_a_product_that_others_read_stays():
    outer = Contract((0, 1), (0, 2), (1, 2))
    parts = [reshape(tanh(slice_axis(X, 0, t, t + 1)), (4, 6)) for t in range(3)]
    products = [outer(x, x) for x in parts]
    ops = merged(added(products), products[0])
    assert ops.count("contract") == 2


def test_a_long_sum_takes_linear_time():
    x = leaf("x", 3000, 2)
    terms = [pad_axis(slice_axis(x, 0, t, t + 1) * 2.0, 0, t, 2999 - t) for t in range(3000)]
    after = merge_sums(Graph((x,), (added(terms),)))
    assert after.outputs[0].op.name == "concatenate"


def test_integers_and_unmergeable_graphs_are_returned_as_they_are():
    y = concatenate([X, exp(X)], 0)
    graph = Graph((X,), (y + y,))
    assert merge_sums(graph).outputs == graph.outputs


@given(graphs())
def test_random_graphs(drawn: Drawn):
    arrays = drawn.arrays()
    drawn.check(interpreted(merge_sums(drawn.graph), arrays), interpreted(drawn.graph, arrays))
