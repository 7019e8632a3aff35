"""The factors of a contraction as matrices, and the loops that bring parts of them near.

Comes in: a contraction. Goes out: its factors as matrices [outer, inner], where the outer index
counts rows or columns and the inner one products of a sum; the loops of a block that fill a tile
with a part of one. A separate step because all that a matrix instruction asks of memory is here:
which index is contiguous, how many neighbours one access moves, what lies beyond the edge.

Each of both indices may be several indices of the kernel: so a convolution is a product of
matrices, whose first one exists in no memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.cuda.matrices import count
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import unravelled
from graphc.expr import Buffer, Expr, Iter, Lit, Load, apply, substitute, walk
from graphc.index import affine, bounds, stride
from graphc.kernels.flat import View
from graphc.loops.ir import AsyncCopy, BoxCopy, Boxed, Loop, Put, Statement, When
from graphc.types import BOOL, INT64, DType, TensorType

TRUE: Expr = Lit(True, BOOL)
LINE = 128
"""Bytes of a line of a tile, at most."""


@dataclass(frozen=True)
class Factor:
    """A matrix [outer, inner] of ``value``, as ``dtype`` in a tile; the last of the indices steps
    fastest. ``lanes`` neighbours can be moved at once: along the outer index if the matrix is
    ``turned``, else along the inner one.
    """

    value: Expr
    dtype: DType
    outer: tuple[Iter, ...]
    inner: tuple[Iter, ...]
    turned: bool
    lanes: int

    @property
    def load(self) -> Load | None:
        """Where it lies, if accesses of 16 bytes that need no register on their way can move it."""
        whole = self.lanes * self.dtype.bytes == WIDEST
        known = isinstance(self.value, Load) and self.value.buffer.type.dtype == self.dtype
        return self.value if whole and known else None  # type: ignore[return-value]

    def array(self, batch: Sequence[Iter]) -> Boxed | None:
        """What boxes can be copied from, if it is a matrix in memory for each batch."""
        outer, inner = self.outer, self.inner
        if self.load is None or (len(outer), len(inner)) != (1, 1) or len(batch) > 1:
            return None
        offset = self.load.index[0]
        along, other = (outer[0], inner[0]) if self.turned else (inner[0], outer[0])
        third = [i for i in batch if stride(offset, i)]
        step = stride(offset, third[0]) or 0 if third else 0
        first = Load(self.load.buffer, (Lit(affine(offset).constant, INT64),))
        sizes = (along.extent, other.extent, count(third))
        return Boxed(first, sizes, (stride(offset, other) or 0, step))

    def tile(self, extent: int, depth: int) -> Buffer:
        """Shared memory for a part [extent, depth], in lines along what is contiguous."""
        lines, places = (depth, extent) if self.turned else (extent, depth)
        width = min(places, LINE // self.dtype.bytes)
        return Buffer(TensorType(self.dtype, (places // width, lines, width)), "tile")


def factor(
    value: Expr, dtype: DType, outer: Sequence[Iter], inner: Sequence[Iter], rest: Sequence[Iter]
) -> Factor:
    """The matrix of a value; ``rest`` are the indices that choose among matrices."""
    indices = (*outer, *inner, *rest)
    loads = [e for e in walk(value) if isinstance(e, Load)]
    across, along = (
        min((_lanes(x, i, indices) for x in loads if stride(x.index[0], i) == 1), default=0)
        for i in (outer[-1], inner[-1])
    )
    turned = across > along
    lanes = math.gcd(max(across, along, 1), WIDEST // dtype.bytes)
    return Factor(value, dtype, tuple(outer), tuple(inner), turned, lanes)


def _lanes(load: Load, along: Iter, indices: Sequence[Iter]) -> int:
    """Neighbours along a contiguous index that one access moves: it begins at a multiple."""
    start = load.buffer.start if isinstance(load.buffer, View) else 0
    steps = [start, affine(load.index[0]).constant, along.extent]
    steps += [stride(load.index[0], i) or 0 for i in indices if i is not along]
    return math.gcd(WIDEST // load.buffer.type.dtype.bytes, *steps)


# Filling ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Part:
    """A part [extent, depth] of a factor that begins at (outer, inner), to be brought into a
    ``tile``; ``places`` are the values of the indices that choose among matrices. Within a
    `Pipeline` it comes ``ahead`` of its use; elsewhere it goes through registers.
    """

    factor: Factor
    tile: Buffer
    outer: Expr
    inner: Expr
    places: Mapping[Iter, Expr]
    ahead: bool = True

    def fill(self, threads: int) -> Statement:
        """The loop over the threads of a block that fills the tile, with zeros beyond the edges."""
        slabs, lines, width = self.tile.shape
        lanes = self.factor.lanes
        units = slabs * lines * width // lanes
        thread, turn = Iter(threads), Iter(-(-units // threads))
        number = turn * threads + thread
        slab, line, first = unravelled_shape(number, (slabs, lines, width // lanes))
        body = self._moved((slab, line, first * lanes), slab * width + first * lanes, line)
        if units % threads:
            body = When(apply("less", number, units), (body,), ())
        return Loop(thread, "thread", (Loop(turn, "unroll", (body,)),))

    def box(self, array: Boxed) -> Statement:
        """The same, but that no thread of the block moves anything."""
        corner = (self.outer, self.inner) if self.factor.turned else (self.inner, self.outer)
        batch = [*self.places.values()] if array.sizes[2] > 1 else []
        return BoxCopy(self.tile, array, (*corner, batch[0] if batch else Lit(0, INT64)))

    def _moved(self, index: tuple[Expr, ...], place: Expr, line: Expr) -> Statement:
        """What one thread moves at once."""
        outer, inner = (place, line) if self.factor.turned else (line, place)
        outer, inner = self.outer + outer, self.inner + inner
        present = self._present(outer, inner)
        if self.factor.load is not None and self.ahead:
            first = self._at(self.factor.load, outer, inner)
            assert isinstance(first, Load), "a load elsewhere is a load"
            return AsyncCopy(self.tile, index, first, self.factor.lanes, present)
        lane = Iter(self.factor.lanes)
        index = (*index[:-1], index[-1] + lane)
        along = (outer + lane, inner) if self.factor.turned else (outer, inner + lane)
        value = self._at(self.factor.value, *along)
        zero = Lit(0.0, value.dtype)

        def written(value: Expr) -> tuple[Statement, ...]:
            return (Loop(lane, "vector", (Put(self.tile, index, value),), lane.extent),)

        if present == TRUE:
            return written(value)[0]
        return When(present, written(value), written(zero))

    def _present(self, outer: Expr, inner: Expr) -> Expr:
        """Whether (outer, inner) is in the matrix."""
        sides = ((outer, self.factor.outer), (inner, self.factor.inner))
        return within([(place, count(indices)) for place, indices in sides])

    def _at(self, value: Expr, outer: Expr, inner: Expr) -> Expr:
        places = dict(self.places)
        for number, indices in ((outer, self.factor.outer), (inner, self.factor.inner)):
            places |= unravelled(number, indices, 1, Iter(1))
        return substitute(value, lambda e: places.get(e) if isinstance(e, Iter) else None)


def within(limits: Sequence[tuple[Expr, int]]) -> Expr:
    """Whether every number is below its limit; what bounds know is not asked."""
    tests = [
        apply("less", place, limit)
        for place, limit in limits
        if (bounds(place) or (0, limit))[1] >= limit
    ]
    return functools.reduce(lambda a, b: apply("logical_and", a, b), tests) if tests else TRUE


def unravelled_shape(number: Expr, shape: Sequence[int]) -> list[Expr]:
    """The index at a number that counts all elements of a shape."""
    found: list[Expr] = []
    for place, extent in enumerate(reversed(shape)):
        last = place == len(shape) - 1
        found.insert(0, number if last else number % extent)
        number = number // extent
    return found
