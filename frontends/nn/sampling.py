"""`grid_sample` and `affine_grid`: images seen at places that data decides.

Comes in: images ``[n, channels, *sizes]`` and places in them, from -1 to 1. Goes out: the values
there. Built of takes and arithmetic, so gradients flow to the image and to the places. A separate
file because here coordinates are data, which for `resize` are known beforehand. After Jaderberg et
al. (2015), Spatial Transformer Networks; the options are those of ONNX GridSample, opset 20.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Literal

import numpy as np

from graphc.dims import product as product_of
from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import abs, clip, floor, logical_and, round, where
from graphc.frontends.dsl.leaves import constant
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.resize import cubic_far, cubic_near
from graphc.frontends.dsl.shaping import broadcast_to, moveaxis, take_along_axis, tensordot
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Array
from graphc.types import INT64

Mode = Literal["nearest", "linear", "cubic"]
"""How values between elements are made."""
Outside = Literal["zeros", "border", "reflection"]
"""What lies beyond an image."""
CUBIC = -0.75
"""The coefficient of cubic interpolation."""


@dataclass(frozen=True)
class _Line:
    """One spatial axis: its extent, and what lies beyond it."""

    extent: int
    padding: str
    align_corners: bool

    def place(self, coordinate: Tensor) -> Tensor:
        """-1 to 1 as an index that may lie between elements: from middle to middle of the outer
        elements with ``align_corners``, else from border to border.
        """
        if self.align_corners:
            return (coordinate + 1) * ((self.extent - 1) / 2)
        return ((coordinate + 1) * self.extent - 1) * 0.5

    def kept(self, place: Tensor) -> Tensor:
        """``place`` moved into the axis, unless zeros lie around it."""
        if self.padding == "zeros":
            return place
        if self.padding == "reflection":
            low = 0.0 if self.align_corners else -0.5
            span = self.extent - 1 - 2 * low
            folded = abs(abs(place - low) % (2 * span) - span) if span else place * 0
            place = span + low - folded
        return clip(place, 0, self.extent - 1)


@dataclass(frozen=True)
class _Tap:
    """One neighbour along an axis: its index, whether there is one, and its weight (1 for None)."""

    index: Tensor
    inside: Tensor
    weight: Tensor | None = None


def _tap(place: Tensor, line: _Line, weight: Tensor | None = None) -> _Tap:
    inside = logical_and(place >= 0, place <= line.extent - 1)  # a nan is nowhere
    return _Tap(where(inside, place, 0).astype(INT64), inside, weight)


def _nearest(place: Tensor, line: _Line) -> list[_Tap]:
    return [_tap(round(line.kept(place)), line)]


def _linear(place: Tensor, line: _Line) -> list[_Tap]:
    kept = line.kept(place)
    first = floor(kept)
    rest = kept - first
    return [_tap(first, line, 1 - rest), _tap(first + 1, line, rest)]


def _cubic(place: Tensor, line: _Line) -> list[_Tap]:
    first = floor(place)
    rest = place - first
    weights = (
        cubic_far(rest + 1, CUBIC),
        cubic_near(rest, CUBIC),
        cubic_near(1 - rest, CUBIC),
        cubic_far(2 - rest, CUBIC),
    )
    return [_tap(line.kept(first + k), line, weight) for k, weight in enumerate(weights, -1)]


_TAPS: dict[str, Callable[[Tensor, _Line], list[_Tap]]] = {
    "nearest": _nearest,
    "linear": _linear,
    "cubic": _cubic,
}


@at_user_line
def grid_sample(
    x: Value,
    grid: Value,
    *,
    mode: Mode = "linear",
    padding: Outside = "zeros",
    align_corners: bool = False,
) -> Tensor:
    """``[n, c, *places]``: x ``[n, c, *sizes]`` at grid ``[n, *places, rank]``, whose last axis
    holds a coordinate from -1 to 1 per spatial axis, that of the last axis first.

    -1 and 1 are the middles of the outer elements with ``align_corners``, else their outer borders.
    Beyond lie zeros, the ``border``, or the mirror image. Any number of axes; floats. The gradient
    by the grid is that of the interpolation between the same neighbours; 0 for "nearest". Raises
    `UserError` GC0101, GC0102, GC0103, GC0104, GC0305 (named sizes).
    """
    image, places = tensor(x), tensor(grid)
    _check(image, places)
    lines = _lines(image, mode, padding, align_corners)
    coordinates = [places[..., k] for k in reversed(range(len(lines)))]
    indices = [line.place(c) for c, line in zip(coordinates, lines, strict=True)]
    return _sampled(image, indices, lines, mode)


@at_user_line
def sample_at(
    x: Value,
    places: Sequence[Value],
    *,
    mode: Mode = "linear",
    padding: Outside = "zeros",
) -> Tensor:
    """`grid_sample` at indices that may lie between elements: ``[n, *places]`` per spatial axis.

    Raises `UserError` GC0102, GC0103, GC0104, GC0305 (named sizes).
    """
    image, indices = tensor(x), [tensor(place) for place in places]
    if image.ndim < 3 or len(indices) != image.ndim - 2:
        raise UserError("GC0103", f"{image.node.type} at {len(indices)} coordinates")
    return _sampled(image, indices, _lines(image, mode, padding, True), mode)


def _lines(x: Tensor, mode: str, padding: str, align_corners: bool) -> list[_Line]:
    """The spatial axes."""
    if mode not in _TAPS or padding not in ("zeros", "border", "reflection"):
        raise UserError(
            "GC0104",
            f"grid_sample: mode {mode!r}, padding {padding!r}",
            fix="modes are nearest, linear, cubic; paddings zeros, border, reflection",
        )
    if 0 in x.shape[2:]:
        raise UserError("GC0104", f"grid_sample of {x.node.type}", why="it has no elements")
    extents = x.node.type.with_shape(x.shape[2:]).static_shape
    return [_Line(n, padding, align_corners) for n in extents]


def _sampled(x: Tensor, indices: Sequence[Tensor], lines: Sequence[_Line], mode: str) -> Tensor:
    """The interpolation at ``indices``, one tensor for each of the ``lines``."""
    taps = [_TAPS[mode](place, line) for place, line in zip(indices, lines, strict=True)]
    terms = [_term(x, lines, choice) for choice in product(*taps)]
    return reduce(operator.add, terms).astype(x.dtype)


def _check(x: Tensor, grid: Tensor) -> None:
    if x.ndim < 3 or grid.ndim != x.ndim or grid.shape[-1] != x.ndim - 2:
        raise UserError(
            "GC0103",
            f"grid_sample of {x.node.type} at {grid.node.type}",
            why="x is [n, c, *sizes], grid [n, *places, number of sizes], of equal rank",
        )
    if grid.shape[0] != x.shape[0]:
        raise UserError("GC0101", f"{x.shape[0]} images and {grid.shape[0]} grids")
    if not (x.dtype.is_float and grid.dtype.is_float):
        raise UserError("GC0102", f"grid_sample of {x.dtype.name} at {grid.dtype.name}")


def _term(x: Tensor, lines: Sequence[_Line], taps: tuple[_Tap, ...]) -> Tensor:
    """The neighbour that ``taps`` name in each place, times its weight: ``[n, c, *places]``."""
    number = taps[0].index
    for line, tap in zip(lines[1:], taps[1:], strict=True):
        number = number * line.extent + tap.index
    lead, places = x.shape[:2], number.shape[1:]
    rows = number.reshape((lead[0], 1, product_of(places)))
    flat = x.reshape((*lead, product_of(x.shape[2:])))
    found = take_along_axis(flat, broadcast_to(rows, (*lead, rows.shape[2])), 2)
    inside = reduce(logical_and, [tap.inside for tap in taps])
    seen = found.reshape((*lead, *places))
    weights = [tap.weight for tap in taps if tap.weight is not None]
    part = seen * reduce(operator.mul, weights)[:, None] if weights else seen
    return where(inside[:, None], part, 0)


@at_user_line
def affine_grid(theta: Value, sizes: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """The grid ``[n, *sizes, d]`` for `grid_sample`: where the affine maps theta ``[n, d, d+1]``
    send each of the places of images with the d spatial ``sizes``. Raises `UserError` GC0103.
    """
    maps = tensor(theta)
    rank = len(sizes)
    if maps.ndim != 3 or maps.shape[1:] != (rank, rank + 1):
        raise UserError(
            "GC0103",
            f"affine_grid: maps {maps.node.type} for {rank} sizes",
            fix=f"pass maps [n, {rank}, {rank + 1}]",
        )
    lines = [_centres(n, align_corners) for n in sizes]
    places = [*reversed(np.meshgrid(*lines, indexing="ij")), np.ones(tuple(sizes))]
    return moveaxis(tensordot(maps, constant(np.stack(places), maps.dtype), ((2,), (0,))), 1, -1)


def _centres(extent: int, align_corners: bool) -> Array:
    """The coordinates of the elements of an axis; 0 for a single one."""
    if align_corners:
        return np.linspace(-1, 1, extent) if extent > 1 else np.zeros(extent)
    return (2 * np.arange(extent) + 1) / max(extent, 1) - 1
