"""Which index of a kernel moves which factor of its sum of products."""

from __future__ import annotations

import pytest

from graphc.expr import Apply, Expr, Load
from graphc.graph import Graph, Node
from graphc.kernels.contraction import Contraction, find
from graphc.kernels.flat import flatten, map_kernel
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.ops.contraction import Contract
from graphc.ops.convolution import Convolve
from graphc.ops.reduction import sum_over
from kernels.models import leaf


def kernel_of(result: Node, *inputs: Node) -> Kernel:
    (kernel,) = lower(Graph(inputs, (result,))).kernels
    return flatten(kernel)


def contraction(result: Node, *inputs: Node) -> Contraction:
    found = find(kernel_of(result, *inputs))
    assert found is not None
    return found


def extents(c: Contraction) -> tuple[list[int], ...]:
    """Of batch, rows, columns and inner indices."""
    kinds = (c.batch, c.rows, c.columns, c.total.iters)
    return tuple([i.extent for i in indices] for indices in kinds)


def test_a_product_of_matrices():
    a, b = leaf("a", 5, 7, 3), leaf("b", 5, 3, 4)
    c = contraction(Contract((0, 1, 2), (0, 2, 3), (0, 1, 3))(a, b), a, b)
    assert extents(c) == ([5], [7], [4], [3])
    assert c.depth == 3
    (row,), (inner,) = c.rows, c.total.iters
    assert (c.moves(c.first, row), c.moves(c.second, row), c.moves(c.second, inner)) == (3, 0, 4)


def test_a_convolution():
    x, w = leaf("x", 2, 1, 3, 8, 9), leaf("w", 1, 4, 3, 3, 2)
    c = contraction(Convolve((1, 1), (1, 1))(x, w), x, w)
    assert extents(c) == ([], [2, 6, 8], [4], [3, 3, 2])


def test_a_factor_that_is_computed():
    """It depends on indices, but has no steps."""
    a, b = leaf("a", 7, 3), leaf("b", 3, 4)
    kernel = kernel_of(Contract((0, 1), (1, 2), (0, 2))(a, b), a, b)
    plain = find(kernel)
    assert plain is not None

    def squared(e: Expr) -> Expr | None:
        return Apply("square", (Load(e.buffer, e.index),), e.dtype) if e == plain.first else None

    c = find(map_kernel(kernel, squared))
    assert c is not None
    assert extents(c) == ([], [7], [4], [3])
    assert (c.moves(c.first, c.rows[0]), c.moves(c.first, c.columns[0])) == (None, 0)


@pytest.mark.parametrize("name", ["sum", "two sums", "product"])
def test_what_is_no_contraction(name: str):
    a = leaf("a", 6, 6)
    results = {
        "sum": sum_over(a, (1,)),
        "two sums": sum_over(a * a, (1,)) + sum_over(a, (1,)),
        "product": a * a,
    }
    assert find(kernel_of(results[name], a)) is None
