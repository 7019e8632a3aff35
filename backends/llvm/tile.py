"""Register tiles: the schedule of every contraction, matmul and convolution alike.

Comes in: a flat kernel whose values contain one sum of products. Goes out: the tile to run it by.
A separate step because here the order of the loops decides everything, and it follows from one
question: which index moves which operand?

An index that moves only the first operand counts rows, one that moves only the second counts
columns, one that moves both is a batch, one that is summed over is inner. A tile is a few rows by a
few vectors of accumulators that stay in registers while the inner loops run. Three ways to fill the
lanes:

* "columns": neighbours of a column index, which lie next to each other in the second operand,
* "packed": the same after that operand was copied into panels, when it lies badly in memory,
* "inner": neighbours of an inner index that is contiguous in both operands; lanes are summed up at
  the end.

The candidates are listed with an estimate of their cycles and the cheapest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.backends.llvm.machine import Machine
from graphc.expr import Apply, Expr, Iter, Load, Reduce, walk
from graphc.index import stride
from graphc.kernels.kernel import Kernel

NEAR = 64 << 10
"""Bytes of an operand that may be read again and again where it lies; more is packed into panels.
"""


@dataclass(frozen=True)
class Contraction:
    """A kernel's sum of products: ``total`` over ``total.iters`` of ``first * second``, by rows and
    columns.
    """

    kernel: Kernel
    total: Reduce
    first: Load
    second: Load

    def moves(self, operand: Load, iterator: Iter) -> int | None:
        """How far the operand's offset goes when the index steps by one."""
        return stride(operand.index[0], iterator)

    def moving(self, first: bool, second: bool) -> list[Iter]:
        """The kernel's indices that move these operands, and no other."""
        wanted = (first, second)
        return [
            i
            for i in self.kernel.iters
            if (bool(self.moves(self.first, i)), bool(self.moves(self.second, i))) == wanted
        ]

    @property
    def swapped(self) -> Contraction:
        return Contraction(self.kernel, self.total, self.second, self.first)

    @property
    def rows(self) -> list[Iter]:
        """Indices that move only the first operand."""
        return [
            i
            for i in self.kernel.iters
            if self.moves(self.first, i) and self.moves(self.second, i) == 0
        ]

    @property
    def columns(self) -> list[Iter]:
        """Indices that move only the second operand."""
        return self.moving(False, True)

    @property
    def batch(self) -> list[Iter]:
        """Indices that move both operands."""
        return [
            i for i in self.kernel.iters if self.moves(self.first, i) and self.moves(self.second, i)
        ]

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


# Choosing -----------------------------------------------------------------------------------------
def choose(contraction: Contraction, machine: Machine) -> Tile | None:
    """The cheapest tile, or None when no index can fill lanes or there is nothing to compute."""
    if contraction.kernel.points == 0:
        return None
    lanes = machine.vector_bytes // contraction.total.dtype.bytes
    found: list[Tile] = []
    for side in (contraction, contraction.swapped):
        found += _column_tiles(side, lanes, machine.registers)
        found += _inner_tiles(side, lanes, machine.registers)
    return min(found, key=lambda t: t.cycles, default=None)


def _even(extent: int, most: int) -> int:
    """Equal parts of ``extent``, none above ``most``."""
    return -(-extent // -(-extent // max(1, min(most, extent))))


def _or_none(found: list[Iter]) -> list[Iter | None]:
    return [*found] if found else [None]


def _points(c: Contraction, *without: Iter | None) -> int:
    return math.prod(i.extent for i in c.kernel.iters if i not in without)


def _column_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    for lane in c.columns:
        contiguous = c.moves(c.second, lane) == 1
        panel = lane.extent * math.prod(i.extent for i in c.total.iters if c.moves(c.second, i))
        near = panel * c.total.dtype.bytes <= NEAR or math.prod(i.extent for i in c.rows) == 1
        copied = panel * math.prod(i.extent for i in c.columns + c.batch if i is not lane)
        turns = any(c.moves(c.second, i) == 1 for i in c.total.iters)
        for row in _or_none(c.rows):
            for vectors in (1, 2, 4):  # LLVM splits other counts badly
                if vectors > 1 and vectors > -(-lane.extent // lanes):
                    continue
                if contiguous and near:
                    yield from _in_place(c, row, lane, vectors, lanes, registers)
                else:
                    copy = (0.3 if contiguous else 0.8 if turns else 2.5) * copied + 2000
                    along = (lane, vectors, lanes)
                    for height in _heights(c, row, (registers - 1 - vectors) // vectors):
                        cycles = copy + _column_cycles(c, (row, height), (None, 1), along)
                        yield Tile("packed", c, row, height, None, 1, lane, vectors, cycles)


def _in_place(
    c: Contraction, row: Iter | None, lane: Iter, vectors: int, lanes: int, registers: int
) -> Iterator[Tile]:
    """Tiles of one row index by one more column index, which helps where rows are few."""
    for column in (None, *(i for i in c.columns if i is not lane)):
        for most in (1,) if column is None else (2, 3, 4, 6):
            width = _even(extent_of(column), most)
            room = (registers - 1 - width * vectors) // (width * vectors)
            for height in _heights(c, row, room):
                along = (lane, vectors, lanes)
                cycles = _column_cycles(c, (row, height), (column, width), along)
                yield Tile("columns", c, row, height, column, width, lane, vectors, cycles)


def _heights(c: Contraction, row: Iter | None, most: int) -> set[int]:
    """Rows per tile: as many as fit the registers, and as many as the cache can tell apart."""
    return {_even(extent_of(row), n) for n in (most, min(most, _distinct_rows(c, row) - 2))}


def _distinct_rows(c: Contraction, row: Iter | None) -> int:
    """How many rows a first-level cache of 8 ways of 4 KiB holds at one inner index.

    Rows a large power of two apart share a few sets: 2 KiB leaves room for 16 of them.
    """
    step = c.moves(c.first, row) or 0 if row is not None else 0
    page = 4096
    return 8 * page // math.gcd(step * c.total.dtype.bytes, page)


def extent_of(iterator: Iter | None) -> int:
    """The extent of an index; 1 for none."""
    return iterator.extent if iterator is not None else 1


def _column_cycles(
    c: Contraction,
    down: tuple[Iter | None, int],
    across: tuple[Iter | None, int],
    along: tuple[Iter, int, int],
) -> float:
    """Cycles of all tiles: ``down`` and ``across`` are index and size, ``along`` lane, vectors,
    lanes.
    """
    (row, height), (column, width), (lane, vectors, lanes) = down, across, along
    whole, rest = divmod(lane.extent, lanes * vectors)
    edge = -(-rest // lanes)
    per_k = whole * _cycles(height, width * vectors) + edge * (_cycles(height, width) + 1)
    tiles = _points(c, row, column, lane)
    tiles *= -(-extent_of(row) // height) * -(-extent_of(column) // width)
    if height > _distinct_rows(c, row):
        per_k *= 2  # each row is read from the second level, at every step
    store = _store_cycles(c, lane) * height * width * -(-lane.extent // lanes)
    return tiles * (c.depth * per_k + store + 20)


def _cycles(height: int, vectors: int) -> float:
    """Cycles of one inner step: multiply-adds, loads, or the latency of a lone chain; the loop."""
    return max(height * vectors, 0.5 * height + vectors, 4.0) + 0.5


def _store_cycles(c: Contraction, lane: Iter) -> float:
    steps = [stride(s.index[0], lane) for s in c.kernel.stores]
    return sum(1.5 if step == 1 else 30.0 for step in steps)


def _inner_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles whose lanes run along an inner index; lanes are summed up once per tile."""
    for lane in c.total.iters:
        if c.moves(c.first, lane) != 1 or c.moves(c.second, lane) != 1:
            continue
        vectors = -(-lane.extent // lanes) + (lane.extent % lanes > 0)
        for row in _or_none(c.rows):
            for column in _or_none(c.columns):
                width = _even(extent_of(column), 5)
                height = _even(extent_of(row), (registers - 2 - width) // width)
                tiles = _points(c, row, column)
                tiles *= -(-extent_of(row) // height) * -(-extent_of(column) // width)
                per_step = max(height * width, height + width, 4.0)
                steps = c.depth // lane.extent * vectors
                cycles = tiles * (steps * per_step + height * width * 14 + 30)
                yield Tile("inner", c, row, height, column, width, lane, 1, cycles)
