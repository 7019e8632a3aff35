"""Splitting reductions: one long fold becomes a fold of folds, so that there is work for many.

Comes in: a graph with static sizes. Goes out: a graph in which a large tensor folded to few
elements is folded to some dozens of parts first, and so are the long sums of a filter's gradient. A
separate pass, called before lowering by backends that work in parallel, because it adds operations
and changes the order of sums.
"""

from __future__ import annotations

import math
from typing import Any

from graphc.graph import Graph, Node
from graphc.ops.contraction import Contract
from graphc.ops.convolution import Convolve
from graphc.ops.elementwise import cast_to
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import Fold, fold
from graphc.rewrite import Ledger, Rule, by_hand, rewrite

LARGE = 1 << 16
"""Elements from which on a fold is worth splitting."""

ENOUGH = 16
"""Results from which on the result alone gives enough parallel work."""

PARTS = (16, 1024)
"""How many parts a fold is split into, at least and at most."""


DEEP = 1 << 14
"""Products per result of a convolution from which on it is worth splitting, and twice those of a
contraction: eight rows of them fill half of a second-level cache."""


@by_hand(
    "split fold", Fold, why="a fold is associative, so parts can be folded side by side",
    unsafe="rounding",
)  # fmt: skip
def _split(node: Node) -> Node | None:
    op: Any = node.op
    (x,) = node.inputs
    if not _is_long(node, x):
        return None
    wide = cast_to(x, x.dtype.computing)
    parted = _parted(wide, op.axes)
    if parted is None:
        return None
    parts, outer, inner = parted
    folded = fold(op.function.name, fold(op.function.name, parts, inner), outer)
    return cast_to(folded, node.dtype)


def _is_long(node: Node, x: Node) -> bool:
    few, many = node.type.size, x.type.size
    if not isinstance(few, int) or not isinstance(many, int):
        return False
    return few < ENOUGH and many >= LARGE


def _parted(x: Node, axes: tuple[int, ...]) -> tuple[Node, tuple[int, ...], tuple[int, ...]] | None:
    """``x`` with the axes to fold last, and those to fold first; None when there is no good cut."""
    shape = x.type.static_shape
    for count in range(1, len(axes)):  # whole axes from the front, where their product fits
        if PARTS[0] <= math.prod(shape[a] for a in axes[:count]) <= PARTS[1]:
            kept = [a for a in range(len(shape)) if a not in axes[count:]]
            return x, tuple(kept.index(a) for a in axes[:count]), axes[count:]
    for axis in axes:
        if parts := _divisor(shape[axis]):
            cut = (*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :])
            inner = tuple(a + 1 if a >= axis else a for a in axes)
            outer = axis - sum(a < axis for a in axes)
            return reshape(x, cut), (outer,), inner
    return None


def _divisor(extent: int) -> int:
    """The largest number of equal parts allowed that leaves parts of some length; or 0."""
    fitting = (n for n in range(PARTS[1], PARTS[0] - 1, -1) if extent % n == 0)
    return next((n for n in fitting if extent // n >= PARTS[0]), 0)


@by_hand(
    "split convolution", Convolve,
    why="parts of the channels can be added up side by side, each near its operands",
    unsafe="rounding",
)  # fmt: skip
def _split_convolution(node: Node) -> Node | None:
    x, w = node.inputs
    batch, groups, channels, *sizes = x.type.static_shape
    outs, *taps = w.type.static_shape[1:]
    depth = math.prod(taps)
    if depth <= DEEP or channels == 1 or 0 in node.shape or node.dtype.bits < 32:
        return None
    per_channel = depth // channels
    parts = min(n for n in range(2, channels + 1) if channels % n == 0
                and (channels // n * per_channel <= DEEP // 2 or n == channels))  # fmt: skip
    each = channels // parts
    images = reshape(x, (batch, groups * parts, each, *sizes))
    cut = reshape(w, (groups, outs, parts, each, *taps[1:]))
    order = (0, 2, 1, *range(3, cut.type.rank))
    filters = reshape(transpose(cut, order), (groups * parts, outs, each, *taps[1:]))
    sums = node.op(images, filters)
    return fold("add", reshape(sums, (batch, groups, parts, outs, *node.shape[3:])), (2,))


@by_hand(
    "split contraction", Contract,
    why="parts of a long sum of products can be added up side by side, each near its operands",
    unsafe="rounding",
)  # fmt: skip
def _split_contraction(node: Node) -> Node | None:
    op: Any = node.op
    a, b = node.inputs
    sizes = dict(zip(op.left, a.type.static_shape, strict=True))
    depth = math.prod(sizes[label] for label in op.summed)
    if depth <= DEEP // 2 or 0 in node.shape or node.dtype.bits < 32:
        return None
    longest = max(op.summed, key=lambda label: sizes[label])
    parts = _fewest(sizes[longest], depth)
    if not parts:
        return None
    new = max((*op.left, *op.right)) + 1
    left, right = (_cut(x, labels, longest, parts) for x, labels in ((a, op.left), (b, op.right)))
    first, second = (_with_part(x, longest, new) for x in (op.left, op.right))
    return fold("add", Contract(first, second, (new, *op.out))(left, right), (0,))


def _fewest(extent: int, depth: int) -> int:
    """The least number of equal parts that are not too deep; 0 when all are too many."""
    fitting = (n for n in range(2, extent + 1) if extent % n == 0 and depth // n <= DEEP // 4)
    parts = next(fitting, 0)
    return parts if parts and depth // parts >= DEEP // 64 else 0


def _cut(x: Node, labels: tuple[int, ...], label: int, parts: int) -> Node:
    """One axis as two: which part, and where in it."""
    k, shape = labels.index(label), x.type.static_shape
    return reshape(x, (*shape[:k], parts, shape[k] // parts, *shape[k + 1 :]))


def _with_part(labels: tuple[int, ...], label: int, part: int) -> tuple[int, ...]:
    k = labels.index(label)
    return (*labels[:k], part, *labels[k:])


SPLITTING: list[Rule] = [_split, _split_convolution, _split_contraction]


def split_reductions(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with long folds of static tensors split in two; last bits of sums may change."""
    return rewrite(graph, SPLITTING, ledger, "split")
