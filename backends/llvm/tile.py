"""Register tiles: the schedule of every contraction, matmul and convolution alike.

Comes in: a flat kernel whose values contain one sum of products. Goes out: the tile to run it by.
A separate step because here the order of the loops decides everything, and it follows from which
index moves which operand (`graphc.kernels.contraction`).

A tile is a few rows by a few vectors of accumulators that stay in registers while the inner loops
run. Three ways to fill the lanes:

* "columns": neighbours of a column index; an operand that lies badly in memory is copied into
  panels first,
* "inner": neighbours of an inner index that is contiguous in both operands; lanes are summed up at
  the end,
* "streamed": neighbours of a column index, sums in the first-level cache, for products with a
  vector.

The candidates are listed with an estimate of their cycles and the cheapest is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from graphc.backends.llvm.machine import LINE, Machine
from graphc.backends.llvm.tile_cost import (
    PAGE,
    WAYS,
    crowd,
    panels,
    parts,
    scatter_cycles,
    step_cycles,
    strip_cycles,
)
from graphc.expr import Buffer, Expr, Iter, Load, Reduce
from graphc.index import stride
from graphc.kernels import contraction as contractions
from graphc.kernels.kernel import Kernel

STREAMS = 8
"""Rows of memory that a core reads side by side at full speed."""


@dataclass(frozen=True)
class Contraction(contractions.Contraction):
    """A contraction of two loads whose offsets are sums of indices. ``uses`` says how many kernels
    like this one read the same operand, so that one copy into panels serves them all (`panels`).
    """

    first: Load
    second: Load
    uses: Mapping[Buffer, int] = field(default_factory=dict)

    @property
    def swapped(self) -> Contraction:
        return Contraction(self.kernel, self.total, self.second, self.first, self.uses)


def find(kernel: Kernel, uses: Mapping[Buffer, int] | None = None) -> Contraction | None:
    """The contraction in a flat kernel, if it is one whose operands can be put into panels."""
    found = contractions.find(kernel)
    if found is None:
        return None
    first, second = found.first, found.second
    if not isinstance(first, Load) or not isinstance(second, Load) or not _affine(found):
        return None
    return Contraction(kernel, found.total, first, second, uses or {})


def _affine(c: contractions.Contraction) -> bool:
    iters = (*c.kernel.iters, *c.total.iters)
    return all(c.moves(factor, i) is not None for factor in (c.first, c.second) for i in iters)


@dataclass(frozen=True)
class Tile:
    """One way to run a contraction, and an estimate of its cycles.

    ``height`` values of ``row`` and ``width`` values of ``column`` are computed together, and
    neighbours of ``lane`` fill ``vectors`` registers each. The operands named in ``packs``,
    "first" or "second", are copied into the order in which tiles read them; ``order`` names that of
    the loops around (`tile_order`).
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
    packs: tuple[str, ...] = ()
    order: str = ""


# Choosing -----------------------------------------------------------------------------------------
def ranked(contraction: Contraction, machine: Machine) -> list[Tile]:
    """Every tile, the cheapest first; none when no index can fill lanes, or nothing is computed."""
    if contraction.kernel.points == 0:
        return []
    lanes = machine.vector_bytes // contraction.total.dtype.bytes
    found: list[Tile] = []
    for side in (contraction, contraction.swapped):
        found += _column_tiles(side, lanes, machine.registers)
        found += _inner_tiles(side, lanes, machine.registers)
        found += _streamed_tiles(side, lanes)
    return sorted(found, key=lambda t: t.cycles)


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
        for row in _or_none(c.rows):
            for vectors in (1, 2, 4):  # LLVM splits other counts badly
                if vectors > 1 and vectors > -(-lane.extent // lanes):
                    continue
                along = (lane, vectors, lanes)
                for height in _heights(c, row, (registers - 1 - vectors) // vectors):
                    yield _column_tile(c, (row, height), (None, 1), along)
                for column in c.columns if contiguous else ():
                    if column is lane:
                        continue
                    for width in {_even(column.extent, most) for most in (2, 3, 4, 6)}:
                        room = (registers - 1 - width * vectors) // (width * vectors)
                        for height in _heights(c, row, room):
                            yield _column_tile(c, (row, height), (column, width), along)


def _heights(c: Contraction, row: Iter | None, most: int) -> set[int]:
    """Rows per tile: as many as fit the registers, in equal parts; as many as the cache can tell
    apart; a power of two, which leaves no rest where sizes are powers of two.
    """
    if row is None:
        return {1}
    most = max(most, 1)
    step = _row_step(c, row)
    apart = next(n for n in range(most, 0, -1) if n == 1 or crowd(step, n) <= WAYS - 2)
    power = 1 << (min(most, row.extent).bit_length() - 1)
    return {_even(row.extent, most), _even(row.extent, apart), power}


def _row_step(c: Contraction, row: Iter) -> int:
    """Bytes from one row of the first operand to the next."""
    return abs(c.moves(c.first, row) or 0) * c.first.buffer.type.dtype.bytes


def extent_of(iterator: Iter | None) -> int:
    """The extent of an index; 1 for none."""
    return iterator.extent if iterator is not None else 1


def _column_tile(
    c: Contraction,
    down: tuple[Iter | None, int],
    across: tuple[Iter | None, int],
    along: tuple[Iter, int, int],
) -> Tile:
    """``down`` and ``across`` are index and size, ``along`` lane, vectors, lanes; each operand is
    packed if that is cheaper.
    """
    (row, height), (column, width), (lane, vectors, lanes) = down, across, along
    tiles = _points(c, row, column, lane) * -(-extent_of(column) // width)
    steps = tiles * c.depth * -(-extent_of(row) // height) * -(-lane.extent // (lanes * vectors))
    packs: list[str] = []
    extra = 0.0
    sides = ((c.first, row, height), (c.second, lane, vectors))
    for name, (operand, index, n) in zip(("first", "second"), sides, strict=True):
        packed = _pack_cycles(c, operand, index if column is None else None)
        here = (_far_cycles(c, operand, index, vectors) + _widening_cycles(operand, n)) * steps
        if packed < here:
            packs.append(name)
        extra += min(packed, here)
    crowded = row is not None and "first" not in packs and crowd(_row_step(c, row), height) > WAYS
    strip = strip_cycles(c.depth, lanes * vectors * c.second.dtype.bytes)
    total, jammed = 0.0, column is not None
    for rows, h in parts(extent_of(row), height):
        for strips, v in panels(lane.extent, lanes, vectors):
            per_k = max(step_cycles(h, width * v) * (2 if crowded else 1), strip)
            store = _store_cycles(c, (row, h), lane, lanes, jammed=jammed) * h * width * v
            total += rows * strips * (c.depth * per_k + store + 20)
    return Tile("columns", c, *down, *across, lane, vectors, tiles * total + extra, tuple(packs))


def _pack_cycles(c: Contraction, operand: Load, index: Iter | None) -> float:
    """What copying an operand into panels along ``index`` costs each kernel that reads them."""
    if index is None:
        return math.inf
    indices = (*c.kernel.iters, *c.total.iters)
    copied = math.prod(i.extent for i in indices if c.moves(operand, i))
    contiguous = c.moves(operand, index) == 1
    turns = any(c.moves(operand, i) == 1 for i in c.total.iters)
    each = 0.3 if contiguous else 0.8 if turns else 2.5
    return (each * copied + 2000) / c.uses.get(operand.buffer, 1)


def _far_cycles(c: Contraction, operand: Load, index: Iter | None, vectors: int) -> float:
    """Cycles that each inner step of a tile takes longer because an operand lies badly."""
    step = abs(c.moves(operand, c.total.iters[-1]) or 0) * operand.buffer.type.dtype.bytes
    if operand is c.second and (index is None or c.moves(operand, index) != 1):
        return 200.0 * vectors  # lanes are gathered
    alone = operand is c.second and math.prod(i.extent for i in c.rows) == 1
    if alone and step > PAGE // 8:
        return 5.0 * vectors  # nothing is read twice, and no line leads to the next
    if c.depth < 64 or c.moves(operand, c.total.iters[-1]) == 1:
        return 0.0
    if step < PAGE:
        used = LINE * (1 if operand is c.first else vectors)
        sparse = step >= STREAMS * used  # no line leads to the next
        return 4.0 if sparse and c.depth * used > WAYS * PAGE else 0.0
    return 3.0 if step < 2 * PAGE or c.depth < 256 else 20.0


def _widening_cycles(operand: Load, count: int) -> float:
    """Cycles of each inner step to make float32, as panels hold it, of so many narrow floats."""
    return 0.2 * count if operand.buffer.type.dtype.is_narrow else 0.0


def turned(tile: Tile) -> list[int]:
    """The stores that are contiguous along the rows rather than the lanes: the finished tile is
    turned on the way.
    """
    if tile.row is None or tile.column is not None:
        return []
    places = [s.index[0] for s in tile.contraction.kernel.stores]
    return [n for n, place in enumerate(places) if _turns(place, tile.row, tile.lane)]


def _turns(place: Expr, row: Iter, lane: Iter) -> bool:
    return stride(place, row) == 1 and stride(place, lane) not in (0, 1, None)


def _store_cycles(
    c: Contraction, down: tuple[Iter | None, int], lane: Iter, lanes: int, *, jammed: bool
) -> float:
    """Cycles for each vector; rows may crowd each other out of the cache."""
    row, height = down
    total = 0.0
    for store in c.kernel.stores:
        place, size = store.index[0], store.buffer.type.dtype.bytes
        apart = abs(stride(place, row) or 0) * size if row is not None else 0
        crowded = crowd(apart, height) > WAYS - 2
        step = stride(place, lane)
        if step == 1:
            total += 4.0 if crowded else 1.5
        elif row is not None and not jammed and _turns(place, row, lane):
            total += 1.5 + 8.0 * lanes / min(height, lanes)
        else:
            total += scatter_cycles(step, size, lanes)
        for load in loads_beside(store.value):
            step = stride(load.index[0], lane)
            total += 0.5 if step in (0, 1) else scatter_cycles(step, load.dtype.bytes, lanes)
    return total


def loads_beside(value: Expr) -> list[Load]:
    """What a store reads beside the sum."""
    found, stack = [], [value]
    while stack:
        e = stack.pop()
        if isinstance(e, Load):
            found.append(e)
        elif not isinstance(e, Reduce):
            stack.extend(e.children)
    return found


def _inner_tiles(c: Contraction, lanes: int, registers: int) -> Iterator[Tile]:
    """Tiles whose lanes run along an inner index; lanes are summed up once per tile."""
    for lane in c.total.iters:
        if c.moves(c.first, lane) != 1 or c.moves(c.second, lane) != 1:
            continue
        vectors = -(-lane.extent // lanes) + (lane.extent % lanes > 0)
        for row in _or_none(c.rows):
            for column in _or_none(c.columns):
                width = _even(extent_of(column), 5)
                most = (registers - 2 - width) // width
                height = _even(extent_of(row), min(most, STREAMS) if width == 1 else most)
                tiles = _points(c, row, column)
                tiles *= -(-extent_of(row) // height) * -(-extent_of(column) // width)
                per_step = max(height * width, height + width, 4.0)
                steps = c.depth // lane.extent * vectors
                cycles = tiles * (steps * per_step + height * width * 14 + 30)
                yield Tile("inner", c, row, height, column, width, lane, 1, cycles)


def _streamed_tiles(c: Contraction, lanes: int) -> Iterator[Tile]:
    """Sums of a few rows that stay in the cache while the other operand streams by, `STREAMS` inner
    indices at a time. For products with a vector, which read every number once.
    """
    rows = math.prod(i.extent for i in c.rows)
    if rows > 4 or len(c.rows) > 1 or c.total.iters[-1].extent < STREAMS:
        return
    for lane in c.columns:
        if c.moves(c.second, lane) == 1:
            passes = _points(c, *c.rows, lane) * c.depth * -(-lane.extent // lanes)
            row = c.rows[0] if c.rows else None
            cycles = passes * (1.0 + rows * (1 + 3 / STREAMS)) + 100
            yield Tile("streamed", c, row, rows, None, 1, lane, 1, cycles)
