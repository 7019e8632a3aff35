"""`resize`: a tensor at other sizes, by its nearest elements, or by linear or cubic interpolation.

Comes in: a tensor with static sizes along some axes. Goes out: its values at more or fewer places.
Where these lie and how much their neighbours weigh is known while the graph is built, so resizing
is one sum of takes per axis (one product with a matrix where there are many neighbours), and its
gradient follows. An axis that grows by a whole factor sees the same neighbours over and over: there
the sums are of whole slices, and its size may have a name. The options are those of ONNX Resize,
opset 19:

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.dims import Dim, Size, evaluate
from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.manners import at_user_line, axes_of
from graphc.frontends.dsl.shaping import concatenate, moveaxis, stack, take, tensordot
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Array
from graphc.ops.window import Windows, spread

MOST_TAKES = 8
"""Neighbours that are taken one by one at most; more are a product with a matrix."""
MOST_PARTS = 8
"""The largest factor by which an axis grows in slices."""
STAND_IN = 32
"""The extent of an axis whose size has a name, to find out what repeats along it."""


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
    """One axis: its size before and after, their ratio, and the part of it that is seen.

    A size that has a name is `STAND_IN` here.
    """

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
    sizes: Sequence[Size] | None = None,
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
    GC0102, GC0103, GC0104, GC0305 (named sizes that do not grow by whole factors).
    """
    value = tensor(x)
    how = _How(mode, coordinates, rounding, cubic, exclude_outside, antialias)
    plan = _plan(value, sizes, scales, axes, regions)
    _check(how, value, regions)
    wide = value.astype(value.dtype.computing) if mode != "nearest" else value
    changing = [axis for axis in plan if axis.changes]
    times = {axis.number: t for axis in changing if (t := _repetitions(axis, how))}
    if 0 in value.shape:
        times = {}
    wide = _repeated(wide, times) if times else wide
    for axis in changing:
        if axis.number not in times:
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
    sizes: Sequence[Size] | None,
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
    factors = [None] * count if scales is None else [float(scale) for scale in scales]
    wanted = [None] * count if sizes is None else [*sizes]
    given_axes = zip(places, wanted, factors, seen, strict=True)
    return [_axis(a, x.shape[a], size, factor, region) for a, size, factor, region in given_axes]


def _axis(
    number: int,
    extent: Size,
    size: Size | None,
    scale: float | None,
    region: tuple[float, float],
) -> _Axis:
    """One axis, of which a size or a scale is given. Raises `UserError` GC0104, GC0305."""
    if isinstance(extent, Dim) or isinstance(size, Dim):
        size, extent = STAND_IN * _times(extent, size, scale), STAND_IN
    length = math.floor(extent * (scale or 0)) if size is None else operator.index(size)
    ratio = length / (extent or 1) if scale is None else scale
    if length < 0 or (length > 0 and (extent == 0 or ratio <= 0)):
        raise UserError("GC0104", f"resize: {extent} elements to {length}")
    return _Axis(number, extent, length, ratio, region)


def _times(extent: Size, size: Size | None, scale: float | None) -> int:
    """The whole factor by which a named size grows; GC0305 when there is none."""
    factor: Any = scale
    if isinstance(size, Dim) and scale is None:
        factor = size.divide_exact(extent)
    whole = isinstance(factor, float | int) and factor == round(factor)
    if not whole or (size is not None and size != extent * round(factor)):
        return evaluate(size or extent, {}) // evaluate(extent, {})
    return int(factor)


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
        _check_number(x, axis)
        y = take(x, _nearest(axis, how), axis.number)
    else:
        y = _blended(x, axis, *_neighbours(place, axis, how))
    beyond = (place < 0) | (place > axis.extent - 1)
    if how.coordinates != "tf_crop_and_resize" or not beyond.any():
        return y
    return where(_column(beyond, x, axis), outside, y)


def _nearest(axis: _Axis, how: _How) -> Array:
    """The position of the nearest element of each element."""
    place = _COORDINATES[how.coordinates](np.arange(axis.size, dtype=np.float64), axis)
    found: Array = _ROUNDINGS[how.rounding](place).clip(0, max(axis.extent - 1, 0)).astype(np.int64)
    return found


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


def _blended(x: Tensor, axis: _Axis, positions: Array, weights: Array) -> Tensor:
    """The sums of the elements at ``positions`` times ``weights``."""
    if (offsets := _offsets(axis, positions, weights)) is not None:
        return _in_parts(x, axis, offsets, weights)
    _check_number(x, axis)
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


def _check_number(x: Tensor, axis: _Axis) -> None:
    """Raises GC0305 for a named size: here every element has neighbours of its own."""
    evaluate(x.shape[axis.number], {})


def _column(values: Array, like: Tensor, axis: _Axis) -> Array:
    """``values`` along ``axis`` of something of the rank of ``like``."""
    return values.reshape([-1 if a == axis.number else 1 for a in range(like.ndim)])


# Whole factors ------------------------------------------------------------------------------------
def _repetitions(axis: _Axis, how: _How) -> int:
    """How often each element stands beside itself, when all of them do so equally often; else 0."""
    times, rest = divmod(axis.size, axis.extent or 1)
    if how.mode != "nearest" or rest or how.coordinates == "tf_crop_and_resize":
        return 0
    return times if (_nearest(axis, how) == np.arange(axis.size) // max(times, 1)).all() else 0


def _repeated(x: Tensor, times: Mapping[int, int]) -> Tensor:
    """Each element ``times`` along the axes: what the gradient of a sum of windows does, whose
    kernels write all the copies of an element at once.
    """
    counts = tuple(times.get(axis, 1) for axis in range(min(times), x.ndim))
    none, near = (0,) * len(counts), (1,) * len(counts)
    shape = tuple(n * times.get(axis, 1) for axis, n in enumerate(x.shape))
    return Tensor(spread(Windows(counts, counts, near, none, none), shape, x.node))


def _offsets(axis: _Axis, positions: Array, weights: Array) -> Array | None:
    """How far before or behind element k the neighbours of elements ``k*times + part`` of the
    result are, [times, neighbours], where they and their weights depend on the part alone; else
    None.
    """
    times, rest = divmod(axis.size, axis.extent or 1)
    if rest or not 2 <= times <= MOST_PARTS:
        return None
    middle = axis.extent // 2
    by_part = positions.reshape(axis.extent, times, -1)
    offsets: Array = by_part[middle] - middle
    clipped = (np.arange(axis.extent)[:, None, None] + offsets).clip(0, axis.extent - 1)
    alike = weights.reshape(by_part.shape)
    same = (by_part == clipped).all() and np.allclose(alike, alike[middle], rtol=0, atol=1e-12)
    return offsets if same else None


def _in_parts(x: Tensor, axis: _Axis, offsets: Array, weights: Array) -> Tensor:
    """The sums of neighbours for each part of the result, interleaved."""
    low, high = max(-offsets.min(), 0), max(offsets.max(), 0)
    place, extent = axis.number, x.shape[axis.number]
    before = (slice(None),) * place
    first, last = x[(*before, slice(0, 1))], x[(*before, slice(extent - 1, extent))]
    wide = concatenate([*[first] * low, x, *[last] * high], place)
    shares = weights[axis.extent // 2 * len(offsets) :]

    def part(number: int) -> Tensor:
        starts = (offsets[number] + low).tolist()
        terms = (
            wide[(*before, slice(start, start + extent))] * weight
            for start, weight in zip(starts, shares[number].tolist(), strict=True)
            if weight
        )
        total: Tensor = reduce(operator.add, terms)
        return total

    parts: Tensor = stack([part(number) for number in range(len(offsets))], place + 1)
    return parts.reshape((*x.shape[:place], extent * len(offsets), *x.shape[place + 1 :]))
