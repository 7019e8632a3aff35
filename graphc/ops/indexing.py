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

from graphc.errors import UserError
from graphc.expr import Apply, Bounded, Expr, Iter, Lit, Select, cast
from graphc.graph import Array, Node, Op, Read
from graphc.ops.elementwise import full_like
from graphc.ops.reduction import total
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
        return x.take(_normal(self, indices, x.shape[self.axis]), self.axis)

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple[Node | None, ...]:
        return ScatterAdd(self.axis)(full_like(0.0, x), indices, g), None

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

    def infer(self, base: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        _check_updates(self, base, Take(self.axis).infer(base, indices), updates)
        return base

    def eval(self, base: Array, indices: Array, updates: Array) -> Array:
        result = base.copy()
        place = _normal(self, indices, base.shape[self.axis])
        before: Any = (slice(None),) * self.axis
        np.add.at(result, (*before, place), updates)
        return result

    def grad(
        self, g: Node, y: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        return g, None, Take(self.axis)(g, indices)

    def scatter(self, index: Index, base: Read, indices: Read, updates: Read) -> Target:
        lead, inner, tail = _parts(index, self.axis, indices.type.rank)
        place = _bounded(self, indices(*inner), base.type.static_shape[self.axis])
        return (*lead, place, *tail), updates(*index)

    def at(self, index: Index, base: Read, indices: Read, updates: Read) -> Expr:
        extent = base.type.static_shape[self.axis]
        inner = tuple(map(Iter, indices.type.static_shape))
        lead, (own,), tail = _parts(index, self.axis, 1)
        place = _bounded(self, indices(*inner), extent)
        added = _where_equal(place, own, updates(*lead, *inner, *tail))
        return _plus(base(*index), total(inner, added))


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
        place = _normal(self, indices, x.shape[self.axis])
        return np.take_along_axis(x, place, self.axis)

    def grad(self, g: Node, y: Node, x: Node, indices: Node) -> tuple[Node | None, ...]:
        return ScatterAddAlongAxis(self.axis)(full_like(0.0, x), indices, g), None

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

    def infer(self, base: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        _check_updates(self, base, TakeAlongAxis(self.axis).infer(base, indices), updates)
        return base

    def eval(self, base: Array, indices: Array, updates: Array) -> Array:
        result = base.copy()
        places: list[Array] = list(np.indices(indices.shape, sparse=True))
        places[self.axis] = _normal(self, indices, base.shape[self.axis])
        np.add.at(result, tuple(places), updates)
        return result

    def grad(
        self, g: Node, y: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        return g, None, TakeAlongAxis(self.axis)(g, indices)

    def scatter(self, index: Index, base: Read, indices: Read, updates: Read) -> Target:
        place = _bounded(self, indices(*index), base.type.static_shape[self.axis])
        return (*index[: self.axis], place, *index[self.axis + 1 :]), updates(*index)

    def at(self, index: Index, base: Read, indices: Read, updates: Read) -> Expr:
        step = Iter(indices.type.static_shape[self.axis])
        lead, (own,), tail = _parts(index, self.axis, 1)
        source = (*lead, step, *tail)
        place = _bounded(self, indices(*source), base.type.static_shape[self.axis])
        return _plus(base(*index), total((step,), _where_equal(place, own, updates(*source))))


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


def _where_equal(place: Expr, own: Expr, value: Expr) -> Expr:
    """``value`` where it goes to this element, else 0."""
    return Select(Apply("equal", (place, own), BOOL), value, Lit(0, value.dtype))


def _plus(left: Expr, right: Expr) -> Expr:
    return Apply("add", (left, right), left.dtype)


def _normal(op: Op, indices: Array, extent: int) -> Array:
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
