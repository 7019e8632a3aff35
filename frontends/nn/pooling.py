"""Pooling: the largest element or the mean of windows, as functions and as layers.

Comes in: ``[batch, channels, *sizes]``. Goes out: the same with fewer places. A separate file
because where windows lie at the ends (padding, ``ceil_mode``) and what they divide by is a subject
of its own. Named sizes may stand where windows do not depend on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.creation import ones
from graphc.frontends.dsl.elementwise import abs, where
from graphc.frontends.dsl.leaves import constant
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import concatenate
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import Padding, Sizes, pairs, several
from graphc.frontends.nn.module import Module
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS
from graphc.types import DType

Targets = int | Sequence[int | None] | None
"""The wanted size of every spatial axis; None keeps an axis as it is."""


# Windows of one size ------------------------------------------------------------------------------
@at_user_line
def max_pool(
    x: Value,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of each window; ``stride`` is the window unless given.

    x ``[n, channels, *sizes]``; a border of ``padding`` never wins. With ``ceil_mode`` a last
    window that begins inside but ends outside counts too. The gradient goes to the first of equal
    elements. Raises `UserError` GC0101, GC0103, GC0104.
    """
    over, _ = windows(x, window, stride, padding, dilation, ceil_mode)
    return Tensor(Window(SCALARS["maximum"], over)(tensor(x).node))


@at_user_line
def avg_pool(
    x: Value,
    window: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    dilation: Sizes = 1,
) -> Tensor:
    """The mean of each window; ``stride`` is the window unless given.

    x ``[n, channels, *sizes]``; a border of ``padding`` counts as zeros, or not at all without
    ``count_include_pad``. With ``ceil_mode`` a last window that begins inside but ends outside
    counts too, as the mean of what it sees. Raises `UserError` GC0101, GC0103, GC0104.
    """
    over, around = windows(x, window, stride, padding, dilation, ceil_mode)
    total = Tensor(Window(SCALARS["add"], over)(tensor(x).node))
    counted = around if count_include_pad else ((0, 0),) * over.rank
    if counted == tuple(zip(over.low, over.high, strict=True)):
        return total * (1 / over.count)
    return total / _counts(total.dtype, tensor(x).shape[2:], over, counted)


@at_user_line
def lp_pool(
    x: Value,
    window: Sizes,
    p: float = 2,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The norm ``sum(abs(x)**p)**(1/p)`` of each window, p at least 1; windows as in `max_pool`.

    As in ONNX, and unlike PyTorch, odd powers are of absolute values. The gradient is 0 where all
    of a window is 0.
    """
    if p < 1:
        raise UserError("GC0104", f"lp_pool with p={p}", fix="use 1 or more")
    over, _ = windows(x, window, stride, padding, dilation, ceil_mode)
    total = Tensor(Window(SCALARS["add"], over)((abs(tensor(x)) ** p).node))
    nothing = total == 0
    return where(nothing, 0, where(nothing, 1, total) ** (1 / p))


def _counts(
    dtype: DType, extents: tuple[Size, ...], over: Windows, counted: Sequence[tuple[int, int]]
) -> Tensor:
    """How many places each window sees inside the axes, widened by the borders that count: a
    product of as many numbers along each axis, which are constants unless its size has a name.
    """
    total = constant(1, dtype)
    for axis, (extent, (before, after)) in enumerate(zip(extents, counted, strict=True)):
        behind = min(after, over.high[axis])
        rest = Windows(
            (over.sizes[axis],),
            (over.strides[axis],),
            (over.dilations[axis],),
            (over.low[axis] - before,),
            (over.high[axis] - behind,),
        )
        total = total[..., None] * _line(before + extent + behind, rest, dtype)
    return total


def _line(extent: Size, over: Windows, dtype: DType) -> Tensor:
    """How many elements of an axis of ``extent`` each window sees."""
    seen = Window(SCALARS["add"], over)
    if isinstance(extent, int):
        return constant(seen.eval(np.ones(extent)), dtype)
    return Tensor(seen(ones((extent,), dtype).node))


def windows(
    x: Value,
    window: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool,
) -> tuple[Windows, tuple[tuple[int, int], ...]]:
    """Where the windows lie, and the border that was asked for (``ceil_mode`` changes its end)."""
    value = images(x)
    rank = value.ndim - 2
    sizes, near = several(window, rank), several(dilation, rank)
    strides = sizes if stride is None else several(stride, rank)
    around = pairs(padding, sizes, near)
    low, high = zip(*around, strict=True)
    if ceil_mode:
        axes = zip(value.shape[2:], sizes, strides, near, around, strict=True)
        high = tuple(_overhang(*axis) for axis in axes)
    return Windows(sizes, strides, near, low, high), around


def _overhang(extent: Size, size: int, stride: int, dilation: int, around: tuple[int, int]) -> int:
    """The border behind an axis with which all windows that begin before its end are whole."""
    if not isinstance(extent, int):
        raise UserError(
            "GC0104",
            f"ceil_mode over the named size {extent}",
            why="where the last window ends must be known while the graph is built",
            fix="declare the input with numbers",
        )
    before, after = around
    span = dilation * (size - 1) + 1
    last = -(-(before + extent + after - span) // stride)
    if last * stride >= before + extent:  # it would begin in the border behind
        last -= 1
    return max(last * stride + span - before - extent, 0)


def images(x: Value, ranks: Sequence[int] = (1, 2, 3)) -> Tensor:
    """``x`` as a tensor. Raises `UserError` GC0103 unless it has so many spatial axes."""
    value = tensor(x)
    if value.ndim - 2 not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise UserError(
            "GC0103",
            f"pooling of {value.node.type}",
            fix=f"x is [batch, channels, *sizes] with {wanted} spatial axes",
        )
    return value


# A given number of windows ------------------------------------------------------------------------
@at_user_line
def adaptive_max_pool(x: Value, sizes: Targets) -> Tensor:
    """The largest elements of ``[n, channels, *sizes]``: each axis cut into so many windows.

    Window k of ``size`` covers ``floor(k * extent / size)`` to ``ceil((k+1) * extent / size)``.
    Equal elements of a window share the gradient. Raises `UserError` GC0103, GC0104.
    """
    return _adaptive(x, sizes, Tensor.max)


@at_user_line
def adaptive_avg_pool(x: Value, sizes: Targets) -> Tensor:
    """The means of ``[n, channels, *sizes]`` over the windows of `adaptive_max_pool`."""
    return _adaptive(x, sizes, Tensor.mean)


def _adaptive(x: Value, sizes: Targets, fold: Callable[..., Tensor]) -> Tensor:
    """Axes that divide evenly fold in one step, the others window by window."""
    value = images(x)
    shape, folded = list(value.shape[:2]), []
    uneven: list[tuple[int, int]] = []
    for axis, size in enumerate(_targets(sizes, value), 2):
        extent = value.shape[axis]
        share = 1 if size is None else _share(extent, size)
        if size is None or share is None or share == 1:
            shape.append(extent)
            uneven += [] if size is None or share == 1 else [(axis, size)]
        else:
            shape += [size, share]
            folded.append(len(shape) - 1)
    value = fold(value.reshape(shape), folded) if folded else value
    for axis, size in uneven:
        value = _unevenly(value, axis, size, fold)
    return value


def _targets(sizes: Targets, x: Tensor) -> tuple[int | None, ...]:
    rank = x.ndim - 2
    given = (sizes,) * rank if isinstance(sizes, int) or sizes is None else tuple(sizes)
    if len(given) != rank:
        raise UserError("GC0103", f"{given} for {rank} spatial axes", fix="give one per axis")
    return given


def _share(extent: Size, size: int) -> Size | None:
    """``extent / size`` where that is whole, else None. Raises `UserError` GC0104."""
    if extent == size:
        return 1
    if size < 1 or extent == 0:
        raise UserError(
            "GC0104", f"an axis of {extent} cut into {size} windows", fix="use sizes of at least 1"
        )
    if isinstance(extent, int):
        return extent // size if extent % size == 0 else None
    if (found := extent.divide_exact(size)) is None:
        raise UserError(
            "GC0104",
            f"the named size {extent} cut into {size} windows",
            why="where the windows lie must be known while the graph is built",
            fix=f"declare the axis as {size} * gc.dim(...), or with a number",
        )
    return found


def _unevenly(x: Tensor, axis: int, size: int, fold: Callable[..., Tensor]) -> Tensor:
    extent, before = x.shape[axis], (slice(None),) * axis
    bounds = [(k * extent // size, -(-(k + 1) * extent // size)) for k in range(size)]
    windows = (x[(*before, slice(a, b))] for a, b in bounds)
    return concatenate([fold(window, axis, keepdims=True) for window in windows], axis)


# Layers -------------------------------------------------------------------------------------------
class MaxPool(Module):
    """`max_pool` of images with ``rank`` spatial axes: `MaxPool1d`, `MaxPool2d`, `MaxPool3d`."""

    rank: ClassVar[int]

    def __init__(
        self,
        window: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.window, self.stride, self.padding = window, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """``[n, c, *sizes]`` to ``[n, c, *places]``."""
        options = (self.window, self.stride, self.padding, self.dilation, self.ceil_mode)
        return max_pool(images(x, [self.rank]), *options)


class MaxPool1d(MaxPool):
    """The largest element of each window of ``[n, c, width]``; the stride defaults to it."""

    rank = 1


class MaxPool2d(MaxPool):
    """The largest element of each window of ``[n, c, h, w]``; the stride defaults to it."""

    rank = 2


class MaxPool3d(MaxPool):
    """The largest element of each window of ``[n, c, d, h, w]``; the stride defaults to it."""

    rank = 3


class AvgPool(Module):
    """`avg_pool` of images with ``rank`` spatial axes: `AvgPool1d`, `AvgPool2d`, `AvgPool3d`."""

    rank: ClassVar[int]

    def __init__(
        self,
        window: Sizes,
        stride: Sizes | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.window, self.stride, self.padding = window, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """``[n, c, *sizes]`` to ``[n, c, *places]``."""
        options = (self.window, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        return avg_pool(images(x, [self.rank]), *options)


class AvgPool1d(AvgPool):
    """The mean of each window of ``[n, c, width]``; the stride is the window by default."""

    rank = 1


class AvgPool2d(AvgPool):
    """The mean of each window of ``[n, c, h, w]``; the stride is the window by default."""

    rank = 2


class AvgPool3d(AvgPool):
    """The mean of each window of ``[n, c, d, h, w]``; the stride is the window by default."""

    rank = 3


class AdaptivePool(Module):
    """Pooling to given ``sizes``, one for all axes or one each; None keeps the size of an axis."""

    rank: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, sizes: Targets) -> None:
        self.sizes = sizes

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """``[n, c, *any]`` to ``[n, c, *sizes]``."""
        return type(self).function(images(x, [self.rank]), self.sizes)


class AdaptiveMaxPool1d(AdaptivePool):
    """`adaptive_max_pool` of ``[n, c, width]``."""

    rank, function = 1, staticmethod(adaptive_max_pool)


class AdaptiveMaxPool2d(AdaptivePool):
    """`adaptive_max_pool` of ``[n, c, h, w]``."""

    rank, function = 2, staticmethod(adaptive_max_pool)


class AdaptiveMaxPool3d(AdaptivePool):
    """`adaptive_max_pool` of ``[n, c, d, h, w]``."""

    rank, function = 3, staticmethod(adaptive_max_pool)


class AdaptiveAvgPool1d(AdaptivePool):
    """`adaptive_avg_pool` of ``[n, c, width]``."""

    rank, function = 1, staticmethod(adaptive_avg_pool)


class AdaptiveAvgPool2d(AdaptivePool):
    """`adaptive_avg_pool` of ``[n, c, h, w]``."""

    rank, function = 2, staticmethod(adaptive_avg_pool)


class AdaptiveAvgPool3d(AdaptivePool):
    """`adaptive_avg_pool` of ``[n, c, d, h, w]``."""

    rank, function = 3, staticmethod(adaptive_avg_pool)


class GlobalMaxPool(Module):
    """The largest element of each channel: ``[n, c, *sizes]`` to ``[n, c]``."""

    def forward(self, x: Value) -> Tensor:
        """The spatial axes are gone; none of them leave ``x`` as it is."""
        value = tensor(x)
        return value.max(range(2, value.ndim))


class GlobalAvgPool(Module):
    """The mean of each channel: ``[n, c, *sizes]`` to ``[n, c]`` (Lin, Chen and Yan 2013)."""

    def forward(self, x: Value) -> Tensor:
        """The spatial axes are gone; none of them leave ``x`` as it is."""
        value = tensor(x)
        return value.mean(range(2, value.ndim))
