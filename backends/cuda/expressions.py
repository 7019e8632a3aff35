"""Scalar expressions of the loop language as CUDA C.

Comes in: an expression. Goes out: its text. A separate step from the statements (`emit`) because an
expression never changes what is in memory or in a local.

Offsets are computed in 32 bits where every buffer of the kernel has fewer than 2^31 elements, as
64-bit integers take several instructions on a GPU. An index that is used as a number is 64 bits
wide, as NumPy's are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.backends.cuda.spelling import (
    SPELLING,
    bitcast,
    cast,
    literal,
)
from graphc.errors import CompilerBug
from graphc.expr import Affine, Apply, Bounded, Buffer, Expr, Iter, Lit, Load, Select
from graphc.index import flat_index, is_index
from graphc.loops.ir import Local, Put
from graphc.types import DType, TensorType

SMALL = 1 << 31
COMPARISONS = {"less": "<", "less_equal": "<=", "greater": ">", "greater_equal": ">="}


class Expressions:
    """Writes expressions; ``names`` maps iterators and locals to names, ``pointers`` buffers."""

    def __init__(self, buffers: Sequence[Buffer], owners: Sequence[object]) -> None:
        self.owners = [*owners]
        self.names: dict[object, str] = {}
        self.pointers = {b: f"b{n}" for n, b in enumerate(buffers)}
        self.packed: dict[Expr, str] = {}  # loads that a vector holds
        self.filled: dict[Put, str] = {}  # stores that a vector collects
        self.index_type = "i32" if all(math.prod(b.shape) < SMALL for b in buffers) else "i64"
        self._count = 0

    # Names ----------------------------------------------------------------------------------------
    def fresh(self) -> int:
        self._count += 1
        return self._count

    def name_of(self, what: object) -> str:
        """The name of an iterator or local, given when it is first asked for."""
        if what not in self.names:
            self.rename(what)
        return self.names[what]

    def rename(self, what: object) -> None:
        """A new name from here on."""
        self.names[what] = f"{'n' if isinstance(what, Iter) else 'x'}{self.fresh()}"

    def is_known(self, what: object) -> bool:
        return what in self.names

    def new_pointer(self, buffer: Buffer) -> str:
        self.pointers[buffer] = f"{buffer.scope}{self.fresh()}"
        return self.pointers[buffer]

    # Values ---------------------------------------------------------------------------------------
    def value(self, e: Expr) -> str:
        if e in self.packed if isinstance(e, Load) else False:
            return self.loaded(e, self.packed[e])  # type: ignore[arg-type]
        if isinstance(e, Lit):
            return literal(e.value, e.dtype)
        if isinstance(e, Iter | Affine):
            return f"((i64){self.index(e)})"
        if isinstance(e, Local):
            return self.name_of(e)
        if isinstance(e, Load):
            return self.load(e)
        if isinstance(e, Select):
            parts = map(self.value, e.children)
            return "({} ? {} : {})".format(*parts)
        if isinstance(e, Bounded):
            return self.bounded(e)
        if isinstance(e, Apply):
            return self.apply(e)
        raise CompilerBug(f"CUDA C has no spelling for {type(e).__name__}")

    def apply(self, e: Apply) -> str:
        if e.function in ("cast", "bitcast"):
            convert = cast if e.function == "cast" else bitcast
            return convert(e.args[0].dtype, e.dtype, self.value(e.args[0]))
        if e.function in COMPARISONS and all(map(is_index, e.args)):
            a, b = map(self.index, e.args)
            return f"({a} {COMPARISONS[e.function]} {b})"
        return self.call(e.function, e.args)

    def call(self, function: str, args: Sequence[Expr]) -> str:
        return SPELLING[function](args[-1].dtype, *map(self.value, args))

    def folded(self, function: str, like: Expr, total: str, value: Expr) -> str:
        """``function(total, value)``; a product is added by a fused multiply-add."""
        product = isinstance(value, Apply) and value.function == "multiply"
        if function == "add" and product and value.dtype.is_float:
            a, b = map(self.value, value.children)
            return f"gc_fma({a}, {b}, {total})"
        return SPELLING[function](like.dtype, total, self.value(value))

    def bounded(self, e: Bounded) -> str:
        index = self.value(e.index)
        if e.owner is None:  # it is in bounds
            return f"((i64){index})"
        number = next(k for k, owner in enumerate(self.owners) if owner is e.owner) + 1
        return f"gc_checked((i64){index}, {e.extent}, fault, {number})"

    # Memory ---------------------------------------------------------------------------------------
    def load(self, e: Load) -> str:
        if e.buffer.type.size == 0:  # its index missed, as every index does
            return literal(0, e.dtype)
        return self.loaded(e, self.place(e.buffer, e.index))

    def loaded(self, e: Load, text: str) -> str:
        """What lies in memory, in the dtype in which it is computed."""
        dtype = e.buffer.type.dtype
        return cast(dtype, e.dtype, self.as_register(text, dtype))

    def as_register(self, text: str, dtype: DType) -> str:
        """A bool is a byte in memory, and no other value than 0 or 1 in registers."""
        return f"(bool){text}" if dtype.kind == "bool" else text

    def place(self, buffer: Buffer, index: tuple[Expr, ...]) -> str:
        """An element; of registers every thread has its own row, tiles have an order of parts."""
        if buffer.scope == "register":
            rest = Buffer(TensorType(buffer.type.dtype, buffer.shape[1:]))
            return f"{self.pointers[buffer]}[{self.index(flat_index(rest, index[1:]))}]"
        offset = self.index(flat_index(buffer, index))
        if buffer.scope == "tile":
            line = buffer.shape[-1] * buffer.type.dtype.bytes
            return f"*gc_swizzled<{line}>({self.pointers[buffer]}, {offset})"
        return f"{self.pointers[buffer]}[{offset}]"

    def index(self, e: Expr) -> str:
        """An index in the type of offsets."""
        if isinstance(e, Iter):
            return self.name_of(e)
        if isinstance(e, Lit):
            return str(e.value)
        if isinstance(e, Affine):
            return self.sum(e)
        if isinstance(e, Apply) and is_index(e) and e.function in ("floor_divide", "remainder"):
            sign = "/" if e.function == "floor_divide" else "%"
            return f"({self.index(e.args[0])} {sign} {self.index(e.args[1])})"
        return f"({self.index_type}){self.value(e)}"

    def sum(self, e: Affine) -> str:
        parts = [self.index(atom) if c == 1 else f"{self.index(atom)} * {c}" for atom, c in e.terms]
        if e.constant:
            parts.append(str(e.constant))
        return f"({' + '.join(parts)})" if len(parts) != 1 else parts[0]
