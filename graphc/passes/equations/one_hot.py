"""Equations of one-hot tensors: where labels meet a counter, a sum has one term.

Comes in: nothing. Goes out: `ONE_HOT`. A file of its own, because folds and contractions have to
recognise the same comparison. Labels that are not integers are left alone: 2.5 names no place.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.graph import Node
from graphc.ops.contraction import Contract
from graphc.ops.elementwise import Cast, Elementwise, cast_to, combine
from graphc.ops.indexing import Take
from graphc.ops.leaves import Iota, Table, constant
from graphc.ops.movement import Reshape, broadcast_to, reshape, transpose
from graphc.ops.reduction import Broadcast, Fold, broadcast_in, expand, fold
from graphc.passes.equations.contraction import either
from graphc.rewrite import Head, by_hand, number_of
from graphc.scalars import greater, isfinite, logical_and, logical_not
from graphc.types import INT32


@by_hand(
    "sum of one-hot", Head(Fold, "add"), of=Head(Elementwise, "where"),
    why="a label meets the counter once if it is in range, else never",
)  # fmt: skip
def _sum_of_one_hot(node: Node) -> Node | None:
    op: Any = node.op
    condition, chosen, other = node.inputs[0].inputs
    value = number_of(chosen)
    if len(op.axes) != 1 or value is None or number_of(other) != 0:
        return None
    labels = _labels_met(condition, op.axes[0])
    if labels is None:
        return None
    like = broadcast_to(constant(value, node.dtype), node.shape)
    return combine("where", _in_range(labels, condition.shape[op.axes[0]]), like, 0)


@by_hand(
    "contract of one-hot", Contract, unsafe="sign of zero",
    why="every term is 0 but that of the place which the label names; 0 times nan or infinity is "
    "nan, so what is not finite elsewhere is counted",
)  # fmt: skip
def _contract_of_one_hot(node: Node) -> Node | None:
    def change(op: Any, x: Node, other: Node, swapped: bool) -> Node | None:
        shared = [k for k in op.left if k in op.right]
        if len(shared) != 1 or shared[0] in op.out:
            return None
        labels = _labels_of(x, op.left.index(shared[0]))
        if labels is None:
            return None
        axis = op.right.index(shared[0])
        rows = (k for k in op.left if k != shared[0])
        made = (*op.right[:axis], *rows, *op.right[axis + 1 :])
        return transpose(_named(other, labels, axis), tuple(made.index(k) for k in op.out))

    return either(node, change)


def _named(x: Node, labels: Node, axis: int) -> Node:
    """What a one-hot tensor of ``labels`` selects from ``x`` along ``axis``: `Take`, with zeros for
    labels out of range, and nan where a value that is not finite is multiplied by 0.
    """
    extent: Any = x.shape[axis]
    places = combine("maximum", combine("minimum", labels, extent - 1), 0)
    taken = Take(axis)(x, places)
    new = tuple(range(axis, axis + labels.type.rank))
    in_range = broadcast_in(_in_range(labels, extent), taken.shape, new)
    found = combine("where", in_range, taken, 0)
    if not x.dtype.is_float:
        return found
    strange = expand(fold("add", _strange(x), (axis,)), found.shape, new)
    return combine("where", greater(strange, _strange(found)), math.nan, found)


def _strange(x: Node) -> Node:
    """1 where ``x`` is nan or infinite, else 0."""
    return cast_to(logical_not(isfinite(x)), INT32)


def _in_range(labels: Node, extent: int) -> Node:
    """Which labels are places of an axis of ``extent``, whose last one their dtype can hold."""
    positive: Node = labels >= 0
    highest: int = labels.dtype.limits.max
    return positive if extent > highest else logical_and(positive, labels < extent)


def _labels_of(x: Node, axis: int) -> Node | None:
    """The labels in whose place along ``axis`` there is 1 in ``x``, and 0 elsewhere; or None."""
    head = Head.of(x.op)
    if head == Head(Reshape):
        inner = x.inputs[0]
        if axis != x.type.rank - 1 or inner.shape[-1:] != x.shape[-1:]:
            return None
        labels = _labels_of(inner, inner.type.rank - 1)
        return None if labels is None else reshape(labels, x.shape[:-1])
    one_or_zero = head == Head(Elementwise, "where") and _are_one_and_zero(*x.inputs[1:])
    if head != Head(Cast) and not one_or_zero:
        return None
    return _labels_met(x.inputs[0], axis)


def _are_one_and_zero(one: Node, zero: Node) -> bool:
    return number_of(one) == 1 and number_of(zero) == 0


def _labels_met(condition: Node, axis: int) -> Node | None:
    """The labels, without ``axis``, that are compared with a counter along it; or None."""
    if Head.of(condition.op) != Head(Elementwise, "equal"):
        return None
    for labels, counter in (condition.inputs, condition.inputs[::-1]):
        placed: Any = labels.op
        if Head.of(placed) != Head(Broadcast) or not labels.dtype.is_integer:
            continue
        if axis not in placed.axes and _counts(counter, axis):
            shape = (*labels.shape[:axis], *labels.shape[axis + 1 :])
            axes = tuple(a - (a > axis) for a in placed.axes)
            return broadcast_in(labels.inputs[0], shape, axes)
    return None


def _counts(x: Node, axis: int) -> bool:
    """Whether the integers ``x`` are 0, 1, 2, ... along ``axis``, and none of them wraps around."""
    op: Any = x.op
    extent, head = x.shape[axis], Head.of(op)
    if not isinstance(extent, int) or not 0 < extent <= x.dtype.limits.max + 1:
        return False
    if head == Head(Broadcast):
        return axis in op.axes and _counts(x.inputs[0], op.axes.index(axis))
    if head == Head(Table):
        return bool(np.all(np.moveaxis(op.array, axis, -1) == np.arange(extent)))
    if head == Head(Cast):
        return x.inputs[0].dtype.is_integer and _counts(x.inputs[0], axis)
    return head == Head(Iota) and op.axis == axis


ONE_HOT = [_sum_of_one_hot, _contract_of_one_hot]
