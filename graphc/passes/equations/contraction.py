"""Equations of contractions: operands are relabelled instead of moved, and never repeated.

Comes in: nothing. Goes out: `CONTRACTIONS`. A contraction names its axes, so a transposed operand
is the operand under other labels, and a copied axis is no axis at all.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph import Node
from graphc.ops.contraction import Contract
from graphc.ops.elementwise import combine
from graphc.ops.movement import Transpose
from graphc.ops.reduction import Broadcast, broadcast_in, fold
from graphc.rewrite import Head, by_hand, number_of

Labels = tuple[int, ...]


def _swapped(op: Any) -> Any:
    """The contraction with its operands exchanged."""
    return Contract(op.right, op.left, op.out)


def either(node: Node, change: Any) -> Node | None:
    """``change(op, operand, other)`` tried for the left operand, then for the right one."""
    left, right = node.inputs
    changed: Node | None = change(node.op, left, right, False)
    return changed or change(_swapped(node.op), right, left, True)


def _contract(labels: Labels, x: Node, op: Any, other: Node, swapped: bool, out: Labels) -> Node:
    if swapped:
        return Contract(op.right, labels, out)(other, x)
    return Contract(labels, op.right, out)(x, other)


@by_hand(
    "contract of transpose", Contract, why="an operand's axes are named, so they need not move"
)
def _contract_of_transpose(node: Node) -> Node | None:
    def change(op: Any, x: Node, other: Node, swapped: bool) -> Node | None:
        if Head.of(x.op) != Head(Transpose):
            return None
        moved: Any = x.op
        label = dict(zip(moved.axes, op.left, strict=True))
        labels = tuple(label[a] for a in range(len(moved.axes)))
        return _contract(labels, x.inputs[0], op, other, swapped, op.out)

    return either(node, change)


@by_hand("contract of copies", Contract, why="equal copies give equal products")
def _contract_of_copies(node: Node) -> Node | None:
    def change(op: Any, x: Node, other: Node, swapped: bool) -> Node | None:
        if Head.of(x.op) != Head(Broadcast):
            return None
        placed: Any = x.op
        copied = {op.left[a] for a in range(len(op.left)) if a not in placed.axes}
        needless = copied & set(op.out)
        if copied - needless or not needless:
            return None  # a summed label must stay in both operands
        out = tuple(k for k in op.out if k not in needless or k in op.right)
        labels = tuple(op.left[a] for a in placed.axes)
        made = _contract(labels, x.inputs[0], op, other, swapped, out)
        return broadcast_in(made, node.shape, tuple(op.out.index(k) for k in out))

    return either(node, change)


@by_hand(
    "contract with a number", Contract,
    why="a sum of products with one number is the sum times that number", unsafe="rounding",
)  # fmt: skip
def _contract_with_number(node: Node) -> Node | None:
    def change(op: Any, x: Node, other: Node, swapped: bool) -> Node | None:
        value = number_of(x)
        if value is None or not math.isfinite(value) or x.dtype.bits == 16:
            return None
        summed = tuple(a for a, k in enumerate(op.right) if k not in op.out)
        scaled = combine("multiply", fold("add", other, summed), value)
        return _placed(scaled, [k for k in op.right if k in op.out], op.out, node)

    return either(node, change)


def _placed(x: Node, labels: list[int], out: Labels, node: Node) -> Node:
    """``x``, whose axes are ``labels``, as the part of ``out`` that it is, and copied otherwise."""
    kept = [k for k in out if k in labels]
    moved = Transpose(tuple(labels.index(k) for k in kept))(x) if kept != labels else x
    return broadcast_in(moved, node.shape, tuple(out.index(k) for k in kept))


CONTRACTIONS = [_contract_of_transpose, _contract_of_copies, _contract_with_number]
