"""Register tiles as loops: what `tile` chose, written down.

Comes in: a kernel. Goes out: its phases, or nothing when it is no contraction. First the copies of
operands into panels, then one phase for all tiles: the sums of a tile live in locals while the
inner loops run. Sizes are numbers, so the rest of a range that tiles do not divide is another,
smaller tile, and a branch says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, product
from types import MappingProxyType

from graphc.backends.llvm.choice import tile_of
from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.tile import STREAMS, Contraction, Tile, extent_of, loads_beside, turned
from graphc.backends.llvm.tile_cost import NEAR
from graphc.backends.llvm.tile_order import Step, ordered
from graphc.backends.llvm.tile_parts import (
    Panels,
    Part,
    Parts,
    Place,
    constant,
    each,
    open_shared,
    parts,
    placed,
)
from graphc.expr import Apply, Buffer, Expr, Iter, Load, Substitution
from graphc.index import stride
from graphc.kernels.kernel import Kernel, Store
from graphc.loops.ir import Accumulate, Alloc, Fetch, Local, Put, Statement
from graphc.loops.nest import Nest, identity
from graphc.types import TensorType

WIDTH = 1024
"""Columns whose sums stay in the first-level cache while rows of memory stream by."""

Spot = tuple[Buffer, Expr]
"""A buffer and an offset into it."""


def tiled(
    kernel: Kernel, machine: Machine, uses: Mapping[Buffer, int] | None = None, wanted: str = ""
) -> tuple[Statement, ...] | None:
    """The phases of a flat kernel as register tiles; None when it is no contraction."""
    tile = tile_of(kernel, machine, uses, wanted)
    return None if tile is None else tile_phases(tile, machine)


def tile_phases(tile: Tile, machine: Machine) -> tuple[Statement, ...]:
    """The phases of a contraction in these tiles."""
    lanes = machine.vector_bytes // tile.contraction.total.dtype.bytes * tile.vectors
    return WRITERS[tile.mode](tile, lanes).phases()


# Tiles --------------------------------------------------------------------------------------------
class _Tiled:
    """Writes the loops of a tile."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        self.tile, self.c, self.lanes = tile, tile.contraction, lanes
        self.down = parts(extent_of(tile.row), tile.height)
        self.across = parts(extent_of(tile.column), tile.width)

    def outer(self) -> list[Iter]:
        """The indices that are neither jammed nor in the lanes; batches first, as nothing is read
        in two of them.
        """
        tile, batch = self.tile, self.c.batch
        found = [i for i in self.c.kernel.iters if i not in (tile.row, tile.column, tile.lane)]
        return sorted(found, key=lambda i: i not in batch)

    def phases(self) -> tuple[Statement, ...]:
        raise NotImplementedError

    def micro(
        self,
        nest: Nest,
        places: list[list[Place]],
        first: Sequence[Expr],
        second: Sequence[Expr],
        aside: Mapping[int, Callable[[int], Spot]] = MappingProxyType({}),
    ) -> None:
        """Accumulators for every row and column, the inner loops, then what becomes of the sums.

        ``first`` holds the operand of each row, ``second`` that of each column; ``aside`` says of
        some stores where the value of a row goes for now.
        """
        c, depth = self.c, nest.depth_now
        zero = identity("add", c.total.dtype)
        sums = [[nest.define(zero, depth) for _ in second] for _ in first]
        self.open_inner(nest)
        inside = nest.depth_now
        seconds = [nest.define(load, inside) for load in second]
        for load, line in zip(first, sums, strict=True):  # row by row: few registers at a time
            factor = nest.define(load, inside)
            for other, total in zip(seconds, line, strict=True):
                nest.append(Accumulate(total, "add", _product(c, factor, other)))
        nest.close(inside - depth)
        for number, line in enumerate(sums):
            for place, total in zip(places[number], line, strict=True):
                finish(nest, c, place, total, {n: kept(number) for n, kept in aside.items()})

    def open_inner(self, nest: Nest) -> None:
        """The loops of the sum."""
        for iterator in self.c.total.iters:
            nest.open(iterator, "serial")

    def place(self, row: Expr, column: Expr, lane: Expr | None = None) -> Place:
        """What the tile's indices are at one row, column and lane."""
        tile = self.tile
        given = ((tile.row, row), (tile.column, column), (tile.lane, lane))
        return {i: e for i, e in given if i is not None and e is not None}


class _Columns(_Tiled):
    """Lanes along a column index."""

    def __init__(self, tile: Tile, lanes: int) -> None:
        super().__init__(tile, lanes)
        self.along = parts(tile.lane.extent, lanes)
        self.panels: dict[str, Panels] = {}
        self.begins: dict[str, int] = {}
        end = 0
        for name, load, index, cut in (
            ("first", self.c.first, tile.row, self.down),
            ("second", self.c.second, tile.lane, self.along),
        ):
            if name in tile.packs and index is not None:
                self.panels[name], self.begins[name] = self.panels_of(load, index, cut), end
                end += -(-self.panels[name].size // 64) * 64
        self.scratch = Buffer(TensorType(self.c.total.dtype, (end,)), "scratch")

    def panels_of(self, load: Load, index: Iter, cut: Parts) -> Panels:
        """How an operand is packed along ``index``."""
        inner = self.c.total.iters
        outer = tuple(i for i in self.outer() if self.c.moves(load, i))
        far = self.c.moves(load, index) != 1
        turned = next((i for i in inner if far and self.c.moves(load, i) == 1), None)
        return Panels(load, index, cut, outer, inner, turned)

    def phases(self) -> tuple[Statement, ...]:
        copies = [p.copy(self.scratch, self.begins[name]) for name, p in self.panels.items()]
        nest = Nest()
        open_shared(nest, self.around())
        each(nest, [self.along, self.down, self.across], partial(self.one, nest))
        return tuple(s for phase in (*copies, nest.close_all()) for s in phase)

    def around(self) -> list[Iter]:
        """The loops around a tile, in the order that keeps most in the caches."""
        tile = self.tile
        cuts = ((self.along, tile.lane), (self.down, tile.row), (self.across, tile.column))
        steps = [Step(p.block, i, p.size) for p, i in cuts if p.block.extent > 1]
        return ordered(tile, self.lanes, [*(Step(i, i) for i in self.outer()), *steps])

    def one(self, nest: Nest, along: Part, down: Part, across: Part) -> None:
        """One tile."""
        lane = Iter(along.size)
        rows = [down.start + r for r in range(down.size)]
        columns = [across.start + s for s in range(across.size)]
        places = [[self.place(r, s, along.start + lane) for s in columns] for r in rows]
        first = [self.read("first", line[0], down, constant(r)) for r, line in enumerate(places)]
        second = [self.read("second", place, along, lane) for place in places[0]]
        kept = {n: self.buffer_like(n, down.size * along.size) for n in turned(self.tile)}
        for buffer in kept.values():
            nest.append(Alloc(buffer))
        nest.open(lane, "vector", self.lanes)
        for spot in dict.fromkeys(self.met(places)):
            nest.append(Fetch(*spot))
        aside = {n: partial(_spot, buffer, along.size, lane) for n, buffer in kept.items()}
        self.micro(nest, places, first, second, aside)
        nest.close()
        for n, buffer in kept.items():
            self.turn(nest, n, buffer, along, down, across)

    def met(self, places: list[list[Place]]) -> Iterator[tuple[Buffer, tuple[Expr, ...]]]:
        """What the finished sums of a tile will meet in large buffers: lines to bring near while
        the inner loops run.
        """
        stores = list(self.c.kernel.stores)
        accesses: list[Load | Store] = [x for s in stores for x in loads_beside(s.value)]
        for access, place in product([*accesses, *stores], chain(*places)):
            far = access.buffer.type.bytes > NEAR
            if far and stride(access.index[0], self.tile.lane) == 1:
                yield access.buffer, (placed(access.index[0], place),)

    def buffer_like(self, store: int, size: int) -> Buffer:
        """Room for the values of a store, beside the tile."""
        dtype = list(self.c.kernel.stores)[store].buffer.type.dtype
        return Buffer(TensorType(dtype, (size,)), "row")

    def turn(
        self, nest: Nest, store: int, kept: Buffer, along: Part, down: Part, across: Part
    ) -> None:
        """The copy of values kept aside, row by row, to where they lie column by column."""
        target, row, lane = list(self.c.kernel.stores)[store], Iter(down.size), Iter(along.size)
        nest.open(row, "vector")
        nest.open(lane, "vector")
        place = self.place(down.start + row, across.start, along.start + lane)
        value = Load(kept, (row * along.size + lane,))
        nest.append(Put(target.buffer, (placed(target.index[0], place),), value))
        nest.close(2)

    def read(self, name: str, place: Place, part: Part, within: Expr) -> Expr:
        """An operand at a place: in its panels if it has any."""
        if name not in self.panels:
            return placed(self.c.first if name == "first" else self.c.second, place)
        offset = self.panels[name].offset(part, within) + self.begins[name]
        return Load(self.scratch, (placed(offset, place),))


class _Inner(_Tiled):
    """Lanes along an inner index, whose loop is outermost, so that they are summed up once."""

    def phases(self) -> tuple[Statement, ...]:
        nest = Nest()
        open_shared(nest, self.outer(), self.down, self.across)
        each(nest, [self.down, self.across], partial(self.one, nest))
        return nest.close_all()

    def outer(self) -> list[Iter]:
        return [i for i in self.c.kernel.iters if i not in (self.tile.row, self.tile.column)]

    def one(self, nest: Nest, down: Part, across: Part) -> None:
        """One tile."""
        rows = [down.start + r for r in range(down.size)]
        columns = [across.start + s for s in range(across.size)]
        places = [[self.place(r, s) for s in columns] for r in rows]
        first = [placed(self.c.first, line[0]) for line in places]
        second = [placed(self.c.second, place) for place in places[0]]
        self.micro(nest, places, first, second)

    def open_inner(self, nest: Nest) -> None:
        nest.open(self.tile.lane, "vector", self.lanes)
        for iterator in self.c.total.iters:
            if iterator is not self.tile.lane:
                nest.open(iterator, "serial")


class _Streamed(_Tiled):
    """Sums of a few rows in the cache, while `STREAMS` inner indices at a time pass by."""

    def phases(self) -> tuple[Statement, ...]:
        extent = self.tile.lane.extent
        along, nest = parts(extent, min(WIDTH, max(WIDTH // 4, extent // 4 // 64 * 64))), Nest()
        open_shared(nest, self.outer(), along)
        each(nest, [along], partial(self.one, nest))
        return nest.close_all()

    def one(self, nest: Nest, along: Part) -> None:
        """The sums of one stretch of columns."""
        c, zero = self.c, identity("add", self.c.total.dtype)
        sums = Buffer(TensorType(c.total.dtype, (self.tile.height * along.size,)), "row")
        nest.append(Alloc(sums))
        for _, at in self.sweep(nest, along):
            nest.append(Put(sums, at, zero))
        *outer, last = c.total.iters
        for iterator in outer:
            nest.open(iterator, "serial")
        count, rest = divmod(last.extent, STREAMS)
        block = Iter(count)
        nest.open(block, "serial")
        self.add(nest, along, sums, [block * STREAMS + k for k in range(STREAMS)])
        nest.close()
        if rest:
            self.add(nest, along, sums, [constant(count * STREAMS + k) for k in range(rest)])
        nest.close(len(outer))
        for place, at in self.sweep(nest, along):
            finish(nest, c, place, nest.define(Load(sums, at), nest.depth_now))

    def sweep(self, nest: Nest, along: Part) -> Iterator[tuple[Place, tuple[Expr, ...]]]:
        """A vector loop over the stretch, with each row's place and the offset of its sum."""
        lane = Iter(along.size)
        nest.open(lane, "vector")
        for row in range(self.tile.height):
            place = self.place(constant(row), constant(0), along.start + lane)
            yield place, (lane + row * along.size,)
        nest.close()

    def add(self, nest: Nest, along: Part, sums: Buffer, inner: Sequence[Expr]) -> None:
        """The products of a few inner indices, added to all sums."""
        c, last = self.c, self.c.total.iters[-1]
        rows = [self.place(constant(r), constant(0)) for r in range(self.tile.height)]
        outside = nest.depth_now
        factors = [
            [nest.define(placed(c.first, {**row, last: k}), outside) for k in inner] for row in rows
        ]
        seconds: list[Local] = []
        for row, (place, at) in enumerate(self.sweep(nest, along)):
            depth = nest.depth_now
            if not seconds:
                seconds = [nest.define(placed(c.second, {**place, last: k}), depth) for k in inner]
            total = nest.define(Load(sums, at), depth)
            for factor, second in zip(factors[row], seconds, strict=True):
                nest.append(Accumulate(total, "add", _product(c, factor, second)))
            nest.append(Put(sums, at, total))


WRITERS = {"columns": _Columns, "inner": _Inner, "streamed": _Streamed}


def _product(c: Contraction, factor: Expr, other: Expr) -> Expr:
    return Apply("multiply", (factor, other), c.total.dtype)


def _spot(buffer: Buffer, width: int, lane: Iter, row: int) -> Spot:
    return buffer, lane + row * width


def finish(
    nest: Nest,
    c: Contraction,
    place: Place,
    total: Local,
    aside: Mapping[int, Spot] = MappingProxyType({}),
) -> None:
    """Apply the kernel's stores to one finished sum; those in ``aside`` go elsewhere for now."""

    def replaced(part: Expr) -> Expr | None:
        if part is c.total:
            return total
        return place.get(part) if isinstance(part, Iter) else None

    stores: list[Store] = list(c.kernel.stores)
    change = Substitution(replaced)
    values = nest.settled(stores, nest.values([change(s.value) for s in stores]))
    for number, (store, value) in enumerate(zip(stores, values, strict=True)):
        buffer, offset = aside.get(number) or (store.buffer, change(store.index[0]))
        nest.append(Put(buffer, (offset,), value))
