"""Statements of the loop language as LLVM code: locals, stores, loops, vector loops.

Comes in: the statements of one phase. Goes out: code in the emitter. Vector loops are written
twice, once for whole vectors and once for the rest under a mask, with the same statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from graphc.backends.llvm.division import Divisor, divisor
from graphc.backends.llvm.emitter import Emitter, Value
from graphc.backends.llvm.expressions import Expressions, Lanes, is_empty
from graphc.backends.llvm.machine import LINE
from graphc.backends.llvm.spelling import base_of, cast
from graphc.backends.llvm.streaming import aligned
from graphc.backends.llvm.strided import STEPS, strided_store
from graphc.backends.llvm.transpose import is_transposing, transposing_copy
from graphc.errors import CompilerBug
from graphc.expr import Apply, Buffer, Expr, Load, stored, walk
from graphc.index import stride
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    Define,
    Fetch,
    Local,
    Loop,
    Put,
    Statement,
    When,
    expressions,
    statements,
)
from graphc.loops.nest import identity


class Writer(Expressions):
    """Writes the statements of a phase."""

    def __init__(
        self, f: Emitter, memory: dict[Buffer, Value], fault: Value, owners: list[object]
    ) -> None:
        super().__init__(f, memory, fault, owners)
        self.folding: frozenset[Local] = frozenset()  # accumulators with partial results per lane
        self.streaming = False  # whether marked stores go round the caches

    # Statements -----------------------------------------------------------------------------------
    def body(self, body: Sequence[Statement]) -> None:
        for statement in body:
            match statement:
                case Loop(iterator):
                    zero = self.f.constant(0, "i64")
                    self.loop(statement, zero, self.f.constant(iterator.extent, "i64"))
                case When():
                    self.branch(statement)
                case Define(local, value):
                    self.values[local] = self.value(value)
                case Accumulate():
                    self.accumulate(statement)
                case Put():
                    self.put(statement)
                case Fetch():
                    self.fetch(statement)
                case Alloc(buffer):
                    count = 1
                    for extent in buffer.shape:
                        count *= extent
                    base = base_of(buffer.type.dtype)
                    self.memory[buffer] = self.f.alloca("i8" if base == "i1" else base, count)
                case _:
                    raise CompilerBug(f"the CPU has no {type(statement).__name__}")

    def accumulate(self, statement: Accumulate) -> None:
        """Fold a value in. A product is added by a fused multiply-add: a sum has no order to keep
        anyway.
        """
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

    def branch(self, when: When) -> None:
        """One of two bodies; neither folds into locals from outside."""
        condition = self.value(when.condition)
        with self.f.when(condition):
            self.body(when.body)
        with self.f.when(condition ^ True):
            self.body(when.other)

    def loop(self, loop: Loop, low: Value, high: Value) -> None:
        if loop.kind == "vector" and self.lanes is None:
            write = transposing_copy if is_transposing(loop) else type(self).vector_loop
            write(self, loop, low, high)
            return
        totals = self.totals(loop)
        first = [self.wide(self.values[t]) for t in totals]
        with self.f.loop(low, high, carry=first) as opened:
            self.values[loop.iter] = opened.index
            self.values.update(zip(totals, opened.carried, strict=True))
            self.body(loop.body)
            opened.carry(*(self.wide(self.values[t]) for t in totals))
        self.values.update(zip(totals, opened.results, strict=True))

    def loops(self, nested: Sequence[Loop], low: Value, high: Value) -> None:
        """Iterations ``low`` to ``high``, counted in row-major order, of loops one in another."""
        if len(nested) == 1:
            self.loop(nested[0], low, high)
            return
        with self.f.loop(low, high) as opened:
            rest = opened.index
            for loop in reversed(nested[1:]):
                self.values[loop.iter] = rest.binary("urem", loop.iter.extent)
                rest = rest.binary("udiv", loop.iter.extent)
            self.values[nested[0].iter] = rest
            self.body(nested[-1].body)
            opened.carry()

    def totals(self, loop: Loop) -> list[Local]:
        """The accumulators from outside that the loop folds into."""
        inside = dict.fromkeys(s.local for s in statements((loop,)) if isinstance(s, Accumulate))
        return [local for local in inside if local in self.values]

    # Vector loops ---------------------------------------------------------------------------------
    def vector_loop(self, loop: Loop, low: Value, high: Value) -> None:
        """Whole vectors first, then what is left under a mask."""
        narrow, length = self.width(loop), high - low
        wide = loop.lanes or narrow * _unrolling(loop)
        while not loop.lanes and wide > narrow and _leaves_vectors(length.number, wide, narrow):
            wide //= 2
        whole = low + (length - self.remainder(length, wide))
        if length.number is None or length.number >= wide:
            self.whole_vectors(loop, low, whole, wide)
        if length.number is None or length.number % wide:
            self.vector_part(loop, whole, high, narrow, masked=True)

    def whole_vectors(self, loop: Loop, low: Value, high: Value, lanes: int) -> None:
        """The loop without a mask; twice if its stores could go round the caches."""
        fits = aligned(self.starts(loop, low))
        if fits is None:
            self.vector_part(loop, low, high, lanes, masked=False)
            return
        totals = self.totals(loop)
        before = [self.values[t] for t in totals]

        def written(streaming: bool) -> list[Value]:
            self.streaming = streaming
            self.values.update(zip(totals, before, strict=True))
            self.vector_part(loop, low, high, lanes, masked=False)
            self.streaming = False
            return [self.values[t] for t in totals]

        ends = self.f.either_of(fits, lambda: written(True), lambda: written(False))
        self.values.update(zip(totals, ends, strict=True))

    def starts(self, loop: Loop, low: Value) -> Iterator[Value]:
        """Where the marked stores of a loop begin."""
        self.values[loop.iter] = low
        for put in loop.body:
            if isinstance(put, Put) and put.streamed and stride(put.index[0], loop.iter) == 1:
                offset = self.value(put.index[0])
                yield self.memory[put.buffer].element(offset, base_of(put.buffer.type.dtype))

    def remainder(self, length: Value, wide: int) -> Value:
        if length.number is not None:
            return self.f.constant(length.number % wide, "i64")
        return length.binary("and", wide - 1)

    def vector_part(self, loop: Loop, low: Value, high: Value, lanes: int, *, masked: bool) -> None:
        f, totals = self.f, self.totals(loop)
        functions = {s.local: s.function for s in statements((loop,)) if isinstance(s, Accumulate)}
        neutral = [self.constant(identity(functions[t], t.dtype)).spread(lanes) for t in totals]
        outside = dict(self.values)
        self.divisors = self.invariant_divisors(loop)
        with f.loop(low, high, lanes, carry=neutral) as opened:
            mask = f.lanes_below(opened.index, high, lanes) if masked else None
            self.lanes = Lanes(loop.iter, lanes, mask, opened.index)
            self.folding = frozenset(totals)
            self.values[loop.iter] = opened.index
            self.values.update(zip(totals, opened.carried, strict=True))
            self.body(loop.body)
            opened.carry(*(self.values[t].spread(lanes) for t in totals))
        self.lanes, self.folding, self.divisors = None, frozenset(), {}
        self.values = outside
        for total, partial in zip(totals, opened.results, strict=True):
            name = functions[total]
            folded = partial.reduce(self.combiner(name, total))
            self.values[total] = self.call(name, total, [self.values[total], folded])

    def invariant_divisors(self, loop: Loop) -> dict[Expr, Divisor]:
        """The locals from outside that the loop divides by."""
        if not self.f.module.machine.has_fma:
            return {}
        parts = walk(*(e for s in statements((loop,)) for e in expressions(s)))
        divisions = [e for e in parts if isinstance(e, Apply) and e.function == "divide"]
        used = dict.fromkeys(e.args[1] for e in divisions if e.dtype.bytes >= 4)
        return {
            b: divisor(self.values[b]) for b in used if b in self.values and isinstance(b, Local)
        }

    def combiner(self, function: str, like: Expr) -> Callable[[Value, Value], Value]:
        return lambda a, b: self.call(function, like, [a, b])

    def width(self, loop: Loop) -> int:
        """Lanes of one register, for the widest type the loop touches in memory; fewer where the
        loop is short.
        """
        bytes_ = self.f.module.machine.vector_bytes
        sizes = [4]
        for statement in statements((loop,)):
            sizes += [
                e.dtype.bytes
                for x in expressions(statement)
                for e in walk(x)
                if isinstance(e, Load | Apply)
            ]
        enough = 1 << (loop.iter.extent - 1).bit_length()
        return max(2, min(enough, bytes_ // min(8, max(sizes))))

    # Stores ---------------------------------------------------------------------------------------
    def put(self, put: Put) -> None:
        pointer, dtype = self.memory[put.buffer], put.buffer.type.dtype
        value, base = self.value(put.value) if put.combine else self.stored(put), base_of(dtype)
        offset, step = self.offset(put.buffer, put.index)
        if is_empty(put.buffer):
            return
        if put.combine:
            before = self.read(put.buffer, offset, step)
            total = self.call(put.combine, put.value, [before, value])
            value = cast(self.f, put.value.dtype, dtype, total)
        if self.lanes is None or (step == 0 and value.lanes == 0):
            self.f.store(value, pointer.element(offset, base))
        elif step == 1:
            address, mask = pointer.element(offset, base), self.active()
            stream = put.streamed and self.streaming and mask is None
            value = value.spread(self.lanes.count)
            self.f.store(value, address, mask=mask, align=LINE * stream, stream=stream)
        elif step is not None and step in STEPS:
            address = pointer.element(offset, base)
            strided_store(self.f, value.spread(self.lanes.count), address, step, self.active())
        else:
            lanes = self.lanes.count
            self.f.scatter(value.spread(lanes), pointer, offset.spread(lanes), self.active())

    def stored(self, put: Put) -> Value:
        """What is written: rounded to a narrow float, or copied as it lies in memory."""
        e, dtype = put.value, put.buffer.type.dtype
        if isinstance(e, Load) and e.buffer.type.dtype == dtype and not is_empty(e.buffer):
            return self.raw(self.memory[e.buffer], *self.offset(e.buffer, e.index), base_of(dtype))
        return self.value(stored(e, dtype))

    def fetch(self, fetch: Fetch) -> None:
        """Ask for every line that the lanes will read."""
        offset, _ = self.offset(fetch.buffer, fetch.index)
        dtype = fetch.buffer.type.dtype
        for first in range(0, self.lanes.count if self.lanes else 1, LINE // dtype.bytes):
            self.f.fetch(self.memory[fetch.buffer], offset + first, base_of(dtype))


def _leaves_vectors(length: int | None, wide: int, narrow: int) -> bool:
    """Whether a short loop would do whole vectors under a mask, if ``wide`` lanes went first."""
    return length is not None and length < 4 * wide and length % wide >= narrow


def _unrolling(loop: Loop) -> int:
    """Vectors per iteration: enough to hide latencies, few enough for the registers."""
    applied = sum(
        isinstance(e, Apply) for s in statements((loop,)) for x in expressions(s) for e in walk(x)
    )
    return 4 if applied <= 6 else 2 if applied <= 40 else 1
