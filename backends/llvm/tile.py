"""Register tiles: the schedule of every contraction, matmul and convolution alike.

Comes in: a flat kernel whose values contain one sum of products. Goes out: its phases. A separate step because here the
order of the loops decides everything, and it follows from one question: which index moves which operand?

An index that moves only the first operand counts rows, one that moves only the second counts columns, one that moves
both is a batch, one that is summed over is inner. A tile is a few rows by a few vectors of accumulators that stay in
registers while the inner loops run. Three ways to fill the lanes:

* "columns": neighbours of a column index, which lie next to each other in the second operand,
* "packed": the same after that operand was copied into panels, when it lies badly in memory,
* "inner": neighbours of an inner index that is contiguous in both operands; lanes are summed up at the end.

The candidates are listed with an estimate of their cycles and the cheapest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from graphc.backends.llvm.machine import Machine
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Reduce, stride, substitute, walk
from graphc.kernels.kernel import Kernel, Store
from graphc.loops.ir import Accumulate, Local, Put, Statement
from graphc.loops.nest import Nest, identity
from graphc.types import INT64, TensorType

NEAR = 64 << 10
"""Bytes of an operand that may be read again and again where it lies; more is packed into panels."""


@dataclass(frozen=True)
class Contraction:
    """A kernel's sum of products: ``total`` over ``total.iters`` of ``first * second``, by rows and columns."""

    kernel: Kernel
    total: Reduce
    first: Load
    second: Load

    def moves(self, operand: Load, iterator: Iter) -> int | None:
        return stride(operand.index[0], iterator)

    @property
    def swapped(self) -> Contraction:
        return Contraction(self.kernel, self.total, self.second, self.first)

    @property
    def rows(self) -> list[Iter]:
        """Indices that move only the first operand."""
        return [i for i in self.kernel.iters if self.moves(self.first, i) and self.moves(self.second, i) == 0]

    @property
    def columns(self) -> list[Iter]:
        """Indices that move only the second operand."""
        return self.swapped.rows

    @property
    def depth(self) -> int:
        """Products per sum."""
        return math.prod(i.extent for i in self.total.iters)


def find(kernel: Kernel) -> Contraction | None:
    """The contraction in a flat kernel, if it is one."""
    if len(kernel.stages) != 1 or kernel.stages[0].iters or any(s.combine for s in kernel.stores):
        return None
    sums = {id(e): e for s in kernel.stores for e in walk(s.value) if isinstance(e, Reduce)}
    if len(sums) != 1:
        return None
    (total,) = sums.values()
    body = total.body
    if total.function != "add" or not isinstance(body, Apply) or body.function != "multiply":
        return None
    first, second = body.args
    known = isinstance(first, Load) and isinstance(second, Load) and total.dtype.is_float
    if not known or total.dtype.bits < 32 or not _affine(kernel, first, second, total):
        return None
    return Contraction(kernel, total, first, second)  # type: ignore[arg-type]


def _affine(kernel: Kernel, first: Expr, second: Expr, total: Reduce) -> bool:
    iters = (*kernel.iters, *total.iters)
    return all(
        stride(operand.index[0], i) is not None  # type: ignore[attr-defined]
        for operand in (first, second)
        for i in iters
    )


@dataclass(frozen=True)
class Tile:
    """One way to run a contraction: which index is jammed (``height`` of it at a time), which fills the lanes.

    ``vectors`` is the tile's width in registers; in "inner" mode the width of the tile in columns.
    """

    mode: str
    contraction: Contraction
    row: Iter | None
    height: int
    lane: Iter
    vectors: int
    cycles: float


# Choosing ---------------------------------------------------------------------------------------------------------
def choose(contraction: Contraction, machine: Machine) -> Tile | None:
    """The cheapest tile, or None when no index can fill lanes."""
    lanes = machine.vector_bytes // contraction.total.dtype.bytes
    found: list[Tile] = []
    for side in (contraction, contraction.swapped):
        found += _column_tiles(side, lanes, machine.registers)
        found += _inner_tiles(side, lanes, machine.registers)
    return min(found, key=lambda t: t.cycles, default=None)


def _even(extent: int, most: int) -> int:
    """Equal parts of ``extent``, none above ``most``."""
    return -(-extent // -(-extent // max(1, min(most, extent))))


def _points(c: Contraction, *without: Iter | None) -> int:
    return math.prod(i.extent for i in c.kernel.iters if i not in without)


def _column_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    for lane in c.columns:
        contiguous = c.moves(c.second, lane) == 1
        far = _panel_bytes(c) > NEAR and _repeats(c, lane) > 1
        store = _store_cycles(c, lane)
        for row in c.rows or [None]:
            for vectors in (1, 2, 3, 4):
                if vectors > -(-lane.extent // lanes):
                    continue
                extent = row.extent if row else 1
                height = _even(extent, (registers - 1 - vectors) // vectors)
                whole, rest = divmod(lane.extent, lanes * vectors)
                edge = -(-rest // lanes)
                per_k = whole * _cycles(height, vectors) + edge * (_cycles(height, 1) + 1)
                tiles = _points(c, row, lane) * -(-extent // height)
                cycles = tiles * (c.depth * per_k + store * height * -(-lane.extent // lanes) + 20)
                if contiguous and not far:
                    yield Tile("columns", c, row, height, lane, vectors, cycles)
                else:
                    copy = (0.3 if contiguous else 2.5) * math.prod(c.second.buffer.shape)
                    yield Tile("packed", c, row, height, lane, vectors, cycles + copy + 2000)


def _cycles(height: int, vectors: int) -> float:
    """Cycles of one inner step: multiply-adds, loads, or the latency of a lone chain."""
    return max(height * vectors, 0.5 * height + vectors, 4.0)


def _panel_bytes(c: Contraction) -> int:
    """What the columns' operand spans for one point of the batch."""
    used = (*c.columns, *c.total.iters)
    return c.total.dtype.bytes * math.prod(i.extent for i in used if c.moves(c.second, i))


def _repeats(c: Contraction, lane: Iter) -> int:
    return math.prod(i.extent for i in c.rows)


def _store_cycles(c: Contraction, lane: Iter) -> float:
    steps = [stride(s.index[0], lane) for s in c.kernel.stores]
    return sum(1.5 if step == 1 else 30.0 for step in steps)


def _inner_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles whose lanes run along an inner index; a column index is jammed too."""
    for lane in c.total.iters:
        if c.moves(c.first, lane) != 1 or c.moves(c.second, lane) != 1:
            continue
        for row in c.rows or [None]:
            for column in c.columns or [None]:
                width = _even(column.extent if column else 1, 5)
                height = _even(row.extent if row else 1, (registers - 2 - width) // width)
                tiles = _points(c, row, column)
                tiles *= -(-(row.extent if row else 1) // height) * -(-(column.extent if column else 1) // width)
                steps = c.depth // lane.extent * (-(-lane.extent // lanes) + (lane.extent % lanes > 0))
                per_step = max(height * width, height + width, 4.0)
                cycles = tiles * (steps * per_step + height * width * 14 + 30)
                yield Tile("inner", c, row, height, lane, width, cycles)


# Writing ----------------------------------------------------------------------------------------------------------
def tiled(kernel: Kernel, machine: Machine) -> tuple[Statement, ...] | None:
    """The phases of a flat kernel as register tiles; None when it is no contraction."""
    contraction = find(kernel)
    tile = choose(contraction, machine) if contraction is not None and contraction.depth else None
    if tile is None:
        return None
    lanes = machine.vector_bytes // tile.contraction.total.dtype.bytes
    if tile.mode == "inner":
        return _Inner(tile, lanes).phases()
    if tile.mode == "packed":
        return _Packed(tile, tile.vectors * lanes).phases()
    return _Columns(tile, tile.vectors * lanes).phases()


def _regions(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(start, count, size): whole tiles, then one smaller tile for the rest."""
    count, rest = divmod(extent, size)
    found = [(0, count, size)] if count else []
    return found + ([(count * size, 1, rest)] if rest else [])


class _Columns:
    """Lanes along a column index, in place."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        self.tile, self.c, self.lanes = tile, tile.contraction, lanes
        self.second: Load = self.c.second

    def outer(self) -> list[Iter]:
        return [i for i in self.c.kernel.iters if i not in (self.tile.row, self.tile.lane)]

    def phases(self) -> tuple[Statement, ...]:
        nest = Nest()
        for iterator in self.outer():
            nest.open(iterator, "parallel")
        for start, count, height in self.row_regions():
            self.region(nest, start, count, height)
        return nest.close_all()

    def row_regions(self) -> list[tuple[int, int, int]]:
        return _regions(self.tile.row.extent if self.tile.row else 1, self.tile.height)

    def region(self, nest: Nest, start: int, count: int, height: int) -> None:
        depth = nest.depth_now
        block = Iter(count)
        if count > 1:
            nest.open(block, "parallel")
        nest.open(self.tile.lane, "vector", self.lanes)
        self.micro(nest, [_row(block, count, start, height, k) for k in range(height)])
        nest.close(nest.depth_now - depth)

    def micro(self, nest: Nest, rows: Sequence[Expr], renamed: dict[Expr, Expr] | None = None) -> None:
        """Accumulators for every row, the inner loops, then what becomes of the sums."""
        c, renamed = self.c, renamed or {}
        zero = identity("add", c.total.dtype)
        at = [{**renamed, self.tile.row: row} if self.tile.row else dict(renamed) for row in rows]
        sums = [nest.define(zero, nest.depth_now) for _ in rows]
        for inner in c.total.iters:
            nest.open(inner, "serial")
        column = nest.define(_at(self.second, renamed), nest.depth_now)
        for place, total in zip(at, sums, strict=True):
            product = Apply("multiply", (_at(c.first, place), column), c.total.dtype)
            nest.append(Accumulate(total, "add", product))
        nest.close(len(c.total.iters))
        for place, total in zip(at, sums, strict=True):
            finish(nest, c, place, total)


def _row(block: Iter, count: int, start: int, height: int, k: int) -> Expr:
    base: Expr = Lit(start + k, INT64)
    return block * height + (start + k) if count > 1 else base


def _at(e: Expr, place: dict[Expr, Expr]) -> Expr:
    return substitute(e, lambda part: place.get(part) if isinstance(part, Iter) else None)


def finish(nest: Nest, c: Contraction, place: dict[Expr, Expr], total: Local) -> None:
    """Apply the kernel's stores to one finished sum."""

    def replaced(part: Expr) -> Expr | None:
        if part is c.total:
            return total
        return place.get(part) if isinstance(part, Iter) else None

    stores: list[Store] = list(c.kernel.stores)
    roots = [substitute(s.value, replaced) for s in stores]
    values = nest.values(roots)
    for store, value in zip(stores, values, strict=True):
        nest.append(Put(store.buffer, (substitute(store.index[0], replaced),), value))


class _Packed(_Columns):
    """Lanes along a column index, after the columns' operand was copied into panels of the tile's width."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        super().__init__(tile, lanes)
        c = self.c
        self.batch = [i for i in self.outer() if c.moves(c.second, i)]
        panels = -(-tile.lane.extent // lanes)
        shape = (math.prod(i.extent for i in self.batch), panels, c.depth, lanes)
        self.scratch = Buffer(TensorType(c.total.dtype, shape), "scratch")

    def phases(self) -> tuple[Statement, ...]:
        packing, work = Nest(), Nest()
        for start, count, width in _regions(self.tile.lane.extent, self.lanes):
            self.pack(packing, start, count, width)
            for iterator in self.outer():
                work.open(iterator, "parallel")
            panel = Iter(count)
            work.open(panel, "parallel")
            lane = Iter(width)
            place: dict[Expr, Expr] = {self.tile.lane: _plus(panel * self.lanes + lane, start)}
            self.second = Load(self.scratch, (self.place(panel, lane, start),))
            for first, blocks, height in self.row_regions():
                self.rows(work, first, blocks, height, lane, place)
            work.close(work.depth_now)
        return (*packing.close_all(), *work.close_all())

    def rows(
        self, nest: Nest, start: int, count: int, height: int, lane: Iter, place: dict[Expr, Expr]
    ) -> None:
        block = Iter(count)
        if count > 1:
            nest.open(block, "serial")
        nest.open(lane, "vector", self.lanes)
        self.micro(nest, [_row(block, count, start, height, k) for k in range(height)], place)
        nest.close(2 if count > 1 else 1)

    def place(self, panel: Expr, lane: Expr, start: int) -> Expr:
        """The offset in the panels of the column ``start + panel * lanes + lane`` at the current inner indices."""
        offset: Expr = Lit(0, INT64)
        for iterator in self.batch:
            offset = offset * iterator.extent + iterator
        offset = offset * self.scratch.shape[1] + (panel + start // self.lanes)
        for iterator in self.c.total.iters:
            offset = offset * iterator.extent + iterator
        return offset * self.lanes + lane

    def pack(self, nest: Nest, start: int, count: int, width: int) -> None:
        panel, lane = Iter(count), Iter(width)
        loops = [*self.batch, panel, *self.c.total.iters]
        for iterator in loops:
            nest.open(iterator, "parallel")
        nest.open(lane, "vector")
        column = {self.tile.lane: _plus(panel * self.lanes + lane, start)}
        nest.append(Put(self.scratch, (self.place(panel, lane, start),), _at(self.c.second, dict(column))))
        nest.close(len(loops) + 1)


def _plus(e: Expr, constant: int) -> Expr:
    return e + constant if constant else e


class _Inner:
    """Lanes along an inner index; rows and columns are both jammed and every accumulator is summed up at the end."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        self.tile, self.c, self.lanes = tile, tile.contraction, lanes
        columns = self.c.columns
        self.column = columns[0] if columns else None
        for column in columns:
            if _even(column.extent, 5) == tile.vectors:
                self.column = column

    def phases(self) -> tuple[Statement, ...]:
        nest, tile = Nest(), self.tile
        for iterator in self.c.kernel.iters:
            if iterator not in (tile.row, self.column):
                nest.open(iterator, "parallel")
        for start, count, height in _regions(tile.row.extent if tile.row else 1, tile.height):
            for left, across, width in _regions(self.column.extent if self.column else 1, tile.vectors):
                self.region(nest, (start, count, height), (left, across, width))
        return nest.close_all()

    def region(self, nest: Nest, down: tuple[int, int, int], across: tuple[int, int, int]) -> None:
        depth = nest.depth_now
        places: list[list[Expr]] = []
        for start, count, size in (down, across):
            block = Iter(count)
            if count > 1:
                nest.open(block, "parallel")
            places.append([_row(block, count, start, size, k) for k in range(size)])
        self.micro(nest, *places)
        nest.close(nest.depth_now - depth)

    def micro(self, nest: Nest, rows: Sequence[Expr], columns: Sequence[Expr]) -> None:
        c, lane = self.c, self.tile.lane
        zero = identity("add", c.total.dtype)
        sums = [[nest.define(zero, nest.depth_now) for _ in columns] for _ in rows]
        inner = [i for i in c.total.iters if i is not lane]
        nest.open(lane, "vector", self.lanes)  # outermost, so that lanes are summed up once
        for iterator in inner:
            nest.open(iterator, "serial")
        firsts = [nest.define(_at(c.first, self.place(r, None)), nest.depth_now) for r in rows]
        seconds = [nest.define(_at(c.second, self.place(None, s)), nest.depth_now) for s in columns]
        for first, line in zip(firsts, sums, strict=True):
            for second, total in zip(seconds, line, strict=True):
                product = Apply("multiply", (first, second), c.total.dtype)
                nest.append(Accumulate(total, "add", product))
        nest.close(len(inner) + 1)
        for row, line in zip(rows, sums, strict=True):
            for column, total in zip(columns, line, strict=True):
                finish(nest, c, self.place(row, column), total)

    def place(self, row: Expr | None, column: Expr | None) -> dict[Expr, Expr]:
        found: dict[Expr, Expr] = {}
        if self.tile.row is not None and row is not None:
            found[self.tile.row] = row
        if self.column is not None and column is not None:
            found[self.column] = column
        return found
