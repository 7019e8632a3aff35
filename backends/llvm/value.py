"""An SSA value with Python operators: what the emitter hands out and takes back.

Comes in: operands. Goes out: one line of IR in the emitter's list and the `Value` that names its
result. It is apart from `emitter` because one half is about instructions on values and the other
about blocks, loops and memory.

A value knows its base type (i1 i8 i16 i32 i64 float double ptr) and its lanes (0 for a
scalar), so the same Python code writes scalar, vector and unrolled code. Python numbers become
constants of the other operand's type, and a scalar beside a vector is spread over the lanes.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from graphc.errors import CompilerBug

if TYPE_CHECKING:
    from graphc.backends.llvm.emitter import Emitter

WIDTH = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "float": 32, "double": 64}
"""Bits of every base type but ptr."""

FLOATS = ("float", "double")
INTEGER_OF = {"float": "i32", "double": "i64"}
FLOAT_OF = {integer: base for base, integer in INTEGER_OF.items()}
_SUFFIX = {"float": "f32", "double": "f64", "ptr": "p0"}


@functools.cache
def type_text(base: str, lanes: int) -> str:
    """The IR type: ``float``, or ``<16 x float>``."""
    return f"<{lanes} x {base}>" if lanes else base


@functools.cache
def suffix(base: str, lanes: int) -> str:
    """The type as the end of an intrinsic's name: ``v16f32``."""
    name = _SUFFIX.get(base, base)
    return f"v{lanes}{name}" if lanes else name


def literal(number: float, base: str) -> str:
    """A number as IR text; floats by their bits, so that nothing is lost."""
    if base == "i1":
        return "true" if number else "false"
    if base in FLOATS:
        if base == "float" and math.isfinite(number):
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    return str(int(number))


_NANS = tuple(literal(math.nan, base) for base in FLOATS)


class Value:
    """One SSA value: name in the text, base type, lanes, and of a pointer the alias ``scope``."""

    __slots__ = ("base", "emitter", "lanes", "name", "scope")

    def __init__(
        self, emitter: Emitter, name: str, base: str, lanes: int = 0, scope: str = ""
    ) -> None:
        self.emitter, self.name, self.base, self.lanes = emitter, name, base, lanes
        self.scope = scope

    def __repr__(self) -> str:
        return self.typed

    # What it is -----------------------------------------------------------------------------------
    @property
    def type(self) -> str:
        return type_text(self.base, self.lanes)

    @property
    def typed(self) -> str:
        """Type and name, as operands are written."""
        return f"{type_text(self.base, self.lanes)} {self.name}"

    @property
    def is_float(self) -> bool:
        return self.base in FLOATS

    @property
    def is_literal(self) -> bool:
        return self.name[0] not in "%@"

    @property
    def number(self) -> int | None:
        """The value of a scalar integer literal, else None."""
        plain = self.lanes == 0 and self.is_literal and self.base in ("i8", "i16", "i32", "i64")
        return int(self.name) if plain else None

    def constant(self, number: float) -> Value:
        """A constant of this value's type."""
        return self.emitter.constant(number, self.base, self.lanes)

    def spread(self, lanes: int) -> Value:
        """A scalar in every one of `lanes` lanes; a value that has them already stays as it is."""
        if self.lanes == lanes:
            return self
        if self.lanes:
            raise CompilerBug(f"{self.typed} cannot take {lanes} lanes")
        if self.is_literal:
            return Value(self.emitter, f"splat ({self.base} {self.name})", self.base, lanes)
        wide = type_text(self.base, lanes)
        one = self.emitter.emit(
            f"insertelement {wide} poison, {self.typed}, i64 0", self.base, lanes
        )
        mask = f"<{lanes} x i32> zeroinitializer"
        return self.emitter.emit(
            f"shufflevector {wide} {one.name}, {wide} poison, {mask}", self.base, lanes
        )

    def pair(self, other: Value | float) -> tuple[Value, Value]:
        """Both operands with the same lanes; a number becomes a constant of this base type."""
        if not isinstance(other, Value):
            return self, self.constant(other)
        if self.lanes == other.lanes:
            return self, other
        lanes = max(self.lanes, other.lanes)
        return self.spread(lanes), other.spread(lanes)

    # Arithmetic: integers wrap, floats are IEEE ---------------------------------------------------
    def binary(self, operation: str, other: Value | float) -> Value:
        """The instruction `operation`, by its IR name, on two operands of the same base type."""
        a, b = self.pair(other)
        if a.base != b.base:
            raise CompilerBug(f"{operation} of {a.typed} and {b.typed}")
        text = f"{operation} {type_text(a.base, a.lanes)} {a.name}, {b.name}"
        return self.emitter.emit(text, a.base, a.lanes)

    def __add__(self, other: Value | float) -> Value:
        return self._folding("fadd", "add", other, int.__add__)

    def __sub__(self, other: Value | float) -> Value:
        return self._folding("fsub", "sub", other, int.__sub__)

    def __mul__(self, other: Value | float) -> Value:
        return self._folding("fmul", "mul", other, int.__mul__)

    def __truediv__(self, other: Value | float) -> Value:
        return self.binary("fdiv", other)

    def __rsub__(self, other: float) -> Value:
        return self.constant(other) - self

    def __rtruediv__(self, other: float) -> Value:
        return self.constant(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def _folding(
        self, floats: str, integers: str, other: Value | float, fold: Callable[[int, int], int]
    ) -> Value:
        """The instruction, or the number that comes of two literals: indices have many."""
        if self.base in FLOATS:
            return self.binary(floats, other)
        a, b = self.number, other.number if isinstance(other, Value) else other
        if isinstance(a, int) and isinstance(b, int):
            return self.constant(fold(a, b))
        if b == (1 if integers == "mul" else 0) and self.lanes == 0:
            return self
        return self.binary(integers, other)

    def __neg__(self) -> Value:
        if self.base in FLOATS:
            return self.emitter.emit(f"fneg {self.typed}", self.base, self.lanes)
        return self.constant(0) - self

    # Bits -----------------------------------------------------------------------------------------
    def __and__(self, other: Value | int) -> Value:
        return self.binary("and", other)

    def __or__(self, other: Value | int) -> Value:
        return self.binary("or", other)

    def __xor__(self, other: Value | int) -> Value:
        return self.binary("xor", other)

    def __invert__(self) -> Value:
        return self.binary("xor", 1 if self.base == "i1" else -1)

    def __lshift__(self, other: Value | int) -> Value:
        """Shift left; the result is poison where the count is not below the width."""
        return self.binary("shl", other)

    def lshr(self, other: Value | int) -> Value:
        """Shift right, zeros move in; poison where the count is not below the width."""
        return self.binary("lshr", other)

    def ashr(self, other: Value | int) -> Value:
        """Shift right, the sign moves in; poison where the count is not below the width."""
        return self.binary("ashr", other)

    # Comparisons and choice -----------------------------------------------------------------------
    def compare(self, predicate: str, other: Value | float) -> Value:
        """An i1 for each lane, by LLVM's predicate: eq slt ult ..., for floats oeq olt une ..."""
        a, b = self.pair(other)
        kind = "fcmp" if a.base in FLOATS else "icmp"
        text = f"{kind} {predicate} {type_text(a.base, a.lanes)} {a.name}, {b.name}"
        return self.emitter.emit(text, "i1", a.lanes)

    def select(self, chosen: Value | float, other: Value | float) -> Value:
        """`chosen` where this i1 is true, else `other`; at least one of them must be a `Value`."""
        if isinstance(chosen, Value):
            chosen, other = chosen.pair(other)
        elif isinstance(other, Value):
            other, chosen = other.pair(chosen)
        else:
            raise CompilerBug("a choice between two numbers has no type")
        condition = self
        if self.lanes > chosen.lanes:
            chosen, other = chosen.spread(self.lanes), other.spread(self.lanes)
        # a scalar condition chooses whole vectors
        text = f"select {condition.typed}, {chosen.typed}, {other.typed}"
        return self.emitter.emit(text, chosen.base, chosen.lanes)

    def is_nan(self) -> Value:
        return self.compare("uno", self)

    # Conversions ----------------------------------------------------------------------------------
    def convert(self, operation: str, base: str) -> Value:
        """A conversion by its IR name: sext zext trunc fpext fptrunc sitofp uitofp ..."""
        if self.base == base:
            return self
        text = f"{operation} {self.typed} to {type_text(base, self.lanes)}"
        return self.emitter.emit(text, base, self.lanes)

    def bits(self) -> Value:
        """The same bits as integers."""
        return self.convert("bitcast", INTEGER_OF[self.base])

    def floats(self) -> Value:
        """The same bits as floats."""
        return self.convert("bitcast", FLOAT_OF[self.base])

    def saturated(self, base: str, *, signed: bool) -> Value:
        """A float cut to an integer; beyond the range it takes the nearest end, NaN gives 0."""
        operation = "fptosi" if signed else "fptoui"
        name = f"@llvm.{operation}.sat.{suffix(base, self.lanes)}.{suffix(self.base, self.lanes)}"
        self.emitter.module.declare(f"{type_text(base, self.lanes)} {name}({self.type})")
        text = f"call {type_text(base, self.lanes)} {name}({self.typed})"
        return self.emitter.emit(text, base, self.lanes)

    # Intrinsics -----------------------------------------------------------------------------------
    def intrinsic(self, name: str, *others: Value | float) -> Value:
        """``llvm.name`` on operands that all have this value's type, and so has the result."""
        operands = [self, *(self.pair(other)[1] for other in others)]
        symbol = f"@llvm.{name}.{suffix(self.base, self.lanes)}"
        kind = self.type
        self.emitter.module.declare(f"{kind} {symbol}({', '.join([kind] * len(operands))})")
        arguments = ", ".join(operand.typed for operand in operands)
        return self.emitter.emit(f"call {kind} {symbol}({arguments})", self.base, self.lanes)

    def fma(self, factor: Value | float, term: Value | float) -> Value:
        """self * factor + term, rounded once; twice on machines that have no such instruction."""
        if not self.emitter.module.machine.has_fma:
            return self * factor + term
        lanes = max((x.lanes for x in (self, factor, term) if isinstance(x, Value)), default=0)
        return self.spread(lanes).intrinsic("fma", factor, term)

    def abs(self) -> Value:
        """The absolute value; of the most negative integer, itself."""
        if self.base in FLOATS:
            return self.intrinsic("fabs")
        return self.compare("slt", 0).select(-self, self)

    def sqrt(self) -> Value:
        return self.intrinsic("sqrt")

    def copysign(self, sign: Value) -> Value:
        """This magnitude with the sign of `sign`."""
        return self.intrinsic("copysign", sign)

    @property
    def can_scale(self) -> bool:
        """Whether these are whole vectors of AVX-512, which multiplies by powers of 2."""
        whole = self.lanes * WIDTH[self.base] % 512 == 0
        return bool(self.lanes) and whole and self.emitter.module.machine.has("avx512f")

    def scaled(self, exponent: Value) -> Value:
        """self * 2^exponent for floats that hold integers, where `can_scale`."""
        lanes = 512 // WIDTH[self.base]
        name = f"llvm.x86.avx512.mask.scalef.p{'s' if lanes == 16 else 'd'}.512"
        kind, current = type_text(self.base, lanes), 4  # round as the processor is set
        self.emitter.module.declare(f"{kind} @{name}({kind}, {kind}, {kind}, i{lanes}, i32)")

        def part(x: Value, n: Value) -> Value:
            arguments = f"{x.typed}, {n.typed}, {x.typed}, i{lanes} -1, i32 {current}"
            return self.emitter.emit(f"call {kind} @{name}({arguments})", self.base, lanes)

        return self.in_parts(lanes, part, exponent)

    def in_parts(self, lanes: int, function: Callable[..., Value], *others: Value) -> Value:
        """A function of vectors of so many lanes, applied to longer ones."""
        if self.lanes == lanes:
            return function(self, *others)
        low, high = [*range(self.lanes // 2)], [*range(self.lanes // 2, self.lanes)]
        halves = [
            self.shuffle(half).in_parts(lanes, function, *(o.shuffle(half) for o in others))
            for half in (low, high)
        ]
        return halves[0].shuffle([*low, *high], halves[1])

    def round_even(self) -> Value:
        """The nearest integer, ties to even."""
        return self.intrinsic("rint")

    def minimum(self, other: Value | float) -> Value:
        """The smaller float, NaN if either is; of two zeros, either."""
        return self._extreme("ogt", "olt", other)

    def maximum(self, other: Value | float) -> Value:
        """The larger float, NaN if either is; of two zeros, either."""
        return self._extreme("olt", "ogt", other)

    def _extreme(self, loses: str, wins: str, other: Value | float) -> Value:
        """One vector instruction beside a number, three beside a value that may be NaN."""
        a, b = self.pair(other)
        if b.is_literal and not any(nan in b.name for nan in _NANS):
            return a.compare(loses, b).select(b, a)
        return a.is_nan().select(a, a.compare(wins, b).select(a, b))

    # Lanes and addresses --------------------------------------------------------------------------
    def lane(self, index: int) -> Value:
        """One lane as a scalar."""
        return self.emitter.emit(f"extractelement {self.typed}, i64 {index}", self.base)

    def shuffle(self, lanes: list[int], other: Value | None = None) -> Value:
        """The listed lanes of this vector, then of `other`, as a new vector."""
        second = other.name if other else "poison"
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        text = f"shufflevector {self.typed}, {self.type} {second}, <{len(lanes)} x i32> <{mask}>"
        return self.emitter.emit(text, self.base, len(lanes))

    def reduce(self, combine: Callable[[Value, Value], Value]) -> Value:
        """All lanes combined into one scalar by halving: an order that is always the same."""
        value = self
        while value.lanes > 2:
            half = value.lanes // 2
            value = combine(value.shuffle([*range(half)]), value.shuffle([*range(half, 2 * half)]))
        return combine(value.lane(0), value.lane(1)) if value.lanes else value

    def any(self) -> Value:
        """Whether this i1 is true in at least one lane, as a scalar."""
        if not self.lanes:
            return self
        name = f"@llvm.vector.reduce.or.{suffix(self.base, self.lanes)}"
        self.emitter.module.declare(f"i1 {name}({self.type})")
        return self.emitter.emit(f"call i1 {name}({self.typed})", "i1")

    def element(self, index: Value | int, base: str) -> Value:
        """The address of an element, counted in `base`; vector indices give vector addresses."""
        position = index if isinstance(index, Value) else self.emitter.constant(index, "i64")
        if position.number == 0:
            return self
        stored = "i8" if base == "i1" else base
        text = f"getelementptr inbounds {stored}, {self.typed}, {position.typed}"
        address = self.emitter.emit(text, "ptr", max(self.lanes, position.lanes))
        address.scope = self.scope
        return address
