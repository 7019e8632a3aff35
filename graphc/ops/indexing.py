"""Reading and adding at indices that are data: take and scatter, for whole slices or elements.

Comes in: a node and an integer node. Goes out: the elements found there, or the sum of updates put
there. A separate file because only here does data decide where memory is read or written, so only
here can a run fail: a negative index counts from the end, and any other miss is GC0306. Each take
has its scatter as adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.expr import Apply, Bounded, Expr, Iter, Lit, Reduce, Select, cast
from graphc.graph import Array, Node, Op, Read
from graphc.ops.elementwise import full_like
from graphc.ops.movement import inverse, reshape, transpose
from graphc.ops.reduction import broadcast_in, repeated, static
from graphc.scalars import SCALARS, identity_of
from graphc.types import BOOL, INT64, TensorType

Index = tuple[Expr, ...]
Target = tuple[Index, Expr]


@dataclass(frozen=True)
class Take(Op):
    """``axis`` of x gives way to the axes of ``indices``: x[..., indices, ...] as by `np.take`."""

    kind: ClassVar[str] = "compute"
    axis: int

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_indices(self, self.axis, x, indices)
        return x.with_shape((*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def eval(self, x: Array, indices: Array) -> Array:
        return x.take(from_front(self, indices, x.shape[self.axis]), self.axis)

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple[Node | None, ...]:
        return ScatterAdd(self.axis)(full_like(0.0, x), indices, g), None

    def batch(self, x: Node, indices: Node) -> Node:
        same, axis, count = repeated(indices), self.axis + 1, indices.type.rank - 1
        if same is not None:
            return Take(axis)(x, same)
        rows = as_rows(x, axis, 1)
        found = TakeAlongAxis(1)(rows, _for_rows(indices, rows))
        shape = (*x.shape[:axis], *indices.shape[1:], *x.shape[axis + 1 :])
        return from_rows(found, shape, axis, count)

    def at(self, index: Index, x: Read, indices: Read) -> Expr:
        lead, inner, tail = _parts(index, self.axis, indices.type.rank)
        place = _bounded(self, indices(*inner), x.type.static_shape[self.axis])
        return x(*lead, place, *tail)


@dataclass(frozen=True)
class ScatterAdd(Op):
    """``base`` with ``updates`` added at ``indices`` along ``axis``; equal indices add up.

    The updates have the shape that `Take` gives for base and indices.
    """

    kind: ClassVar[str] = "scatter"
    axis: int

    @property
    def name(self) -> str:
        return "scatter_add"

    @property
    def combine(self) -> str:
        return "add"

    def infer(self, base: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        _check_updates(self, base, Take(self.axis).infer(base, indices), updates)
        return base

    def eval(self, base: Array, indices: Array, updates: Array) -> Array:
        result = base.copy()
        place = from_front(self, indices, base.shape[self.axis])
        before: Any = (slice(None),) * self.axis
        np.add.at(result, (*before, place), updates)
        return result

    def grad(
        self, g: Node, y: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        return g, None, Take(self.axis)(g, indices)

    def batch(self, base: Node, indices: Node, updates: Node) -> Node:
        same, axis, count = repeated(indices), self.axis + 1, indices.type.rank - 1
        if same is not None:
            return ScatterAdd(axis)(base, same, updates)
        rows = as_rows(base, axis, 1)
        added = as_rows(updates, axis, count)
        found = ScatterAddAlongAxis(1)(rows, _for_rows(indices, rows), added)
        return from_rows(found, base.shape, axis, 1)

    def scatter(self, index: Index, base: Read, indices: Read, updates: Read) -> Target:
        lead, inner, tail = _parts(index, self.axis, indices.type.rank)
        place = _bounded(self, indices(*inner), base.type.static_shape[self.axis])
        return (*lead, place, *tail), updates(*index)

    def at(self, index: Index, base: Read, indices: Read, updates: Read) -> Expr:
        extent = base.type.static_shape[self.axis]
        inner = tuple(map(Iter, indices.type.static_shape))
        lead, (own,), tail = _parts(index, self.axis, 1)
        place = _bounded(self, indices(*inner), extent)
        value = updates(*lead, *inner, *tail)
        return _combined(self.combine, base(*index), inner, _is_there(place, own), value)


@dataclass(frozen=True)
class TakeAlongAxis(Op):
    """``y[..., i, ...] = x[..., indices[..., i, ...], ...]``, as NumPy's take_along_axis.

    Indices have the shape of x but for ``axis``.
    """

    kind: ClassVar[str] = "compute"
    axis: int

    @property
    def name(self) -> str:
        return "take_along_axis"

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        _check_indices(self, self.axis, x, indices)
        rest = (self.axis,)
        if x.rank != indices.rank or x.drop(rest).shape != indices.drop(rest).shape:
            raise UserError(
                "GC0101",
                f"{self.name}: {x} and indices {indices}",
                why=f"they must agree in every axis but {self.axis}",
            )
        return x.with_shape(indices.shape)

    def eval(self, x: Array, indices: Array) -> Array:
        place = from_front(self, indices, x.shape[self.axis])
        return np.take_along_axis(x, place, self.axis)

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple[Node | None, ...]:
        return ScatterAddAlongAxis(self.axis)(full_like(0.0, x), indices, g), None

    def batch(self, x: Node, indices: Node) -> Node:
        return TakeAlongAxis(self.axis + 1)(x, indices)

    def at(self, index: Index, x: Read, indices: Read) -> Expr:
        place = _bounded(self, indices(*index), x.type.static_shape[self.axis])
        return x(*index[: self.axis], place, *index[self.axis + 1 :])


@dataclass(frozen=True)
class ScatterAddAlongAxis(Op):
    """``base`` with updates[..., i, ...] added at [..., indices[..., i, ...], ...]; all add up."""

    kind: ClassVar[str] = "scatter"
    axis: int

    @property
    def name(self) -> str:
        return "scatter_add_along_axis"

    @property
    def combine(self) -> str:
        return "add"

    def infer(self, base: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        _check_updates(self, base, TakeAlongAxis(self.axis).infer(base, indices), updates)
        return base

    def eval(self, base: Array, indices: Array, updates: Array) -> Array:
        result = base.copy()
        places: list[Array] = list(np.indices(indices.shape, sparse=True))
        places[self.axis] = from_front(self, indices, base.shape[self.axis])
        np.add.at(result, tuple(places), updates)
        return result

    def grad(
        self, g: Node, y: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        return g, None, TakeAlongAxis(self.axis)(g, indices)

    def batch(self, base: Node, indices: Node, updates: Node) -> Node:
        return ScatterAddAlongAxis(self.axis + 1)(base, indices, updates)

    def scatter(self, index: Index, base: Read, indices: Read, updates: Read) -> Target:
        place = _bounded(self, indices(*index), base.type.static_shape[self.axis])
        return (*index[: self.axis], place, *index[self.axis + 1 :]), updates(*index)

    def at(self, index: Index, base: Read, indices: Read, updates: Read) -> Expr:
        step = Iter(indices.type.static_shape[self.axis])
        lead, (own,), tail = _parts(index, self.axis, 1)
        source = (*lead, step, *tail)
        place = _bounded(self, indices(*source), base.type.static_shape[self.axis])
        value = updates(*source)
        return _combined(self.combine, base(*index), (step,), _is_there(place, own), value)


@dataclass(frozen=True)
class RavelIndex(Op):
    """The row-major number (int64) in ``shape`` of the element at one position per axis.

    Positions are integers of one shape; negative ones count from the end, any other miss is GC0306
    and names the axis by its size.
    """

    kind: ClassVar[str] = "pointwise"
    shape: tuple[Size, ...]

    @property
    def name(self) -> str:
        return "ravel_index"

    def infer(self, *indices: TensorType) -> TensorType:
        if not indices or len(indices) != len(self.shape):
            raise UserError("GC0103", f"{len(indices)} positions for {len(self.shape)} axes")
        if any(i.shape != indices[0].shape for i in indices):
            names = " and ".join(map(str, indices))
            raise UserError("GC0101", f"{self.name}: positions of shapes {names}")
        for i in indices:
            _check_integers(self, i)
        return indices[0].with_dtype(INT64)

    def eval(self, *indices: Array) -> Array:
        number = np.zeros(indices[0].shape, np.int64)
        for place, extent in zip(indices, static(self.shape), strict=True):
            number = number * extent + from_front(self, place, extent)
        return np.asarray(number)

    def at(self, index: Index, *indices: Read) -> Expr:
        number: Expr = Lit(0, INT64)
        for place, extent in zip(indices, static(self.shape), strict=True):
            number = number * extent + _bounded(self, place(*index), extent)
        return number


def as_rows(x: Node, axis: int, count: int) -> Node:
    """A stack, its ``count`` axes from ``axis`` on as one, all others as another: [B, K, R]."""
    order = _gathered(x.type.rank, axis, count)
    sizes = [x.shape[a] for a in order]
    shape = (sizes[0], product(sizes[1 : count + 1]), product(sizes[count + 1 :]))
    return reshape(transpose(x, order), shape)


def from_rows(rows: Node, shape: tuple[Size, ...], axis: int, count: int) -> Node:
    """The inverse of `as_rows`."""
    order = _gathered(len(shape), axis, count)
    return transpose(reshape(rows, tuple(shape[a] for a in order)), inverse(order))


def _gathered(rank: int, axis: int, count: int) -> tuple[int, ...]:
    chosen = range(axis, axis + count)
    return (0, *chosen, *(a for a in range(1, rank) if a not in chosen))


def _for_rows(indices: Node, rows: Node) -> Node:
    """Indices [B, *K] as [B, K, R]: one for every element of the rows."""
    flat = reshape(indices, (indices.shape[0], product(indices.shape[1:])))
    return broadcast_in(flat, (*flat.shape, rows.shape[2]), (0, 1))


def _parts(index: Index, axis: int, count: int) -> tuple[Index, Index, Index]:
    """The axes before ``axis``, the ``count`` axes that stand for it, and those after."""
    return index[:axis], index[axis : axis + count], index[axis + count :]


def _bounded(op: Op, index: Expr, extent: int) -> Expr:
    """An index from data, counted from the front and checked."""
    signed = index.dtype.kind == "int"
    place = cast(index, INT64)
    if signed:
        negative = Apply("less", (place, Lit(0, INT64)), BOOL)
        shifted = Apply("add", (place, Lit(extent, INT64)), INT64)
        place = Apply("where", (negative, shifted, place), INT64)
    return Bounded(place, extent, op)


def _is_there(place: Expr, own: Expr) -> Expr:
    return Apply("equal", (place, own), BOOL)


def _combined(
    function: str, base: Expr, iters: tuple[Iter, ...], chosen: Expr, value: Expr
) -> Expr:
    """``base`` with every ``value`` combined in that is ``chosen``."""
    nothing = Lit(identity_of(SCALARS[function], value.dtype), value.dtype)
    each = Select(chosen, value, nothing)
    found = Reduce(function, iters, each) if iters else each
    return Apply(function, (base, found), base.dtype)


def from_front(op: Op, indices: Array, extent: int) -> Array:
    """Indices counted from the front. Raises `UserError` GC0306 for the first one out of bounds."""
    place = np.asarray(indices, np.int64)
    place = np.where(place < 0, place + extent, place)
    wrong = (place < 0) | (place >= extent)
    if wrong.any():
        raise UserError(
            "GC0306",
            f"{op.name}: index {indices[wrong].flat[0]} in an axis of {extent}",
            why=f"indices run from {-extent} to {extent - 1}",
            fix="check the labels or tokens that are looked up",
        )
    return place


def _check_indices(op: Op, axis: int, x: TensorType, indices: TensorType) -> None:
    if not 0 <= axis < x.rank:
        raise UserError("GC0104", f"{op.name}: axis {axis} of {x}")
    _check_integers(op, indices)


def _check_integers(op: Op, indices: TensorType) -> None:
    if not indices.dtype.is_integer:
        raise UserError(
            "GC0102",
            f"{op.name}: indices of {indices.dtype.name}",
            why="positions are integers",
            fix="cast the indices, e.g. to int64",
        )


def _check_updates(op: Op, base: TensorType, wanted: TensorType, updates: TensorType) -> None:
    if updates != wanted or base.dtype.kind == "bool":
        raise UserError("GC0101", f"{op.name}: updates {updates} for {wanted} of {base}")
