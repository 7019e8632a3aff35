"""Patches of images and blocks of pixels: unfold, fold, pixel_shuffle and its kin.

Comes in: images ``[batch, channels, *sizes]``, or patches. Goes out: the other of the two. What
convolutions do with patches they do without ever holding them in memory; these functions are for
models that treat a patch as a vector. All raise `UserError` GC0101 (sizes), GC0103 (axes).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import reduce

from graphc.dims import evaluate, product
from graphc.errors import UserError
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.padding import pad
from graphc.frontends.dsl.shaping import stack
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import Padding, Pairs, Sizes, pairs, several
from graphc.ops.convolution import window_count
from graphc.ops.selection import Pad

Axis = tuple[int, int, int]
"""Size, stride and dilation of the windows along an axis."""


@at_user_line
def unfold(
    x: Value, kernel: Sizes, *, stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1
) -> Tensor:
    """All patches of ``kernel`` in x ``[n, channels, *sizes]`` (im2col) as columns
    ``[n, channels * prod(kernel), patches]``; zeros stand in the ``padding``.
    """
    value = tensor(x)
    rank = _spatial("unfold", value)
    axes = _axes(rank, kernel, stride, dilation)
    value = pad(value, [(0, 0), (0, 0), *_edges(padding, axes)])
    for number, axis in enumerate(axes):
        value = _cut(value, 2 + 2 * number, axis)
    value = value.transpose((0, 1, *range(2, 2 + 2 * rank, 2), *range(3, 3 + 2 * rank, 2)))
    rows, patches = product(value.shape[1 : 2 + rank]), product(value.shape[2 + rank :])
    return value.reshape((value.shape[0], rows, patches))


@at_user_line
def fold(
    x: Value,
    sizes: Sequence[int],
    kernel: Sizes,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
) -> Tensor:
    """The image ``[n, channels, *sizes]`` that is the sum of the patches in the columns of x
    ``[n, channels * prod(kernel), patches]`` (col2im): the adjoint of `unfold`.
    """
    rank = len(sizes)
    axes = _axes(rank, kernel, stride, dilation)
    edges = _edges(padding, axes)
    extents = [size + sum(edge) for size, edge in zip(sizes, edges, strict=True)]
    windows = zip(extents, axes, strict=True)
    points = [evaluate(window_count(extent, *axis), {}) for extent, axis in windows]
    value = _patches(tensor(x), [size for size, _, _ in axes], points)
    order = (axis for k in range(2, 2 + rank) for axis in (k, k + rank))
    value = value.transpose((0, 1, *order))
    for number in reversed(range(rank)):
        value = _added(value, 2 + 2 * number, extents[number], axes[number])
    inside = (slice(low, low + size) for (low, _), size in zip(edges, sizes, strict=True))
    return value[(slice(None), slice(None), *inside)]


def _patches(x: Tensor, sizes: Sequence[int], points: Sequence[int]) -> Tensor:
    """Columns as [n, channels, *sizes, *points]."""
    count, patches = math.prod(sizes), math.prod(points)
    rows = x.shape[1] if x.ndim == 3 else None
    if not isinstance(rows, int) or rows % count or x.shape[2] != patches:
        raise UserError(
            "GC0101", f"fold of {x.node.type}",
            why=f"for these windows it takes [n, channels * {count}, {patches}]",
        )  # fmt: skip
    return x.reshape((x.shape[0], rows // count, *sizes, *points))


def _cut(x: Tensor, place: int, axis: Axis) -> Tensor:
    """The axis at ``place`` as two: the elements of a window, and the windows."""
    size, stride, dilation = axis
    span = (window_count(evaluate(x.shape[place], {}), *axis) - 1) * stride + 1
    front = (slice(None),) * place
    starts = range(0, size * dilation, dilation)
    return stack([x[(*front, slice(start, start + span, stride))] for start in starts], place)


def _added(x: Tensor, place: int, extent: int, axis: Axis) -> Tensor:
    """The adjoint of `_cut`: every element of a window where it came from."""
    size, stride, dilation = axis
    span = (evaluate(x.shape[place + 1], {}) - 1) * stride + 1
    front = (slice(None),) * place
    starts = range(0, size * dilation, dilation)
    parts = (x[(*front, number)] for number in range(size))
    return reduce(
        operator.add,
        (
            _placed(part, place, start, extent - start - span, stride - 1)
            for part, start in zip(parts, starts, strict=True)
        ),
    )


def _placed(x: Tensor, place: int, low: int, high: int, interior: int) -> Tensor:
    """``x`` with zeros before, after and between its elements along one axis."""

    def only(amount: int) -> tuple[int, ...]:
        return tuple(amount if axis == place else 0 for axis in range(x.ndim))

    return Tensor(Pad(only(low), only(high), only(interior))(x.node))


def _axes(rank: int, kernel: Sizes, stride: Sizes, dilation: Sizes) -> list[Axis]:
    options = (several(option, rank) for option in (kernel, stride, dilation))
    return [*zip(*options, strict=True)]


def _edges(padding: Padding, axes: Sequence[Axis]) -> Pairs:
    return pairs(padding, [size for size, _, _ in axes], [near for _, _, near in axes])


def _spatial(name: str, x: Tensor) -> int:
    if x.ndim < 3:
        raise UserError("GC0103", f"{name} of {x.node.type}", fix="x is [batch, channels, *sizes]")
    return x.ndim - 2


# Blocks of pixels ---------------------------------------------------------------------------------
@at_user_line
def pixel_shuffle(x: Value, factor: int) -> Tensor:
    """``[..., channels * factor**2, h, w]`` as ``[..., channels, h * factor, w * factor]``: each
    group of channels becomes a block of pixels (Shi et al. 2016).
    """
    value = tensor(x)
    lead, (channels, height, width) = _image("pixel_shuffle", value, factor)
    if channels % (factor * factor):
        raise UserError(
            "GC0101", f"pixel_shuffle: {channels} channels are no multiple of {factor}**2"
        )
    kept = channels // (factor * factor)
    blocks = value.reshape((*lead, kept, factor, factor, height, width))
    first = len(lead) + 1
    order = (*range(first), first + 2, first, first + 3, first + 1)
    return blocks.transpose(order).reshape((*lead, kept, height * factor, width * factor))


@at_user_line
def pixel_unshuffle(x: Value, factor: int) -> Tensor:
    """The inverse of `pixel_shuffle`: blocks of pixels become channels."""
    value = tensor(x)
    lead, (channels, height, width) = _image("pixel_unshuffle", value, factor)
    if height % factor or width % factor:
        raise UserError(
            "GC0101", f"pixel_unshuffle: {height} x {width} pixels have no blocks of {factor}"
        )
    rows, columns = height // factor, width // factor
    blocks = value.reshape((*lead, channels, rows, factor, columns, factor))
    first = len(lead) + 1
    order = (*range(first), first + 1, first + 3, first, first + 2)
    return blocks.transpose(order).reshape((*lead, channels * factor**2, rows, columns))


@at_user_line
def channel_shuffle(x: Value, groups: int) -> Tensor:
    """``[n, channels, ...]`` with the first channels of all ``groups`` first, then the second ones,
    and so on (Zhang et al. 2018).
    """
    value = tensor(x)
    channels = value.shape[1] if value.ndim > 1 else None
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        raise UserError("GC0101", f"channel_shuffle of {value.node.type} in {groups} groups")
    rest = value.shape[2:]
    grouped = value.reshape((value.shape[0], groups, channels // groups, *rest))
    order = (0, 2, 1, *range(3, grouped.ndim))
    return grouped.transpose(order).reshape(value.shape)


def _image(name: str, x: Tensor, factor: int) -> tuple[tuple[object, ...], tuple[int, int, int]]:
    """The leading axes, and channels, height and width as numbers."""
    if x.ndim < 3 or factor < 1:
        raise UserError(
            "GC0103", f"{name} of {x.node.type} by {factor}", fix="x is [..., channels, h, w]"
        )
    channels, height, width = x.node.type.with_shape(x.shape[-3:]).static_shape
    return x.shape[:-3], (channels, height, width)
