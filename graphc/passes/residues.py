"""Convolutions over inserted zeros: one dense convolution for each remainder of the stride.

Comes in: a graph with static sizes. Goes out: a graph without products by inserted zeros. The
gradient of a strided convolution, and a transposed convolution, read an image with zeros between
its elements (Dumoulin and Visin, A guide to convolution arithmetic, 2016). Results whose places
have the same remainder of the stride see the same taps of the filter, and see elements only: they
are a convolution of their own, and all of them are interleaved. A separate pass, called before
lowering by backends that generate code, because it multiplies operations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

from graphc.graph import Graph, Node
from graphc.ops.convolution import Convolve
from graphc.ops.leaves import constant
from graphc.ops.movement import Transpose, broadcast_to, reshape, transpose
from graphc.ops.selection import Interleave, Pad, crop, pad, slice_axis
from graphc.rewrite import Head, Ledger, Rule, by_hand, rewrite

MOST = 16
"""Remainders at most: each is a kernel."""


@dataclass(frozen=True)
class Taps:
    """Along one axis, the results of one remainder: result q is the sum over j of element
    ``first + q*stride + j*dilation`` times tap ``start + j*step``.
    """

    count: int
    first: int
    stride: int
    dilation: int
    start: int
    step: int
    number: int

    @property
    def last(self) -> int:
        """The last element read."""
        return self.first + (self.count - 1) * self.stride + (self.number - 1) * self.dilation

    @property
    def is_empty(self) -> bool:
        return self.number <= 0


def taps(extent: int, low: int, gap: int, size: int, stride: int, dilation: int) -> list[Taps]:
    """What each remainder of ``gap + 1`` sees of a filter of ``size`` taps over an axis with
    ``low`` zeros before and ``gap`` zeros between its elements; ``extent`` results in all.
    """
    step = gap + 1
    if step == 1:
        return [Taps(extent, -low, stride, dilation, 0, 1, size)]
    apart = step // math.gcd(dilation, step)
    found = []
    count = -(-extent // step)
    for rest in range(step):
        hits = (k for k in range(min(apart, size)) if (rest + k * dilation - low) % step == 0)
        start = next(hits, size)
        first = (rest + start * dilation - low) // step
        number = -(-(size - start) // apart)
        found.append(Taps(count, first, 1, apart * dilation // step, start, apart, number))
    return found


@by_hand(
    "convolution of remainders", Convolve,
    why="the zeros between elements meet the same taps at every result of one remainder",
    unsafe="rounding",
)  # fmt: skip
def _by_remainders(node: Node) -> Node | None:
    op: Any = node.op
    source = _spread_image(node)
    if source is None:
        return None
    g, spread = source
    sizes = node.inputs[1].type.static_shape[3:]
    geometry = zip(node.type.static_shape[3:], spread.low[3:], spread.interior[3:], sizes,
                   op.strides, op.dilations, strict=True)  # fmt: skip
    axes = [taps(*axis) for axis in geometry]
    seen = [[t for t in axis if not t.is_empty] for axis in axes]
    if not all(seen):
        return None
    shape = g.type.static_shape
    low = [max(0, *(-t.first for t in axis)) for axis in seen]
    high = [
        max(0, *(t.last + 1 - n for t in axis)) for axis, n in zip(seen, shape[3:], strict=True)
    ]
    image = pad(g, (0, 0, 0, *low), (0, 0, 0, *high))
    parts = [_part(node, image, low, combination) for combination in product(*axes)]
    dealt = Interleave(tuple(map(len, axes)))(*parts)
    whole = reshape(dealt, (*node.shape[:3], *(len(axis) * axis[0].count for axis in axes)))
    return crop(whole, (0,) * node.type.rank, node.shape)


def _spread_image(node: Node) -> tuple[Node, Any] | None:
    """The image between whose elements a convolution finds zeros, and the pad that put them there;
    None when there is no gain.
    """
    op: Any = node.op
    x = node.inputs[0]
    axes: Any = tuple(range(x.type.rank))
    if Head.of(x.op) == Head(Transpose):
        axes, x = x.op.axes, x.inputs[0]  # type: ignore[attr-defined]
    spread: Any = x.op
    if Head.of(spread) != Head(Pad) or axes[3:] != tuple(range(3, x.type.rank)):
        return None
    steps = [gap + 1 for gap in spread.interior]
    zeros = spread.mode == "constant" and spread.value == 0 and 0 not in node.shape
    plain = not any((*spread.low[:3], *spread.high[:3], *spread.interior[:3]))
    unit = all(s == 1 or t == 1 for s, t in zip(steps[3:], op.strides, strict=True))
    if not (zeros and plain and unit and 1 < math.prod(steps) <= MOST and x.inputs[0].type.size):
        return None
    return transpose(x.inputs[0], axes), spread


def _part(node: Node, image: Node, low: list[int], axes: tuple[Taps, ...]) -> Node:
    """The results of one remainder along each axis."""
    image_shape, w = image.type.static_shape, node.inputs[1]
    counts = tuple(t.count for t in axes)
    if any(t.is_empty for t in axes):
        return broadcast_to(constant(0, node.dtype), (*node.shape[:3], *counts))
    starts = [t.first + border for t, border in zip(axes, low, strict=True)]
    sizes = [t.last - t.first + 1 for t in axes]
    seen = crop(image, (0, 0, 0, *starts), (*image_shape[:3], *sizes))
    for axis, t in enumerate(axes, 3):
        w = slice_axis(w, axis, t.start, t.start + (t.number - 1) * t.step + 1, t.step)
    return Convolve(tuple(t.stride for t in axes), tuple(t.dilation for t in axes))(seen, w)


RESIDUES: list[Rule] = [_by_remainders]


def without_inserted_zeros(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with convolutions over inserted zeros by remainders of the stride."""
    return rewrite(graph, RESIDUES, ledger, "residues")
