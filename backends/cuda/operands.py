"""How the threads of a block bring a part of an operand into shared memory.

Comes in: an operand, the tile's size along its outer indices and along the depth. Goes out:
statements: from global memory into registers, and from there into shared memory, where the outer
index is the fast one. Two steps, so that numbers are on their way while the tile computes with the
ones before. An operand may be any expression: it is evaluated on the way.

Numbers are moved 16 bytes at a time where neighbours lie side by side, be it along the outer
indices or along the depth: then they are turned when they are put down, in rows that are a little
longer, so that the threads of a warp meet different banks (CUDA C++ programming guide, "shared
memory").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from graphc.backends.cuda.matrices import Depth, Places, count, reach
from graphc.backends.cuda.packs import WIDEST, packs
from graphc.backends.cuda.points import guarded, unravelled
from graphc.expr import Buffer, Expr, Iter, Lit, Load, apply, substitute
from graphc.index import linear
from graphc.loops.ir import Define, Local, Loop, Put
from graphc.loops.nest import Nest
from graphc.types import INT64, TensorType

ZERO = Lit(0, INT64)
SECTOR = 32
"""Bytes that memory gives at least."""


@dataclass(frozen=True)
class Operand:
    """``size`` of the ``outer`` indices of a factor, by a step of the depth, for ``threads``."""

    factor: Expr
    outer: tuple[Iter, ...]
    size: int
    depth: Depth
    threads: int

    # How it is moved ------------------------------------------------------------------------------
    @property
    def widest(self) -> int:
        """Neighbours in 16 bytes of shared memory."""
        return max(WIDEST // self.factor.dtype.bytes, 1)

    @cached_property
    def way(self) -> tuple[bool, int]:
        """Whether neighbouring threads read along the depth, and how many neighbours each."""
        factor, along, last = self.factor, self.depth.along, self.outer[-1:]
        if any(_is_contiguous(factor, i, self.widest) for i in last):
            return False, self.widest
        if _is_contiguous(factor, along, self.widest):
            return True, self.widest
        return reach(factor, along) == 1 and all(reach(factor, i) != 1 for i in last), 1

    @property
    def is_turned(self) -> bool:
        """Whether what is read along the depth is put down across it."""
        return self.way[0]

    @property
    def lanes(self) -> int:
        """Neighbours that a thread reads together."""
        return self.way[1]

    @property
    def rounds(self) -> int:
        """How often all threads read."""
        return -(-self.units // self.threads)

    @property
    def units(self) -> int:
        """Reads of the whole part."""
        return self.size * self.depth.size // self.lanes

    # Memory ---------------------------------------------------------------------------------------
    @property
    def pitch(self) -> int:
        """Elements from one inner step to the next in shared memory."""
        return self.size + (self.widest if self.is_turned else 0)

    def room(self, slots: int) -> Buffer:
        """Shared memory for so many parts."""
        shape = (slots, self.depth.size, self.pitch)
        return Buffer(TensorType(self.factor.dtype, shape), "shared")

    @cached_property
    def registers(self) -> Buffer:
        """What each thread has read."""
        shape = (self.threads, self.rounds, self.lanes)
        return Buffer(TensorType(self.factor.dtype, shape), "register")

    # Statements -----------------------------------------------------------------------------------
    def read(
        self, nest: Nest, thread: Iter, tile: Expr, step: Expr, given: Places, steps: int
    ) -> None:
        """Part ``tile`` of the outer indices at a ``step`` of the depth into registers. Beyond the
        last row the rows begin again: nobody uses these sums; beyond the depth there are zeros.
        """
        lane = Iter(self.lanes)
        along, deep = (1, self.lanes) if self.is_turned else (self.lanes, 1)
        with unrolled(nest, self.rounds) as turn:
            unit = linear([(turn, self.threads), (thread, 1)])
            outer, inner = self.position(unit)
            number = linear([(tile, self.size // along), (outer, 1)])
            if count(self.outer) % self.size:
                number = number % (count(self.outer) // along)
            places = {
                **given,
                **unravelled(number, self.outer, along, lane),
                **self.depth.places(step, inner, deep, lane),
            }
            value = substitute(
                self.factor, lambda e: places.get(e) if isinstance(e, Iter) else None
            )
            spot = (thread, turn, lane if self.lanes > 1 else ZERO)
            conditions = [
                apply("less", unit, self.units) if self.units % self.threads else None,
                self.depth.inside(step, inner, deep, steps),
            ]
            self._choose(nest, [c for c in conditions if c is not None], lane, spot, value)

    def _choose(
        self,
        nest: Nest,
        conditions: Sequence[Expr],
        lane: Iter,
        spot: tuple[Expr, ...],
        value: Expr,
    ) -> None:
        """``value`` where all conditions hold, zero elsewhere."""

        def put(number: Expr) -> None:
            self._lanes(nest, lane, Put(self.registers, spot, number))

        if not conditions:
            put(value)
            return
        zero = Lit(0.0 if value.dtype.is_float else 0, value.dtype)
        nest.branch(
            conditions[0],
            lambda: self._choose(nest, conditions[1:], lane, spot, value),
            lambda: put(zero),
        )

    def write(self, nest: Nest, thread: Iter, room: Buffer, slot: Expr) -> None:
        """The registers into shared memory."""
        lane = Iter(self.lanes)
        across = lane if self.lanes > 1 else ZERO
        with unrolled(nest, self.rounds) as turn:
            unit = linear([(turn, self.threads), (thread, 1)])
            outer, inner = self.position(unit)
            if self.is_turned:
                inner = linear([(inner, self.lanes), (across, 1)])
            else:
                outer = linear([(outer, self.lanes), (across, 1)])
            put = Put(room, (slot, inner, outer), Load(self.registers, (thread, turn, across)))
            ragged = self.units % self.threads != 0
            guarded(nest, unit, self.units, ragged, lambda: self._lanes(nest, lane, put))

    def _lanes(self, nest: Nest, lane: Iter, put: Put) -> None:
        if self.lanes > 1:
            nest.open(lane, "vector", self.lanes)
        nest.append(put)
        if self.lanes > 1:
            nest.close()

    def position(self, unit: Expr) -> tuple[Expr, Expr]:
        """Outer and inner place of a read, in units of the lanes along one of them.

        Along the depth two threads share a sector, and the next ones go down the rows: so the
        numbers that a warp puts down are in different banks.
        """
        if not self.is_turned:
            across = self.size // self.lanes
            return unit % across, unit // across
        deep = self.depth.size // self.lanes
        if self.lanes > 1:
            deep = min(deep, max(SECTOR // WIDEST, 1))
        outer = (unit // deep) % self.size
        inner = linear([(unit % deep, 1), (unit // (deep * self.size), deep)])
        return outer, inner


@contextmanager
def unrolled(nest: Nest, extent: int) -> Iterator[Expr]:
    """A loop that is written out, if there is more than one turn; goes out as its index."""
    if extent == 1:
        yield ZERO
        return
    index = Iter(extent)
    nest.open(index, "unroll")
    yield index
    nest.close()


def _is_contiguous(factor: Expr, along: Iter, lanes: int) -> bool:
    """Whether so many neighbours are one access of memory."""
    if along.extent % lanes or lanes == 1:
        return False
    lane, unit = Iter(lanes), Iter(along.extent // lanes)
    neighbour = {along: linear([(unit, lanes), (lane, 1)])}
    value = substitute(factor, lambda e: neighbour.get(e) if isinstance(e, Iter) else None)
    return bool(packs(Loop(lane, "vector", (Define(Local(value.dtype), value),))).loads)
