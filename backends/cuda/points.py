"""One thread for each point of a kernel's space, or for a few neighbours that fill 16 bytes.

Comes in: a kernel. Goes out: one phase. The schedule of everything that is bound by memory and adds
up little: neighbouring threads touch neighbouring memory, and each moves as much as one instruction
can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.packs import WIDEST
from graphc.expr import Expr, Iter, Load, Reduce, apply, walk
from graphc.index import linear, stride
from graphc.kernels.flat import map_kernel, offsets
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Statement
from graphc.loops.nest import Nest

USUAL = Limits()
THREADS = 256
RESIDENT = 2048
"""Threads that a multiprocessor holds at a time."""


@dataclass(frozen=True)
class Spread:
    """How points are shared: the indices, the fastest one last; neighbours of one access, accesses
    of a thread, threads of a block.
    """

    order: tuple[Iter, ...]
    lanes: int
    turns: int
    threads: int

    @property
    def points(self) -> int:
        """All points."""
        return math.prod(i.extent for i in self.order)

    @property
    def units(self) -> int:
        """Whole groups of neighbours."""
        return self.points // self.lanes

    def __str__(self) -> str:
        return f"{self.turns} x {self.lanes} neighbours for a thread, {self.threads} threads"


def spread_of(kernel: Kernel, limits: Limits) -> Spread:
    """Wide accesses, and two of them under way in each thread where threads are more than enough;
    smaller blocks where there would not be one for each multiprocessor.
    """
    order = tuple(ordered(kernel))
    lanes = lanes_of(kernel, order) if order else 1
    units = math.prod(i.extent for i in order) // lanes
    threads = threads_for(units, limits)
    plenty = 2 * RESIDENT * limits.multiprocessors
    turns = 2 if lanes > 1 and units >= plenty and units % (2 * threads) == 0 else 1
    return Spread(order, lanes, turns, threads)


def threads_for(units: int, limits: Limits) -> int:
    """Threads of a block where so many ``units`` of work have a thread each."""
    threads = THREADS
    while threads > WARP and units < threads * limits.multiprocessors:
        threads //= 2
    return threads


def points(kernel: Kernel, limits: Limits = USUAL) -> tuple[tuple[Statement, ...], ...]:
    """The phase of a kernel, its fastest index along memory."""
    return (spread(kernel, spread_of(kernel, limits)),) if kernel.points else ()


def ordered(kernel: Kernel) -> list[Iter]:
    """The indices of a flat kernel, that along which most accesses are contiguous as the last."""
    best = max(kernel.iters, key=lambda i: _contiguous(kernel, i), default=None)
    rest = [i for i in kernel.iters if i is not best]
    return [*rest, best] if best is not None else rest


def _contiguous(kernel: Kernel, iterator: Iter) -> float:
    """How many accesses are contiguous along an index, less those that jump; stores count double.
    Of equals the last index wins.
    """
    total = kernel.iters.index(iterator) / (10 * len(kernel.iters))
    for access, offset in offsets(kernel):
        step = stride(offset, iterator)
        weight = 1.0 if isinstance(access, Load) else 2.0
        total += weight if step == 1 else 0.0 if step == 0 else -weight
    return total * min(1.0, iterator.extent / 32)


def lanes_of(kernel: Kernel, order: Sequence[Iter]) -> int:
    """Neighbours for one thread: as many as fit 16 bytes of the widest type, if they divide the
    fastest index or there is no other; 1 for kernels that add up or keep rows, whose threads have
    more than enough to do.
    """
    parts = [e for s in kernel.stores for e in walk(s.value)]
    plain = len(kernel.stages) == 1 and not kernel.stages[0].iters
    if not plain or any(isinstance(e, Reduce) for e in parts):
        return 1
    near = (x for x, offset in offsets(kernel) if stride(offset, order[-1]) == 1)
    sizes = [x.buffer.type.dtype.bytes for x in near]
    lanes = WIDEST // max(sizes, default=WIDEST)
    if len(order) == 1 and order[0].extent > lanes:
        return lanes
    while lanes > 1 and order[-1].extent % lanes:
        lanes //= 2
    return lanes


def spread(kernel: Kernel, how: Spread) -> tuple[Statement, ...]:
    """The points of a kernel over threads; the last thread has what fills no access."""
    size = how.turns * how.threads
    rest = how.points % how.lanes
    units = how.units + (rest > 0)
    block, turn = Iter(-(-units // size)), Iter(how.turns)
    thread, lane = Iter(how.threads), Iter(how.lanes)
    number = linear([(block, size), (turn, how.threads), (thread, 1)])
    if how.turns == 1:
        number = linear([(block, size), (thread, 1)])
    builder = Nest()
    builder.open(block, "block")
    builder.open(thread, "thread")
    if how.turns > 1:
        builder.open(turn, "unroll")
    whole = partial(neighbours, builder, kernel, how, number, lane)
    if rest:
        tail = partial(_tail, builder, kernel, how, number)
        builder.branch(apply("less", number, how.units), whole, tail)
    else:
        guarded(builder, number, units, units % size != 0, whole)
    return builder.close_all()


def neighbours(builder: Nest, kernel: Kernel, how: Spread, number: Expr, lane: Iter) -> None:
    """All points of one access."""
    stages = placed(kernel, unravelled(number, how.order, how.lanes, lane)).stages
    if how.lanes == 1:
        for stage in stages:
            builder.stage(stage)
        return
    builder.floor = builder.depth_now  # what neighbours share is loaded once
    builder.open(lane, "vector", how.lanes)
    builder.store(stages[0].stores)
    builder.close()


def _tail(builder: Nest, kernel: Kernel, how: Spread, number: Expr) -> None:
    """The points that fill no access, which are at the end of the only index."""
    after, start = Iter(how.points % how.lanes), how.units * how.lanes
    places = {how.order[0]: linear([(after, 1)], start)}

    def write() -> None:
        builder.open(after, "unroll")
        for stage in placed(kernel, places).stages:
            builder.stage(stage)
        builder.close()

    builder.branch(apply("equal", number, how.units), write, lambda: None)


def placed(kernel: Kernel, places: Mapping[Iter, Expr]) -> Kernel:
    """The kernel by the indices of its loops."""
    return map_kernel(kernel, lambda e: places.get(e) if isinstance(e, Iter) else None)


def unravelled(number: Expr, order: Sequence[Iter], lanes: int, lane: Iter) -> Mapping[Iter, Expr]:
    """The value of every index at a number that counts them all, the last one in steps of
    ``lanes``.
    """
    found: dict[Iter, Expr] = {}
    step = 1
    for place, iterator in enumerate(reversed(order)):
        extent = iterator.extent // lanes if place == 0 else iterator.extent
        value = number // step if step > 1 else number
        if place < len(order) - 1:
            value = value % extent
        found[iterator] = linear([(value, lanes), (lane, 1)]) if place == 0 and lanes > 1 else value
        step *= extent
    return found


def guarded(
    builder: Nest, number: Expr, units: int, needed: bool, write: Callable[[], None]
) -> None:
    """What ``write`` appends, for numbers below ``units``."""
    if needed:
        builder.branch(apply("less", number, units), write, lambda: None)
    else:
        write()
