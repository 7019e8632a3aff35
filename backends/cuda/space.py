"""The points of a stage, shared by the threads of a team.

Comes in: the indices of a stage, how many threads share them, how many neighbours each moves at
once. Goes out: loops over what one thread does, and the value of every index in them. A separate
step because rows and columns share their points alike: a thread takes a few neighbours, then those
as many places further as the team is wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import guarded, unravelled
from graphc.backends.cuda.stages import size
from graphc.expr import Expr, Iter, Load
from graphc.index import affine, linear, stride
from graphc.kernels.flat import View, offsets
from graphc.kernels.kernel import Kernel, Store
from graphc.loops.nest import Nest

WRITTEN_OUT = 16
"""Turns of a loop that are written out if there are no more; else 4 are, so that as many loads are
under way.
"""
AT_ONCE = 4


@dataclass(frozen=True)
class Space:
    """The points of ``iters`` among the values of ``member``, ``lane.extent`` neighbours each, turn
    after turn: ``turns`` are the loops over these, with their kinds.
    """

    iters: tuple[Iter, ...]
    turns: tuple[tuple[Iter, str], ...]
    member: Expr
    members: int
    lane: Iter

    @property
    def units(self) -> int:
        """Groups of neighbours."""
        return size(self.iters) // self.lane.extent

    @property
    def turn(self) -> Expr:
        """The number of a turn."""
        return linear([(i, size(j for j, _ in self.turns[n:])) for n, (i, _) in self._steps()])

    def _steps(self) -> list[tuple[int, tuple[Iter, str]]]:
        return [*enumerate(self.turns, 1)]

    @property
    def number(self) -> Expr:
        """Which group of neighbours it is."""
        return linear([(self.turn, self.members), (self.member, 1)])

    @property
    def whole(self) -> bool:
        """Whether every thread has something to do in every turn."""
        return self.units == size(i for i, _ in self.turns) * self.members

    @property
    def places(self) -> Mapping[Iter, Expr]:
        """The value of every index."""
        return unravelled(self.number, self.iters, self.lane.extent, self.lane)

    @property
    def own(self) -> Expr:
        """The number of a point among those of one thread."""
        lanes = self.lane.extent
        return linear([(self.turn, lanes), (self.lane, 1)]) if lanes > 1 else self.turn

    @property
    def share(self) -> int:
        """Points of one thread."""
        return size(i for i, _ in self.turns) * self.lane.extent

    def loops(self, member: Iter) -> tuple[Iter, ...]:
        """All indices of these loops."""
        return (member, self.lane, *(i for i, _ in self.turns))

    def each(self, builder: Nest, write: Callable[[], None]) -> None:
        """What ``write`` appends for every point of a thread, inside the loop over members."""

        def neighbours() -> None:
            if self.lane.extent > 1:
                builder.open(self.lane, "vector", self.lane.extent)
            write()
            if self.lane.extent > 1:
                builder.close()

        for iterator, kind in self.turns:
            builder.open(iterator, kind)
        guarded(builder, self.number, self.units, not self.whole, neighbours)
        builder.close(len(self.turns))


def space(iters: Sequence[Iter], member: Expr, members: int, lanes: int, keep: bool) -> Space:
    """The points of ``iters`` for ``members`` threads. Every turn is written out where threads
    ``keep`` numbers in registers, which have no addresses.
    """
    units = size(iters) // lanes
    turns = -(-units // members)
    loops: tuple[tuple[Iter, str], ...] = ()
    if turns > 1 and (keep or turns <= WRITTEN_OUT):
        loops = ((Iter(turns), "unroll"),)
    elif turns > 1:
        loops = ((Iter(-(-turns // AT_ONCE)), "serial"), (Iter(AT_ONCE), "unroll"))
    return Space(tuple(iters), loops, member, members, Iter(lanes))


def lanes_along(kernel: Kernel, along: Iter) -> int:
    """Neighbours along an index that one access can move: as many as fit 16 bytes of the widest
    type, if they divide the index and most accesses begin at a multiple of them.
    """
    steps = [
        (x, offset) for x, offset in offsets(kernel) if x.buffer.scope in ("global", "scratch")
    ]
    near = [(x, offset) for x, offset in steps if stride(offset, along) == 1]
    widest = max((x.buffer.type.dtype.bytes for x, _ in near), default=WIDEST)
    lanes = WIDEST // widest
    while lanes > 1 and not _fits(near, along, lanes):
        lanes //= 2
    return lanes


def _fits(near: Sequence[tuple[Store | Load, Expr]], along: Iter, lanes: int) -> bool:
    aligned = sum(_aligned(x, offset, along, lanes) for x, offset in near)
    return along.extent % lanes == 0 and 2 * aligned >= len(near)


def _aligned(access: Store | Load, offset: Expr, along: Iter, lanes: int) -> bool:
    start = access.buffer.start if isinstance(access.buffer, View) else 0
    form = affine(offset)
    rest = (c for atom, c in form.terms if atom is not along)
    return all(n % lanes == 0 for n in (start, form.constant, *rest))
