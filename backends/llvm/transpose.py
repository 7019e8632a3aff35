"""Transposing copies: square tiles turned in registers.

Comes in: two nested vector loops around one store of one load, which are contiguous along
different indices. Goes out: rows read whole, turned by shuffles, and written whole. A separate
step because no other pair of loops fills lanes two ways.

A tile of L rows takes log2(L) rounds of two-operand shuffles (Eklundh, A fast computer method for
matrix transposing, 1972): a small part of the cost of gathering L * L elements.
"""

from __future__ import annotations

from graphc.backends.llvm.emitter import Value
from graphc.backends.llvm.expressions import Expressions
from graphc.backends.llvm.machine import LINE
from graphc.backends.llvm.spelling import base_of, cast
from graphc.backends.llvm.streaming import aligned
from graphc.errors import CompilerBug
from graphc.expr import Buffer, Expr, Iter, Load
from graphc.index import flat_index, stride
from graphc.loops.ir import Loop, Put
from graphc.types import DType

SQUARE = 16
"""Rows of a tile at most: 16 registers, and as many for a round of shuffles."""


def is_transposing(loop: Loop) -> bool:
    """Whether a vector loop holds only another one: a copy to be done in square tiles."""
    return len(loop.body) == 1 and isinstance(loop.body[0], Loop) and loop.body[0].kind == "vector"


def transposing_copy(writer: Expressions, loop: Loop, low: Value, high: Value) -> None:
    """Write the two loops; the outer one runs from ``low`` to ``high``."""
    inner = loop.body[0]
    put = inner.body[0] if isinstance(inner, Loop) else None
    if not isinstance(inner, Loop) or not isinstance(put, Put) or not isinstance(put.value, Load):
        raise CompilerBug("nested vector loops hold something else than a copy")
    _Copy(writer, loop.iter, inner.iter, put, put.value, high).write(low)


class _Copy:
    def __init__(
        self, writer: Expressions, across: Iter, along: Iter, put: Put, load: Load, high: Value
    ) -> None:
        self.writer, self.f = writer, writer.f
        self.across, self.along, self.high, self.put = across, along, high, put
        self.streaming, self.width = False, put.buffer.type.dtype.bytes
        self.dtypes = load.buffer.type.dtype, put.buffer.type.dtype
        widest = max(dtype.bytes for dtype in self.dtypes)
        self.lanes = min(SQUARE, self.f.module.machine.vector_bytes // widest)
        self.source, self.target = (load.buffer, load.index), (put.buffer, put.index)
        self.read_step = self.step(*self.source, across)
        self.write_step = self.step(*self.target, along)

    def step(self, buffer: Buffer, index: tuple[Expr, ...], iterator: Iter) -> int:
        step = stride(flat_index(buffer, index), iterator)
        if step is None:
            raise CompilerBug("a transposing copy moves by a step that is not constant")
        return step

    def write(self, low: Value) -> None:
        """The loops; twice if the stores could go round the caches."""
        self.writer.values.update({self.across: low, self.along: low.constant(0)})
        f, step = self.f, self.write_step * self.width
        if not self.put.streamed or step % LINE or self.lanes * self.width % LINE:
            self.loops(low)
            return
        fits = aligned([self.address(*self.target)])
        assert fits is not None
        for self.streaming, condition in ((True, fits), (False, fits ^ True)):
            with f.when(condition):
                self.loops(low)

    def loops(self, low: Value) -> None:
        f, lanes, extent = self.f, self.lanes, self.along.extent
        with f.loop(low, self.high, lanes) as rows:
            with f.loop(0, extent, lanes) as columns:
                i, j = rows.index, columns.index
                self.writer.values.update({self.across: i, self.along: j})
                inside = (i + lanes).compare("sle", self.high)
                whole = inside & (j + lanes).compare("sle", extent)
                source, target = self.address(*self.source), self.address(*self.target)
                with f.when(whole):
                    self.tile(source, target, None)
                with f.when(whole ^ True):
                    self.tile(source, target, (i, j))
                columns.carry()
            rows.carry()

    def address(self, buffer: Buffer, index: tuple[Expr, ...]) -> Value:
        offset = self.writer.value(flat_index(buffer, index))
        return self.writer.memory[buffer].element(offset, _base(buffer.type.dtype))

    def tile(self, source: Value, target: Value, corner: tuple[Value, Value] | None) -> None:
        """One square; at an edge (``corner`` given) rows and columns outside are left alone."""
        f, lanes, bases = self.f, self.lanes, [*map(_base, self.dtypes)]
        read = write = None
        if corner is not None:
            read = f.lanes_below(corner[1], self.along.extent, lanes)
            write = f.lanes_below(corner[0], self.high, lanes)
        rows = []
        for r in range(lanes):
            mask = self.line(read, corner and corner[0], r, self.high)
            address = source.element(r * self.read_step, bases[0])
            rows.append(self.converted(f.load(address, bases[0], lanes, mask=mask)))
        for r, value in enumerate(turned(rows)):
            mask = self.line(write, corner and corner[1], r, self.along.extent)
            stream = self.streaming and mask is None
            place = target.element(r * self.write_step, bases[1])
            f.store(value, place, mask=mask, align=LINE * stream, stream=stream)

    def converted(self, row: Value) -> Value:
        """What is read, as it is stored."""
        source, target = self.dtypes
        if source == target:
            return row
        return cast(self.f, source.computing, target, cast(self.f, source, source.computing, row))

    def line(
        self, mask: Value | None, first: Value | None, number: int, limit: Value | int
    ) -> Value | None:
        """The mask of one row: empty when the row lies outside."""
        if mask is None or first is None:
            return None
        return mask & (first + number).compare("slt", limit).spread(self.lanes)


def _base(dtype: DType) -> str:
    """The IR type of an element; bools are copied as bytes."""
    base = base_of(dtype)
    return "i8" if base == "i1" else base


def turned(rows: list[Value]) -> list[Value]:
    """The transposed square of vectors."""
    lanes = len(rows)
    half = lanes // 2
    while half:
        low = [k if not k & half else lanes + (k ^ half) for k in range(lanes)]
        high = [(k | half) if not k & half else lanes + k for k in range(lanes)]
        new = list(rows)
        for r in range(lanes):
            if not r & half:
                new[r] = rows[r].shuffle(low, rows[r | half])
                new[r | half] = rows[r].shuffle(high, rows[r | half])
        rows, half = new, half // 2
    return rows
