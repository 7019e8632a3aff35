"""Products of tensors as contractions: NumPy's matmul and tensordot in terms of axis labels.

Comes in: two nodes of one dtype. Goes out: one `Contract` node without any transpose before it. A
separate step because matmul's rules for vectors and stacks of matrices are the frontend's manners.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import UserError
from graphc.graph import Node
from graphc.ops.contraction import Contract
from graphc.ops.movement import reshape


def matmul_nodes(a: Node, b: Node) -> Node:
    """``a @ b`` with broadcasting over leading axes. Raises `UserError` GC0101, GC0103."""
    _check(a, b)
    ranks = (a.type.rank, b.type.rank)
    batch = max(*ranks, 2) - 2
    m, k, n = batch, batch + 1, batch + 2
    a, left = _without_ones(a, _batch_labels(a, batch))
    b, right = _without_ones(b, _batch_labels(b, batch))
    rows, columns = (m,) * (ranks[0] > 1), (n,) * (ranks[1] > 1)
    present = {*left, *right}
    out = tuple(label for label in range(batch) if label in present)
    result = Contract((*left, *rows, k), (*right, k, *columns), (*out, *rows, *columns))(a, b)
    if len(out) == batch:
        return result
    kept = iter(result.shape[: len(out)])
    lead = tuple(next(kept) if label in present else 1 for label in range(batch))
    return reshape(result, (*lead, *result.shape[len(out) :]))


def _check(a: Node, b: Node) -> None:
    if not a.shape or not b.shape:
        raise UserError("GC0103", "matmul of a single number", fix="multiply with * instead of @")
    inner = b.shape[-2] if b.type.rank > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise UserError(
            "GC0101",
            f"matmul: {a.type} @ {b.type} do not fit: {a.shape[-1]} against {inner}",
            why="the last axis of the left operand meets the last but one of the right operand",
            fix="transpose one operand with .mT, or reshape it",
        )
    for m, n in zip(a.shape[-3::-1], b.shape[-3::-1], strict=False):
        if m != n and 1 not in (m, n):
            raise UserError(
                "GC0101",
                f"matmul: {a.type} @ {b.type} do not fit: {m} against {n} in the leading axes",
                why="leading axes broadcast: they are equal, or one of them is 1",
                fix="reshape one operand",
            )


def _batch_labels(x: Node, batch: int) -> tuple[int, ...]:
    """The labels of the leading axes, counted so that they meet from the right."""
    return tuple(range(batch - max(x.type.rank - 2, 0), batch))


def _without_ones(x: Node, labels: tuple[int, ...]) -> tuple[Node, tuple[int, ...]]:
    """Drop leading axes of size 1, which broadcasting would only repeat."""
    kept = [a for a, _ in enumerate(labels) if x.shape[a] != 1]
    tail = x.shape[len(labels) :]
    return reshape(x, (*(x.shape[a] for a in kept), *tail)), tuple(labels[a] for a in kept)


def tensordot_nodes(a: Node, b: Node, left: Sequence[int], right: Sequence[int]) -> Node:
    """The sum over axes ``left`` of ``a`` paired with axes ``right`` of ``b``."""
    labels_a = tuple(range(a.type.rank))
    partner = dict(zip(right, left, strict=True))
    labels_b = tuple(partner.get(axis, a.type.rank + axis) for axis in range(b.type.rank))
    out = (
        *(label for label in labels_a if label not in left),
        *(label for axis, label in enumerate(labels_b) if axis not in partner),
    )
    return Contract(labels_a, labels_b, out)(a, b)
