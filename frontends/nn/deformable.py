"""Convolution whose filters look where data says: `deform_conv`.

Comes in: images, filters, and offsets of every place of every filter. Goes out: images. Built of
`sample_at` and a product, so gradients flow to all of them. A separate file because it is what
convolution (regular places) and sampling (places from data) make together. Dai et al. (2017),
Deformable Convolutional Networks; masks after Zhu et al. (2019).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import broadcast_to, einsum
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import Padding, Sizes, channelwise, pairs, several
from graphc.frontends.nn.sampling import sample_at
from graphc.ops.convolution import Ints, window_count


@at_user_line
def deform_conv(
    x: Value,
    weight: Value,
    offset: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    offset_groups: int = 1,
) -> Tensor:
    """`functional.conv` whose filters see the places where ``offset`` moves theirs to.

    x ``[n, in, *sizes]``, weight ``[out, in/groups, *kernel]``; offset ``[n, offset_groups *
    prod(kernel) * rank, *points]`` in elements, first axis first, for groups of input channels;
    mask ``[n, offset_groups * prod(kernel), *points]`` multiplies what is seen. Between elements
    interpolation is linear, outside are zeros. Raises `UserError` GC0101, GC0103, GC0104, GC0305.
    """
    image, filters, moves = tensor(x), tensor(weight), tensor(offset)
    kernel = filters.node.type.static_shape[2:]
    rank, taps = len(kernel), math.prod(kernel)
    lines = _lines(image, kernel, several(stride, rank), padding, several(dilation, rank))
    points = lines[0].shape[rank:]
    channels = _channels(image, moves, (offset_groups, taps, rank), points)
    many = image.shape[0] * offset_groups
    moved = moves.reshape((many, *kernel, rank, *points))
    lead = (slice(None),) * (rank + 1)
    places = [line.astype(moved.dtype) + moved[(*lead, k)] for k, line in enumerate(lines)]
    seen = sample_at(image.reshape((many, channels, *image.shape[2:])), places)
    if mask is not None:
        seen = seen * tensor(mask).reshape((many, 1, *kernel, *points))
    y = _filtered(seen.reshape((*image.shape[:2], taps, product(points))), filters, groups)
    y = y.reshape((image.shape[0], filters.shape[0], *points))
    return y if bias is None else y + channelwise(tensor(bias), y)


def _lines(
    x: Tensor, kernel: Sequence[int], strides: Ints, padding: Padding, dilations: Ints
) -> list[Tensor]:
    """Where the filters see before they are moved: ``[*kernel, *points]`` for each axis."""
    around = pairs(padding, kernel, dilations)
    axes = zip(x.shape[2:], around, kernel, strides, dilations, strict=True)
    points = [window_count(n + sum(border), k, step, d) for n, border, k, step, d in axes]
    return [
        _line(axis, (*kernel, *points), strides[axis], dilations[axis], around[axis][0])
        for axis in range(len(kernel))
    ]


def _line(axis: int, shape: tuple[Size, ...], stride: int, dilation: int, before: int) -> Tensor:
    """One coordinate of all places, as a tensor of ``shape``."""
    rank = len(shape) // 2
    taps = arange(shape[axis]) * dilation - before
    begins = arange(shape[rank + axis]) * stride
    along = [-1 if k == axis else 1 for k in range(rank)]
    places = taps.reshape((*along, *[1] * rank)) + begins.reshape(tuple(along))
    return broadcast_to(places, shape)


def _channels(
    x: Tensor, offset: Tensor, counts: tuple[int, int, int], points: Sequence[Size]
) -> int:
    """How many channels of ``x`` share an offset. Raises GC0101 where these do not fit."""
    wanted = (x.shape[0], math.prod(counts), *points)
    channels = x.node.type.keep((1,)).static_shape[0]
    if channels % counts[0] or offset.shape != wanted:
        raise UserError(
            "GC0101",
            f"deform_conv of {x.node.type} at {offset.node.type}",
            why=f"{counts[0]} groups of channels with {counts[1]} places of {counts[2]} coordinates"
            f" each take offsets {wanted}",
        )
    return channels // counts[0]


def _filtered(seen: Tensor, filters: Tensor, groups: int) -> Tensor:
    """The products of what is seen ``[n, in, taps, points]`` with the filters of each group."""
    outputs, inputs = filters.node.type.keep((0, 1)).static_shape
    if seen.shape[1] != inputs * groups or outputs % groups:
        raise UserError(
            "GC0101", f"{seen.shape[1]} channels in {groups} groups, filters {filters.node.type}"
        )
    rows = inputs * seen.shape[2]
    parts = seen.reshape((seen.shape[0], groups, rows, seen.shape[3]))
    return einsum("gok,ngkp->ngop", filters.reshape((groups, outputs // groups, rows)), parts)
