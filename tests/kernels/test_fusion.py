"""What shares a kernel, what does not, and the reason that is given."""

from __future__ import annotations

import pytest
from hypothesis import given

from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.kernels.candidates import CHEAP
from graphc.kernels.fuse import FEW_ROWS, LARGE, RUN, fuse
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.kernels.roots import with_memory_for_roots
from graphc.ops.contraction import matmul
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Iota, Table
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import broadcast_in, fold, sum_over
from graphc.scalars import exp, relu, tanh, where
from graphc.types import INT64
from kernels.models import adam_graph, layer_norm_graph, leaf, sgd_graph, softmax_graph, total
from random_graphs import Drawn, graphs


def program(*outputs: Node) -> Program:
    return lower(Graph((), outputs))


def kernels(*outputs: Node) -> list[list[str]]:
    """The ops of each kernel."""
    return [[n.op.name for n in k.nodes] for k in program(*outputs).kernels]


def reasons(*outputs: Node) -> list[str]:
    return [r.reason for r in program(*outputs).refusals]


@pytest.mark.parametrize("graph", [softmax_graph, layer_norm_graph], ids=lambda g: g.__name__)
def test_a_normalisation_is_one_kernel_of_three_stages(graph):
    made = lower(graph())
    (kernel,) = made.kernels
    assert len(kernel.iters) == 1
    assert [len(stage.iters) for stage in kernel.stages] == [1, 1, 1]
    assert not made.plan.offsets
    assert not made.refusals


def test_softmax_keeps_the_dear_exponential_and_repeats_the_cheap_subtraction():
    (kernel,) = lower(softmax_graph()).kernels
    rows = [s.buffer.shape for s in kernel.stores if s.buffer.scope == "row"]
    assert rows == [(), (), (33,)]  # the maximum, the sum, the exponentials


def test_no_row_that_lies_across_memory_is_kept_between_stages():
    x = leaf("x", 3, 9, 2 * RUN)
    e = exp(x)
    shares = e / broadcast_in(sum_over(e, (1,)), x.shape, (0, 2))
    assert kernels(shares) == [["exp", "sum"], ["divide"]]
    assert "rows of e lie across memory" in reasons(shares)
    again = sum_over(e * broadcast_in(sum_over(e, (1,)), x.shape, (0, 2)), (1,))
    assert kernels(again) == [["exp", "sum"], ["multiply", "sum"]]


def test_rows_that_are_read_again_or_nearly_touch_are_one_kernel():
    x, y = leaf("x", 3, 9, 2 * RUN), exp(leaf("y", 3, 9, RUN - 1))
    for a in (x, y):
        shares = a / broadcast_in(sum_over(a, (1,)), a.shape, (0, 2))
        assert len(kernels(shares)) == 1


def test_bias_and_activation_join_the_contraction():
    x, w, b = leaf("x", 4, 5), leaf("w", 5, 6), leaf("b", 6)
    y = matmul(x, w) + broadcast_to(b, (4, 6))
    assert kernels(tanh(y)) == [["matmul", "add", "tanh"]]
    assert kernels(relu(y)) == [["matmul", "add", "relu"]]
    assert kernels(relu(y), tanh(y)) == [["matmul", "add", "relu", "tanh"]]


def test_the_slope_of_an_activation_joins_the_contraction_that_feeds_it():
    """g * (1 - y*y), and g where x > 0: no tensor between the two matmuls of a layer."""
    x, w, v = leaf("x", 4, 5), leaf("w", 5, 6), leaf("v", 6, 3)
    for activation, slope in ((tanh, "multiply"), (relu, "where")):
        y = matmul(activation(matmul(x, w)), v)
        loss = total(y * y)
        (gradient,) = gradients(loss, [w])
        assert gradient is not None
        assert ["contract", slope] in kernels(gradient)


def test_the_gradient_of_a_bias_is_a_kernel_of_its_own():
    x, w, b = leaf("x", 4, 5), leaf("w", 5, 6), leaf("b", 6)
    loss = total(tanh(matmul(x, w) + broadcast_to(b, (4, 6))))
    (gradient,) = gradients(loss, [b])
    assert gradient is not None
    made = program(gradient)
    assert [n.op.name for n in made.kernels[-1].nodes] == ["sum"]
    assert any("order of its own" in r.reason for r in made.refusals)


def test_an_update_joins_the_gradient_it_uses():
    for graph in (sgd_graph, adam_graph):
        for kernel in lower(graph()).kernels[4:]:
            assert kernel.nodes[0].op.kind in ("contract", "reduce")
            assert kernel.nodes[-1].op.name == "subtract"


def test_a_reshape_does_not_stand_in_the_way():
    x, y = leaf("x", 4, 6), leaf("y", 3, 8)
    assert len(kernels(reshape(exp(x), (3, 8)) * y)) == 1
    assert len(kernels(sum_over(reshape(exp(x), (2, 2, 6)), (2,)))) == 1


def test_a_transpose_does():
    x, y = leaf("x", 4, 6), leaf("y", 6, 4)
    z = exp(x)
    assert len(kernels(z, transpose(z, (1, 0)) * y)) == 2
    assert reasons(z, transpose(z, (1, 0)) * y) == ["reads z at another index"]


def test_a_sum_over_all_rows_joins_a_kernel_that_reads_them():
    """One walk instead of two, after a kernel that clears the sums; never along columns."""
    x = leaf("x", 9, 6)
    rows, columns = sum_over(x, (1,)), sum_over(x, (0,))
    assert kernels(rows, columns) == [["sum"], ["sum", "sum"]]
    assert kernels(columns, rows) == [["sum"], ["sum"]]


def test_cheap_repeats_have_no_memory():
    """Each reader computes x*2 again, unless it would do so many times per element."""
    x = leaf("x", 4, 6)
    assert kernels(sum_over(x * 2, (0,)), sum_over(x * 2, (1,))) == [["sum"], ["sum"]]
    shared = x * 2
    assert kernels(sum_over(shared, (0,)), sum_over(shared, (1,))) == [["sum"], ["sum"]]
    assert kernels(matmul(shared, leaf("w", 6, 2)))[0] == ["multiply"]
    dear = exp(x)
    assert CHEAP < 12 <= exp.cost
    made = kernels(sum_over(dear, (0,)), sum_over(dear, (1,)))
    assert made == [["sum"], ["exp", "sum", "sum"]]  # the first is where the sums over rows begin


def test_reductions_of_one_space_over_the_same_axes_share_a_kernel():
    x, y = leaf("x", 4, 6), leaf("y", 4, 6)
    z = x * y
    assert kernels(sum_over(z, (1,)), fold("maximum", z, (1,))) == [["multiply", "sum", "max"]]
    w = exp(leaf("w", 4, 5, 6))
    assert len(kernels(sum_over(w, (2,)), sum_over(w, (0,)))) == 2
    assert reasons(sum_over(w, (2,)), sum_over(w, (0,))) == [
        "reduces axes (0,) of (4, 5, 6), the kernel axes (2,) of (4, 5, 6)"
    ]


def test_a_sum_over_all_rows_joins_the_kernel_that_works_row_by_row():
    x, y = leaf("x", 4, 6), leaf("y", 4, 6)
    z = x * y
    assert kernels(sum_over(z, (1,)), sum_over(z, (0,))) == [["sum"], ["multiply", "sum", "sum"]]
    late = z - broadcast_to(reshape(sum_over(z, (0,)), (1, 6)), (4, 6))
    assert len(kernels(sum_over(z, (1,)), late)) == 3
    assert any("after the last row" in r for r in reasons(sum_over(z, (1,)), late))
    wide = exp(leaf("wide", 4, 1 << 13))
    assert any("too many" in r for r in reasons(sum_over(wide, (1,)), sum_over(wide, (0,))))


def test_few_long_rows_are_not_walked_one_after_another():
    for rows, expected in ((FEW_ROWS - 1, 2), (FEW_ROWS, 1)):
        x = leaf("x", rows, 2 * LARGE // rows)
        z = x * exp(x)
        assert len(kernels(z, sum_over(z, (1,)))) == expected
        assert all("too few to share" in r for r in reasons(z, sum_over(z, (1,))))


def test_other_reasons():
    x, i = leaf("x", 4, 4), Table.of([0, 2], INT64)()
    z = x * exp(x)
    assert reasons(matmul(z, x)) == ["matmul reads its operand at other indices"]
    assert reasons(Take(0)(z, i)) == ["take reads its operand at other indices"]
    added = ScatterAdd(0)(x, i, leaf("u", 2, 4))
    assert reasons(tanh(added) * x) == ["a scatter must finish before its result is read"]
    row = sum_over(leaf("y", 2, 3) * leaf("z", 2, 3), (0, 1))
    assert reasons(z * broadcast_to(row, (4, 4)), z) == [
        "another operand is computed later",
        "16 elements against a kernel over 6",
    ]


def test_a_counter_needs_no_memory():
    x = leaf("x", 4, 6)
    column = Iota((4, 6), 1)()
    assert kernels(where(column < 3, x, 0.0)) == [["where"]]


@given(graphs())
def test_every_edge_that_was_not_fused_has_one_reason(drawn: Drawn):
    fusion = fuse(with_memory_for_roots(drawn.graph))
    refused = [(r.producer, r.reader) for r in fusion.refusals]
    assert len(refused) == len(set(refused))
    assert all(r.reason for r in fusion.refusals)
    edges = {(p, n) for n in fusion.home for p in _producers(n, fusion.home)}
    apart = {(p, n) for p, n in edges if fusion.home[p] is not fusion.home[n]}
    in_place = {(p, n) for p, n in apart if p in fusion.places.of and n in fusion.places.rest}
    assert set(refused) == apart - in_place


def _producers(node: Node, home: dict[Node, object]) -> set[Node]:
    """The nodes with a kernel that ``node`` reads, past those without."""
    found: set[Node] = set()
    stack = list(node.inputs)
    while stack:
        x = stack.pop()
        if x in home:
            found.add(x)
        else:
            stack.extend(x.inputs)
    return found


@given(graphs())
def test_kernels_are_in_order(drawn: Drawn):
    """What a kernel reads was there before, or comes from outside; all roots are written."""
    made = lower(drawn.graph)
    there = {*made.inputs, *(b for _, b in made.leaves)}
    for kernel in made.kernels:
        assert there.issuperset(set(kernel.read) - set(kernel.written))
        there.update(kernel.written)
    assert there.issuperset(made.outputs)
