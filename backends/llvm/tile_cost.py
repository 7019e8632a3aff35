"""What parts of a tile cost, in cycles.

Comes in: sizes. Goes out: estimates for one core. A separate step because these numbers are about
processors: a tile is chosen by them, and none of them knows what it computes.
"""

from __future__ import annotations

import functools
from collections import Counter

from graphc.backends.llvm.machine import LINE

WAYS, PAGE = 8, 4096
"""A first-level cache of 8 ways, each a page long: what nearly all processors have."""
FAR_RATE = 5.0
"""Bytes a cycle from behind the second-level cache."""
NEAR = 1 << 19
"""Bytes that stay in a second-level cache while tiles pass: half of most."""


def parts(extent: int, size: int) -> list[tuple[int, int]]:
    """(count, size): whole parts and the rest."""
    count, rest = divmod(extent, size)
    return [(n, s) for n, s in ((count, size), (1, rest)) if n and s]


def panels(extent: int, lanes: int, vectors: int) -> list[tuple[int, float]]:
    """(count, vectors): whole panels, then the rest, one vector at a time; a short one is quick."""
    whole, rest = divmod(extent, lanes * vectors)
    quick = 0.5 if rest <= lanes // 2 else 1.0
    found: list[tuple[int, float]] = [(whole, vectors), (-(-rest // lanes), quick)]
    return [(n, v) for n, v in found if n]


def step_cycles(height: int, vectors: float) -> float:
    """Cycles of one inner step: multiply-adds, loads, or the latency of a lone chain; the loop.
    Of tiles that are alike in this the one with fewer rows stalls less.
    """
    return max(height * vectors, 0.5 * height + vectors, 4.0) + 0.5 + 0.02 * height


def strip_cycles(depth: int, width: int) -> float:
    """Cycles to read ``width`` bytes of the second operand at each of ``depth`` inner steps: they
    come from far where a tile's whole strip of them does not stay near.
    """
    return width / FAR_RATE if depth * width > NEAR else 0.0


def scatter_cycles(step: int | None, size: int, lanes: int) -> float:
    """Lanes that are read or written one by one; they too may crowd each other out."""
    crowded = step is None or crowd(abs(step) * size, lanes) >= WAYS
    return (10.0 if crowded else 3.0) * lanes


@functools.cache
def crowd(step: int, height: int) -> int:
    """How many of ``height`` rows, ``step`` bytes apart, fall into one set of the first-level
    cache: of rows 2 KiB apart 16 fit.
    """
    sets = Counter(r * step // LINE % (PAGE // LINE) for r in range(height) if step >= LINE)
    return max(sets.values(), default=1)
