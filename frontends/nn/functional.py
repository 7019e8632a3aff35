"""What layers compute, as functions of tensors: linear maps, convolutions, pooling, normalisation.

Comes in: tensors and options. Goes out: tensors. A separate step because a layer is this plus
parameters, and a model may want one without the other. Images are ``[batch, channels, *sizes]``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import rsqrt, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import tensordot
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, spread, tensor
from graphc.ops.convolution import convolution, convolution_transposed
from graphc.ops.reduction import broadcast_in
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS

Sizes = int | Sequence[int]
Padding = int | Sequence[int] | str
"""Zeros on both sides of each spatial axis; "valid" for none, "same" to keep the sizes."""
Pairs = tuple[tuple[int, int], ...]


def linear(x: Value, weight: Value, bias: Value | None = None) -> Tensor:
    """``x @ weight.T + bias``: x ``[..., in]``, weight ``[out, in]``, bias ``[out]``."""
    y = tensordot(x, weight, ((-1,), (1,)))
    return y if bias is None else y + bias


@at_user_line
def conv(
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution (cross-correlation) over any number of axes.

    x ``[n, in, *sizes]``, weight ``[out, in/groups, *kernel]``, bias ``[out]``, result
    ``[n, out, *((size + 2*padding - dilation*(kernel-1) - 1) // stride + 1)]``. "same" padding
    keeps the sizes of x at stride 1. Raises `UserError` GC0101, GC0102, GC0103.
    """
    image, filters = tensor(x).node, tensor(weight).node
    rank = _spatial_rank(x, weight)
    dilations = several(dilation, rank)
    around = pairs(padding, filters.type.static_shape[2:], dilations)
    strides = several(stride, rank)
    return _biased(Tensor(convolution(image, filters, strides, around, dilations, groups)), bias)


@at_user_line
def conv_transposed(
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """The adjoint of `conv`: x ``[n, in, *sizes]``, weight ``[in, out/groups, *kernel]``.

    Sizes grow to ``(size-1)*stride - 2*padding + dilation*(kernel-1) + 1 + output_padding``.
    """
    image, filters = tensor(x).node, tensor(weight).node
    rank = _spatial_rank(x, weight)
    dilations, strides = several(dilation, rank), several(stride, rank)
    around = pairs(padding, filters.type.static_shape[2:], dilations)
    extra = several(output_padding, rank)
    made = convolution_transposed(image, filters, strides, around, dilations, groups, extra)
    return _biased(Tensor(made), bias)


@at_user_line
def max_pool(x: Value, window: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> Tensor:
    """The largest element of each window; ``stride`` is the window unless given.

    x ``[n, channels, *sizes]``; a border of ``padding`` never wins.
    """
    return Tensor(Window(SCALARS["maximum"], _windows(x, window, stride, padding))(tensor(x).node))


@at_user_line
def avg_pool(x: Value, window: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> Tensor:
    """The mean of each window; ``stride`` is the window unless given.

    x ``[n, channels, *sizes]``; a border of ``padding`` counts as zeros.
    """
    over = _windows(x, window, stride, padding)
    return Tensor(Window(SCALARS["add"], over)(tensor(x).node)) * (1 / over.count)


# Normalisation ------------------------------------------------------------------------------------
@at_user_line
def normalise(x: Value, axis: Axis, epsilon: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + epsilon)`` over ``axis``."""
    value = tensor(x)
    distance = value - spread(value.mean(axis), value, axis)
    variance = (distance * distance).mean(axis)
    return distance * spread(rsqrt(variance + epsilon), value, axis)


def channelwise(values: Tensor, like: Tensor) -> Tensor:
    """``[channels]`` repeated along every axis of ``like`` but axis 1."""
    return Tensor(broadcast_in(values.node, like.shape, (1,)))


def dropout(x: Value, keep: Value, probability: float) -> Tensor:
    """``x / (1 - probability)`` where the bools ``keep`` hold, else 0 (Srivastava et al. 2014)."""
    value = tensor(x)
    return where(keep, value * (1 / (1 - probability)), 0)


# Options ------------------------------------------------------------------------------------------
def several(value: Sizes, rank: int) -> tuple[int, ...]:
    """One int per spatial axis. Raises `UserError` GC0103."""
    if isinstance(value, int):
        return (value,) * rank
    values = tuple(operator.index(v) for v in value)
    if len(values) != rank:
        raise UserError("GC0103", f"{values} for {rank} spatial axes", fix="give one per axis")
    return values


def pairs(padding: Padding, kernel: Sequence[int], dilation: Sequence[int]) -> Pairs:
    """(before, after) for each spatial axis. Raises `UserError` GC0103, GC0104."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((t // 2, t - t // 2) for t in total)
    if isinstance(padding, str):
        raise UserError(
            "GC0104", f"unknown padding {padding!r}", fix="use 'valid', 'same', an int or several"
        )
    return tuple((p, p) for p in several(padding, len(kernel)))


def _spatial_rank(x: Value, weight: Value) -> int:
    image, filters = tensor(x), tensor(weight)
    if image.ndim != filters.ndim or image.ndim < 3:
        raise UserError(
            "GC0103",
            f"convolution of {image.node.type} with {filters.node.type}",
            why="x is [batch, channels, *sizes], weight [out, in, *kernel], of equal rank",
            fix="add the missing axis, e.g. x[:, None] for images without channels",
        )
    return image.ndim - 2


def _biased(y: Tensor, bias: Value | None) -> Tensor:
    return y if bias is None else y + channelwise(tensor(bias), y)


def _windows(x: Value, window: Sizes, stride: Sizes | None, padding: Padding) -> Windows:
    value = tensor(x)
    if value.ndim < 3:
        raise UserError(
            "GC0103", f"pooling of {value.node.type}", fix="x is [batch, channels, *sizes]"
        )
    rank = value.ndim - 2
    sizes, near = several(window, rank), (1,) * rank
    strides = sizes if stride is None else several(stride, rank)
    low, high = zip(*pairs(padding, sizes, near), strict=True)
    return Windows(sizes, strides, near, low, high)
