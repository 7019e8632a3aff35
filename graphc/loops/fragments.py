"""Which thread holds which sum of a product of matrices.

Comes in: a thread and the number of one of its registers. Goes out: row and column. It is a layout
that matrix instructions prescribe (PTX ISA, "Matrix Fragments for mma.m16n8k16", and for wgmma
"Register Fragments", matrix D), so what fills the sums and what stores them must agree on it.

Numbers may be ints or indices of loops.
"""

from __future__ import annotations

import math
import struct
from typing import Any

WARP = 32
ROWS, COLUMNS = 16, 8
"""The least product: a thread has ``COLUMNS / 4`` neighbours of two rows of it."""
TF32_BITS = 13
"""Bits of a float32 that TF32 has not."""


def row(thread: Any, warps: int, number: Any, half: Any) -> Any:
    """The row of the sums [number, :, 2 half] and [number, :, 2 half + 1] of a ``thread``, which is
    counted within the ``warps`` that multiply together.
    """
    warp = thread // WARP % warps
    return (number * warps + warp) * ROWS + half * (ROWS // 2) + thread % WARP // 4


def column(thread: Any, number: Any, neighbour: Any) -> Any:
    """The column of the sums [:, number, 2 half + neighbour] of a thread."""
    return number * COLUMNS + thread % 4 * 2 + neighbour


def regrouped(thread: Any, number: Any, neighbour: Any) -> Any:
    """The column of a thread's sum [:, 4 number + neighbour // 2, 2 half + neighbour % 2] after
    `Regroup`: it has eight neighbours.
    """
    return (number * 4 + thread % 4) * COLUMNS + neighbour


def tf32(x: float) -> float:
    """A float32 rounded to the 10 bits of fraction of TF32, ties away from zero."""
    if not math.isfinite(x):
        return x
    (bits,) = struct.unpack("<I", struct.pack("<f", x))
    kept = (bits + (1 << (TF32_BITS - 1))) >> TF32_BITS << TF32_BITS
    return float(struct.unpack("<f", struct.pack("<I", kept))[0])
