"""Reductions over whole axes, and broadcasting along new ones: each is the other's adjoint.

Comes in: one node and axes. Goes out: a node without those axes (keepdims is a reshape, by the
frontend), or with more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from graphc import scalars
from graphc.dims import Size, evaluate
from graphc.errors import UserError
from graphc.expr import Apply, Expr, Iter, Lit, Reduce, cast
from graphc.graph import Array, Node, Op, Read
from graphc.ops.leaves import constant
from graphc.scalars import Scalar
from graphc.types import BOOL, INT64, TensorType

_NUMPY: dict[str, Callable[..., Array]] = {
    "add": np.add.reduce,
    "multiply": np.multiply.reduce,
    "maximum": np.maximum.reduce,
    "minimum": np.minimum.reduce,
    "logical_and": np.logical_and.reduce,
    "logical_or": np.logical_or.reduce,
}


def _checked(name: str, x: TensorType, axes: tuple[int, ...]) -> None:
    if len(set(axes)) != len(axes) or not all(0 <= a < x.rank for a in axes):
        raise UserError("GC0104", f"{name}: axes {axes} of {x}", why=f"it has axes 0..{x.rank - 1}")


def inner_index(
    index: tuple[Expr, ...], axes: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[Expr, ...], tuple[Iter, ...]]:
    """The input's index when the result's ``index`` lacks ``axes``: new iterators fill them."""
    inner = {a: Iter(shape[a]) for a in axes}
    outer = iter(index)
    full = tuple(inner[a] if a in inner else next(outer) for a in range(len(shape)))
    return full, tuple(inner[a] for a in sorted(inner))


def total(iters: tuple[Iter, ...], body: Expr) -> Expr:
    """The sum of ``body``; itself when there is nothing to add up over."""
    return Reduce("add", iters, body) if iters else body


def static(shape: tuple[Size, ...]) -> tuple[int, ...]:
    """A shape as ints; raises `UserError` GC0305 for named sizes."""
    return tuple(evaluate(s, {}) for s in shape)


@dataclass(frozen=True)
class Broadcast(Op):
    """Repeat the input along new axes: input axis k becomes axis ``axes[k]`` of ``shape``.

    ``axes`` is increasing. Axes of extent 1 are not stretched: drop them first (`broadcast_to`
    does).
    """

    kind: ClassVar[str] = "free"
    shape: tuple[Size, ...]
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        increasing = tuple(sorted(set(self.axes))) == self.axes
        if not increasing or tuple(self.shape[a] for a in self.axes) != x.shape:
            raise UserError("GC0101", f"cannot place {x} at axes {self.axes} of shape {self.shape}")
        return x.with_shape(self.shape)

    def eval(self, x: Array) -> Array:
        shape = static(self.shape)
        column = [n if a in self.axes else 1 for a, n in enumerate(shape)]
        return np.broadcast_to(x.reshape(column), shape)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (sum_over(g, tuple(a for a in range(y.type.rank) if a not in self.axes)),)

    def batch(self, x: Node) -> Node:
        shape = (x.shape[0], *self.shape)
        return Broadcast(shape, (0, *(a + 1 for a in self.axes)))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return x(*(index[a] for a in self.axes))


def broadcast_in(x: Node, shape: tuple[Size, ...], axes: tuple[int, ...]) -> Node:
    """``x`` placed at ``axes`` of ``shape``, repeated along the others; itself if none is new."""
    return x if x.shape == tuple(shape) else Broadcast(tuple(shape), axes)(x)


def repeated(x: Node) -> Node | None:
    """The tensor that ``x`` repeats along its first axis; None when it is no repetition."""
    if not isinstance(x.op, Broadcast) or 0 in x.op.axes:
        return None
    return broadcast_in(x.inputs[0], x.shape[1:], tuple(a - 1 for a in x.op.axes))


def expand(x: Node, shape: tuple[Size, ...], axes: tuple[int, ...]) -> Node:
    """Undo the loss of ``axes`` by a reduction: repeat ``x`` along them to get ``shape``."""
    return broadcast_in(x, shape, tuple(a for a in range(len(shape)) if a not in axes))


@dataclass(frozen=True)
class Fold(Op):
    """sum, prod, max, min, any, all over ``axes``.

    Gradients: a max or min shares its cotangent evenly among ties; a product multiplies the others,
    so that zeros are right (its second derivative is right only where no element is 0). Empty axes
    give the identity; max and min of nothing are -inf and inf for floats, an error for integers.
    """

    kind: ClassVar[str] = "reduce"
    function: Scalar = field(repr=False)
    axes: tuple[int, ...]

    @property
    def combine(self) -> str:
        return self.function.name

    @property
    def reduced(self) -> tuple[int, ...]:
        return self.axes

    @property
    def name(self) -> str:
        return self.function.fold

    def infer(self, x: TensorType) -> TensorType:
        _checked(self.name, x, self.axes)
        logical = self.function.domain == "bool"
        if logical != (x.dtype == BOOL):
            raise UserError(
                "GC0102",
                f"{self.name} of {x.dtype.name}",
                fix="compare with 0 first" if logical else "cast to an integer dtype first",
            )
        needs_one = self.function.name in ("maximum", "minimum") and not x.dtype.is_float
        if needs_one and any(x.shape[a] == 0 for a in self.axes):
            raise UserError("GC0104", f"{self.name} of no elements has no value of {x.dtype.name}")
        return x.drop(self.axes)

    def eval(self, x: Array) -> Array:
        initial: dict[str, Any] = {}
        if self.function.name in ("maximum", "minimum") and x.dtype.kind == "f":
            initial["initial"] = self.function.identity
        with np.errstate(all="ignore"):
            result = _NUMPY[self.function.name](x, axis=self.axes, **initial)
        return np.asarray(result, x.dtype)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (_GRADIENTS[self.function.name](self, g, y, x),)

    def batch(self, x: Node) -> Node:
        return replace(self, axes=tuple(a + 1 for a in self.axes))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        full, inner = inner_index(index, self.axes, x.type.static_shape)
        return Reduce(self.function.name, inner, x(*full)) if inner else x(*full)

    def cost(self, y: TensorType, *xs: TensorType) -> Any:
        return xs[0].size


@dataclass(frozen=True)
class ArgExtreme(Op):
    """The position (int64) of the first largest or smallest element; a nan wins, as in NumPy."""

    kind: ClassVar[str] = "compute"
    largest: bool
    axis: int

    @property
    def name(self) -> str:
        return "argmax" if self.largest else "argmin"

    def infer(self, x: TensorType) -> TensorType:
        _checked(self.name, x, (self.axis,))
        if x.shape[self.axis] == 0:
            raise UserError("GC0104", f"{self.name} along an empty axis of {x}")
        return x.drop((self.axis,)).with_dtype(INT64)

    def eval(self, x: Array) -> Array:
        return np.asarray((np.argmax if self.largest else np.argmin)(x, axis=self.axis), np.int64)

    def batch(self, x: Node) -> Node:
        return replace(self, axis=self.axis + 1)(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        """The least position among those that hold the extreme (or a nan)."""
        full, inner = inner_index(index, (self.axis,), x.type.static_shape)
        again, (k,) = inner_index(index, (self.axis,), x.type.static_shape)
        value = cast(x(*full), INT64) if x.type.dtype == BOOL else x(*full)
        candidate = cast(x(*again), INT64) if x.type.dtype == BOOL else x(*again)
        extreme = Reduce("maximum" if self.largest else "minimum", inner, value)
        hit: Expr = Apply("equal", (candidate, extreme), BOOL)
        if x.type.dtype.is_float:
            hit = Apply("logical_or", (hit, Apply("isnan", (candidate,), BOOL)), BOOL)
        missing = Lit(x.type.static_shape[self.axis] - 1, INT64)
        return Reduce("minimum", (k,), Apply("where", (hit, cast(k, INT64), missing), INT64))


def fold(name: str, x: Node, axes: tuple[int, ...]) -> Node:
    """Fold ``x`` by the scalar function called ``name``; itself when ``axes`` is empty."""
    return Fold(scalars.SCALARS[name], tuple(sorted(axes)))(x) if axes else x


def sum_over(x: Node, axes: tuple[int, ...]) -> Node:
    """The sum over ``axes``; the adjoint of broadcasting along them."""
    return fold("add", x, axes)


def where(condition: Node, chosen: Node | float, other: Node | float) -> Node:
    """`scalars.where` of nodes; one of the values may be a Python number."""
    result: Node = scalars.where(condition, chosen, other)
    return result


def _count(condition: Node, like: Node) -> Node:
    """1 where ``condition`` holds, else 0, in the dtype of ``like``."""
    one = broadcast_in(constant(1.0, like.dtype), like.shape, ())
    return where(condition, one, 0.0)


def _grad_extreme(op: Fold, g: Node, y: Node, x: Node) -> Node:
    def along(z: Node) -> Node:
        return expand(z, x.shape, op.axes)

    wins = scalars.equal(x, along(y))
    ties = sum_over(_count(wins, x), op.axes)
    return where(wins, along(g / ties), 0.0)


def _grad_product(op: Fold, g: Node, y: Node, x: Node) -> Node:
    """The product of the other elements: y / x, but where zeros would divide, counted by hand."""

    def along(z: Node) -> Node:
        return expand(z, x.shape, op.axes)

    is_zero = scalars.equal(x, 0.0)
    nonzero = where(is_zero, 1.0, x)
    zeros = along(sum_over(_count(is_zero, x), op.axes))
    others = along(fold("multiply", nonzero, op.axes)) / nonzero
    zeros_elsewhere = where(is_zero, zeros - 1.0, zeros)
    return along(g) * where(zeros_elsewhere < 0.5, others, 0.0)


_GRADIENTS: dict[str, Callable[[Fold, Node, Node, Node], Node | None]] = {
    "add": lambda op, g, y, x: expand(g, x.shape, op.axes),
    "multiply": _grad_product,
    "maximum": _grad_extreme,
    "minimum": _grad_extreme,
    "logical_and": lambda op, g, y, x: None,
    "logical_or": lambda op, g, y, x: None,
}
