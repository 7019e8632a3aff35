"""Contractions by matrix instructions: a tile for each block, a pipeline that feeds it.

Comes in: a product of matrices and the tile to compute it by (`tensor_cores`). Goes out: phases. A
separate step because nothing but the layout of the sums is known of the hardware here: the rest is
loops.

Every block computes a tile of the result. Parts of both factors go through shared memory, a few
stages ahead of the products; warps divide the tile among them. Where sums are divided too, each
block leaves a partial sum in memory, and a second phase adds them up, always in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.factors import TRUE, Factor, Part, unravelled_shape, within
from graphc.backends.cuda.launch import is_outside
from graphc.backends.cuda.matrices import count
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import guarded, points, unravelled
from graphc.backends.cuda.tensor_cores import Product, Tile
from graphc.expr import Buffer, Expr, Iter, Lit, Load, Reduce, substitute
from graphc.index import linear, stride
from graphc.kernels.flat import map_kernel, offsets
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.fragments import COLUMNS, ROWS, column, regrouped, row
from graphc.loops.ir import Alloc, Loop, Matrix, Multiply, Pipeline, Put, Regroup, Statement
from graphc.loops.nest import Nest
from graphc.types import FLOAT32, INT64, TensorType

GROUP = 8
"""Rows of tiles that neighbouring blocks go through together."""
ONLY = Iter(1)


def matrix_product(p: Product, tile: Tile, limits: Limits) -> tuple[tuple[Statement, ...], ...]:
    """The phases of a product."""
    if tile.parts == 1:
        return (_phase(p, tile, p.kernel, limits),)
    batches, rows, columns, _ = p.shape
    sums = Buffer(TensorType(FLOAT32, (tile.parts, batches * rows * columns)), "scratch")
    order = (*p.batch, *p.first.outer, *p.second.outer)
    part = Iter(tile.parts)
    place = linear(
        [(part, sums.shape[1]), *((i, count(order[n:])) for n, i in enumerate(order, 1))]
    )
    store = Store(sums, (place,), p.total)
    dealt = replace(p.kernel, iters=(*p.kernel.iters, part), stages=(Stage((), (store,)),))
    whole = Reduce("add", (part,), Load(sums, (place,)))
    added = map_kernel(p.kernel, lambda e: whole if e is p.total else None)
    return (_phase(p, tile, dealt, limits, part), *points(added, limits))


def _phase(
    p: Product, tile: Tile, kernel: Kernel, limits: Limits, part: Iter | None = None
) -> tuple[Statement, ...]:
    """The launch that computes all sums and stores what ``kernel`` makes of them. Where the tiles
    of a pipeline are filled apart, filling goes on while results are stored: so there are as many
    blocks as multiprocessors, and each computes one tile after another.
    """
    tiles = tiles_of(p, tile)
    blocks = min(tiles, limits.multiprocessors) if tile.warps > 1 else tiles
    block, turn = Iter(blocks), Iter(-(-tiles // blocks))
    number = turn * blocks + block if turn.extent > 1 else block
    builder = Nest()
    builder.open(block, "block")
    if turn.extent > 1:
        builder.open(turn, "serial")

    def work() -> None:
        _work(builder, p, tile, kernel, number, part)

    guarded(builder, number, tiles, tiles % blocks != 0, work)
    return builder.close_all()


def tiles_of(p: Product, tile: Tile) -> int:
    """How many tiles there are."""
    batches, rows, columns, _ = p.shape
    return batches * tile.parts * -(-rows // tile.rows) * -(-columns // tile.columns)


def _work(
    builder: Nest, p: Product, tile: Tile, kernel: Kernel, number: Expr, part: Iter | None
) -> None:
    """All of tile ``number``. Neighbours share rows and columns, which the second-level cache then
    holds.
    """
    batches, rows, columns, _ = p.shape
    down, across = -(-rows // tile.rows), -(-columns // tile.columns)
    group = max(n for n in range(1, GROUP + 1) if down % n == 0)
    batch, share, over, right, inside = unravelled_shape(
        number, (batches, tile.parts, down // group, across, group)
    )
    places = dict(unravelled(batch, p.batch, 1, ONLY))
    start = ((over * group + inside) * tile.rows, right * tile.columns)
    work = Work(p, tile, start, places)
    builder.append(Alloc(work.sums))
    builder.append(work.zeros())
    builder.append(work.pipeline(share))
    work.finish(builder, kernel, {part: share} if part is not None else {})


@dataclass(frozen=True)
class Work:
    """What a block does: its tile begins at ``start``, row and column; ``places`` are the values of
    the indices that choose the matrices.
    """

    p: Product
    tile: Tile
    start: tuple[Expr, Expr]
    places: Mapping[Iter, Expr]

    @property
    def part(self) -> tuple[int, int]:
        """Rows and columns of a team."""
        return self.tile.rows // self.tile.teams[0], self.tile.columns // self.tile.teams[1]

    @cached_property
    def sums(self) -> Buffer:
        """The tile of the result, in registers."""
        rows, columns = self.part
        shape = (self.tile.threads, rows // ROWS // self.tile.warps, columns // COLUMNS, 4)
        return Buffer(TensorType(FLOAT32, shape), "register")

    def corner(self, team: Expr) -> tuple[Expr, Expr]:
        """Where the part of a team begins in the tile."""
        rows, columns = self.part
        across = self.tile.teams[1]
        return team // across * rows, team % across * columns

    def zeros(self) -> Statement:
        """Every thread begins with zeros."""
        index = [Iter(extent) for extent in self.sums.shape]
        body: Statement = Put(self.sums, tuple(index), Lit(0.0, FLOAT32))
        for iterator in reversed(index[1:]):
            body = Loop(iterator, "unroll", (body,))
        return Loop(index[0], "thread", (body,))

    def pipeline(self, number: Expr) -> Statement:
        """All products of part ``number`` of the sums."""
        p, tile = self.p, self.tile
        depth = tile.depth // p.dtype.bytes
        step = Iter(-(-p.shape[3] // (depth * tile.parts)))
        inner = (number * step.extent + step) * depth
        tiles = p.first.tile(tile.rows, depth), p.second.tile(tile.columns, depth)
        parts = tuple(
            Part(factor, buffer, start, inner, self.places)
            for factor, buffer, start in zip((p.first, p.second), tiles, self.start, strict=True)
        )
        team = Iter(math.prod(tile.teams))
        row_, column_ = self.corner(team)
        product = Multiply(
            self.sums,
            team * (WARP * tile.warps),
            tile.warps,
            _matrix(p.first, tiles[0], row_),
            _matrix(p.second, tiles[1], column_),
            (*self.part, depth),
        )
        apart = tile.warps > 1
        use = (Loop(team, "warpgroup" if apart else "warp", (product,)),)
        arrays = p.arrays if apart else None
        fill = (
            tuple(part.fill(tile.threads) for part in parts)
            if arrays is None
            else tuple(part.box(array) for part, array in zip(parts, arrays, strict=True))
        )
        return Pipeline(step, tile.stages, tiles, fill, use, apart)

    def finish(self, builder: Nest, kernel: Kernel, known: Mapping[Iter, Expr]) -> None:
        """What the kernel makes of the sums, and its stores, as many neighbours at once as one
        access can move.
        """
        _, rows, columns, _ = self.p.shape
        held = Held(self.tile.threads, self.sums.shape, lanes_of(kernel, self.p.matrices.columns))
        at_row, at_column = self.position(held)
        places = {
            **self.places,
            **known,
            **unravelled(at_row, self.p.first.outer, 1, ONLY),
            **unravelled(at_column, self.p.second.outer, 1, ONLY),
        }

        def placed(e: Expr) -> Expr | None:
            if e is self.p.total:
                return Load(self.sums, held.index)
            return places.get(e) if isinstance(e, Iter) else None

        (stage,) = map_kernel(kernel, placed).stages
        first = substitute(at_column, lambda e: Lit(0, INT64) if e is held.lane else None)
        if held.wide:
            builder.append(Regroup(self.sums))
        inside = within([(at_row, rows), (first, columns)])  # all of the neighbours, or none
        held.each(builder, inside, lambda: builder.stage(stage))

    def position(self, held: Held) -> tuple[Expr, Expr]:
        """Row and column of a sum."""
        warps = self.tile.warps
        team_row, team_column = self.corner(held.thread // (WARP * warps))
        return (
            self.start[0] + team_row + row(held.thread, warps, held.down, held.half),
            self.start[1] + team_column + held.column,
        )


def lanes_of(kernel: Kernel, columns: Sequence[Iter]) -> int:
    """Neighbours along the columns that one access moves: of the widest type that lies along
    them."""
    near = [(x, offset) for x, offset in offsets(kernel) if stride(offset, columns[-1]) == 1]
    widest = max((x.buffer.type.dtype.bytes for x, _ in near if is_outside(x.buffer)), default=8)
    lanes = math.gcd(count(columns), columns[-1].extent, WIDEST // widest)
    return lanes if any(isinstance(x, Store) for x, _ in near) else math.gcd(lanes, 2)


class Held:
    """The loops over the sums that threads hold, ``lanes`` neighbours of a row at once: two lie
    side by side, or eight, after they were regrouped (`wide`).
    """

    def __init__(self, threads: int, shape: Sequence[int], lanes: int) -> None:
        self.lanes, self.wide = lanes, lanes > 2
        near = 8 if self.wide else 2
        self.thread, self.half, self.lane = Iter(threads), Iter(2), Iter(lanes)
        self.down, self.across, self.part = (
            Iter(shape[1]),
            Iter(shape[2] * 2 // near),
            Iter(near // lanes),
        )
        self.neighbour = self.part * lanes + (self.lane if lanes > 1 else 0)

    @property
    def index(self) -> tuple[Expr, ...]:
        """Where a sum lies."""
        number = self.across * 4 + self.neighbour // 2 if self.wide else self.across
        return (self.thread, self.down, number, self.half * 2 + self.neighbour % 2)

    @property
    def column(self) -> Expr:
        """The column of a sum."""
        of: Expr = (regrouped if self.wide else column)(self.thread, self.across, self.neighbour)
        return of

    def each(self, builder: Nest, inside: Expr, write: Callable[[], None]) -> None:
        """What ``write`` appends for all sums that are ``inside``."""
        before = builder.depth_now
        builder.open(self.thread, "thread")
        for iterator in (self.down, self.half, self.across, self.part):
            builder.open(iterator, "unroll")

        def neighbours() -> None:
            if self.lanes > 1:
                builder.open(self.lane, "vector", self.lanes)
            write()
            if self.lanes > 1:
                builder.close()

        if inside == TRUE:
            neighbours()
        else:
            builder.branch(inside, neighbours, lambda: None)
        builder.close(builder.depth_now - before)


def _matrix(f: Factor, tile: Buffer, outer: Expr) -> Matrix:
    """The part of a tile from row or column ``outer`` on."""
    zero = Lit(0, INT64)
    return Matrix(tile, zero, outer, True) if f.turned else Matrix(tile, outer, zero, False)
