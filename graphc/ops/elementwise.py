"""Elementwise ops: one op class for the whole scalar table, and the two that change a dtype.

Comes in: nodes of one shape. Goes out: a node of that shape. The table itself is `graphc.scalars`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from graphc.errors import UserError
from graphc.expr import Apply, Expr, cast, stored
from graphc.graph import Array, Node, Op, Read
from graphc.ops.leaves import constant
from graphc.ops.movement import broadcast_to
from graphc.scalars import SCALARS, Scalar
from graphc.types import BOOL, DTYPES, DType, TensorType, weak_dtype

_DOMAINS = {
    "any": ("bool", "int", "uint", "float"),
    "number": ("int", "uint", "float"),
    "float": ("float",),
    "integer": ("int", "uint"),
    "bits": ("bool", "int", "uint"),
    "bool": ("bool",),
    "uint32": ("uint32",),
}


@dataclass(frozen=True)
class Elementwise(Op):
    """``function`` of the elements of operands of one type (`where`: a bool condition first)."""

    kind: ClassVar[str] = "pointwise"
    function: Scalar = field(repr=False)

    @property
    def name(self) -> str:
        return self.function.name

    def infer(self, *types: TensorType) -> TensorType:
        function = self.function
        if len(types) != function.arity:
            raise UserError(
                "GC0302", f"{function.name} takes {function.arity} operands, not {len(types)}"
            )
        values = types[1:] if function.name == "where" else types
        _same_shape(function.name, types)
        _same_dtype(function.name, values)
        if function.name == "where" and types[0].dtype != BOOL:
            raise UserError("GC0102", f"where: a condition of {types[0].dtype.name}, not bool")
        if not {values[0].dtype.kind, values[0].dtype.name} & set(_DOMAINS[function.domain]):
            raise UserError(
                "GC0102",
                f"{function.name} is not defined for {values[0].dtype.name}",
                why=f"it takes {' or '.join(_DOMAINS[function.domain])} operands",
                fix="cast the operand, e.g. x.astype('float32')",
            )
        return values[0].with_dtype(BOOL) if function.result == "bool" else values[0]

    def eval(self, *arrays: Array) -> Array:
        with np.errstate(all="ignore"):
            result = np.asarray(self.function.numpy(*arrays))
        dtype = result.dtype if self.function.result == "bool" else arrays[-1].dtype
        return result.astype(dtype, copy=False)

    def grad(self, g: Node, y: Node, *xs: Node) -> tuple[Node | None, ...]:
        if self.function.derivative is None:
            return super().grad(g, y, *xs)
        return self.function.derivative(g, y, *xs)

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        args = tuple(x(*index) for x in xs)
        if self.function.name in ("add", "subtract", "multiply"):
            # keeps sums of counters in the index algebra
            return args[0].combine(self.function.name, *args)
        result = BOOL if self.function.result == "bool" else args[-1].dtype
        return Apply(self.function.name, args, result)


def _same_shape(name: str, types: tuple[TensorType, ...]) -> None:
    if any(t.shape != types[0].shape for t in types):
        shapes = " and ".join(str(t) for t in types)
        raise UserError(
            "GC0101",
            f"{name}: shapes differ: {shapes}",
            why="elementwise operations pair elements at the same index",
            fix="broadcast or reshape one operand so that the shapes agree",
        )


def _same_dtype(name: str, types: tuple[TensorType, ...]) -> None:
    if any(t.dtype != types[0].dtype for t in types):
        raise UserError(
            "GC0102",
            f"{name}: dtypes differ: {' and '.join(t.dtype.name for t in types)}",
            fix="cast one operand with astype",
        )


@dataclass(frozen=True)
class Cast(Op):
    """Conversion to ``dtype``; floats to integers truncate. The gradient is cast back."""

    kind: ClassVar[str] = "pointwise"
    dtype: DType

    def infer(self, x: TensorType) -> TensorType:
        return x.with_dtype(self.dtype)

    def eval(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            return x.astype(self.dtype.numpy)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (Cast(x.dtype)(g) if x.dtype.is_float and y.dtype.is_float else None,)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return cast(x(*index), self.dtype)


@dataclass(frozen=True)
class Bitcast(Op):
    """The same bits read as another dtype of the same width, e.g. float32 and uint32."""

    kind: ClassVar[str] = "pointwise"
    reads_bits: ClassVar[bool] = True
    dtype: DType

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype.bits != self.dtype.bits:
            raise UserError(
                "GC0102", f"bitcast from {x.dtype.name} to {self.dtype.name}: widths differ"
            )
        return x.with_dtype(self.dtype)

    def eval(self, x: Array) -> Array:
        return x.view(self.dtype.numpy)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        bits = Apply("bitcast", (stored(x(*index), x.type.dtype),), self.dtype)
        return cast(bits, self.dtype.computing)


ELEMENTWISE: dict[str, Elementwise] = {name: Elementwise(f) for name, f in SCALARS.items()}


def combine(function: str, *operands: Any) -> Node:
    """A scalar function of nodes of one shape and Python numbers, which are broadcast to it."""
    like = [x for x in operands if isinstance(x, Node)][-1]  # the condition of where comes first
    lifted = (x if isinstance(x, Node) else full_like(x, like) for x in operands)
    return ELEMENTWISE[function](*lifted)


def full_like(value: Any, like: Node) -> Node:
    """``value`` broadcast to the shape of ``like``, in its dtype (weak scalars)."""
    return broadcast_to(constant(value, weak_dtype(value, like.dtype)), like.shape)


def cast_to(x: Node, dtype: DType) -> Node:
    """``x`` converted to ``dtype``; itself when it has it."""
    return x if x.dtype == dtype else Cast(dtype)(x)


def is_widening(x: Node) -> bool:
    """Whether ``x`` converts a narrow float to the dtype that computes with it, which is done
    wherever one is read.
    """
    is_narrow = isinstance(x.op, Cast) and x.inputs[0].dtype.is_narrow
    return is_narrow and x.dtype == x.inputs[0].dtype.computing


Node.operators = staticmethod(combine)
assert set(_DOMAINS["any"]) == {d.kind for d in DTYPES.values()}
