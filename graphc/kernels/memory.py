"""The memory plan: one arena for all temporaries.

Comes in: kernels in order. Goes out: an offset per temporary. A separate step because it needs the
whole schedule: a place is free again after the last kernel that reads it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

from graphc.expr import Buffer
from graphc.kernels.kernel import Kernel, Plan

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


def plan(kernels: Sequence[Kernel], outside: set[Buffer]) -> Plan:
    """Offsets for every buffer the kernels write that is not ``outside`` (inputs, parameters,
    outputs).

    First fit in schedule order (Knuth, The Art of Computer Programming, vol. 1, 2.5): a buffer
    takes the lowest gap that holds it and gives it back after the last kernel that uses it.
    """
    dying = _last_uses(kernels, outside)
    gaps = _Gaps()
    offsets: dict[Buffer, int] = {}
    live = peak = total = 0
    for kernel, dead in zip(kernels, dying, strict=True):
        for buffer in kernel.written:
            if buffer not in outside and buffer not in offsets:
                size = _aligned(buffer.type.bytes)
                offsets[buffer] = gaps.take(size)
                live, total = live + size, total + size
        peak = max(peak, live)
        for buffer in dead:
            size = _aligned(buffer.type.bytes)
            gaps.give_back(offsets[buffer], size)
            live -= size
    return Plan(offsets, gaps.top, peak, total)


def _last_uses(kernels: Sequence[Kernel], outside: set[Buffer]) -> list[list[Buffer]]:
    """For each kernel the temporaries that nothing uses after it."""
    seen = set(outside)
    dying: list[list[Buffer]] = []
    for kernel in reversed(kernels):
        now = [b for b in dict.fromkeys((*kernel.read, *kernel.written)) if b not in seen]
        seen.update(now)
        dying.append(now)
    return dying[::-1]


class _Gaps:
    """The free places of an arena below ``top``, which grows when none fits: (start, size), sorted,
    never touching.
    """

    def __init__(self) -> None:
        self.top = 0
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


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
