"""From loops to LLVM IR.

Comes in: the phases of a kernel (`schedule`). Goes out: a module with one function per phase and what its caller must
know. A separate step because every decision has been made: this file only says how each statement is spelled.

Calling convention of a phase: ``void phase(ptr slots, i64 low, i64 high)``. ``slots`` is a table of addresses of
pointers, one per buffer in order of `KernelCode.buffers`, then the address of the fault cell. ``low`` and ``high``
bound the phase's top loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graphc.backends.llvm.emitter import Emitter, Module, Value
from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.spelling import SPELLING, base_of, bitcast, cast
from graphc.errors import CompilerBug
from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Select,
    affine,
    bounds,
    flat_index,
    stride,
    walk,
)
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    Define,
    Local,
    Loop,
    Put,
    Statement,
    expressions,
    statements,
)
from graphc.loops.nest import identity


@dataclass(frozen=True)
class KernelCode:
    """What is needed to call a kernel: its IR, and per phase a symbol and the extent threads share (0: none).

    ``owners`` are the makers of checked indices; a fault cell holds 1 + the position of the one that failed.
    """

    text: str
    symbols: tuple[str, ...]
    extents: tuple[int, ...]
    grains: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    owners: tuple[object, ...]


def buffers_of(phases: Sequence[Statement]) -> tuple[Buffer, ...]:
    """The global buffers that statements touch, in order of appearance."""
    found: dict[Buffer, None] = {}
    for statement in statements(tuple(phases)):
        for root in expressions(statement):
            found.update((e.buffer, None) for e in walk(root) if isinstance(e, Load))
        if isinstance(statement, Put):
            found[statement.buffer] = None
    return tuple(b for b in found if b.scope in ("global", "scratch"))


def owners_of(phases: Sequence[Statement]) -> tuple[object, ...]:
    """The owners of checked indices, in order of appearance."""
    return tuple(
        e.owner
        for statement in statements(tuple(phases))
        for root in expressions(statement)
        for e in walk(root)
        if isinstance(e, Bounded)
    )


def emit(name: str, phases: Sequence[Statement], machine: Machine) -> KernelCode:
    """The IR of a kernel whose functions are called ``name.0``, ``name.1``, ..."""
    module = Module(machine)
    buffers, owners = buffers_of(phases), owners_of(phases)
    groups = phase_groups(phases)
    for number, group in enumerate(groups):
        _emit_phase(module, f"{name}.{number}", group, buffers, owners)
    return KernelCode(
        module.text(),
        tuple(f"{name}.{n}" for n in range(len(groups))),
        tuple(shared_extent(g) for g in groups),
        tuple(grain(g) for g in groups),
        buffers,
        owners,
    )


def phase_groups(phases: Sequence[Statement]) -> list[tuple[Statement, ...]]:
    """Top-level statements as phases: a shared loop takes the definitions before it along."""
    if len([p for p in phases if isinstance(p, Loop)]) <= 1 or any(
        isinstance(p, Accumulate | Put) for p in phases
    ):
        return [tuple(phases)]
    lead = tuple(p for p in phases if not isinstance(p, Loop))
    return [(*lead, p) for p in phases if isinstance(p, Loop)]


def shared_extent(group: Sequence[Statement]) -> int:
    """The extent of the loop that threads may share; 0 when the phase runs on one thread."""
    *lead, last = group
    independent = isinstance(last, Loop) and last.kind in ("parallel", "vector")
    if independent and all(isinstance(s, Define) for s in lead):
        assert isinstance(last, Loop)
        accumulates = any(isinstance(s, Accumulate) and s.local in _defined(lead) for s in statements((last,)))
        return 0 if accumulates else last.iter.extent
    return 0


def _defined(body: Sequence[Statement]) -> set[Local]:
    return {s.local for s in body if isinstance(s, Define)}


def work(body: Sequence[Statement]) -> float:
    """A rough price of a body in element operations; lanes count as one eighth."""
    total = 0.0
    for statement in body:
        if isinstance(statement, Loop):
            inner = work(statement.body) * statement.iter.extent
            total += inner / 8 if statement.kind == "vector" else inner
        else:
            total += 1 + sum(isinstance(e, Apply | Load) for x in expressions(statement) for e in walk(x))
    return total


SHARE_ABOVE = 60_000
"""Operations below which a phase is not worth sharing: about 20 microseconds."""


def grain(group: Sequence[Statement]) -> int:
    """Iterations of the shared loop that one thread takes at a time; the whole extent when sharing does not pay."""
    extent = shared_extent(group)
    total = work(group)
    if extent == 0 or total < SHARE_ABOVE:
        return max(extent, 1)
    pieces = int(min(max(total / SHARE_ABOVE * 2, 2), 16))
    size = -(-extent // pieces)
    last = group[-1]
    unit = 64 if isinstance(last, Loop) and last.kind == "vector" else 1
    return max(unit, -(-size // unit) * unit)


def _emit_phase(
    module: Module,
    name: str,
    group: Sequence[Statement],
    buffers: Sequence[Buffer],
    owners: Sequence[object],
) -> None:
    f = module.function(name, [("ptr", "slots"), ("i64", "low"), ("i64", "high")])
    slots, low, high = f.parameters
    pointers = [f.load(f.load(slots.element(k, "ptr"), "ptr"), "ptr") for k in range(len(buffers))]
    fault = f.load(slots.element(len(buffers), "ptr"), "ptr")
    memory = dict(zip(buffers, f.scoped(pointers), strict=True)) if buffers else {}
    writer = _Writer(f, memory, fault, list(owners))
    if shared_extent(group):
        *lead, last = group
        writer.body(lead)
        assert isinstance(last, Loop)
        writer.loop(last, low, high)
    else:
        writer.body(group)
    f.ret()


@dataclass
class _Lanes:
    """The open vector loop: its iterator, how many lanes, the active ones (None: all), the first lane's index."""

    iter: Iter
    count: int
    mask: Value | None
    first: Value


class _Writer:
    """Writes statements; ``values`` maps iterators and locals to what holds them."""

    def __init__(
        self, f: Emitter, memory: dict[Buffer, Value], fault: Value, owners: list[object]
    ) -> None:
        self.f, self.memory, self.fault, self.owners = f, memory, fault, owners
        self.values: dict[Expr, Value] = {}
        self.lanes: _Lanes | None = None
        self.guard: Value | None = None
        self.folding: frozenset[Local] = frozenset()  # accumulators that hold partial results per lane

    # Statements ----------------------------------------------------------------------------------------------------
    def body(self, body: Sequence[Statement]) -> None:
        for statement in body:
            match statement:
                case Loop(iterator):
                    zero = self.f.constant(0, "i64")
                    self.loop(statement, zero, self.f.constant(iterator.extent, "i64"))
                case Define(local, value):
                    self.values[local] = self.value(value)
                case Accumulate():
                    self.accumulate(statement)
                case Put():
                    self.put(statement)
                case Alloc(buffer):
                    count = 1
                    for extent in buffer.shape:
                        count *= extent
                    base = base_of(buffer.type.dtype)
                    self.memory[buffer] = self.f.alloca("i8" if base == "i1" else base, count)
                case _:
                    raise CompilerBug(f"the CPU has no {type(statement).__name__}")

    def accumulate(self, statement: Accumulate) -> None:
        """Fold a value in. A product is added by a fused multiply-add: a sum has no order to keep anyway."""
        local, function, e = statement.local, statement.function, statement.value
        total = self.values[local]
        tail = self.lanes.mask if self.lanes and local in self.folding else None
        product = isinstance(e, Apply) and e.function == "multiply" and e.dtype.is_float
        if function == "add" and product and tail is None:
            a, b = (self.value(x) for x in e.children)
            self.values[local] = (a if a.lanes else b).fma(b if a.lanes else a, total)
            return
        value = self.value(e)
        if tail is not None and self.lanes:
            neutral = self.constant(identity(function, local.dtype)).spread(self.lanes.count)
            value = tail.select(value.spread(self.lanes.count), neutral)
        self.values[local] = self.call(function, local, [total, value])

    def loop(self, loop: Loop, low: Value, high: Value) -> None:
        if loop.kind == "vector" and self.lanes is None:
            self.vector_loop(loop, low, high)
            return
        totals = self.totals(loop)
        first = [self.wide(self.values[t]) for t in totals]
        with self.f.loop(low, high, carry=first) as opened:
            self.values[loop.iter] = opened.index
            self.values.update(zip(totals, opened.carried, strict=True))
            self.body(loop.body)
            opened.carry(*(self.wide(self.values[t]) for t in totals))
        self.values.update(zip(totals, opened.results, strict=True))

    def totals(self, loop: Loop) -> list[Local]:
        """The accumulators from outside that the loop folds into."""
        inside = dict.fromkeys(s.local for s in statements((loop,)) if isinstance(s, Accumulate))
        return [local for local in inside if local in self.values]

    def wide(self, value: Value) -> Value:
        return value.spread(self.lanes.count) if self.lanes else value

    # Vector loops --------------------------------------------------------------------------------------------------
    def vector_loop(self, loop: Loop, low: Value, high: Value) -> None:
        """Whole vectors first, then what is left under a mask."""
        narrow = self.width(loop)
        wide = loop.lanes or narrow * _unrolling(loop)
        length = high - low
        whole = low + (length - self.remainder(length, wide))
        if length.number is None or length.number >= wide:
            self.vector_part(loop, low, whole, wide, masked=False)
        if length.number is None or length.number % wide:
            self.vector_part(loop, whole, high, narrow, masked=True)

    def remainder(self, length: Value, wide: int) -> Value:
        if length.number is not None:
            return self.f.constant(length.number % wide, "i64")
        return length.binary("and", wide - 1)

    def vector_part(self, loop: Loop, low: Value, high: Value, lanes: int, *, masked: bool) -> None:
        f, totals = self.f, self.totals(loop)
        functions = {s.local: s.function for s in statements((loop,)) if isinstance(s, Accumulate)}
        neutral = [self.constant(identity(functions[t], t.dtype)).spread(lanes) for t in totals]
        outside = dict(self.values)
        with f.loop(low, high, lanes, carry=neutral) as opened:
            mask = f.lanes_below(opened.index, high, lanes) if masked else None
            self.lanes = _Lanes(loop.iter, lanes, mask, opened.index)
            self.folding = frozenset(totals)
            self.values[loop.iter] = opened.index
            self.values.update(zip(totals, opened.carried, strict=True))
            self.body(loop.body)
            opened.carry(*(self.values[t].spread(lanes) for t in totals))
        self.lanes, self.folding = None, frozenset()
        self.values = outside
        for total, partial in zip(totals, opened.results, strict=True):
            name = functions[total]
            folded = partial.reduce(self.combiner(name, total))
            self.values[total] = self.call(name, total, [self.values[total], folded])

    def combiner(self, function: str, like: Expr) -> Callable[[Value, Value], Value]:
        return lambda a, b: self.call(function, like, [a, b])

    def width(self, loop: Loop) -> int:
        """Lanes of one register, for the widest type the loop touches in memory."""
        bytes_ = self.f.module.machine.vector_bytes
        sizes = [4]
        for statement in statements((loop,)):
            sizes += [
                e.dtype.bytes for x in expressions(statement) for e in walk(x) if isinstance(e, Load | Apply)
            ]
        return max(2, bytes_ // min(8, max(sizes)))

    # Stores --------------------------------------------------------------------------------------------------------
    def put(self, put: Put) -> None:
        value, pointer = self.value(put.value), self.memory[put.buffer]
        offset, step = self.offset(put.buffer, put.index)
        base = base_of(put.buffer.type.dtype)
        if put.combine:
            value = self.call(put.combine, put.value, [self.read(pointer, offset, step, base), value])
        if self.lanes is None or (step == 0 and value.lanes == 0):
            self.f.store(value, pointer.element(offset, base))
        elif step == 1:
            address = pointer.element(offset, base)
            self.f.store(value.spread(self.lanes.count), address, mask=self.active())
        else:
            lanes = self.lanes.count
            self.f.scatter(value.spread(lanes), pointer, offset.spread(lanes), self.active())

    def active(self) -> Value | None:
        """The lanes in which the current expression is evaluated; None: all."""
        tail = self.lanes.mask if self.lanes else None
        if tail is None or self.guard is None:
            return tail if self.guard is None else self.guard
        return self.guard & tail

    # Expressions ---------------------------------------------------------------------------------------------------
    def value(self, e: Expr) -> Value:
        match e:
            case Lit():
                return self.constant(e)
            case Iter() | Local():
                return self.counter(e) if isinstance(e, Iter) else self.values[e]
            case Affine(terms, constant):
                return self.sum(terms, constant)
            case Load(buffer, index):
                offset, step = self.offset(buffer, index)
                return self.read(self.memory[buffer], offset, step, base_of(buffer.type.dtype))
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
        scalars, vectors = [self.f.constant(constant, "i64")], []
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
        return self.call(function, args[-1], [self.value(a) for a in args])

    def divide_counter(self, function: str, args: Sequence[Expr]) -> Value:
        """Division of an index that is never negative; in 32 bits where it fits, which lanes do far faster."""
        reach = bounds(args[0])
        assert isinstance(args[1], Lit) and reach is not None
        x = self.value(args[0])
        if x.lanes and reach[1] < 1 << 31:
            x = x.convert("trunc", "i32")
        result = x.binary("udiv" if function == "floor_divide" else "urem", int(args[1].value))
        return result.convert("zext", "i64") if result.base != "i64" else result

    def call(self, function: str, like: Expr, values: Sequence[Value]) -> Value:
        """A scalar function of values; a scalar beside a vector is spread over its lanes."""
        lanes = max(v.lanes for v in values)
        return SPELLING[function](self.f, like.dtype, *(v.spread(lanes) if lanes else v for v in values))

    def select(self, e: Select) -> Value:
        condition = self.value(e.condition)
        if not condition.lanes:
            return self.f.either(
                condition, lambda: self.wide(self.value(e.chosen)), lambda: self.wide(self.value(e.other))
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

    # Memory --------------------------------------------------------------------------------------------------------
    def offset(self, buffer: Buffer, index: tuple[Expr, ...]) -> tuple[Value, int | None]:
        """The offset of an access and its step from lane to lane (None: lanes hold offsets of their own)."""
        flat = flat_index(buffer, index)
        if self.lanes is None:
            return self.value(flat), 0
        step = stride(flat, self.lanes.iter)
        if step not in (0, 1) or self.is_scattered(flat):
            return self.value(flat), None
        count, self.lanes = self.lanes, None  # the first lane's offset is a scalar
        first = self.value(flat)
        self.lanes = count
        return first, step

    def is_scattered(self, flat: Expr) -> bool:
        """Whether an offset uses a value that differs from lane to lane."""
        atoms = [atom for atom, _ in affine(flat).terms]
        return any(
            isinstance(e, Local) and self.values[e].lanes or isinstance(e, Load)
            for e in walk(*atoms)
        )

    def read(self, pointer: Value, offset: Value, step: int | None, base: str) -> Value:
        if self.lanes is None:
            return self.f.load(pointer.element(offset, base), base)
        if step == 1:
            address = pointer.element(offset, base)
            return self.f.load(address, base, self.lanes.count, mask=self.active())
        if step == 0 and self.guard is None:
            return self.f.load(pointer.element(offset, base), base)
        return self.f.gather(pointer, offset.spread(self.lanes.count), base, self.active())


def _divides_counter(args: Sequence[Expr]) -> bool:
    reach = bounds(args[0])
    return isinstance(args[1], Lit) and int(args[1].value) > 0 and reach is not None and reach[0] >= 0


def _unrolling(loop: Loop) -> int:
    """Vectors per iteration: enough to hide latencies, few enough for the registers."""
    applied = sum(
        isinstance(e, Apply) for s in statements((loop,)) for x in expressions(s) for e in walk(x)
    )
    return 4 if applied <= 6 else 2 if applied <= 40 else 1
