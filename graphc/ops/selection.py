"""Ops that pick or place a part of a tensor: slice, flip, pad, concatenate, interleave.

Comes in: nodes. Goes out: the same values at fewer or more indices. Slice and Pad are each other's
adjoint, steps and interior zeros included, so gradients of both stay within the pair.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, product
from typing import Any, ClassVar, cast

import numpy as np

from graphc.dims import Size
from graphc.errors import UserError
from graphc.expr import Expr, Lit, Select, apply
from graphc.graph import Array, Node, Op, Read
from graphc.index import bounds
from graphc.ops.guards import divisible, guarded, promised, within
from graphc.ops.movement import reshape
from graphc.ops.reduction import static, sum_over
from graphc.types import INT64, Scalar, TensorType, dtype, weak_dtype


@dataclass(frozen=True)
class Slice(Op):
    """``x[start:stop:step]`` on every axis; steps are positive (`Flip` turns an axis around).

    Starts and stops count from the front and lie within the axis: frontends clip them first.
    """

    kind: ClassVar[str] = "free"
    starts: tuple[Size, ...]
    stops: tuple[Size, ...]
    steps: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if not len(self.starts) == len(self.stops) == len(self.steps) == x.rank:
            raise UserError("GC0103", f"slice of {x}: needs a start, stop and step per axis")
        for start, stop, step, extent in zip(
            self.starts, self.stops, self.steps, x.shape, strict=True
        ):
            inside = _at_most(0, start) and _at_most(start, stop) and _at_most(stop, extent)
            if step < 1 or not inside:
                raise UserError(
                    "GC0104",
                    f"slice {start}:{stop}:{step} of an axis of {extent}",
                    why="0 <= start <= stop <= extent, and steps are positive",
                    fix="clip the ends; flip the axis to walk backwards",
                )
        ends = zip(self.starts, self.stops, self.steps, strict=True)
        return x.with_shape((stop - start + step - 1) // step for start, stop, step in ends)

    def eval(self, x: Array) -> Array:
        ends = zip(static(self.starts), static(self.stops), self.steps, strict=True)
        return x[tuple(slice(*end) for end in ends)]

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (self.inside(g, x.shape),)

    def inside(self, y: Node, shape: tuple[Size, ...], value: Scalar = 0) -> Node:
        """A tensor of ``shape`` whose slice is ``y``, with ``value`` elsewhere."""
        interior = tuple(step - 1 for step in self.steps)
        sizes = zip(shape, self.starts, y.shape, interior, strict=True)
        high = tuple(
            extent - start - (kept + (kept - 1) * gap if kept != 0 else 0)
            for extent, start, kept, gap in sizes
        )
        return Pad(self.starts, high, interior, value=value)(y)

    def batch(self, x: Node) -> Node:
        return Slice((0, *self.starts), (x.shape[0], *self.stops), (1, *self.steps))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        places = zip(index, static(self.starts), self.steps, strict=True)
        return x(*(i * step + start for i, start, step in places))


def _at_most(low: Size, high: Size) -> bool:
    """``low <= high``, as far as it can be told before named sizes are known."""
    gap = high - low
    return not isinstance(gap, int) or gap >= 0


@dataclass(frozen=True)
class Flip(Op):
    """The elements in reverse order along ``axes``."""

    kind: ClassVar[str] = "free"
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if len(set(self.axes)) != len(self.axes) or not all(0 <= a < x.rank for a in self.axes):
            raise UserError("GC0104", f"flip: axes {self.axes} of {x}")
        return x

    def eval(self, x: Array) -> Array:
        return np.flip(x, self.axes)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (Flip(self.axes)(g),)

    def batch(self, x: Node) -> Node:
        return Flip(tuple(a + 1 for a in self.axes))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        extents = enumerate(zip(index, x.type.static_shape, strict=True))
        return x(*(n - 1 - i if a in self.axes else i for a, (i, n) in extents))


@dataclass(frozen=True)
class Pad(Op):
    """``low`` elements before, ``high`` after and ``interior`` between neighbours, per axis.

    ``mode`` says what they are: "constant" (``value``), "reflect" (mirrored about the edge, which
    is not repeated) or "edge" (the nearest element); the last two take no interior. The interior
    is that of XLA's pad, so that the gradient of a strided slice is a pad.
    """

    kind: ClassVar[str] = "compute"
    low: tuple[Size, ...]
    high: tuple[Size, ...]
    interior: tuple[int, ...]
    mode: str = "constant"
    value: Scalar = 0

    def infer(self, x: TensorType) -> TensorType:
        if not len(self.low) == len(self.high) == len(self.interior) == x.rank:
            raise UserError("GC0103", f"pad of {x}: needs low, high and interior per axis")
        if self.mode == "constant":
            weak_dtype(self.value, x.dtype)
        if not all(self._allows(axis, extent) for axis, extent in enumerate(x.shape)):
            raise UserError(
                "GC0104",
                f"pad of {x} by {self.low} and {self.high}, mode {self.mode!r}",
                why="sizes are >= 0, modes constant, reflect (by less than the extent) and edge",
            )
        sizes = zip(self.low, self.high, self.interior, x.shape, strict=True)
        return x.with_shape(low + high + _spread(n, gap) for low, high, gap, n in sizes)

    def _allows(self, axis: int, extent: Size) -> bool:
        low, high, gap = self.low[axis], self.high[axis], self.interior[axis]
        positive = gap >= 0 and _at_most(0, low) and _at_most(0, high)
        if self.mode == "constant" or low == high == gap == 0:
            return positive
        needed = {"edge": (1,), "reflect": (low + 1, high + 1)}.get(self.mode, (extent + 1,))
        return positive and gap == 0 and all(_at_most(room, extent) for room in needed)

    def eval(self, x: Array) -> Array:
        low, high = static(self.low), static(self.high)
        if self.mode == "constant" or not x.ndim:  # np.pad wants an axis
            shape = self.infer(TensorType(dtype(x.dtype), x.shape)).static_shape
            out = np.full(shape, self.value, x.dtype)
            ends = zip(low, x.shape, self.interior, strict=True)
            out[tuple(slice(a, a + _spread(n, gap), gap + 1) for a, n, gap in ends)] = x
            return out
        padded: Array = np.pad(x, [*zip(low, high, strict=True)], mode=cast("Any", self.mode))
        return padded

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        if self.mode != "constant":
            for axis, extent in enumerate(x.shape):
                g = _fold_back(g, axis, self.low[axis], extent, self.mode)
            return (g,)
        ends = zip(self.low, x.shape, self.interior, strict=True)
        stops = tuple(low + _spread(n, gap) for low, n, gap in ends)
        return (Slice(self.low, stops, tuple(gap + 1 for gap in self.interior))(g),)

    def batch(self, x: Node) -> Node:
        low, high, interior = (0, *self.low), (0, *self.high), (0, *self.interior)
        return replace(self, low=low, high=high, interior=interior)(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        extents = x.type.static_shape
        places = [i - low for i, low in zip(index, static(self.low), strict=True)]
        if self.mode != "constant":
            kept, ends = _SOURCES[self.mode], zip(self.low, self.high, strict=True)
            axes = zip(places, extents, ends, strict=True)
            return x(*(i if end == (0, 0) else kept(i, extent) for i, extent, end in axes))
        if 0 in extents:
            return Lit(self.value, x.type.dtype.computing)
        guards: list[Expr] = []
        for place, gap, extent in zip(places, self.interior, extents, strict=True):
            guards += within(place, _spread(extent, gap)) + divisible(place, gap + 1)
        source = (place // (gap + 1) for place, gap in zip(places, self.interior, strict=True))
        return guarded(guards, x(*promised(source, extents)), self.value)


def _spread(extent: Size, gap: int) -> Any:
    """The extent with ``gap`` elements between neighbours."""
    return extent + (extent - 1) * gap if extent != 0 else 0


def _nearest(place: Expr, extent: int) -> Expr:
    return apply("minimum", apply("maximum", place, 0), extent - 1)


def _mirrored(place: Expr, extent: int) -> Expr:
    if extent == 1:
        return Lit(0, INT64)
    return apply("minimum", apply("maximum", place, -place), 2 * (extent - 1) - place)


_SOURCES: dict[str, Callable[[Expr, int], Expr]] = {"edge": _nearest, "reflect": _mirrored}


def _fold_back(g: Node, axis: int, low: Size, extent: Size, mode: str) -> Node:
    """The adjoint of padding an axis by its own elements: the borders go where they came from."""
    high = g.shape[axis] - extent - low
    before = slice_axis(g, axis, 0, low)
    after = slice_axis(g, axis, low + extent, g.shape[axis])
    total = slice_axis(g, axis, low, low + extent)
    if low != 0:
        if mode == "edge":
            total = total + pad_axis(_sum_keep(before, axis), axis, 0, extent - 1)
        else:
            total = total + pad_axis(flip(before, (axis,)), axis, 1, extent - 1 - low)
    if high != 0:
        if mode == "edge":
            total = total + pad_axis(_sum_keep(after, axis), axis, extent - 1, 0)
        else:
            total = total + pad_axis(flip(after, (axis,)), axis, extent - 1 - high, 1)
    return total


def _sum_keep(x: Node, axis: int) -> Node:
    return reshape(sum_over(x, (axis,)), (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


@dataclass(frozen=True)
class Concatenate(Op):
    """The inputs one after another along ``axis``; all other axes agree."""

    kind: ClassVar[str] = "compute"
    axis: int

    def infer(self, *types: TensorType) -> TensorType:
        if not types:
            raise UserError("GC0302", "concatenate needs at least one tensor")
        first = types[0]
        if not 0 <= self.axis < first.rank:
            raise UserError("GC0104", f"concatenate: axis {self.axis} of {first}")
        if any(t.dtype != first.dtype for t in types):
            names = " and ".join(dict.fromkeys(t.dtype.name for t in types))
            raise UserError("GC0102", f"concatenate: dtypes differ: {names}", fix="cast them first")
        rest = first.drop((self.axis,)).shape
        if any(t.rank != first.rank or t.drop((self.axis,)).shape != rest for t in types):
            raise UserError(
                "GC0101",
                f"concatenate: {' and '.join(map(str, types))} do not fit",
                why=f"all axes but axis {self.axis} must agree",
            )
        total = sum((t.shape[self.axis] for t in types), 0)
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def eval(self, *arrays: Array) -> Array:
        return np.concatenate(arrays, self.axis)

    def grad(self, g: Node, y: Node, *xs: Node) -> tuple[Node | None, ...]:
        ends = list(accumulate((x.shape[self.axis] for x in xs), initial=0))
        return tuple(slice_axis(g, self.axis, start, stop) for start, stop in pairwise(ends))

    def batch(self, *xs: Node) -> Node:
        return Concatenate(self.axis + 1)(*xs)

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        place, extents = index[self.axis], [x.type.static_shape[self.axis] for x in xs]
        starts = [*accumulate(extents, initial=0)]
        reach = bounds(place)
        parts = [
            (start, x)
            for start, extent, x in zip(starts, extents, xs, strict=False)
            if extent and (reach is None or (start <= reach[1] and reach[0] < start + extent))
        ]
        return self._pick(index, parts or [(0, xs[0])])

    def lands(self, number: int, index: tuple[Expr, ...], *types: TensorType) -> tuple[Expr, ...]:
        start = sum(t.static_shape[self.axis] for t in types[:number])
        return (*index[: self.axis], index[self.axis] + start, *index[self.axis + 1 :])

    def _pick(self, index: tuple[Expr, ...], parts: Sequence[tuple[int, Read]]) -> Expr:
        """A balanced tree of guards, so that its depth stays small for many inputs."""
        place, middle = index[self.axis], len(parts) // 2
        if len(parts) == 1:
            ((start, x),) = parts
            (own,) = promised([place - start], [x.type.static_shape[self.axis]])
            return x(*index[: self.axis], own, *index[self.axis + 1 :])
        before = apply("less", place, Lit(parts[middle][0], INT64))
        return Select(before, self._pick(index, parts[:middle]), self._pick(index, parts[middle:]))


@dataclass(frozen=True)
class Interleave(Op):
    """``y[*n, i, p, j, q] = xs[p, q][*n, i, j]``: parts dealt out in turn along the last axes.

    ``steps`` says how many there are along each of these axes; the inputs, all of one type, are in
    row-major order. Read as [*N, I*P, J*Q], y holds at i*P + p, j*Q + q what part p, q has at i, j.
    """

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    steps: tuple[int, ...]

    @property
    def unrolled(self) -> tuple[int, ...]:
        return tuple(range(1 - 2 * len(self.steps), 0, 2))

    def infer(self, *types: TensorType) -> TensorType:
        if len(types) != math.prod(self.steps) or any(t != types[0] for t in types):
            names = " and ".join(map(str, dict.fromkeys(types)))
            raise UserError(
                "GC0101",
                f"interleave: {len(types)} parts of {names}, steps {self.steps}",
                why="there is one part for each combination of places, and all are of one type",
            )
        lead = types[0].rank - len(self.steps)
        pairs = zip(types[0].shape[lead:], self.steps, strict=True)
        return types[0].with_shape((*types[0].shape[:lead], *(n for pair in pairs for n in pair)))

    def eval(self, *arrays: Array) -> Array:
        rank = len(self.steps)
        parts = np.stack(arrays, -1).reshape(*arrays[0].shape, *self.steps)
        lead = parts.ndim - 2 * rank
        order = [axis for k in range(lead, lead + rank) for axis in (k, k + rank)]
        return parts.transpose(*range(lead), *order)

    def grad(self, g: Node, y: Node, *xs: Node) -> tuple[Node | None, ...]:
        parts = (self._part(g, place) for place in product(*map(range, self.steps)))
        return tuple(reshape(part, x.shape) for part, x in zip(parts, xs, strict=True))

    def _part(self, g: Node, place: tuple[int, ...]) -> Node:
        for axis, number in zip(self.unrolled, place, strict=True):
            g = slice_axis(g, g.type.rank + axis, number, number + 1)
        return g

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        places = [len(index) + axis for axis in self.unrolled]
        kept = tuple(i for axis, i in enumerate(index) if axis not in places)
        number: Expr = Lit(0, INT64)
        for axis, step in zip(places, self.steps, strict=True):
            number = number * step + index[axis]
        if isinstance(number, Lit):
            return xs[int(number.value)](*kept)
        found = xs[-1](*kept)
        for k in reversed(range(len(xs) - 1)):
            found = Select(apply("equal", number, Lit(k, INT64)), xs[k](*kept), found)
        return found


def slice_axis(x: Node, axis: int, start: Size, stop: Size, step: int = 1) -> Node:
    """``x`` with only ``start:stop:step`` along one axis; itself when that is all of it."""
    if start == 0 and stop == x.shape[axis] and step == 1:
        return x
    starts = tuple(start if a == axis else 0 for a in range(x.type.rank))
    stops = tuple(stop if a == axis else n for a, n in enumerate(x.shape))
    steps = tuple(step if a == axis else 1 for a in range(x.type.rank))
    return Slice(starts, stops, steps)(x)


def crop(x: Node, starts: Sequence[Size], shape: Sequence[Size]) -> Node:
    """The block of ``shape`` that begins at ``starts``; ``x`` itself when that is all of it."""
    if tuple(shape) == x.shape:
        return x
    stops = tuple(start + extent for start, extent in zip(starts, shape, strict=True))
    return Slice(tuple(starts), stops, (1,) * len(stops))(x)


def pad(x: Node, low: Sequence[Size], high: Sequence[Size], value: Scalar = 0) -> Node:
    """``x`` with ``value`` around it; itself when there is nothing to add."""
    if not any(amount != 0 for amount in (*low, *high)):
        return x
    return Pad(tuple(low), tuple(high), (0,) * x.type.rank, value=value)(x)


def pad_axis(x: Node, axis: int, low: Size, high: Size, value: Scalar = 0) -> Node:
    """``x`` with ``value`` before and after along one axis."""

    def only(amount: Size) -> list[Size]:
        return [amount if a == axis else 0 for a in range(x.type.rank)]

    return pad(x, only(low), only(high), value)


def flip(x: Node, axes: Sequence[int]) -> Node:
    """``x`` reversed along ``axes``; itself for none."""
    return Flip(tuple(axes))(x) if axes else x


def concatenate(parts: Sequence[Node], axis: int) -> Node:
    """``parts`` one after another along ``axis``; the part itself when there is only one."""
    return parts[0] if len(parts) == 1 else Concatenate(axis)(*parts)
