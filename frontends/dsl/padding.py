"""`pad`: elements around a tensor, of a constant or of its own.

Comes in: a tensor and how many elements to add before and after each axis. Goes out: a larger
tensor. A separate file because borders of any width repeat a tensor periodically, forward or
mirrored: then it is repeated (`tile`) and cut.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, get_args

from graphc.dims import Size, evaluate
from graphc.errors import UserError
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.repetition import tiled
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Node
from graphc.ops.selection import Pad, concatenate, flip, slice_axis

PadWidth = int | tuple[int, int] | Sequence[tuple[int, int]]
Mode = Literal["constant", "reflect", "edge", "symmetric", "wrap"]


@at_user_line
def pad(x: Value, width: PadWidth, mode: Mode = "constant", value: float = 0) -> Tensor:
    """``x`` with ``width`` elements added around: a number, (before, after), or a pair per axis.

    ``mode`` says what is added: ``value``; the border ("edge"); a mirror image without the border
    ("reflect") or with it ("symmetric"); what lies at the other end ("wrap"). Borders may be wider
    than the axis, which then repeats. Raises `UserError` GC0103, and GC0104 (unknown mode, negative
    width, nothing to repeat).
    """
    if mode not in get_args(Mode):
        raise UserError("GC0104", f"pad: mode {mode!r}", fix=f"use one of {get_args(Mode)}")
    node = tensor(x).node
    widths = _widths(width, node.type.rank)
    for axis, (low, high) in enumerate(widths):
        if _is_periodic(mode, node.shape[axis], low, high):
            node = _periodic(node, axis, low, high, mode)
            widths = (*widths[:axis], (0, 0), *widths[axis + 1 :])
    lows, highs = zip(*widths, strict=True) if widths else ((), ())
    if mode in _PERIODS and not any((*lows, *highs)):
        return Tensor(node)
    return Tensor(Pad(lows, highs, (0,) * len(widths), mode, value)(node))


def _widths(width: PadWidth, rank: int) -> tuple[tuple[int, int], ...]:
    if isinstance(width, int):
        return ((width, width),) * rank
    pairs: tuple[Any, ...] = tuple(width)
    if len(pairs) == 2 and not isinstance(pairs[0], Iterable):
        pairs = (pairs,) * rank
    if len(pairs) != rank:
        raise UserError(
            "GC0103", f"pad: {len(pairs)} pairs for {rank} axes", fix="give a pair per axis"
        )
    return tuple((operator.index(a), operator.index(b)) for a, b in pairs)


# Borders that repeat the axis ---------------------------------------------------------------------
def _mirrored(x: Node, axis: int) -> Node:
    """``x`` forward and backward, without its ends the second time."""
    extent = evaluate(x.shape[axis], {})
    inner = slice_axis(x, axis, min(1, extent - 1), max(1, extent - 1))
    return concatenate([x, flip(inner, (axis,))], axis) if extent > 1 else x


_PERIODS: dict[str, Callable[[Node, int], Node]] = {
    "wrap": lambda x, axis: x,
    "symmetric": lambda x, axis: concatenate([x, flip(x, (axis,))], axis),
    "reflect": _mirrored,
}
"""What repeats along an axis, for ever in both directions."""


def _is_periodic(mode: str, extent: Size, low: int, high: int) -> bool:
    if mode not in _PERIODS or min(low, high) < 0 or low == high == 0 or extent == 0:
        return False
    return mode != "reflect" or (isinstance(extent, int) and extent <= max(low, high))


def _periodic(x: Node, axis: int, low: int, high: int, mode: str) -> Node:
    whole = low + evaluate(x.shape[axis], {}) + high
    period = _PERIODS[mode](x, axis)
    length = evaluate(period.shape[axis], {})
    start = -low % length
    copies = -(-(start + whole) // length)
    return slice_axis(tiled(period, axis, copies), axis, start, start + whole)
