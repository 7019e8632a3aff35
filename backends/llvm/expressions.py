"""Scalar expressions of the loop language as LLVM values, one lane or many at a time.

Comes in: an expression, inside or outside a vector loop. Goes out: its value. A separate step from
the statements (`writer`) because an expression never changes what is in memory or in a local.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphc.backends.llvm.division import Divisor
from graphc.backends.llvm.emitter import Emitter, Value
from graphc.backends.llvm.spelling import SPELLING, base_of, bitcast, cast
from graphc.backends.llvm.strided import STEPS, strided_load
from graphc.errors import CompilerBug
from graphc.expr import Affine, Apply, Bounded, Buffer, Expr, Iter, Lit, Load, Select, walk
from graphc.index import affine, bounds, flat_index, stride
from graphc.loops.ir import Local


@dataclass
class Lanes:
    """The open vector loop: its iterator, how many lanes, the active ones (None: all), the first
    lane's index.
    """

    iter: Iter
    count: int
    mask: Value | None
    first: Value


class Expressions:
    """Writes expressions; ``values`` maps iterators and locals to what holds them."""

    def __init__(
        self, f: Emitter, memory: dict[Buffer, Value], fault: Value, owners: list[object]
    ) -> None:
        self.f, self.memory, self.fault, self.owners = f, memory, fault, owners
        self.values: dict[Expr, Value] = {}
        self.lanes: Lanes | None = None
        self.guard: Value | None = None
        self.divisors: dict[Expr, Divisor] = {}  # locals that the open vector loop divides by

    def value(self, e: Expr) -> Value:
        match e:
            case Lit():
                return self.constant(e)
            case Iter() | Local():
                return self.counter(e) if isinstance(e, Iter) else self.values[e]
            case Affine(terms, constant):
                return self.sum(terms, constant)
            case Load(buffer, index):
                return self.read(buffer, *self.offset(buffer, index))
            case Select():
                return self.select(e)
            case Bounded():
                return self.bounded(e)
            case Apply(function, args, _):
                return self.apply(e, function, args)
        raise CompilerBug(f"LLVM has no spelling for {type(e).__name__}")

    def constant(self, e: Lit) -> Value:
        return self.f.constant(e.value, base_of(e.dtype))

    def counter(self, e: Iter) -> Value:
        if self.lanes is not None and e is self.lanes.iter:
            return self.lanes.first + self.f.iota("i64", self.lanes.count)
        return self.values[e]

    def sum(self, terms: Sequence[tuple[Expr, int]], constant: int) -> Value:
        scalars: list[Value] = [self.f.constant(constant, "i64")]
        vectors: list[Value] = []
        for atom, coefficient in terms:
            part = self.as_index(self.value(atom)) * coefficient
            (vectors if part.lanes else scalars).append(part)
        total = scalars[0]
        for part in (*scalars[1:], *vectors):
            total = part + total
        return total

    def as_index(self, value: Value) -> Value:
        return value if value.base == "i64" else value.convert("sext", "i64")

    def apply(self, e: Apply, function: str, args: Sequence[Expr]) -> Value:
        if function in ("cast", "bitcast"):
            convert = cast if function == "cast" else bitcast
            return convert(self.f, args[0].dtype, e.dtype, self.value(args[0]))
        if function in ("floor_divide", "remainder") and _divides_counter(args):
            return self.divide_counter(function, args)
        if function == "divide" and args[1] in self.divisors:
            x = self.value(args[0])
            return self.divisors[args[1]].quotients(x) if x.lanes else x / self.value(args[1])
        return self.call(function, args[-1], [self.value(a) for a in args])

    def divide_counter(self, function: str, args: Sequence[Expr]) -> Value:
        """Division of an index that is never negative; in 32 bits where it fits, which lanes do far
        faster.
        """
        reach = bounds(args[0])
        assert isinstance(args[1], Lit)
        assert reach is not None
        x = self.value(args[0])
        if x.lanes and reach[1] < 1 << 31:
            x = x.convert("trunc", "i32")
        result = x.binary("udiv" if function == "floor_divide" else "urem", int(args[1].value))
        return result.convert("zext", "i64") if result.base != "i64" else result

    def call(self, function: str, like: Expr, values: Sequence[Value]) -> Value:
        """A scalar function of values; a scalar beside a vector is spread over its lanes."""
        lanes = max(v.lanes for v in values)
        return SPELLING[function](
            self.f, like.dtype, *(v.spread(lanes) if lanes else v for v in values)
        )

    def select(self, e: Select) -> Value:
        condition = self.value(e.condition)
        if not condition.lanes:
            return self.f.either(
                condition,
                lambda: self.wide(self.value(e.chosen)),
                lambda: self.wide(self.value(e.other)),
            )
        with self.guarded(condition):
            chosen = self.value(e.chosen)
        with self.guarded(condition ^ True):
            other = self.value(e.other)
        return condition.select(self.wide(chosen), self.wide(other))

    @contextmanager
    def guarded(self, condition: Value) -> Iterator[None]:
        before = self.guard
        self.guard = condition if before is None else before & condition
        yield
        self.guard = before

    def bounded(self, e: Bounded) -> Value:
        """The index if it is in range; else 0, and the fault is noted."""
        index = self.as_index(self.value(e.index))
        inside = index.compare("ult", e.extent)
        missed = inside ^ True
        active = self.active()
        if index.lanes and active is not None:
            missed = missed & active
        any_missed = missed.reduce(lambda a, b: a | b) if missed.lanes else missed
        with self.f.when(any_missed):
            number = next(k for k, owner in enumerate(self.owners) if owner is e.owner)
            self.f.store(self.f.constant(number + 1, "i64"), self.fault)
        return inside.select(index, index.constant(0))

    # Memory ---------------------------------------------------------------------------------------
    def offset(self, buffer: Buffer, index: tuple[Expr, ...]) -> tuple[Value, int | None]:
        """The offset of an access and its step from lane to lane (None: lanes hold offsets of their
        own).
        """
        flat = flat_index(buffer, index)
        if self.lanes is None:
            return self.value(flat), 0
        step = stride(flat, self.lanes.iter)
        if step not in (0, 1, *STEPS) or self.is_scattered(flat):
            return self.value(flat), None
        count, self.lanes = self.lanes, None  # the first lane's offset is a scalar
        first = self.value(flat)
        self.lanes = count
        return first, step

    def is_scattered(self, flat: Expr) -> bool:
        """Whether an offset uses a value that differs from lane to lane."""
        atoms = [atom for atom, _ in affine(flat).terms]
        return any(
            (isinstance(e, Local) and self.values[e].lanes) or isinstance(e, Load)
            for e in walk(*atoms)
        )

    def read(self, buffer: Buffer, offset: Value, step: int | None) -> Value:
        """An element in the dtype in which it is computed."""
        dtype = buffer.type.dtype
        if is_empty(buffer):
            return self.wide(self.f.constant(0, base_of(dtype.computing)))
        value = self.raw(self.memory[buffer], offset, step, base_of(dtype))
        return cast(self.f, dtype, dtype.computing, value)

    def raw(self, pointer: Value, offset: Value, step: int | None, base: str) -> Value:
        """An element as it lies in memory."""
        if self.lanes is None:
            return self.f.load(pointer.element(offset, base), base)
        if step == 1:
            address = pointer.element(offset, base)
            return self.f.load(address, base, self.lanes.count, mask=self.active())
        if step == 0 and self.guard is None:
            return self.f.load(pointer.element(offset, base), base)
        if step is not None and step in STEPS:
            address = pointer.element(offset, base)
            return strided_load(self.f, address, step, base, self.lanes.count, self.active())
        return self.f.gather(pointer, offset.spread(self.lanes.count), base, self.active())

    def active(self) -> Value | None:
        """The lanes in which the current expression is evaluated; None: all."""
        tail = self.lanes.mask if self.lanes else None
        if tail is None or self.guard is None:
            return tail if self.guard is None else self.guard
        return self.guard & tail

    def wide(self, value: Value) -> Value:
        return value.spread(self.lanes.count) if self.lanes else value


def is_empty(buffer: Buffer) -> bool:
    """Whether an access of ``buffer`` comes from an index that missed, as every index does."""
    return buffer.type.size == 0


def _divides_counter(args: Sequence[Expr]) -> bool:
    reach = bounds(args[0])
    return (
        isinstance(args[1], Lit) and int(args[1].value) > 0 and reach is not None and reach[0] >= 0
    )
