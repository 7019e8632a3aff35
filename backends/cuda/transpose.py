"""Tiles through shared memory: loads and stores that are contiguous along different indices.

Comes in: a kernel without sums, such as a transposed copy. Goes out: one phase. A block reads its
tile in the order of the loads and, when all of it is in shared memory, computes and writes it in
the order of the stores: so that both are whole lines of memory. Rows of a tile are one word longer
than the tile, and threads that read down a column meet in no bank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graphc.backends.cuda.device import WARP
from graphc.backends.cuda.packs import sure_loads
from graphc.backends.cuda.points import guarded, ordered, unravelled
from graphc.expr import Buffer, Expr, Iter, Load, Reduce, substitute, walk
from graphc.index import linear, stride
from graphc.kernels.flat import map_kernel, offsets
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Alloc, Barrier, Put, Statement
from graphc.loops.nest import Nest
from graphc.types import TensorType

WARPS = 8
WORD = 4
"""Bytes of a bank."""
SHORTEST = 8
"""Neighbours that are not worth a tile if there are fewer."""


@dataclass(frozen=True)
class Tiles:
    """Stores are contiguous along ``along``, the loads ``turned`` along ``other``. A thread moves
    ``lanes`` neighbours, which fill a word.
    """

    along: Iter
    other: Iter
    turned: tuple[Load, ...]
    lanes: int

    @property
    def side(self) -> int:
        """Elements of a side of a tile."""
        return WARP * self.lanes

    def __str__(self) -> str:
        return f"tiles of {self.side} x {self.side} through shared memory"


def tiles_of(kernel: Kernel) -> Tiles | None:
    """The tiles of a flat kernel; None if it has sums, or if one index serves all accesses."""
    if len(kernel.stages) != 1 or kernel.stages[0].iters or len(kernel.iters) < 2:
        return None
    values = tuple(s.value for s in kernel.stores)
    if any(isinstance(e, Reduce) for e in walk(*values)):
        return None
    along = ordered(kernel)[-1]
    written = {s.buffer for s in kernel.stores}
    turned: dict[Iter, dict[Load, None]] = {}
    for load in sure_loads(values):
        other = _contiguous(load, kernel, along)
        if other is not None and load.buffer not in written:
            turned.setdefault(other, {})[load] = None
    if not turned or any(stride(s.index[0], along) != 1 for s in kernel.stores):
        return None
    other = max(turned, key=lambda i: len(turned[i]))
    if min(along.extent, other.extent) < SHORTEST:
        return None
    return Tiles(along, other, tuple(turned[other]), _lanes(kernel, along, other))


def _contiguous(load: Load, kernel: Kernel, along: Iter) -> Iter | None:
    """The index along which neighbours lie side by side, if that is another one."""
    if stride(load.index[0], along) in (0, 1, None):
        return None
    near = (i for i in kernel.iters if i.extent > 1 and stride(load.index[0], i) == 1)
    return next(near, None)


def _lanes(kernel: Kernel, along: Iter, other: Iter) -> int:
    """Elements of a word of the widest type, if they divide both sides."""
    widest = max(x.buffer.type.dtype.bytes for x, _ in offsets(kernel))
    return math.gcd(max(WORD // widest, 1), along.extent, other.extent)


def transposed(kernel: Kernel, tiles: Tiles) -> tuple[Statement, ...]:
    """The phase of a kernel by these tiles."""
    return _Tiled(kernel, tiles).statements()


class _Tiled:
    """Writes the phase. ``rows`` and ``across`` are the parts of a tile: warps take rows of it, and
    lanes the neighbours in a row.
    """

    def __init__(self, kernel: Kernel, tiles: Tiles) -> None:
        self.kernel, self.tiles = kernel, tiles
        sides = [-(-i.extent // tiles.side) for i in (tiles.other, tiles.along)]
        self.rest = [i for i in kernel.iters if i not in (tiles.along, tiles.other)]
        self.block = Iter(math.prod(sides) * math.prod(i.extent for i in self.rest))
        down, right = Iter(sides[0]), Iter(sides[1])
        found = unravelled(self.block, [*self.rest, down, right], 1, self.block)
        self.corner = {tiles.other: found[down], tiles.along: found[right]}
        self.outer = {i: found[i] for i in self.rest}
        self.turn, self.warp = Iter(tiles.side // WARPS), Iter(WARPS)
        self.member, self.lane = Iter(WARP), Iter(tiles.lanes)
        self.rows = linear([(self.turn, WARPS), (self.warp, 1)])
        self.across: Expr = self.member
        if tiles.lanes > 1:
            self.across = linear([(self.member, tiles.lanes), (self.lane, 1)])
        shape = (tiles.side, tiles.side + tiles.lanes)
        self.homes = {
            load: Buffer(TensorType(load.buffer.type.dtype, shape), "shared")
            for load in tiles.turned
        }
        self.builder = Nest()

    def statements(self) -> tuple[Statement, ...]:
        builder, tiles = self.builder, self.tiles
        builder.open(self.block, "block")
        for home in self.homes.values():
            builder.append(Alloc(home))
        self._each(tiles.along, tiles.other, self._fill)
        builder.append(Barrier())
        builder.floor = builder.depth_now
        self._each(tiles.other, tiles.along, self._write)
        return builder.close_all()

    def _each(
        self, row: Iter, neighbour: Iter, write: Callable[[Mapping[Iter, Expr]], None]
    ) -> None:
        """What ``write`` appends for every element of a tile, warps along ``neighbour``."""
        builder, side = self.builder, self.tiles.side
        places = {
            **self.outer,
            row: linear([(self.corner[row], side), (self.rows, 1)]),
            neighbour: linear([(self.corner[neighbour], side), (self.across, 1)]),
        }
        builder.open(self.warp, "warp")
        builder.open(self.member, "lane")
        builder.open(self.turn, "unroll")
        first = linear([(self.corner[neighbour], side), (self.member, self.tiles.lanes)])

        def neighbours() -> None:
            if self.tiles.lanes > 1:
                builder.open(self.lane, "vector", self.tiles.lanes)
            write(places)
            if self.tiles.lanes > 1:
                builder.close()

        def inside() -> None:
            guarded(builder, first, neighbour.extent, neighbour.extent % side != 0, neighbours)

        guarded(builder, places[row], row.extent, row.extent % side != 0, inside)
        builder.close(3)

    def _fill(self, places: Mapping[Iter, Expr]) -> None:
        for load, home in self.homes.items():
            source = substitute(load, lambda e: places.get(e) if isinstance(e, Iter) else None)
            self.builder.append(Put(home, (self.rows, self.across), source))

    def _write(self, places: Mapping[Iter, Expr]) -> None:
        def read(e: Expr) -> Expr | None:
            if isinstance(e, Load) and e in self.homes:
                return Load(self.homes[e], (self.across, self.rows))
            return places.get(e) if isinstance(e, Iter) else None

        for stage in map_kernel(self.kernel, read).stages:
            self.builder.store(stage.stores)
