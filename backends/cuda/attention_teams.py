"""How the lanes of a warp share the sums of its rows, and what multiplies them.

Comes in: a plan (`attention_tiles`). Goes out: which sums a lane has, and the statements that fill
shared memory and multiply. A separate step because the rest of attention is the same for tensor
cores and for ordinary arithmetic: a lane has some rows, and some columns of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from graphc.backends.cuda.attention_tiles import Plan
from graphc.backends.cuda.device import WARP
from graphc.backends.cuda.factors import LINE, TRUE, Factor, Part, within
from graphc.backends.cuda.matrices import Places, count
from graphc.backends.cuda.operands import unrolled
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import guarded, unravelled
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, substitute
from graphc.index import linear
from graphc.loops.fragments import COLUMNS, ROWS, column, row
from graphc.loops.ir import Alloc, Matrix, Multiply, Put, Statement
from graphc.loops.nest import Nest
from graphc.types import INT64, DType, TensorType

ZERO = Lit(0, INT64)
ONLY = Iter(1)
DOWN, ACROSS = 4, 8
"""Lanes of a warp in ordinary arithmetic: rows and columns of them."""
AT_ONCE = 4
"""Products of a sum that are written out."""


@dataclass(frozen=True)
class Side:
    """A factor in shared memory: ``factor`` as a matrix [outer, inner] of which ``shape`` is there,
    in ``room``. In ordinary arithmetic the columns or rows of its product, the outer index or the
    inner one if it is ``across``, are the fast ones.
    """

    factor: Factor
    shape: tuple[int, int]
    room: Buffer
    across: bool = False


def number(value: int) -> Lit:
    """A number as an index."""
    return Lit(value, INT64)


class Team:
    """The threads of a block: ``warps``, each of which has ``height`` rows. Indices are made once,
    so that equal ones are equal expressions.
    """

    sharers: int
    """Lanes that share a row: the first ones of a row are those with ``sharer`` zero."""
    neighbours: int
    """Columns of a lane that lie side by side."""
    by_columns: bool
    """Whether weights of neighbouring places lie side by side in shared memory; else those of rows
    do.
    """

    def __init__(self, plan_: Plan) -> None:
        self.plan, self.tile = plan_, plan_.tile
        self.warp, self.lane = Iter(plan_.tile.warps), Iter(WARP)
        self.thread = linear([(self.warp, WARP), (self.lane, 1)])

    @property
    def slots(self) -> int:
        """Rows of a lane."""
        return self.tile.height * self.sharers // WARP

    def numbers(self, dtype: DType) -> Buffer:
        """A number of each row of a lane, in its registers."""
        return Buffer(TensorType(dtype, (self.tile.threads, self.slots)), "register")

    def exchanged(self, dtype: DType) -> Buffer:
        """What all lanes of a row have found."""
        return Buffer(TensorType(dtype, (self.tile.rows, self.sharers)), "shared")


class TensorTeam(Team):
    """A warp whose sums matrix instructions make."""

    sharers, neighbours, by_columns = 4, 2, True

    def __init__(self, plan_: Plan) -> None:
        super().__init__(plan_)
        self.down, self.half = Iter(plan_.tile.height // ROWS), Iter(2)
        self.row_loops = (self.down, self.half)
        self.slot: Expr = linear([(self.down, 2), (self.half, 1)])
        self.row: Expr = row(self.lane, 1, self.down, self.half)
        self.sharer: Expr = self.lane % 4

    def sums(self, columns: int) -> Buffer:
        """Sums of all rows of a warp."""
        shape = (self.tile.threads, self.down.extent, columns // COLUMNS, 4)
        return Buffer(TensorType(self.plan.dtype, shape), "register")

    def groups(self, columns: int) -> Iter:
        """Counts groups of neighbours among the columns of a lane."""
        return Iter(columns // COLUMNS)

    def column(self, group: Iter, neighbour: Expr) -> Expr:
        found: Expr = column(self.lane, group, neighbour)
        return found

    def place(self, group: Expr, neighbour: Expr) -> tuple[Expr, ...]:
        """Where a sum of the row is."""
        return (self.thread, self.down, group, linear([(self.half, 2), (neighbour, 1)]))

    # Shared memory --------------------------------------------------------------------------------
    def side(self, factor: Factor, shape: tuple[int, int], across: bool) -> Side:
        """A factor in lines along what is contiguous: it can be read either way."""
        lines, along = shape[::-1] if factor.turned else shape
        return Side(factor, shape, _tile(factor.dtype, lines, along))

    def weights(self, dtype: DType) -> Buffer:
        """Those of all rows, at the places of a step."""
        return _tile(dtype, self.tile.rows, self.tile.places)

    def weight_place(self, room: Buffer, at_row: Expr, place: Expr) -> tuple[Expr, ...]:
        width = room.shape[-1]
        return (place // width, at_row, place % width)

    def fill(self, side: Side, outer: Expr, inner: Expr, places: Places, ahead: bool) -> Statement:
        """A part of a factor comes near."""
        return Part(side.factor, side.room, outer, inner, places, ahead).fill(self.tile.threads)

    # Products -------------------------------------------------------------------------------------
    def multiply_rows(self, nest: Nest, sums: Buffer, first: Side, second: Side) -> None:
        """Rows times places, for each row of a warp."""
        start: Expr = self.warp * self.tile.height
        line, place = (ZERO, start) if first.factor.turned else (start, ZERO)
        rows = Matrix(first.room, line, place, first.factor.turned)
        others = Matrix(second.room, ZERO, ZERO, second.factor.turned)
        self._multiply(nest, sums, rows, others, second.shape)

    def multiply_weights(self, nest: Nest, sums: Buffer, weights: Buffer, second: Side) -> None:
        """Weights times columns, for each row of a warp."""
        rows = Matrix(weights, linear([(self.warp, self.tile.height)]), ZERO, False)
        others = Matrix(second.room, ZERO, ZERO, not second.factor.turned)
        self._multiply(nest, sums, rows, others, second.shape[::-1])

    def _multiply(
        self, nest: Nest, sums: Buffer, first: Matrix, second: Matrix, shape: tuple[int, ...]
    ) -> None:
        start = linear([(self.warp, WARP)])
        size = (self.tile.height, shape[0], shape[1])
        nest.append(Multiply(sums, start, 1, first, second, size))


def _tile(dtype: DType, lines: int, along: int) -> Buffer:
    """Shared memory for matrix instructions, in lines that fill it without rest."""
    width = math.gcd(along, LINE // dtype.bytes)
    return Buffer(TensorType(dtype, (along // width, lines, width)), "tile")


class PlainTeam(Team):
    """A warp whose lanes multiply by ordinary arithmetic: 4 down and 8 across, with neighbours that
    one access of 16 bytes reads.
    """

    sharers, by_columns = ACROSS, False

    def __init__(self, plan_: Plan) -> None:
        super().__init__(plan_)
        self.neighbours = WIDEST // plan_.dtype.bytes
        near = self.neighbours
        self.part, self.near = Iter(plan_.tile.height // (DOWN * near)), Iter(near)
        self.row_loops = (self.part, self.near)
        self.slot: Expr = linear([(self.part, near), (self.near, 1)])
        self.row: Expr = linear([(self._unit(self.part), near), (self.near, 1)])
        self.sharer: Expr = self.lane % ACROSS

    def _unit(self, part: Expr) -> Expr:
        """Which neighbours of the warp's rows a lane has."""
        return linear([(part, DOWN), (self.lane // ACROSS, 1)])

    def sums(self, columns: int) -> Buffer:
        """Sums of all rows of a warp."""
        shape = (self.tile.threads, self.slots, columns // ACROSS)
        return Buffer(TensorType(self.plan.dtype, shape), "register")

    def groups(self, columns: int) -> Iter:
        """Counts groups of neighbours among the columns of a lane."""
        return Iter(columns // (ACROSS * self.neighbours))

    def column(self, group: Iter, neighbour: Expr) -> Expr:
        unit = linear([(group, ACROSS), (self.lane % ACROSS, 1)])
        return linear([(unit, self.neighbours), (neighbour, 1)])

    def place(self, group: Expr, neighbour: Expr) -> tuple[Expr, ...]:
        """Where a sum of the row is."""
        return (self.thread, self.slot, linear([(group, self.neighbours), (neighbour, 1)]))

    # Shared memory --------------------------------------------------------------------------------
    def side(self, factor: Factor, shape: tuple[int, int], across: bool) -> Side:
        """A factor with what its product has as rows or columns side by side."""
        slow, fast = shape if across else shape[::-1]
        return Side(factor, shape, self._room(slow, fast), across)

    def _room(self, slow: int, fast: int) -> Buffer:
        """Lines a little longer, so that what is put down across them meets different banks."""
        return Buffer(TensorType(self.plan.dtype, (slow, fast + self.neighbours)), "shared")

    def weights(self, dtype: DType) -> Buffer:
        """Those of all rows, at the places of a step."""
        return self._room(self.tile.places, self.tile.rows)

    def weight_place(self, room: Buffer, at_row: Expr, place: Expr) -> tuple[Expr, ...]:
        return (place, at_row)

    def fill(self, side: Side, outer: Expr, inner: Expr, places: Places, ahead: bool) -> Statement:
        """A part of a factor comes near: neighbours that lie side by side are read together."""
        thread, lane = Iter(self.tile.threads), Iter(side.factor.lanes)
        units = side.shape[0] * side.shape[1] // lane.extent
        nest = Nest()
        nest.open(thread, "thread")

        def write() -> None:
            at = self._spot(side, unit, lane)
            self._moved(nest, side, (outer + at[0], inner + at[1]), at, lane, places)

        with unrolled(nest, -(-units // self.tile.threads)) as turn:
            unit = linear([(turn, self.tile.threads), (thread, 1)])
            guarded(nest, unit, units, units % self.tile.threads != 0, write)
        (found,) = nest.close_all()
        return found

    def _spot(self, side: Side, unit: Expr, lane: Iter) -> tuple[Expr, Expr]:
        """Outer and inner place of the first neighbour of a unit. Where neighbours are put down in
        different lines, two threads are side by side, and the next ones go along the lines.
        """
        lanes, turned = lane.extent, side.factor.turned
        size = [n // lanes if turned is (k == 0) else n for k, n in enumerate(side.shape)]
        fast, slow = (1, 0) if side.across else (0, 1)
        found: list[Expr] = [ZERO, ZERO]
        if (fast == 0) is turned:
            found[fast], found[slow] = unit % size[fast], unit // size[fast]
        else:
            pair = math.gcd(size[slow], 2)
            found[fast] = unit // pair % size[fast]
            found[slow] = linear([(unit % pair, 1), (unit // (pair * size[fast]), pair)])
        along = 0 if turned else 1
        found[along] = found[along] * lanes
        return found[0], found[1]

    def _moved(
        self,
        nest: Nest,
        side: Side,
        place: tuple[Expr, Expr],
        at: tuple[Expr, Expr],
        lane: Iter,
        places: Places,
    ) -> None:
        """What a thread moves at once; zeros from beyond the edges."""
        factor = side.factor
        inside = within([(place[0], count(factor.outer)), (place[1], count(factor.inner))])
        step = (lane, ZERO) if factor.turned else (ZERO, lane)
        known = dict(places)
        for indices, start, more in zip((factor.outer, factor.inner), place, step, strict=True):
            known |= unravelled(start + more, indices, 1, ONLY)
        value = substitute(factor.value, lambda e: known.get(e) if isinstance(e, Iter) else None)
        spot = tuple(a + b for a, b in zip(at, step, strict=True))
        index = spot if side.across else spot[::-1]

        def put(number: Expr) -> None:
            nest.open(lane, "vector", lane.extent)
            nest.append(Put(side.room, index, number))
            nest.close()

        if inside == TRUE:
            put(value)
        else:
            nest.branch(inside, lambda: put(value), lambda: put(Lit(0.0, value.dtype)))

    # Products -------------------------------------------------------------------------------------
    def multiply_rows(self, nest: Nest, sums: Buffer, first: Side, second: Side) -> None:
        """Rows times places, for each row of a warp."""
        self._multiply(nest, sums, first.room, second.room, second.shape[1])

    def multiply_weights(self, nest: Nest, sums: Buffer, weights: Buffer, second: Side) -> None:
        """Weights times columns, for each row of a warp."""
        self._multiply(nest, sums, weights, second.room, second.shape[0])

    @cached_property
    def _start(self) -> Expr:
        return linear([(self.warp, self.tile.height)])

    def _multiply(
        self, nest: Nest, sums: Buffer, first: Buffer, second: Buffer, depth: int
    ) -> None:
        """Every sum of a lane: its factors come in accesses of 16 bytes."""
        _, height, width = sums.shape
        rows = self.numbers(self.plan.dtype)
        columns = Buffer(TensorType(self.plan.dtype, (self.tile.threads, width)), "register")
        nest.open(self.lane, "lane")
        outer = Iter(depth // AT_ONCE)
        nest.open(outer, "serial")
        for buffer in (rows, columns):
            nest.append(Alloc(buffer))
        with unrolled(nest, AT_ONCE) as part:
            line = linear([(outer, AT_ONCE), (part, 1)])
            down, across = Iter(self.part.extent), Iter(width // self.neighbours)
            units = self._unit(down), linear([(across, ACROSS), (self.lane % ACROSS, 1)])
            self._take(nest, rows, (first, line, self._start), down, units[0])
            self._take(nest, columns, (second, line, ZERO), across, units[1])
            with unrolled(nest, width) as x, unrolled(nest, height) as y:
                factors = Load(rows, (self.thread, y)), Load(columns, (self.thread, x))
                product = Apply("multiply", factors, self.plan.dtype)
                nest.append(Put(sums, (self.thread, y, x), product, "add"))
        nest.close(2)

    def _take(
        self, nest: Nest, into: Buffer, source: tuple[Buffer, Expr, Expr], group: Iter, unit: Expr
    ) -> None:
        """Numbers of a line of shared memory, group by group."""
        room, line, start = source
        lane = Iter(self.neighbours)
        nest.open(group, "unroll")
        nest.open(lane, "vector", lane.extent)
        place = start + linear([(unit, lane.extent), (lane, 1)])
        own = linear([(group, lane.extent), (lane, 1)])
        nest.append(Put(into, (self.thread, own), Load(room, (line, place))))
        nest.close(2)


def team(plan_: Plan) -> TensorTeam | PlainTeam:
    """The threads of a plan."""
    return TensorTeam(plan_) if plan_.narrow else PlainTeam(plan_)
