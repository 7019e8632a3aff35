"""The loops of a tile: every block computes a part of a matrix product.

Comes in: a contraction as matrices, a `Tile`. Goes out: one phase, or two where several blocks
share the depth of a tile. A separate step from the choice (`tiles`), which knows no loops.

The operands come in steps of the depth: while a block multiplies what is in one half of its shared
memory, the next numbers are on their way into registers, from which they go into the other half.
So one barrier a step is enough. Sums never leave the registers until they are complete; then the
kernel's own stores finish them: bias, activation and everything else that was fused.

Source: V. Volkov, J. Demmel, "Benchmarking GPUs to tune dense linear algebra", SC 2008; the two
halves and the order of a warp's threads as in NVIDIA's CUTLASS ("Efficient GEMM in CUDA").
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.matrices import Depth, Matrices, Places, count, matrices
from graphc.backends.cuda.operands import ZERO, Operand, unrolled
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import guarded, points, unravelled
from graphc.backends.cuda.tiles import ACROSS, DOWN, Tile, choose
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Reduce, Substitution
from graphc.index import linear
from graphc.kernels.contraction import find
from graphc.kernels.flat import map_kernel
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Alloc, Barrier, Put, Statement
from graphc.loops.nest import Nest
from graphc.types import TensorType

FIRST, SECOND = 0, 1
"""The sides of a product: the factor that rows move, and that which columns move."""
HIGH = 65535
"""Blocks along the second and third axis of a grid."""


Phases = tuple[tuple[Statement, ...], ...]


def multiplied(kernel: Kernel, limits: Limits) -> tuple[Matrices, Tile] | None:
    """The matrices that a flat kernel multiplies, and the tile for them; None where none suits."""
    contraction = find(kernel)
    m = matrices(contraction) if contraction is not None else None
    tile = choose(m, limits) if m is not None else None
    return (m, tile) if m is not None and tile is not None else None


def tiled(m: Matrices, tile: Tile) -> Phases:
    """The phases of a contraction by this tile."""
    if tile.split == 1:
        return (_Block(m, tile, tuple(m.kernel.stores)).phase(),)
    split, order = Iter(tile.split), (*m.batch, *m.rows, *m.columns)
    shape = tuple(i.extent for i in order)
    partial = Buffer(TensorType(m.contraction.total.dtype, (tile.split, *shape)), "scratch")
    place = linear(zip((split, *order), partial.strides, strict=True))
    written = Store(partial, (place,), m.contraction.total)
    whole = Reduce("add", (split,), Load(partial, (place,)))
    rest = map_kernel(m.kernel, lambda e: whole if e is m.contraction.total else None)
    return (_Block(m, tile, (written,), split).phase(), *points(rest))


@dataclass(frozen=True)
class _Block:
    """What one block does; ``stores`` finish its sums. The iterators are made once, so that equal
    indices are equal expressions.
    """

    m: Matrices
    tile: Tile
    stores: tuple[Store, ...]
    split: Iter | None = None

    # Numbers --------------------------------------------------------------------------------------
    @cached_property
    def thread(self) -> Iter:
        return Iter(self.tile.threads)

    @cached_property
    def grid(self) -> tuple[list[Iter], tuple[Expr, ...]]:
        """The block loops, outermost first; and which matrix and share of the depth, which part of
        the rows and of the columns a block has.
        """
        batch, rows, columns, _ = self.m.sizes
        down, over = -(-rows // self.tile.rows), -(-columns // self.tile.columns)
        parts = [Iter(n) for n in (batch * self.tile.split, down, over)]
        if max(i.extent for i in parts[:2]) > HIGH:
            flat = Iter(math.prod(i.extent for i in parts))
            found = unravelled(flat, parts, 1, flat)
            return [flat], tuple(found[i] for i in parts)
        loops = [i for i in parts if i.extent > 1] or parts[-1:]
        return loops, tuple(i if i in loops else ZERO for i in parts)

    @property
    def matrix(self) -> Places:
        """The batch's indices, and the share of the depth."""
        batch = count(self.m.batch)
        number = self.grid[1][0]
        found = dict(unravelled(number % batch, self.m.batch, 1, self.thread))
        if self.split is not None:
            found[self.split] = number // batch
        return found

    @cached_property
    def depth(self) -> Depth:
        return Depth(self.m, self.tile.depth)

    @property
    def steps(self) -> int:
        """Steps of this block along the depth."""
        return -(-self.depth.steps // self.tile.split)

    @cached_property
    def operands(self) -> tuple[Operand, Operand]:
        m, tile = self.m, self.tile
        return (
            Operand(m.first, m.rows, tile.rows, self.depth, tile.threads),
            Operand(m.second, m.columns, tile.columns, self.depth, tile.threads),
        )

    @cached_property
    def lanes(self) -> int:
        """Neighbours that are read from shared memory together."""
        return WIDEST // self.m.contraction.total.dtype.bytes

    @cached_property
    def corner(self) -> tuple[Expr, Expr]:
        """The first row and column of a thread in the tile, in units of the lanes. Neighbouring
        threads are in two rows: half a warp then reads few different numbers.
        """
        warp, lane = self.thread // WARP, self.thread % WARP
        row = linear([(lane % 2, 1), (lane // 16, 2)])
        column = (lane // 2) % ACROSS
        height, width = self.tile.height // self.lanes, self.tile.width // self.lanes
        down, over = warp // self.tile.across, warp % self.tile.across
        return (
            linear([(down, DOWN * height), (row, 1)]),
            linear([(over, ACROSS * width), (column, 1)]),
        )

    # Registers and shared memory ------------------------------------------------------------------
    @cached_property
    def sums(self) -> Buffer:
        return self._registers(self.tile.height, self.tile.width)

    @cached_property
    def factors(self) -> tuple[Buffer, Buffer]:
        """What is multiplied next."""
        return self._registers(self.tile.height), self._registers(self.tile.width)

    def _registers(self, *shape: int) -> Buffer:
        dtype = self.m.contraction.total.dtype
        return Buffer(TensorType(dtype, (self.tile.threads, *shape)), "register")

    @cached_property
    def rooms(self) -> tuple[Buffer, Buffer]:
        first, second = self.operands
        halves = min(2, self.steps)
        return first.room(halves), second.room(halves)

    # Statements -----------------------------------------------------------------------------------
    def phase(self) -> tuple[Statement, ...]:
        """The whole kernel."""
        nest = Nest()
        loops = self.grid[0]
        for loop in loops:
            nest.open(loop, "block")
        for buffer in (*self.rooms, self.sums, *(o.registers for o in self.operands)):
            nest.append(Alloc(buffer))
        self.shared(nest, lambda: self.begin(nest))
        nest.append(Barrier())
        step = Iter(self.steps)
        nest.open(step, "serial")
        self.shared(nest, lambda: self.step(nest, step))
        nest.append(Barrier())
        nest.close()
        self.shared(nest, lambda: self.finish(nest))
        return nest.close_all()

    def shared(self, nest: Nest, write: Callable[[], None]) -> None:
        """What every thread does."""
        nest.open(self.thread, "thread")
        write()
        nest.close()

    def begin(self, nest: Nest) -> None:
        """Sums are zero; the first step's numbers come."""
        with unrolled(nest, self.tile.height) as row, unrolled(nest, self.tile.width) as column:
            nest.append(Put(self.sums, (self.thread, row, column), _zero(self.m)))
        for side in (FIRST, SECOND):
            self.read(nest, side, ZERO)
            self.write(nest, side, ZERO)

    def step(self, nest: Nest, step: Iter) -> None:
        """One step's products. During each half of them the next step's numbers of one operand are
        on their way; after the last step the first one's come again, which nobody uses: they cost
        less than a branch.
        """
        half, later = self.tile.depth // 2, step + 1
        for factor in self.factors:
            nest.append(Alloc(factor))
        for side in (FIRST, SECOND):
            if self.steps > 1:
                self.read(nest, side, later % self.steps)
            self.multiply(nest, step % 2, side * half, half)
            if self.steps > 1:
                self.write(nest, side, later % 2)

    def read(self, nest: Nest, side: int, step: Expr) -> None:
        """An operand's numbers of a step into registers."""
        matrix, tiles = self.matrix, self.grid[1][1:]
        if self.split is not None:
            step = linear([(matrix[self.split], self.steps), (step, 1)])
        steps = self.steps * self.tile.split
        self.operands[side].read(nest, self.thread, tiles[side], step, matrix, steps)

    def write(self, nest: Nest, side: int, slot: Expr) -> None:
        """An operand's numbers from registers into a half of its shared memory."""
        self.operands[side].write(nest, self.thread, self.rooms[side], slot)

    def multiply(self, nest: Nest, slot: Expr, start: int, count: int) -> None:
        """So many products of each sum of a step. Columns first, then rows: in this order the
        assembler finds registers for all of it.
        """
        with unrolled(nest, count) as inner:
            for side in (SECOND, FIRST):
                self.take(nest, side, slot, inner + start)
            with unrolled(nest, self.tile.width) as column, unrolled(nest, self.tile.height) as row:
                factors = zip(self.factors, (row, column), strict=True)
                first, second = (Load(factor, (self.thread, i)) for factor, i in factors)
                product = Apply("multiply", (first, second), first.dtype)
                nest.append(Put(self.sums, (self.thread, row, column), product, "add"))

    def take(self, nest: Nest, side: int, slot: Expr, inner: Expr) -> None:
        """A thread's numbers of one inner step of a side into registers."""
        factor, spread = self.factors[side], (DOWN, ACROSS)[side]
        lane = Iter(self.lanes)
        with unrolled(nest, factor.shape[1] // self.lanes) as group:
            nest.open(lane, "vector", self.lanes)
            own = linear([(group, self.lanes), (lane, 1)])
            terms = [(self.corner[side], self.lanes), (group, spread * self.lanes), (lane, 1)]
            value = Load(self.rooms[side], (slot, inner, linear(terms)))
            nest.append(Put(factor, (self.thread, own), value))
            nest.close()

    # Results --------------------------------------------------------------------------------------
    def finish(self, nest: Nest) -> None:
        """The kernel's stores for every sum, row by row."""
        rows, lanes, tile = count(self.m.rows), self.lanes, self.tile
        with unrolled(nest, tile.height // lanes) as group, unrolled(nest, lanes) as lane:
            own = linear([(group, lanes), (lane, 1)])
            inside = linear([(self.corner[FIRST], lanes), (group, DOWN * lanes), (lane, 1)])
            row = linear([(self.grid[1][1], tile.rows), (inside, 1)])
            places = {**self.matrix, **unravelled(row, self.m.rows, 1, self.thread)}
            ragged = rows % tile.rows != 0
            guarded(nest, row, rows, ragged, lambda: self.finish_row(nest, own, places))

    def finish_row(self, nest: Nest, own: Expr, places: Places) -> None:
        """A thread's sums of one row, as vectors where the results are."""
        columns, lanes, tile = self.m.columns, self.lanes, self.tile
        wide = lanes if columns and columns[-1].extent % lanes == 0 else 1
        ragged, lane = count(columns) % tile.columns != 0, Iter(lanes)
        with unrolled(nest, tile.width // lanes) as group:
            inside = linear([(self.corner[SECOND], 1), (group, ACROSS)])
            unit = linear([(self.grid[1][2], tile.columns // lanes), (inside, 1)])
            number = unit if wide > 1 else linear([(unit, lanes), (lane, 1)])
            place = {**places, **unravelled(number, columns, wide, lane)}
            value = Load(self.sums, (self.thread, own, linear([(group, lanes), (lane, 1)])))
            write = partial(self.store, nest, place, value)
            check = partial(guarded, nest, number, count(columns) // wide, ragged)
            if wide > 1:
                check(partial(_looped, nest, lane, "vector", write))
            else:
                _looped(nest, lane, "unroll", partial(check, write))

    def store(self, nest: Nest, place: Places, value: Expr) -> None:
        """The stores at one point."""

        def replaced(part: Expr) -> Expr | None:
            if part is self.m.contraction.total:
                return value
            return place.get(part) if isinstance(part, Iter) else None

        change = Substitution(replaced)
        stores = [Store(s.buffer, (change(s.index[0]),), change(s.value)) for s in self.stores]
        nest.stage(Stage((), tuple(stores)))


def _looped(nest: Nest, iterator: Iter, kind: str, write: Callable[[], None]) -> None:
    nest.open(iterator, kind, iterator.extent if kind == "vector" else 0)
    write()
    nest.close()


def _zero(m: Matrices) -> Lit:
    dtype = m.contraction.total.dtype
    return Lit(0.0 if dtype.is_float else 0, dtype)
