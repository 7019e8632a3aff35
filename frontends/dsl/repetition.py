"""Copies of a tensor and of its elements: tile, repeat, roll, rot90, meshgrid, and outer layouts.

Comes in: tensors and how often. Goes out: the same elements at more or at other places; nothing is
computed. All raise `UserError` GC0101 (sizes), GC0103 (number of axes), GC0104 (axes, counts).
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from graphc.dims import Dim, Size, evaluate
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import concatenate, flip, swapaxes, take
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Array, Node
from graphc.ops.movement import reshape
from graphc.ops.reduction import broadcast_in


@at_user_line
def tile(x: Value, repetitions: Size | Sequence[Size]) -> Tensor:
    """``x`` so many times along each axis, also a named size; counts are aligned at the last axis,
    as in NumPy.
    """
    value = tensor(x)
    counts = [_count("tile", n) for n in _several(repetitions)]
    missing = len(counts) - value.ndim
    node = reshape(value.node, (*(1,) * missing, *value.shape))
    for axis, count in enumerate([*(1,) * -missing, *counts]):
        node = tiled(node, axis, count)
    return Tensor(node)


def tiled(x: Node, axis: int, count: Size) -> Node:
    """``count`` copies of ``x``, one after another along ``axis``: no element is moved twice."""
    before, extent, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if count == 1:
        return x
    kept = tuple(a for a in range(x.type.rank + 1) if a != axis)
    copies = broadcast_in(x, (*before, count, extent, *after), kept)
    return reshape(copies, (*before, count * extent, *after))


@at_user_line
def repeat(x: Value, repeats: Size | Sequence[int], axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along ``axis``, or in the flattened tensor for None.

    ``repeats`` is a number or named size, or a number for each element of the axis.
    """
    value = tensor(x).flatten() if axis is None else tensor(x)
    place = manners.axis_of(axis or 0, value.ndim)
    counts = [_count("repeat", n) for n in _several(repeats)]
    if len(counts) != 1:
        return take(value, _positions(value, place, counts), place)
    before, extent, after = value.shape[:place], value.shape[place], value.shape[place + 1 :]
    kept = tuple(a for a in range(value.ndim + 1) if a != place + 1)
    copies = broadcast_in(value.node, (*before, extent, counts[0], *after), kept)
    return Tensor(reshape(copies, (*before, extent * counts[0], *after)))


def _positions(x: Tensor, axis: int, counts: Sequence[Size]) -> Array:
    if len(counts) != x.shape[axis]:
        raise UserError(
            "GC0101", f"repeat: {len(counts)} counts for axis {axis} of {x.node.type}",
            fix="give one count for each element of the axis, or a single one",
        )  # fmt: skip
    return np.repeat(np.arange(len(counts)), [evaluate(n, {}) for n in counts])


@at_user_line
def roll(x: Value, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Tensor:
    """The elements moved on by ``shift`` along ``axis``; those that leave enter at the other end.

    Several axes take a shift each, or one for all; for None the tensor is rolled as if flattened.
    """
    value = tensor(x)
    if axis is None:
        return roll(value.flatten(), shift, 0).reshape(value.shape)
    axes = [manners.axis_of(a, value.ndim) for a in _several(axis)]
    shifts = [operator.index(s) for s in _several(shift)]
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    if len(shifts) != len(axes):
        raise UserError("GC0104", f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for place, amount in zip(axes, shifts, strict=True):
        value = _rolled(value, amount, place)
    return value


def _rolled(x: Tensor, shift: int, axis: int) -> Tensor:
    extent = x.shape[axis]
    if isinstance(extent, int):
        shift = shift % extent if extent else 0
    if shift == 0:
        return x
    front = (slice(None),) * axis
    return concatenate([x[(*front, slice(-shift, None))], x[(*front, slice(-shift))]], axis)


@at_user_line
def rot90(x: Value, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """``x`` turned by ``k`` right angles in the plane of two axes, the first towards the second."""
    value = tensor(x)
    plane = manners.axes_of(axes, value.ndim)
    if len(plane) != 2:
        raise UserError("GC0104", f"rot90: axes {plane}", fix="name two axes, e.g. (0, 1)")
    first, second = plane
    if k % 4 == 0:
        return value
    if k % 4 == 2:
        return flip(value, (first, second))
    turned = swapaxes(value, first, second)
    return flip(turned, first if k % 4 == 1 else second)


@at_user_line
def broadcast_arrays(*tensors: Value) -> tuple[Tensor, ...]:
    """All tensors repeated to their common shape; each keeps its dtype."""
    nodes = [tensor(x).node for x in tensors]
    return tuple(Tensor(x) for x in manners.stretch("broadcast_arrays", nodes))


@at_user_line
def meshgrid(*tensors: Value, indexing: Literal["xy", "ij"] = "xy") -> tuple[Tensor, ...]:
    """Coordinates of a grid from the vectors of its axes: one tensor for each of them.

    "ij" has the axes in their order, "xy" exchanges the first two.
    """
    vectors = [tensor(x) for x in tensors]
    if wrong := [x for x in vectors if x.ndim > 1]:
        raise UserError("GC0103", f"meshgrid of {wrong[0].node.type}", fix="pass vectors")
    if indexing not in ("xy", "ij"):
        raise UserError("GC0104", f"meshgrid: indexing {indexing!r}", fix="use 'xy' or 'ij'")
    order = list(range(len(vectors)))
    if indexing == "xy" and len(vectors) > 1:
        order[:2] = 1, 0
    flat = [x.flatten() for x in vectors]
    shape = tuple(flat[k].shape[0] for k in order)
    grids = (broadcast_in(x.node, shape, (order[k],)) for k, x in enumerate(flat))
    return tuple(map(Tensor, grids))


def _several(value: Size | Iterable[Size]) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) else (value,)


def _count(name: str, value: Size) -> Size:
    if isinstance(value, Dim):
        return value
    count = operator.index(value)
    if count < 0:
        raise UserError("GC0104", f"{name}: {count} copies", fix="use a count of at least 0")
    return count
