"""Sums along a product's rows by way of another product: what is found, and what is not."""

from __future__ import annotations

import numpy as np
import pytest

from execute import interpreted
from graphc.graph import Graph, Node
from graphc.ops.contraction import Contract, matmul
from graphc.ops.elementwise import cast_to
from graphc.ops.leaves import Input
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import broadcast_in, sum_over, where
from graphc.passes.row_sums import RULE, shorten_row_sums
from graphc.passes.verify import verify
from graphc.rewrite import Ledger
from graphc.types import BOOL, DTYPES, FLOAT32, DType, TensorType

ROWS, PLACES, WIDTH = 5, 11, 3
BFLOAT16 = DTYPES["bfloat16"]


def leaf(name: str, *shape: int, dtype: DType = FLOAT32) -> Node:
    return Input(name, TensorType(dtype, shape))()


G, V = leaf("g", 2, ROWS, WIDTH), leaf("v", 2, PLACES, WIDTH)
P, MASK = leaf("p", 2, ROWS, PLACES), leaf("mask", 2, ROWS, PLACES, dtype=BOOL)
BY_ROWS = Contract((0, 1, 3), (0, 2, 3), (0, 1, 2))


def rounded(x: Node) -> Node:
    return cast_to(cast_to(x, BFLOAT16), FLOAT32)


def sums(product: Node, row: Node, weight: Node, axes: tuple[int, ...] = (2,)) -> Graph:
    """The product, and the sum along rows that may be made of it."""
    total = sum_over(row * weight, axes)
    return Graph((G, V, P, MASK), (product, total))


def shortened(made: Graph) -> bool:
    """Whether a graph changes; it means the same."""
    ledger = Ledger()
    found = shorten_row_sums(made, ledger)
    verify(found)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=x.type.static_shape) for x in made.inputs]
    arrays = [
        a > 0 if x.dtype == BOOL else a.astype(np.float32)
        for a, x in zip(arrays, made.inputs, strict=True)
    ]
    narrow = any(n.dtype == BFLOAT16 for n in made.nodes)
    for got, wanted in zip(interpreted(found, arrays), interpreted(made, arrays), strict=True):
        np.testing.assert_allclose(got, wanted, atol=0.2 if narrow else 1e-5)
    assert [r.rule for r in ledger.records] == [RULE] * (found.nodes != made.nodes)
    return len(ledger) > 0


def thin(mask: Node | None = None) -> Graph:
    """One sequence: products have fewer axes than what is made of them."""
    g, v, p = (reshape(x, x.shape[1:]) for x in (G1, V1, P1))
    row = reshape(Contract((0, 2), (1, 2), (0, 1))(g, v), P1.shape)
    weight = P1
    if mask is not None:
        wide = broadcast_in(mask, P1.shape, (1, 2))
        narrow = where(mask, reshape(row, P1.shape[1:]), 0.0)
        row, p = reshape(narrow, P1.shape), reshape(where(wide, P1, 0.0), P1.shape[1:])
    total = sum_over(row * weight, (2,))
    return Graph((G1, V1, P1, LINE), (matmul(p, v), total))


G1, V1, P1 = leaf("g", 1, ROWS, WIDTH), leaf("v", 1, PLACES, WIDTH), leaf("p", 1, ROWS, PLACES)
LINE = leaf("mask", ROWS, PLACES, dtype=BOOL)
HIDDEN = where(MASK, P, 0.0)
FOUND = {
    "plain": sums(matmul(P, V), BY_ROWS(G, V), P),
    "factors turned": sums(matmul(P, V), P, BY_ROWS(G, V)),
    "product turned": sums(Contract((0, 2, 3), (0, 1, 2), (0, 1, 3))(V, P), BY_ROWS(G, V), P),
    "columns of the product": sums(
        Contract((0, 1, 2), (0, 2, 3), (0, 3, 1))(P, V), BY_ROWS(G, V), P
    ),
    "columns of the row": sums(
        matmul(P, V), Contract((0, 3, 1), (0, 2, 3), (0, 1, 2))(transpose(G, (0, 2, 1)), V), P
    ),
    "mask of the row": sums(matmul(HIDDEN, V), where(MASK, BY_ROWS(G, V), 0.0), P),
    "mask of both": sums(matmul(HIDDEN, V), where(MASK, BY_ROWS(G, V), 0.0), HIDDEN),
    "one sequence": thin(),
    "one sequence and a mask": thin(LINE),
    "roundings": sums(cast_to(matmul(rounded(P), V), BFLOAT16), rounded(BY_ROWS(G, V)), rounded(P)),
}
NOT_FOUND = {
    "another weight": sums(matmul(P + P, V), BY_ROWS(G, V), P),
    "another factor": sums(matmul(P, V + V), BY_ROWS(G, V), P),
    "no mask of the product": sums(matmul(P, V), where(MASK, BY_ROWS(G, V), 0.0), P),
    "a mask with ones": sums(matmul(HIDDEN, V), where(MASK, BY_ROWS(G, V), 1.0), P),
    "sums over rows": sums(matmul(P, V), BY_ROWS(G, V), P, (1,)),
    "sums over all": sums(matmul(P, V), BY_ROWS(G, V), P, (1, 2)),
    "no product": sums(G, BY_ROWS(G, V), P),
}


@pytest.mark.parametrize("made", FOUND.values(), ids=FOUND)
def test_found(made):
    assert shortened(made)


@pytest.mark.parametrize("made", NOT_FOUND.values(), ids=NOT_FOUND)
def test_not_found(made):
    assert not shortened(made)


def test_long_terms_stay():
    g, v = leaf("g", ROWS, 20), leaf("v", 4, 20)
    p = leaf("p", ROWS, 4)
    total = sum_over(matmul(g, transpose(v, (1, 0))) * p, (1,))
    row = Contract((0, 2), (1, 2), (0, 1))(g, v)
    ledger = Ledger()
    shorten_row_sums(Graph((g, v, p), (matmul(p, v), total)), ledger)
    shorten_row_sums(Graph((g, v, p), (matmul(p, v), sum_over(row * p, (1,)))), ledger)
    assert not ledger.records
