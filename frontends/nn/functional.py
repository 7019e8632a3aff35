"""What layers compute, as functions of tensors: linear maps, convolutions, normalisation, dropout.

Comes in: tensors and options. Goes out: tensors. A separate step because a layer is this plus
parameters, and a model may want one without the other. Images are ``[batch, channels, *sizes]``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from graphc.errors import UserError
from graphc.frontends.dsl.autocast import multiplied
from graphc.frontends.dsl.elementwise import rsqrt, where
from graphc.frontends.dsl.manners import at_user_line, promoted
from graphc.frontends.dsl.shaping import tensordot
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, spread, tensor
from graphc.graph import Node
from graphc.ops.convolution import convolution, convolution_transposed
from graphc.ops.reduction import broadcast_in
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS

Sizes = int | Sequence[int]
Padding = int | Sequence[int | tuple[int, int]] | str
"""Zeros on both sides of each spatial axis, or (before, after); "valid" for none, "same" to keep
the sizes.
"""
Pairs = tuple[tuple[int, int], ...]


def linear(x: Value, weight: Value, bias: Value | None = None) -> Tensor:
    """``x @ weight.T + bias``: x ``[..., in]``, weight ``[out, in]``, bias ``[out]``."""
    return _along_rows(x, weight, bias)


def bilinear(x1: Value, x2: Value, weight: Value, bias: Value | None = None) -> Tensor:
    """``x1 @ weight[k] @ x2 + bias[k]`` for every k: ``[..., in1]`` and ``[..., in2]`` to
    ``[..., out]``, weight ``[out, in1, in2]``, bias ``[out]``.
    """
    y = (_along_rows(x1, weight) * tensor(x2)[..., None, :]).sum(-1)
    return y if bias is None else y + bias


def _along_rows(x: Value, weight: Value, bias: Value | None = None) -> Tensor:
    def make(left: Node, right: Node) -> Node:
        y = tensordot(Tensor(left), Tensor(right), ((-1,), (1,)))
        return (y if bias is None else y + bias).node

    return Tensor(multiplied(make, *promoted(x, weight)))


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

    def make(image: Node, filters: Node) -> Node:
        y = convolution(image, filters, strides, around, dilations, groups)
        return _biased(Tensor(y), bias).node

    return Tensor(multiplied(make, image, filters))


@at_user_line
def conv_transposed(
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """The adjoint of `conv`: x ``[n, in, *sizes]``, weight ``[in, out/groups, *kernel]``.

    Sizes grow to ``(size-1)*stride - 2*padding + dilation*(kernel-1) + 1 + output_padding``;
    padding of less than 0 adds what the bias alone makes.
    """
    image, filters = tensor(x).node, tensor(weight).node
    rank = _spatial_rank(x, weight)
    dilations, strides = several(dilation, rank), several(stride, rank)
    around = pairs(padding, filters.type.static_shape[2:], dilations)
    extra = several(output_padding, rank)

    def make(image: Node, filters: Node) -> Node:
        y = convolution_transposed(image, filters, strides, around, dilations, groups, extra)
        return _biased(Tensor(y), bias).node

    return Tensor(multiplied(make, image, filters))


# Normalisation ------------------------------------------------------------------------------------
@at_user_line
def normalise(x: Value, axis: Axis, epsilon: float = 1e-5) -> Tensor:
    """``(x - mean) / sqrt(var + epsilon)`` over ``axis``."""
    value = tensor(x)
    distance = value - spread(value.mean(axis), value, axis)
    variance = (distance * distance).mean(axis)
    return distance * spread(rsqrt(variance + epsilon), value, axis)


@at_user_line
def rms_normalise(x: Value, axis: Axis, epsilon: float = 1e-5) -> Tensor:
    """``x / sqrt(mean(x**2) + epsilon)`` over ``axis`` (Zhang and Sennrich 2019)."""
    value = tensor(x)
    square = (value * value).mean(axis)
    return value * spread(rsqrt(square + epsilon), value, axis)


@at_user_line
def local_response_normalise(
    x: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``x / (k + alpha * mean(x**2))**beta``, the mean over ``size`` neighbouring channels.

    ``[n, channels, ...]``; half of the neighbours (rounded down) stand before a channel, and those
    that are missing at the ends count as zeros. Krizhevsky et al. (2012, section 3.3) have the sum
    in place of the mean: their alpha is this one over ``size``. Raises `UserError` GC0103, GC0104.
    """
    value = tensor(x)
    if value.ndim < 2:
        raise UserError(
            "GC0103", f"no channels in {value.node.type}", fix="pass [n, channels, ...]"
        )
    if size < 1:
        raise UserError("GC0104", f"a neighbourhood of {size} channels", fix="use 1 or more")
    rest = value.ndim - 2
    ones, none = (1,) * (rest + 1), (0,) * rest
    near = Windows((size, *ones[1:]), ones, ones, (size // 2, *none), ((size - 1) // 2, *none))
    total = Tensor(Window(SCALARS["add"], near)((value * value).node))
    y: Tensor = value / (k + total * (alpha / size)) ** beta
    return y


def channelwise(values: Tensor, like: Tensor) -> Tensor:
    """``[channels]`` repeated along every axis of ``like`` but axis 1."""
    return Tensor(broadcast_in(values.node, like.shape, (1,)))


# Dropout ------------------------------------------------------------------------------------------
def dropout(x: Value, keep: Value, probability: float) -> Tensor:
    """``x / (1 - probability)`` where the bools ``keep`` hold, else 0 (Srivastava et al. 2014)."""
    value = tensor(x)
    return where(keep, value * (1 / (1 - probability)), 0)


_SELU_FLOOR = -1.7580993408473766
"""The limit of SELU far below 0, ``-scale * alpha`` (Klambauer et al. 2017, section 2)."""


def alpha_dropout(x: Value, keep: Value, probability: float) -> Tensor:
    """Dropout to the floor of SELU, then an affine map back to mean 0 and variance 1.

    For inputs of mean 0 and variance 1 (Klambauer et al. 2017, Self-Normalizing Neural Networks,
    section 3). ``keep`` holds bools that broadcast to ``x``.
    """
    kept = 1 - probability
    scale = (kept * (1 + probability * _SELU_FLOOR**2)) ** -0.5
    return where(keep, x, _SELU_FLOOR) * float(scale) - float(scale * probability * _SELU_FLOOR)


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
    if isinstance(padding, int):
        return ((padding, padding),) * len(kernel)
    given = [p if isinstance(p, Sequence) else (p, p) for p in padding]
    low, high = (several([p[k] for p in given], len(kernel)) for k in (0, 1))
    return tuple(zip(low, high, strict=True))


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
