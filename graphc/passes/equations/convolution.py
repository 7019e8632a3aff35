"""Equations of convolutions: what nobody reads is not computed.

Comes in: nothing. Goes out: `CONVOLUTIONS`. The gradient of a padded image is cropped, and so is
the gradient of a filter that strides leave room beside: both are convolutions of less.
"""

from __future__ import annotations

from typing import Any

from graphc.graph import Node
from graphc.ops.convolution import Convolve
from graphc.ops.selection import Pad, Slice
from graphc.rewrite import Head, by_hand


@by_hand(
    "part of convolution", Slice, of=Convolve,
    why="a result needs no more of the image than its window covers", unsafe="rounding",
)  # fmt: skip
def _part_of_convolution(node: Node) -> Node | None:
    kept: Any = node.op
    (y,) = node.inputs
    op: Any = y.op
    x, w = y.inputs
    if 0 in node.shape or node.shape[:3] != y.shape[:3]:
        return None
    spans = ((size - 1) * d + 1 for size, d in zip(w.shape[3:], op.dilations, strict=True))
    axes = zip(op.strides, kept.starts[3:], kept.steps[3:], node.shape[3:], spans, strict=True)
    ends = [
        (start * stride, (start + (count - 1) * step) * stride + span)
        for stride, start, step, count, span in axes
    ]
    starts, stops = ((*lead, *side) for lead, side in _sides(x, ends))
    strides = tuple(a * b for a, b in zip(op.strides, kept.steps[3:], strict=True))
    return Convolve(strides, op.dilations)(_part(x, starts, stops), w)


def _sides(x: Node, ends: list[tuple[Any, Any]]) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """First and last place of each axis: all of the leading ones, then ``ends``."""
    return [
        ((0, 0, 0), tuple(first for first, _ in ends)),
        (x.shape[:3], tuple(last for _, last in ends)),
    ]


def _part(x: Node, starts: tuple[Any, ...], stops: tuple[Any, ...]) -> Node:
    """The block of ``x`` between two corners; of padding, less padding."""
    less = _less_padding(x, starts, stops) if Head.of(x.op) == Head(Pad) else None
    if less is not None:
        return less
    whole = stops == x.shape and not any(start != 0 for start in starts)
    return x if whole else Slice(starts, stops, (1,) * len(starts))(x)


def _less_padding(x: Node, starts: tuple[Any, ...], stops: tuple[Any, ...]) -> Node | None:
    """A block of a padded tensor that cuts off nothing but padding."""
    op: Any = x.op
    low = tuple(a - start for a, start in zip(op.low, starts, strict=True))
    cut = zip(op.high, x.shape, stops, strict=True)
    high = tuple(b - (extent - stop) for b, extent, stop in cut)
    known = all(isinstance(amount, int) and amount >= 0 for amount in (*low, *high))
    if not known or op.mode != "constant":
        return None
    if not any((*low, *high, *op.interior)):
        return x.inputs[0]
    return Pad(low, high, op.interior, value=op.value)(x.inputs[0])


CONVOLUTIONS = [_part_of_convolution]
