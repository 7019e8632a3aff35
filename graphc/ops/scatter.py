"""Writing at indices that data decides: the largest, smallest or product there, or the last write.

Comes in: a base, integer indices along one axis, updates of the shape that `Take` gives. Goes out:
the base with the updates in it. A separate file because sums (`ScatterAdd`) are linear and these
are not: their gradients ask which update was the one that counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc import scalars
from graphc.dims import product
from graphc.errors import UserError
from graphc.graph import Array, Node
from graphc.ops.elementwise import cast_to
from graphc.ops.indexing import RavelIndex, ScatterAdd, Take, as_rows, from_front, from_rows
from graphc.ops.leaves import Iota, constant
from graphc.ops.movement import reshape
from graphc.ops.reduction import broadcast_in, repeated, where
from graphc.scalars import SCALARS, Scalar
from graphc.types import INT64

REDUCTIONS = {"add": "add", "multiply": "multiply", "max": "maximum", "min": "minimum"}
"""How updates meet what is there, beside "set": the scalar function of each name."""


@dataclass(frozen=True, kw_only=True)
class Scatter(ScatterAdd):
    """`ScatterAdd` by maximum, minimum or multiply; equal indices combine too, and a nan wins.

    Gradients as for `Fold`: an extreme shares its cotangent evenly among ties, the base being one
    of them; a product multiplies the others, so that zeros are right.
    """

    function: Scalar = field(repr=False)

    @property
    def name(self) -> str:
        return f"scatter_{self.function.name}"

    @property
    def combine(self) -> str:
        return self.function.name

    def eval(self, base: Array, indices: Array, updates: Array) -> Array:
        result = base.copy()
        before = (slice(None),) * self.axis
        combine: Any = self.function.numpy
        with np.errstate(all="ignore"):
            combine.at(result, (*before, from_front(self, indices, base.shape[self.axis])), updates)
        return result

    def grad(
        self, g: Node, y: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        if self.function is SCALARS["multiply"]:
            return self._grad_product(g, base, indices, updates)
        wins = scalars.equal(base, y)
        also = scalars.equal(updates, self._seen(y, indices))
        share = g / self._added(_count(wins, base), indices, _count(also, base))
        return where(wins, share, 0.0), None, where(also, self._seen(share, indices), 0.0)

    def batch(self, base: Node, indices: Node, updates: Node) -> Node:
        """Rows of all elements are numbered as one axis."""
        same, axis, count = repeated(indices), self.axis + 1, indices.type.rank - 1
        if same is not None:
            return replace(self, axis=axis)(base, same, updates)
        rows, added = as_rows(base, axis, 1), as_rows(updates, axis, count)
        places = reshape(indices, added.shape[:2])
        numbers = RavelIndex(rows.shape[:2])(Iota(places.shape, 0, INT64)(), places)
        flat = reshape(rows, (product(rows.shape[:2]), rows.shape[2]))
        found = reshape(replace(self, axis=0)(flat, numbers, added), rows.shape)
        return from_rows(found, base.shape, axis, 1)

    def _grad_product(
        self, g: Node, base: Node, indices: Node, updates: Node
    ) -> tuple[Node | None, ...]:
        """The product of the other factors: of all but zeros, divided by each, or 0 where another
        one is 0.
        """
        none, nothing = scalars.equal(base, 0.0), scalars.equal(updates, 0.0)
        first, rest = where(none, 1.0, base), where(nothing, 1.0, updates)
        whole = g * self(first, indices, rest)
        zeros = self._added(_count(none, base), indices, _count(nothing, base))
        return (
            where(scalars.less(zeros - _count(none, base), 0.5), whole / first, 0.0),
            None,
            where(
                scalars.less(self._seen(zeros, indices) - _count(nothing, base), 0.5),
                self._seen(whole, indices) / rest,
                0.0,
            ),
        )

    def _seen(self, x: Node, indices: Node) -> Node:
        """What each update sees of ``x``, which has the shape of the base."""
        return Take(self.axis)(x, indices)

    def _added(self, base: Node, indices: Node, updates: Node) -> Node:
        return ScatterAdd(self.axis)(base, indices, updates)


def _count(condition: Node, like: Node) -> Node:
    """1 where ``condition`` holds, else 0, in the dtype of ``like``."""
    return cast_to(condition, like.dtype)


def put(x: Node, indices: Node, updates: Node, axis: int, reduction: str) -> Node:
    """``x`` with ``updates`` at ``indices`` along ``axis``: put there ("set", of several the last),
    or combined with what is there (`REDUCTIONS`). Raises `UserError` GC0101, GC0102, GC0104.
    """
    if reduction == "set":
        return _set(x, indices, updates, axis)
    if reduction not in REDUCTIONS:
        raise UserError(
            "GC0104",
            f"unknown reduction {reduction!r}",
            fix=f"use 'set', {', '.join(map(repr, REDUCTIONS))}",
        )
    function = SCALARS[REDUCTIONS[reduction]]
    op = ScatterAdd(axis) if reduction == "add" else Scatter(function=function, axis=axis)
    return op(x, indices, updates)


def _set(x: Node, indices: Node, updates: Node, axis: int) -> Node:
    """Every place takes the update with the largest number among those that go there.

    So the order is decided by integers, and the values are merely taken: of all dtypes, and the
    gradient goes to the updates that are seen, and to the rest of ``x``.
    """
    wanted = Take(axis).infer(x.type, indices.type)
    if updates.type != wanted:
        raise UserError("GC0101", f"updates {updates.type} for {wanted} of {x.type}")
    count = indices.type.size
    if count == 0:
        return x
    numbers = reshape(Iota((count,), 0, INT64)(), indices.shape)
    nobody = broadcast_in(constant(-1, INT64), (x.shape[axis],), ())
    last = Scatter(function=SCALARS["maximum"], axis=0)(nobody, indices, numbers)
    flat = reshape(updates, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    taken = Take(axis)(flat, scalars.maximum(last, 0))
    return where(broadcast_in(scalars.greater_equal(last, 0), x.shape, (axis,)), taken, x)
