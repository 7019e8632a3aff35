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
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Reduce, substitute, walk
from graphc.index import stride
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
    def batch(self) -> list[Iter]:
        """Indices that move both operands."""
        return [i for i in self.kernel.iters if self.moves(self.first, i) and self.moves(self.second, i)]

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
    """One way to run a contraction, and an estimate of its cycles.

    ``height`` values of ``row`` and ``width`` values of ``column`` are computed together, and
    neighbours of ``lane`` fill ``vectors`` registers each.
    """

    mode: str
    contraction: Contraction
    row: Iter | None
    height: int
    column: Iter | None
    width: int
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
        panel = lane.extent * math.prod(i.extent for i in c.total.iters if c.moves(c.second, i))
        near = panel * c.total.dtype.bytes <= NEAR or math.prod(i.extent for i in c.rows) == 1
        copied = panel * math.prod(i.extent for i in c.columns + c.batch if i is not lane)
        turns = any(c.moves(c.second, i) == 1 for i in c.total.iters)
        for row in c.rows or [None]:
            for vectors in (1, 2, 4):  # LLVM splits other counts badly
                if vectors > 1 and vectors > -(-lane.extent // lanes):
                    continue
                if contiguous and near:
                    yield from _in_place(c, row, lane, vectors, lanes, registers)
                else:
                    copy = (0.3 if contiguous else 0.8 if turns else 2.5) * copied + 2000
                    height = _even(_extent(row), (registers - 1 - vectors) // vectors)
                    cycles = _column_cycles(c, (row, height), (None, 1), (lane, vectors, lanes))
                    yield Tile("packed", c, row, height, None, 1, lane, vectors, cycles + copy)


def _in_place(
    c: Contraction, row: Iter | None, lane: Iter, vectors: int, lanes: int, registers: int
) -> Iterator[Tile]:
    """Tiles of one row index by one more column index, which helps where rows are few."""
    for column in (None, *(i for i in c.columns if i is not lane)):
        for most in (1,) if column is None else (2, 3, 4, 6):
            width = _even(_extent(column), most)
            height = _even(_extent(row), (registers - 1 - width * vectors) // (width * vectors))
            cycles = _column_cycles(c, (row, height), (column, width), (lane, vectors, lanes))
            yield Tile("columns", c, row, height, column, width, lane, vectors, cycles)


def _extent(iterator: Iter | None) -> int:
    return iterator.extent if iterator is not None else 1


def _column_cycles(
    c: Contraction,
    down: tuple[Iter | None, int],
    across: tuple[Iter | None, int],
    along: tuple[Iter, int, int],
) -> float:
    """Cycles of all tiles: ``down`` and ``across`` are index and size, ``along`` lane, vectors, lanes."""
    (row, height), (column, width), (lane, vectors, lanes) = down, across, along
    whole, rest = divmod(lane.extent, lanes * vectors)
    edge = -(-rest // lanes)
    per_k = whole * _cycles(height, width * vectors) + edge * (_cycles(height, width) + 1)
    tiles = _points(c, row, column, lane)
    tiles *= -(-_extent(row) // height) * -(-_extent(column) // width)
    store = _store_cycles(c, lane) * height * width * -(-lane.extent // lanes)
    return tiles * (c.depth * per_k + store + 20)


def _cycles(height: int, vectors: int) -> float:
    """Cycles of one inner step: multiply-adds, loads, or the latency of a lone chain."""
    return max(height * vectors, 0.5 * height + vectors, 4.0)


def _store_cycles(c: Contraction, lane: Iter) -> float:
    steps = [stride(s.index[0], lane) for s in c.kernel.stores]
    return sum(1.5 if step == 1 else 30.0 for step in steps)


def _inner_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles whose lanes run along an inner index; lanes are summed up once per tile."""
    for lane in c.total.iters:
        if c.moves(c.first, lane) != 1 or c.moves(c.second, lane) != 1:
            continue
        vectors = -(-lane.extent // lanes) + (lane.extent % lanes > 0)
        for row in c.rows or [None]:
            for column in c.columns or [None]:
                width = _even(_extent(column), 5)
                height = _even(_extent(row), (registers - 2 - width) // width)
                tiles = _points(c, row, column)
                tiles *= -(-_extent(row) // height) * -(-_extent(column) // width)
                per_step = max(height * width, height + width, 4.0)
                steps = c.depth // lane.extent * vectors
                cycles = tiles * (steps * per_step + height * width * 14 + 30)
                yield Tile("inner", c, row, height, column, width, lane, 1, cycles)


# Writing ----------------------------------------------------------------------------------------------------------
def tiled(kernel: Kernel, machine: Machine) -> tuple[Statement, ...] | None:
    """The phases of a flat kernel as register tiles; None when it is no contraction."""
    contraction = find(kernel)
    tile = choose(contraction, machine) if contraction is not None and contraction.depth else None
    if tile is None:
        return None
    lanes = machine.vector_bytes // tile.contraction.total.dtype.bytes * tile.vectors
    return (_Packed if tile.mode == "packed" else _Tiled)(tile, lanes).phases()


def _regions(extent: int, size: int) -> list[tuple[int, int, int]]:
    """(start, count, size): whole tiles, then one smaller tile for the rest."""
    count, rest = divmod(extent, size)
    found = [(0, count, size)] if count else []
    return found + ([(count * size, 1, rest)] if rest else [])


Region = tuple[int, int, int]


class _Tiled:
    """Writes a tile's loops, operands in place."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        self.tile, self.c, self.lanes = tile, tile.contraction, lanes
        self.second: Load = self.c.second

    def outer(self) -> list[Iter]:
        """The indices that are neither jammed nor in the lanes."""
        tile = self.tile
        return [i for i in self.c.kernel.iters if i not in (tile.row, tile.column, tile.lane)]

    def phases(self) -> tuple[Statement, ...]:
        nest, tile = Nest(), self.tile
        for iterator in self.outer():
            nest.open(iterator, "parallel")
        for down in _regions(_extent(tile.row), tile.height):
            for across in _regions(_extent(tile.column), tile.width):
                self.region(nest, down, across)
        return nest.close_all()

    def region(self, nest: Nest, down: Region, across: Region) -> None:
        """All tiles of one size."""
        depth = nest.depth_now
        places: list[list[Expr]] = []
        for start, count, size in (down, across):
            block = Iter(count)
            if count > 1:
                nest.open(block, "parallel")
            places.append([_row(block, count, start, size, k) for k in range(size)])
        if self.tile.mode != "inner":
            nest.open(self.tile.lane, "vector", self.lanes)
        self.micro(nest, *places)
        nest.close(nest.depth_now - depth)

    def micro(
        self,
        nest: Nest,
        rows: Sequence[Expr],
        columns: Sequence[Expr],
        renamed: dict[Expr, Expr] | None = None,
    ) -> None:
        """Accumulators for every row and column, the inner loops, then what becomes of the sums."""
        c, depth = self.c, nest.depth_now
        at = [[self.place(r, s, renamed) for s in columns] for r in rows]
        zero = identity("add", c.total.dtype)
        sums = [[nest.define(zero, depth) for _ in columns] for _ in rows]
        self.open_inner(nest)
        seconds = [nest.define(_at(self.second, place), nest.depth_now) for place in at[0]]
        for places, line in zip(at, sums, strict=True):  # row by row: few registers at a time
            first = nest.define(_at(c.first, places[0]), nest.depth_now)
            for second, total in zip(seconds, line, strict=True):
                product = Apply("multiply", (first, second), c.total.dtype)
                nest.append(Accumulate(total, "add", product))
        nest.close(nest.depth_now - depth)
        for places, line in zip(at, sums, strict=True):
            for place, total in zip(places, line, strict=True):
                finish(nest, c, place, total)

    def open_inner(self, nest: Nest) -> None:
        """The loops of the sum; lanes outermost, so that they are summed up once."""
        inner = list(self.c.total.iters)
        if self.tile.mode == "inner":
            inner.remove(self.tile.lane)
            nest.open(self.tile.lane, "vector", self.lanes)
        for iterator in inner:
            nest.open(iterator, "serial")

    def place(self, row: Expr, column: Expr, renamed: dict[Expr, Expr] | None) -> dict[Expr, Expr]:
        """What the jammed indices are at one row and column of the tile."""
        found = dict(renamed or {})
        if self.tile.row is not None:
            found[self.tile.row] = row
        if self.tile.column is not None:
            found[self.tile.column] = column
        return found


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


class _Packed(_Tiled):
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
            self.second = Load(self.scratch, (self.panel_place(panel, lane, start),))
            for down in _regions(_extent(self.tile.row), self.tile.height):
                self.rows(work, down, lane, place)
            work.close(work.depth_now)
        return (*packing.close_all(), *work.close_all())

    def rows(self, nest: Nest, down: Region, lane: Iter, place: dict[Expr, Expr]) -> None:
        start, count, height = down
        block = Iter(count)
        if count > 1:
            nest.open(block, "serial")
        nest.open(lane, "vector", self.lanes)
        rows = [_row(block, count, start, height, k) for k in range(height)]
        self.micro(nest, rows, [Lit(0, INT64)], place)
        nest.close(2 if count > 1 else 1)

    def panel_place(self, panel: Expr, lane: Expr, start: int) -> Expr:
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
        far = self.c.moves(self.c.second, self.tile.lane) != 1
        inner = list(self.c.total.iters)
        turned = next((i for i in inner if far and self.c.moves(self.c.second, i) == 1), None)
        loops = [*self.batch, panel, *(i for i in inner if i is not turned)]
        for iterator in loops:
            nest.open(iterator, "parallel")
        nest.open(lane, "vector")
        if turned is not None:  # two vector loops are a transposing copy
            nest.open(turned, "vector")
        column: dict[Expr, Expr] = {self.tile.lane: _plus(panel * self.lanes + lane, start)}
        place = (self.panel_place(panel, lane, start),)
        nest.append(Put(self.scratch, place, _at(self.c.second, column)))
        nest.close(nest.depth_now)


def _plus(e: Expr, constant: int) -> Expr:
    return e + constant if constant else e
