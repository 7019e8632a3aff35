"""Register tiles as loops: what `tile` chose, written down.

Comes in: a kernel. Goes out: its phases, or nothing when it is no contraction. The sums of a tile
live in locals while the inner loops run; sizes are numbers, so the rest of a range that tiles do
not divide is simply another, smaller tile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.tile import Contraction, Tile, choose, extent_of, find
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Substitution, substitute
from graphc.kernels.kernel import Kernel, Store
from graphc.loops.ir import Accumulate, Local, Put, Statement
from graphc.loops.nest import Nest, identity
from graphc.types import INT64, TensorType


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
        for down in _regions(extent_of(tile.row), tile.height):
            for across in _regions(extent_of(tile.column), tile.width):
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
        self.micro(nest, places[0], places[1])
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
    change = Substitution(replaced)
    values = nest.settled(stores, nest.values([change(s.value) for s in stores]))
    for store, value in zip(stores, values, strict=True):
        nest.append(Put(store.buffer, (change(store.index[0]),), value))


class _Packed(_Tiled):
    """Lanes along a column index, after the columns' operand was copied into panels of the tile's
    width.
    """

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
            for down in _regions(extent_of(self.tile.row), self.tile.height):
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
        """The offset in the panels of the column ``start + panel * lanes + lane`` at the current
        inner indices.
        """
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
