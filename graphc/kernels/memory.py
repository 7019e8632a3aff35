"""The memory plan: one arena for all temporaries.

Comes in: kernels in order. Goes out: an offset per temporary. A separate step because it needs the
whole schedule: a place is free again after the last kernel that reads it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from itertools import accumulate

from graphc.expr import Buffer
from graphc.kernels.kernel import Kernel, Plan

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""

MANY = 4000
"""Buffers that are placed largest first, which takes the square of their number: half a second."""

Life = tuple[int, int]
"""The first and the last kernel that use a buffer."""


def plan(kernels: Sequence[Kernel], outside: set[Buffer]) -> Plan:
    """Offsets for every buffer the kernels write that is not ``outside`` (inputs, parameters,
    outputs).

    The largest are placed first; when there are more than `MANY`, the small rest lies above them.
    """
    lives = _lives(kernels, outside)
    by_size = sorted(lives, key=_size, reverse=True)
    offsets = _largest_first(by_size[:MANY], lives)
    arena = max((start + _size(b) for b, start in offsets.items()), default=0)
    if len(by_size) > MANY:
        rest, arena = _in_order([b for b in lives if b not in offsets], lives, arena)
        offsets |= rest
    return Plan(offsets, arena, _peak(lives, len(kernels)), sum(map(_size, lives)))


def _lives(kernels: Sequence[Kernel], outside: set[Buffer]) -> dict[Buffer, Life]:
    """When each temporary is needed, in order of the first time."""
    lives: dict[Buffer, Life] = {}
    for time, kernel in enumerate(kernels):
        for buffer in (*kernel.written, *kernel.read):
            if buffer not in outside:
                lives[buffer] = lives.get(buffer, (time, time))[0], time
    return lives


def _peak(lives: Mapping[Buffer, Life], times: int) -> int:
    """The most bytes that are needed at one time: no plan can do with less."""
    change = [0] * (times + 1)
    for buffer, (first, last) in lives.items():
        change[first] += _size(buffer)
        change[last + 1] -= _size(buffer)
    return max(accumulate(change))


def _largest_first(buffers: Sequence[Buffer], lives: Mapping[Buffer, Life]) -> dict[Buffer, int]:
    """Each buffer, in this order, at the lowest place that is free throughout its life.

    Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020), section
    5.2.
    """
    placed: list[tuple[int, int, int, int]] = []  # start, end, first, last; sorted
    offsets: dict[Buffer, int] = {}
    for buffer in buffers:
        size, (birth, death) = _size(buffer), lives[buffer]
        start = 0
        for low, high, first, last in placed:
            if first <= death and birth <= last:
                if low - start >= size:
                    break
                start = max(start, high)
        offsets[buffer] = start
        insort(placed, (start, start + size, birth, death))
    return offsets


def _in_order(
    buffers: Sequence[Buffer], lives: Mapping[Buffer, Life], bottom: int
) -> tuple[dict[Buffer, int], int]:
    """Each buffer, in order of birth, in the lowest gap above ``bottom`` that holds it, and the end
    of all.

    First fit (Knuth, The Art of Computer Programming, vol. 1, 2.5), nearly linear in the number.
    """
    gaps, offsets = _Gaps(bottom), dict[Buffer, int]()
    dying: dict[int, list[Buffer]] = {}
    now = 0
    for buffer in buffers:
        birth, death = lives[buffer]
        for time in range(now, birth):
            for dead in dying.pop(time, ()):
                gaps.give_back(offsets[dead], _size(dead))
        now = birth
        offsets[buffer] = gaps.take(_size(buffer))
        dying.setdefault(death, []).append(buffer)
    return offsets, gaps.top


class _Gaps:
    """The free places of an arena below ``top``, which grows when none fits: (start, size), sorted,
    never touching.
    """

    def __init__(self, top: int) -> None:
        self.top = top
        self.free: list[tuple[int, int]] = []

    def take(self, size: int) -> int:
        for k, (start, room) in enumerate(self.free):
            if room >= size:
                self.free[k : k + 1] = [(start + size, room - size)] if room > size else []
                return start
        start = self.top
        if (
            self.free and sum(self.free[-1]) == self.top
        ):  # the last gap reaches the end: grow from there
            start = self.free.pop()[0]
        self.top = start + size
        return start

    def give_back(self, start: int, size: int) -> None:
        insort(self.free, (start, size))
        k = self.free.index((start, size))
        merged = self.free[max(k - 1, 0) : k + 2]
        joined = [merged[0]]
        for low, room in merged[1:]:
            if sum(joined[-1]) == low:
                joined[-1] = (joined[-1][0], joined[-1][1] + room)
            else:
                joined.append((low, room))
        self.free[max(k - 1, 0) : k + 2] = joined


def _size(buffer: Buffer) -> int:
    """Bytes of a place for it."""
    return -(-buffer.type.bytes // ALIGNMENT) * ALIGNMENT
