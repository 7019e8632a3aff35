"""Running totals: sums, products and extremes of all elements up to each place of an axis.

Comes in: a node. Goes out: a node of its type. Every element needs the one before it, which no
kernel of independent elements computes, so NumPy does (`LibraryCall`). The slope of a running
total is again one, backwards; those of products and of exponentials are first-order linear
recurrences, so these are an operation too, and no slope divides by an element that may be 0.
Source: G. Blelloch, Prefix sums and their applications (1990).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.errors import UserError
from graphc.graph import Array, Node
from graphc.ops.elementwise import full_like
from graphc.ops.indexing import ScatterAddAlongAxis
from graphc.ops.leaves import Iota
from graphc.ops.library import LibraryCall
from graphc.ops.reduction import where
from graphc.ops.selection import pad_axis, slice_axis
from graphc.scalars import (
    SCALARS,
    equal,
    exp,
    identity_of,
    isfinite,
    less_equal,
    logical_and,
    logical_not,
)
from graphc.types import INT64, DType, Scalar, TensorType

_UFUNCS: dict[str, np.ufunc] = {
    "add": np.add,
    "multiply": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "logaddexp": np.logaddexp,
}
_NAMES = {
    "add": "cumsum",
    "multiply": "cumprod",
    "maximum": "cummax",
    "minimum": "cummin",
    "logaddexp": "logcumsumexp",
}


@dataclass(frozen=True, kw_only=True)
class Cumulative(LibraryCall):
    """Each element combined by NumPy's ``ufunc`` with all before it along ``axis``, or, in
    ``reverse``, with all after it: add, multiply, maximum, minimum, or logaddexp.

    float16 is accumulated in float32. An extreme sends its cotangent to the first place that holds
    it, as windows do; a nan counts as an extreme, and the first one stays. Where the logarithm of
    sums is not finite, nothing flows.
    """

    ufunc: str = field(repr=False)
    axis: int
    reverse: bool = False

    @property
    def name(self) -> str:
        return _NAMES[self.ufunc]

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        _check_axis(self, self.axis, x)
        if x.dtype.kind == "bool" or (self.ufunc == "logaddexp" and not x.dtype.is_float):
            raise UserError("GC0102", f"{self.name} of {x.dtype.name}", fix="cast it first")
        return (x,)

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        wide = _forward(x, self.axis, self.reverse)
        with np.errstate(all="ignore"):
            found = _UFUNCS[self.ufunc].accumulate(wide, self.axis, wide.dtype)
            return (_forward(found, self.axis, self.reverse),)

    def identity(self, dtype: DType) -> Scalar:
        """What no elements combine to."""
        if self.ufunc == "logaddexp":
            return -math.inf
        return identity_of(SCALARS[self.ufunc], dtype)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (_GRADIENTS[self.ufunc](self, g, y, x),)

    def joint_batch(self, x: Node) -> tuple[Node, ...]:  # type: ignore[override]
        return replace(self, axis=self.axis + 1).each(x)


@dataclass(frozen=True, kw_only=True)
class Recurrence(LibraryCall):
    """``y[k] = a[k] * y[k - 1] + b[k]`` along ``axis``, from 0; in ``reverse`` ``y[k + 1]`` takes
    the place of ``y[k - 1]``. The a of the first place is not looked at.
    """

    axis: int
    reverse: bool = False

    def results(  # type: ignore[override]
        self, a: TensorType, b: TensorType
    ) -> tuple[TensorType, ...]:
        _check_axis(self, self.axis, a)
        if a != b or not a.dtype.is_float:
            raise UserError("GC0101", f"{self.name}: {a} and {b}", why="both are floats, one type")
        return (b,)

    def call(self, a: Array, b: Array) -> tuple[Array, ...]:  # type: ignore[override]
        ordered = (_forward(x, self.axis, self.reverse) for x in (a, b))
        factors, terms = (np.moveaxis(x, self.axis, 0) for x in ordered)
        found = terms.copy()
        with np.errstate(all="ignore"):
            for k in range(1, len(found)):
                found[k] += factors[k] * found[k - 1]
            y = _forward(np.moveaxis(found, 0, self.axis), self.axis, self.reverse)
            return (y,)

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple[Node | None, ...]:
        back = replace(self, reverse=not self.reverse)
        slope = back(previous(a, self.axis, reverse=back.reverse), g)
        return slope * previous(y, self.axis, reverse=self.reverse), slope

    def joint_batch(self, a: Node, b: Node) -> tuple[Node, ...]:  # type: ignore[override]
        return replace(self, axis=self.axis + 1).each(a, b)


def previous(x: Node, axis: int, *, reverse: bool = False, value: Scalar = 0) -> Node:
    """``x`` moved on by one place along ``axis`` (back, in ``reverse``): ``value`` enters, and the
    last element leaves.
    """
    extent = x.shape[axis]
    if extent == 0:
        return x
    start = 1 if reverse else 0
    kept = slice_axis(x, axis, start, start + extent - 1)
    return pad_axis(kept, axis, 1 - start, start, value)


# Gradients ----------------------------------------------------------------------------------------
def _grad_sum(op: Cumulative, g: Node, y: Node, x: Node) -> Node:
    return replace(op, reverse=not op.reverse)(g)


def _grad_product(op: Cumulative, g: Node, y: Node, x: Node) -> Node:
    """The product before an element, times what follows: g there and, further on, x's product."""
    back = not op.reverse
    after = Recurrence(axis=op.axis, reverse=back)(previous(x, op.axis, reverse=back), g)
    return previous(y, op.axis, reverse=op.reverse, value=1) * after


def _grad_extreme(op: Cumulative, g: Node, y: Node, x: Node) -> Node:
    before = previous(y, op.axis, reverse=op.reverse, value=op.identity(x.dtype))
    beaten = less_equal(x, before) if op.ufunc == "maximum" else less_equal(before, x)
    is_new = logical_and(logical_not(beaten), equal(before, before))
    keep, first = ("minimum", x.shape[op.axis] - 1) if op.reverse else ("maximum", 0)
    place = Iota(x.shape, op.axis, INT64)()
    positions = replace(op, ufunc=keep)(where(is_new, place, full_like(first, place)))
    return ScatterAddAlongAxis(op.axis)(full_like(0.0, x), positions, g)


def _grad_logarithm(op: Cumulative, g: Node, y: Node, x: Node) -> Node:
    """exp(x[i]) times the sum of g[k] / exp(y[k]) over later k, in steps exp(y[k] - y[k + 1]) that
    are at most 1.
    """
    back = not op.reverse
    after = previous(y, op.axis, reverse=back, value=math.inf)
    finite = isfinite(y)
    level = where(finite, y, 0.0)
    decay = where(finite, exp(level - where(finite, after, 0.0)), 0.0)
    total = Recurrence(axis=op.axis, reverse=back)(decay, g)
    return total * where(finite, exp(where(finite, x, 0.0) - level), 0.0)


_GRADIENTS: dict[str, Callable[[Cumulative, Node, Node, Node], Node]] = {
    "add": _grad_sum,
    "multiply": _grad_product,
    "maximum": _grad_extreme,
    "minimum": _grad_extreme,
    "logaddexp": _grad_logarithm,
}


# Arrays -------------------------------------------------------------------------------------------
def _forward(x: Array, axis: int, reverse: bool) -> Array:
    return np.flip(x, axis) if reverse else x


def _check_axis(op: LibraryCall, axis: int, x: TensorType) -> None:
    if not 0 <= axis < x.rank:
        raise UserError("GC0104", f"{op.name}: axis {axis} of {x}")
