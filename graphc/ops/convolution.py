"""Convolution in any number of dimensions: one op, unpadded, with an explicit group axis.

Comes in: an image batch and filters. Goes out: their cross-correlation, as deep learning calls
convolution. Padding, groups and transposition are made of other ops around it, so its value at an
index has no guards, and its gradients are convolutions again (Dumoulin and Visin, A guide to
convolution arithmetic, 2016).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.expr import Expr, Iter
from graphc.graph import Array, Node, Op, Read
from graphc.ops.contraction import sum_of_products
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import repeated
from graphc.ops.selection import Pad, crop, flip, pad
from graphc.types import TensorType

Ints = tuple[int, ...]
Padding = Sequence[tuple[Size, Size]]

_MANY_POINTS = 64
"""From so many output points per image on, one matrix product per image is the faster way."""


@dataclass(frozen=True)
class Convolve(Op):
    """``y[n,g,o,*p] = sum over c, k of x[n,g,c,*(p*stride + k*dilation)] * w[g,o,c,*k]``.

    x is [N,G,C,*S], w is [G,O,C,*K], y is [N,G,O,*P] with P = (S - dilation*(K-1) - 1)//stride + 1:
    only whole windows count.
    """

    kind: ClassVar[str] = "contract"
    strides: Ints
    dilations: Ints

    def infer(self, x: TensorType, w: TensorType) -> TensorType:
        rank = len(self.strides)
        if x.rank != rank + 3 or w.rank != rank + 3 or len(self.dilations) != rank:
            raise UserError("GC0103", f"convolve: {x} with {w} over {rank} spatial axes")
        if x.dtype != w.dtype or x.dtype.kind == "bool":
            raise UserError(
                "GC0102", f"convolve of {x.dtype.name} and {w.dtype.name}", fix="cast one operand"
            )
        if x.shape[1:3] != (w.shape[0], w.shape[2]):
            raise UserError(
                "GC0101",
                f"convolve: {x} and {w} do not fit",
                why="x is [batch, group, channel, ...], w is [group, out, channel, ...]",
            )
        return x.with_shape((x.shape[0], *w.shape[:2], *self._points(x, w)))

    def _points(self, x: TensorType, w: TensorType) -> tuple[Size, ...]:
        return tuple(
            window_count(*axis)
            for axis in zip(x.shape[3:], w.shape[3:], self.strides, self.dilations, strict=True)
        )

    def eval(self, x: Array, w: Array) -> Array:
        with np.errstate(all="ignore"):
            return _by_matmul(self, x, w)

    def grad(self, g: Node, y: Node, x: Node, w: Node) -> tuple[Node | None, ...]:
        return _data_gradient(self, g, x, w), _weight_gradient(self, g, x, w)

    def batch(self, x: Node, w: Node) -> Node:
        """Further images where all filters are equal, else further groups."""
        filters, count = repeated(w), x.shape[0]
        if filters is not None:
            y = self(reshape(x, (count * x.shape[1], *x.shape[2:])), filters)
            return reshape(y, (*x.shape[:2], *y.shape[1:]))
        beside = (1, 0, *range(2, x.type.rank))
        images = reshape(transpose(x, beside), (x.shape[1], count * x.shape[2], *x.shape[3:]))
        y = self(images, reshape(w, (count * w.shape[1], *w.shape[2:])))
        return transpose(reshape(y, (x.shape[1], count, x.shape[2], *y.shape[2:])), beside)

    def at(self, index: tuple[Expr, ...], x: Read, w: Read) -> Expr:
        n, g, o, *p = index
        c, *k = (Iter(extent) for extent in w.type.static_shape[2:])
        axes = zip(p, self.strides, k, self.dilations, strict=True)
        places = (i * stride + j * dilation for i, stride, j, dilation in axes)
        return sum_of_products((c, *k), x(n, g, c, *places), w(g, o, c, *k))

    def cost(self, y: TensorType, x: TensorType, w: TensorType) -> Any:
        return y.size * product(w.shape[2:]) * 2


def window_count(extent: Size, size: Size, stride: int, dilation: int) -> Size:
    """How many windows fit into an axis. Raises `UserError` GC0101 when not even one does."""
    room = extent - (size - 1) * dilation - 1
    if stride < 1 or dilation < 1:
        raise UserError("GC0104", f"stride {stride} and dilation {dilation} must be at least 1")
    if (isinstance(size, int) and size < 1) or (isinstance(room, int) and room < 0):
        raise UserError(
            "GC0101",
            f"a window of {size} (dilation {dilation}) does not fit into an axis of {extent}",
            fix="pad the input, or use a smaller window",
        )
    return room // stride + 1


def _data_gradient(op: Convolve, g: Node, x: Node, w: Node) -> Node:
    """g with stride-1 zeros between elements, fully padded, convolved with the turned filters."""
    axes = list(zip(x.shape[3:], w.shape[3:], g.shape[3:], op.strides, op.dilations, strict=True))
    border = tuple((size - 1) * dilation for _, size, _, _, dilation in axes)
    high = tuple(extent - (points - 1) * stride - 1 for extent, _, points, stride, _ in axes)
    gaps = tuple(stride - 1 for stride in op.strides)
    if any(gaps) or any(amount != 0 for amount in (*border, *high)):
        g = Pad((0, 0, 0, *border), (0, 0, 0, *high), (0, 0, 0, *gaps))(g)
    return Convolve((1,) * len(axes), op.dilations)(g, _turned(w))


def _turned(w: Node) -> Node:
    """Filters with both channel axes exchanged and every spatial axis reversed."""
    spatial = tuple(range(3, w.type.rank))
    return flip(transpose(w, (0, 2, 1, *spatial)), [a for a in spatial if w.shape[a] != 1])


def _weight_gradient(op: Convolve, g: Node, x: Node, w: Node) -> Node:
    """x convolved with g: batch and channels change places, and so do stride and dilation."""
    spatial = tuple(range(3, w.type.rank))
    images = transpose(x, (2, 1, 0, *spatial))
    filters = transpose(g, (1, 2, 0, *spatial))
    found = Convolve(op.dilations, op.strides)(images, filters)
    whole = crop(found, (0,) * found.type.rank, (*found.shape[:3], *w.shape[3:]))
    return transpose(whole, (1, 2, 0, *spatial))


def _by_matmul(op: Convolve, x: Array, w: Array) -> Array:
    """Windows laid out as a matrix, then one matrix product per group (and image)."""
    rank = len(op.strides)
    batch, groups = x.shape[:2]
    windows = _windows(op, x, w.shape[3:])
    points = windows.shape[3 : 3 + rank]
    outs, inner, count = w.shape[1], math.prod(w.shape[2:]), math.prod(points)
    p, k = tuple(range(3, 3 + rank)), tuple(range(3 + rank, 3 + 2 * rank))
    matrix = w.reshape(groups, outs, inner)
    if count >= _MANY_POINTS:
        columns = windows.transpose(0, 1, 2, *k, *p).reshape(batch, groups, inner, count)
        images: Array = np.matmul(matrix, columns)
        return images.reshape(batch, groups, outs, *points)
    rows = windows.transpose(1, 0, *p, 2, *k).reshape(groups, batch * count, inner)
    found = np.matmul(rows, matrix.swapaxes(1, 2)).reshape(groups, batch, *points, outs)
    return np.moveaxis(found, (0, -1), (1, 2))


def _windows(op: Convolve, x: Array, sizes: Ints) -> Array:
    """A view [N,G,C,*P,*K] of x: every window as axes of its own."""
    spans = [(size - 1) * d + 1 for size, d in zip(sizes, op.dilations, strict=True)]
    view = sliding_window_view(x, spans, axis=tuple(range(3, x.ndim)))
    steps = (slice(None, None, step) for step in (*op.strides, *op.dilations))
    return view[(slice(None),) * 3 + tuple(steps)]


def convolution(
    x: Node, w: Node, strides: Ints, padding: Padding, dilations: Ints, groups: int = 1
) -> Node:
    """Convolution of x [N,C,*S] with w [O,C/groups,*K], zeros around x: [N,O,*P].

    ``padding`` holds (before, after) per spatial axis. Raises `UserError` GC0101 when the channels
    do not divide into ``groups``.
    """
    _check_channels(x, w, x.shape[1], w.shape[1] * groups)
    lows, highs = zip(*padding, strict=True) if padding else ((), ())
    grouped = _split_axis(pad(x, (0, 0, *lows), (0, 0, *highs)), 1, groups)
    y = Convolve(tuple(strides), tuple(dilations))(grouped, _split_axis(w, 0, groups))
    return reshape(y, (y.shape[0], y.shape[1] * y.shape[2], *y.shape[3:]))


def convolution_transposed(
    x: Node,
    w: Node,
    strides: Ints,
    padding: Padding,
    dilations: Ints,
    groups: int = 1,
    output_padding: Ints | None = None,
) -> Node:
    """The adjoint of `convolution`: x [N,C,*S] with w [C,O/groups,*K] gives [N,O,*P].

    P = (S-1)*stride + dilation*(K-1) + 1 - before - after + output_padding.
    """
    _check_channels(x, w, x.shape[1], w.shape[0])
    extra = output_padding or (0,) * len(strides)
    filters = _split_axis(w, 0, groups)
    borders = [(size - 1) * d for size, d in zip(w.shape[2:], dilations, strict=True)]
    ends = list(zip(borders, padding, extra, strict=True))
    low = [max(border - before, 0) for border, (before, _), _ in ends]
    high = [max(border - after, 0) + more for border, (_, after), more in ends]
    gaps = tuple(stride - 1 for stride in strides)
    spread = Pad((0, 0, 0, *low), (0, 0, 0, *high), (0, 0, 0, *gaps))(_split_axis(x, 1, groups))
    y = Convolve((1,) * len(strides), tuple(dilations))(spread, _turned(filters))
    starts = [max(before - border, 0) for border, (before, _), _ in ends]
    stops = [max(after - border, 0) for border, (_, after), _ in ends]
    sizes = (n - a - b for n, a, b in zip(y.shape[3:], starts, stops, strict=True))
    whole = crop(y, (0, 0, 0, *starts), (*y.shape[:3], *sizes))
    return reshape(whole, (y.shape[0], y.shape[1] * y.shape[2], *whole.shape[3:]))


def _check_channels(x: Node, w: Node, given: Size, wanted: Size) -> None:
    """Said here in the user's shapes, before groups become an axis of their own."""
    if given != wanted:
        raise UserError(
            "GC0101",
            f"convolution: {x.type} has {given} channels, the weight {w.type} wants {wanted}",
            why="axis 1 holds the channels, and every group of them has weights of its own",
            fix="change the layer's number of inputs, or its groups",
        )
    if x.dtype != w.dtype:
        raise UserError(
            "GC0102",
            f"convolution of {x.dtype.name} with a weight of {w.dtype.name}",
            fix=f"cast one operand, e.g. x.astype({w.dtype.name!r})",
        )


def _split_axis(x: Node, axis: int, groups: int) -> Node:
    """``axis`` as two: the groups, and what is in each."""
    extent = x.shape[axis]
    if groups < 1 or extent % groups:
        raise UserError("GC0101", f"{extent} channels do not divide into {groups} groups")
    return reshape(x, (*x.shape[:axis], groups, extent // groups, *x.shape[axis + 1 :]))
