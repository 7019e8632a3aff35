"""The memory plan: one arena for all temporaries.

Comes in: kernels in order. Goes out: an offset per temporary. A separate step because it needs the whole schedule: a
place is free again after the last kernel that reads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.expr import Buffer
from graphc.kernels.kernel import Kernel, Plan

ALIGNMENT = 64
"""Bytes: a cache line, and the widest vector."""


def plan(kernels: Sequence[Kernel], outside: set[Buffer]) -> Plan:
    """Offsets for every buffer the kernels write that is not in ``outside`` (inputs, parameters, outputs).

    First fit over live ranges in schedule order, the classic interval allocation (Aho et al., Compilers, ch. 8).
    """
    last = _last_uses(kernels)
    live: list[tuple[int, int, Buffer]] = []  # offset, end, buffer, sorted by offset
    offsets: dict[Buffer, int] = {}
    arena = peak = total = 0
    for step, kernel in enumerate(kernels):
        live = [entry for entry in live if last[entry[2]] >= step]
        for buffer in kernel.written:
            if buffer in outside or buffer in offsets:
                continue
            size = _aligned(buffer.type.bytes)
            offsets[buffer] = start = _gap(live, size)
            live = sorted([*live, (start, start + size, buffer)], key=lambda entry: entry[0])
            arena, total = max(arena, start + size), total + size
        peak = max(peak, sum(end - start for start, end, _ in live))
    return Plan(offsets, arena, peak, total)


def _last_uses(kernels: Sequence[Kernel]) -> dict[Buffer, int]:
    last: dict[Buffer, int] = {}
    for step, kernel in enumerate(kernels):
        for buffer in (*kernel.read, *kernel.written):
            last[buffer] = step
    return last


def _gap(live: Sequence[tuple[int, int, Buffer]], size: int) -> int:
    """The lowest offset with room for ``size`` bytes between the live entries."""
    start = 0
    for low, high, _ in live:
        if start + size <= low:
            break
        start = max(start, high)
    return start


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
