"""Positional encodings: what tells a transformer in which order its inputs stand.

Comes in: features ``[..., places, features]``, or with the places along another axis. Goes out: the
same with the position added, or turned into them. A separate file because attention itself sees a
set; here the order enters. Nothing is stored but what is learned, and the number of places may be
a named size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange
from graphc.frontends.dsl.elementwise import cos, sin
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.shaping import concatenate, stack
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import init
from graphc.frontends.nn.init import Initialiser, Rng
from graphc.frontends.nn.module import Module
from graphc.ops.reduction import broadcast_in
from graphc.ops.selection import crop


def _angles(places: Tensor, features: int, base: float) -> Tensor:
    """``place * base**(-2k/features)`` for k below half of the features: ``[places, half]``."""
    rates = base ** (-np.arange(0, features, 2) / max(features, 1))
    return places[:, None] * rates


@at_user_line
def sinusoidal_positions(
    length: Size, features: int, base: float = 10000.0, dtype: Any = "float32"
) -> Tensor:
    """``[length, features]``: sines at even, cosines at odd features, of slower and slower turns.

    Feature 2k of place p is ``sin(p * base**(-2k/features))``, feature 2k+1 its cosine (Vaswani et
    al. 2017, section 3.5).
    """
    angles = _angles(arange(length).astype(dtype), features, base)
    pairs = stack([sin(angles), cos(angles)], -1)
    return pairs.reshape((length, 2 * angles.shape[1]))[:, :features]


@at_user_line
def rotary(
    x: Value, axis: int = -2, *, start: Value = 0, base: float = 10000.0, interleaved: bool = False
) -> Tensor:
    """``x`` with pairs of features turned by an angle that grows with the place along ``axis``.

    Pair k at place p turns by ``(start + p) * base**(-2k/features)``, so that the product of a
    query and a key depends on their distance alone (Su et al. 2021, RoFormer, section 3.4.2).
    A pair is (k, k + features/2), or neighbours (2k, 2k+1) if ``interleaved``, as in the paper.
    Same shape. Raises `UserError` GC0101 for an odd number of features, GC0104 for the axis of
    features.
    """
    value = tensor(x)
    features, place = value.shape[-1], _places(value, axis)
    if not isinstance(features, int) or features % 2:
        raise UserError("GC0101", f"{features} features in pairs", fix="use an even number")
    counter = (arange(value.shape[place]) + start).astype(value.dtype)
    turn = _angles(counter, features, base)
    if interleaved:
        pairs = value.reshape((*value.shape[:-1], features // 2, 2))
        first, second = pairs[..., 0], pairs[..., 1]
    else:
        first, second = value[..., : features // 2], value[..., features // 2 :]
    c, s = (_along(each, first, place) for each in (cos(turn), sin(turn)))
    turned = [first * c - second * s, second * c + first * s]
    return stack(turned, -1).reshape(value.shape) if interleaved else concatenate(turned, -1)


class SinusoidalPositions(Module):
    """Adds `sinusoidal_positions` along ``axis``; the last axis holds the features."""

    def __init__(self, axis: int = -2, base: float = 10000.0) -> None:
        self.axis, self.base = axis, base

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0104 for the axis of features."""
        value = tensor(x)
        place = _places(value, self.axis)
        features = value.shape[-1]
        if not isinstance(features, int):
            raise UserError("GC0104", f"the named size {features} of features", fix="use a number")
        return value + _along(
            sinusoidal_positions(value.shape[place], features, self.base, value.dtype), value, place
        )


class LearnedPositions(Module):
    """Adds the first rows of ``weight [count, features]`` along ``axis`` (Gehring et al. 2017)."""

    def __init__(
        self,
        count: int,
        features: int,
        axis: int = -2,
        *,
        rng: Rng = None,
        initialiser: Initialiser | None = None,
    ) -> None:
        make = initialiser or init.normal(0.02)
        self.axis = axis
        self.weight = parameter(make(init.generator(rng), (count, features)), "weight")

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101 (features), GC0104 (more places than rows)."""
        value = tensor(x)
        place = _places(value, self.axis)
        length = value.shape[place]
        count, features = self.weight.node.type.static_shape
        if value.shape[-1] != features:
            raise UserError("GC0101", f"positions of {features} features for {value.node.type}")
        if isinstance(length, int) and length > count:
            raise UserError(
                "GC0104", f"{length} places, {count} learned ones", fix="learn more positions"
            )
        rows = Tensor(crop(self.weight.node, (0, 0), (length, features)))
        return value + _along(rows, value, place)


class RotaryPositions(Module):
    """`rotary` as a layer, for queries and keys; without parameters."""

    def __init__(self, axis: int = -2, base: float = 10000.0, interleaved: bool = False) -> None:
        self.axis, self.base, self.interleaved = axis, base, interleaved

    def forward(self, x: Value, start: Value = 0) -> Tensor:
        """Same shape; ``start`` is the place of the first element."""
        options = {"start": start, "base": self.base, "interleaved": self.interleaved}
        return rotary(x, self.axis, **options)


def _places(x: Tensor, axis: int) -> int:
    """``axis`` from the front. Raises `UserError` GC0104 when it is that of the features."""
    place = axis_of(axis, x.ndim)
    if place == x.ndim - 1:
        raise UserError("GC0104", "places along the axis of features", fix="name another axis")
    return place


def _along(table: Tensor, like: Tensor, place: int) -> Tensor:
    """``[places, features]`` repeated along the other axes of ``like``."""
    return Tensor(broadcast_in(table.node, like.shape, (place, like.ndim - 1)))
