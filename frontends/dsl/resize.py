"""`resize`: a tensor at other sizes, by its nearest elements, or by linear or cubic interpolation.

Comes in: a tensor with static sizes along some axes. Goes out: its values at more or fewer places.
Where these lie and how much their neighbours weigh is known while the graph is built, so resizing
is one sum of takes per axis (one product with a matrix where there are many neighbours), and its
gradient follows. The options are those of ONNX Resize, opset 19:

* ``mode``: "nearest", "linear" or "cubic" (Keys 1981, with the coefficient ``cubic``),
* ``coordinates`` say where an element of the result lies in ``x``: "half_pixel",
  "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", or
  "tf_crop_and_resize", which sees the ``regions`` (begin and end of each axis, from 0 to 1) and has
  the value ``outside`` where these leave ``x``,
* ``rounding`` of "nearest": "round_prefer_floor", "round_prefer_ceil", "floor" or "ceil",
* neighbours beyond a border are the border, or with ``exclude_outside`` have no weight,
* ``antialias`` widens the filter where sizes shrink.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.manners import at_user_line, axes_of
from graphc.frontends.dsl.shaping import broadcast_to, expand_dims, moveaxis, take, tensordot
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Array
from graphc.types import FLOAT16, FLOAT32

MOST_TAKES = 8
"""Neighbours that are taken one by one at most; more are a product with a matrix."""


@dataclass(frozen=True)
class _How:
    """The options that all axes share."""

    mode: str
    coordinates: str
    rounding: str
    cubic: float
    exclude_outside: bool
    antialias: bool


@dataclass(frozen=True)
class _Axis:
    """One axis: its size before and after, their ratio, and the part of it that is seen."""

    number: int
    extent: int
    size: int
    scale: float
    region: tuple[float, float] = (0.0, 1.0)

    @property
    def changes(self) -> bool:
        return (self.extent, self.scale, self.region) != (self.size, 1.0, (0.0, 1.0))


@at_user_line
def resize(
    x: Value,
    sizes: Sequence[int] | None = None,
    *,
    scales: Sequence[float] | None = None,
    axes: Iterable[int] | None = None,
    mode: str = "linear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    cubic: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    regions: Sequence[tuple[float, float]] | None = None,
    outside: float = 0.0,
) -> Tensor:
    """``x`` with ``sizes`` (or its sizes times ``scales``, rounded down) along ``axes``, the last
    ones unless given. With both, ``scales`` place the elements.

    The options are those of the module. Floats; of any dtype for "nearest". Raises `UserError`
    GC0102, GC0103, GC0104, GC0305 (named sizes).
    """
    value = tensor(x)
    how = _How(mode, coordinates, rounding, cubic, exclude_outside, antialias)
    plan = _plan(value, sizes, scales, axes, regions)
    _check(how, value, regions)
    wide = value.astype(FLOAT32) if value.dtype == FLOAT16 and mode != "nearest" else value
    for axis in plan:
        if axis.changes:
            wide = _along(wide, axis, how, outside)
    return wide.astype(value.dtype)


def _check(how: _How, x: Tensor, regions: object) -> None:
    known = {
        "mode": (how.mode, ("nearest", "linear", "cubic")),
        "coordinates": (how.coordinates, tuple(_COORDINATES)),
        "rounding": (how.rounding, tuple(_ROUNDINGS)),
    }
    for option, (chosen, names) in known.items():
        if chosen not in names:
            raise UserError(
                "GC0104",
                f"resize: {option} {chosen!r}",
                fix=f"use one of {', '.join(map(repr, names))}",
            )
    if (regions is None) == (how.coordinates == "tf_crop_and_resize"):
        raise UserError("GC0104", "resize: regions go with coordinates 'tf_crop_and_resize'")
    if how.mode != "nearest" and not x.dtype.is_float:
        raise UserError(
            "GC0102", f"resize by {how.mode} of {x.dtype.name}", fix="cast to a float first"
        )


def _plan(
    x: Tensor,
    sizes: Sequence[int] | None,
    scales: Sequence[float] | None,
    axes: Iterable[int] | None,
    regions: Sequence[tuple[float, float]] | None,
) -> list[_Axis]:
    """Each axis with its sizes and its scale."""
    given = sizes if sizes is not None else scales
    if given is None:
        raise UserError("GC0104", "resize needs sizes or scales")
    count = len(given)
    places = axes_of(range(-count, 0) if axes is None else tuple(axes), x.ndim)
    seen = [(0.0, 1.0)] * count if regions is None else [*regions]
    if len({len(places), count, len(seen), count if scales is None else len(scales)}) != 1:
        raise UserError("GC0103", f"resize: {count} sizes for axes {places}", fix="give as many")
    extents = [x.node.type.keep((a,)).static_shape[0] for a in places]
    if sizes is None:
        sizes = [math.floor(n * s) for n, s in zip(extents, scales or (), strict=True)]
    if scales is None:
        scales = [size / (n or 1) for n, size in zip(extents, sizes, strict=True)]
    pairs = zip(places, extents, sizes, scales, seen, strict=True)
    plan = [_Axis(a, n, operator.index(m), float(s), r) for a, n, m, s, r in pairs]
    for axis in plan:
        if axis.size < 0 or (axis.size > 0 and (axis.extent == 0 or axis.scale <= 0)):
            raise UserError("GC0104", f"resize: {axis.extent} elements to {axis.size}")
    return plan


# Where the elements lie ---------------------------------------------------------------------------
def _half_pixel(k: Array, axis: _Axis) -> Array:
    return (k + 0.5) / axis.scale - 0.5


def _half_pixel_symmetric(k: Array, axis: _Axis) -> Array:
    """About the middle of the axis, which a rounded size would shift."""
    exact = axis.scale * axis.extent
    return axis.extent / 2 * (1 - axis.size / exact) + _half_pixel(k, axis)


def _pytorch_half_pixel(k: Array, axis: _Axis) -> Array:
    return _half_pixel(k, axis) if axis.size > 1 else k * 0.0


def _align_corners(k: Array, axis: _Axis) -> Array:
    last = axis.scale * axis.extent - 1
    return k * ((axis.extent - 1) / last) if last else k * 0.0


def _asymmetric(k: Array, axis: _Axis) -> Array:
    return k / axis.scale


def _region(k: Array, axis: _Axis) -> Array:
    begin, end = axis.region
    if axis.size == 1:
        return k + (begin + end) / 2 * (axis.extent - 1)
    return (begin + k * (end - begin) / (axis.scale * axis.extent - 1)) * (axis.extent - 1)


_COORDINATES: dict[str, Callable[[Array, _Axis], Array]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _region,
}
_ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda place: np.floor(place) + (place - np.floor(place) > 0.5),
    "round_prefer_ceil": lambda place: np.floor(place) + (place - np.floor(place) >= 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


# What they are made of ----------------------------------------------------------------------------
def cubic_near(distance: Any, a: float) -> Any:
    """The weight of a neighbour up to 1 away (Keys 1981, Cubic Convolution Interpolation)."""
    return ((a + 2) * distance - (a + 3)) * distance * distance + 1


def cubic_far(distance: Any, a: float) -> Any:
    """The weight of a neighbour 1 to 2 away."""
    return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a


def _weight(distance: Array, how: _How) -> Array:
    if how.mode == "linear":
        return np.asarray(np.maximum(1 - distance, 0))
    near: Array = cubic_near(distance, how.cubic)
    far: Array = cubic_far(distance, how.cubic)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))


def _along(x: Tensor, axis: _Axis, how: _How, outside: float) -> Tensor:
    """``x`` resized along one axis."""
    place = _COORDINATES[how.coordinates](np.arange(axis.size, dtype=np.float64), axis)
    if how.mode == "nearest":
        chosen = _ROUNDINGS[how.rounding](place).clip(0, max(axis.extent - 1, 0))
        y = _picked(x, axis, chosen.astype(np.int64))
    else:
        y = _blended(x, axis, *_neighbours(place, axis, how))
    beyond = (place < 0) | (place > axis.extent - 1)
    if how.coordinates != "tf_crop_and_resize" or not beyond.any():
        return y
    return where(_column(beyond, x, axis), outside, y)


def _neighbours(place: Array, axis: _Axis, how: _How) -> tuple[Array, Array]:
    """The positions and the weights of what each element is made of, both [size, neighbours]."""
    shrink = min(axis.scale, 1.0) if how.antialias else 1.0
    support = {"linear": 1, "cubic": 2}[how.mode] / shrink
    before = math.floor(-support) + 1
    found = np.floor(place)[:, None] + np.arange(before, 2 - before)
    weights = _weight(np.abs(found - place[:, None]) * shrink, how)
    inside = (found >= 0) & (found < axis.extent)
    weights = np.where(inside, weights, 0) if how.exclude_outside else weights
    total = weights.sum(1, keepdims=True)
    if how.exclude_outside or how.antialias:
        weights = weights / np.where(total == 0, 1, total)
    return found.clip(0, max(axis.extent - 1, 0)).astype(np.int64), weights


def _picked(x: Tensor, axis: _Axis, positions: Array) -> Tensor:
    """The elements at ``positions``; by repetition where each stands as often as the others."""
    times, rest = divmod(axis.size, axis.extent or 1)
    if rest or times < 1 or (positions != np.arange(axis.size) // times).any():
        return take(x, positions, axis.number)
    front, back = x.shape[: axis.number + 1], x.shape[axis.number + 1 :]
    repeated = broadcast_to(expand_dims(x, axis.number + 1), (*front, times, *back))
    return repeated.reshape((*front[:-1], axis.size, *back))


def _blended(x: Tensor, axis: _Axis, positions: Array, weights: Array) -> Tensor:
    """The sums of the elements at ``positions`` times ``weights``."""
    if weights.shape[1] > MOST_TAKES:
        matrix = np.zeros((axis.size, axis.extent))
        np.add.at(matrix, (np.arange(axis.size)[:, None], positions), weights)
        return moveaxis(tensordot(x, matrix, ((axis.number,), (1,))), -1, axis.number)
    pairs = zip(positions.T, weights.T, strict=True)
    terms = [
        take(x, place, axis.number) * _column(weight, x, axis)
        for place, weight in pairs
        if weight.any() or not weights.any()
    ]
    return reduce(operator.add, terms)


def _column(values: Array, like: Tensor, axis: _Axis) -> Array:
    """``values`` along ``axis`` of something of the rank of ``like``."""
    return values.reshape([-1 if a == axis.number else 1 for a in range(like.ndim)])
