"""Equations of reductions: folds of folds, of copies, of moved axes.

Comes in: nothing. Goes out: `REDUCTIONS`. Sums may be taken in another order, as on any parallel
machine.
"""

from __future__ import annotations

from typing import Any

from graphc.graph import Node
from graphc.ops.elementwise import combine
from graphc.ops.movement import Reshape, Transpose, reshape, transpose
from graphc.ops.reduction import Broadcast, Fold, broadcast_in, fold
from graphc.rewrite import Rule, along, by_hand, rule, total, variable

x, g, e, s = variable("x"), variable("g"), variable("e"), variable("s")
_SHARE = e / along(s, "axes")
_LARGEST_EXACT = {16: 2**8, 32: 2**24, 64: 2**53}
"""Integers up to here are exact in floats of that width (bfloat16 has 8 digits)."""


@by_hand(
    "fold one element", Fold, why="a fold of one element is that element", unsafe="sign of zero"
)
def _fold_one(node: Node) -> Node | None:
    op: Any = node.op
    operand = node.inputs[0]
    single = tuple(a for a in op.axes if operand.shape[a] == 1)
    if not single:
        return None
    left = tuple(s for a, s in enumerate(operand.shape) if a not in single)
    place = {a: k for k, a in enumerate(b for b in range(len(operand.shape)) if b not in single)}
    rest = tuple(place[a] for a in op.axes if a not in single)
    return fold(op.function.name, reshape(operand, left), rest)


@by_hand(
    "fold twice", Fold, of=Fold, why="a fold over axes may be taken in any order",
    unsafe="rounding",
)  # fmt: skip
def _fold_twice(node: Node) -> Node | None:
    outer: Any = node.op
    middle = node.inputs[0]
    inner: Any = middle.op
    operand = middle.inputs[0]
    if outer.function is not inner.function or _accumulates_wider(node):
        return None
    if operand.type.rank - 1 in inner.axes:
        return None  # a fold of rows fuses with what else is done to the rows
    left = [a for a in range(operand.type.rank) if a not in inner.axes]
    return fold(outer.function.name, operand, tuple({*inner.axes, *(left[a] for a in outer.axes)}))


def _accumulates_wider(node: Node) -> bool:
    """Sums of narrow floats round once per fold, so two folds are not one."""
    return node.dtype.is_narrow


@by_hand(
    "fold of transpose", Fold, of=Transpose, why="a fold does not care where its axes stand",
    unsafe="rounding",
)  # fmt: skip
def _fold_of_transpose(node: Node) -> Node | None:
    op: Any = node.op
    middle = node.inputs[0]
    axes = middle.op.axes  # type: ignore[attr-defined]
    kept = [a for k, a in enumerate(axes) if k not in op.axes]
    folded = fold(op.function.name, middle.inputs[0], tuple(axes[a] for a in op.axes))
    return transpose(folded, tuple(sorted(kept).index(a) for a in kept))


@by_hand(
    "fold all of reshape", Fold, of=Reshape, why="a fold over everything does not see the shape",
    unsafe="rounding",
)  # fmt: skip
def _fold_of_reshape(node: Node) -> Node | None:
    op: Any = node.op
    operand = node.inputs[0].inputs[0]
    if node.shape or not operand.shape or 1 in operand.shape:  # "fold one element" drops ones
        return None
    return fold(op.function.name, operand, tuple(range(operand.type.rank)))


@by_hand(
    "fold of copies", Fold, of=Broadcast, why="n equal values sum to n times one of them; the "
    "maximum, minimum, all and any of equal values is one of them",
    unsafe="rounding",
)  # fmt: skip
def _fold_of_copies(node: Node) -> Node | None:
    op: Any = node.op
    middle = node.inputs[0]
    placed: Any = middle.op
    copied = [middle.shape[a] for a in op.axes if a not in placed.axes]
    times = 1
    for extent in copied:
        if not isinstance(extent, int) or extent == 0:
            return None
        times *= extent
    if not copied or op.function.name == "multiply" or times > _largest_exact(node):
        return None
    inside = fold(
        op.function.name,
        middle.inputs[0],
        tuple(k for k, a in enumerate(placed.axes) if a in op.axes),
    )
    if op.function.name == "add":
        inside = combine("multiply", inside, times)
    return _again(inside, node, middle)


def _largest_exact(node: Node) -> int:
    bits = node.dtype.bits
    return _LARGEST_EXACT[bits] if node.dtype.is_float else 2 ** (bits - 1) - 1


def _again(folded: Node, node: Node, middle: Node) -> Node:
    """``folded`` repeated along the copied axes that the fold leaves."""
    fold_op: Any = node.op
    placed: Any = middle.op
    left = [a for a in range(middle.type.rank) if a not in fold_op.axes]
    axes = tuple(k for k, a in enumerate(left) if a in placed.axes)
    return broadcast_in(folded, node.shape, axes)


REDUCTIONS: list[Rule] = [
    rule(
        "gradient of shares",
        (g / along(s, "axes") + along(-total(g * _SHARE / along(s, "axes"), "axes"), "axes")) * e,
        (g - along(total(g * _SHARE, "axes"), "axes")) * _SHARE,
        why="a factor 1/s leaves the sum and goes into the share, which is kept anyway",
        unsafe="rounding",
    ),
    _fold_one,
    _fold_twice,
    _fold_of_transpose,
    _fold_of_reshape,
    _fold_of_copies,
    rule(
        "sum of negative", total(-x, "axes"), -total(x, "axes"),
        why="rounding is symmetric", unsafe="sign of zero",
    ),
]  # fmt: skip
