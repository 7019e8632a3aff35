"""Which tile of a matrix product a block computes, and how.

Comes in: a contraction as matrices, the limits of a GPU. Goes out: a `Tile`. A separate step
because the choice is data: it can be printed, compared and forced. It is the cheapest of a short
list by an estimate of its cycles.

A block computes ``rows`` x ``columns`` sums, ``height`` x ``width`` in the registers of each thread
(32 threads side by side: 4 down and 8 across). The larger both, the fewer numbers are read for each
product: from global memory 1/rows + 1/columns of them, from shared memory 1/height + 1/width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.matrices import Matrices

DOWN, ACROSS = 4, 8
"""The threads of a warp: rows and columns of them."""
RESIDENT = 2048
"""Threads of one multiprocessor at most."""
BESIDE = 30
"""Registers of a thread beside its sums and what it reads for them."""
BUSY = 8
"""Warps that hide each other's waiting."""
START = 1500.0
"""Cycles before the first product of a block and after its last."""
LAUNCH = 5000.0
"""Cycles of another launch."""
TRAFFIC = 2000.0
"""Bytes of global memory that a GPU moves in a cycle, about."""
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)


@dataclass(frozen=True)
class Tile:
    """``rows`` x ``columns`` sums of a block, in steps of ``depth`` products; ``height`` x
    ``width`` of them in each thread. ``stages`` parts of each operand are in shared memory;
    ``split`` blocks share the depth of one tile.
    """

    rows: int
    columns: int
    depth: int
    height: int
    width: int
    split: int = 1

    @property
    def threads(self) -> int:
        return self.rows // self.height * (self.columns // self.width)

    @property
    def across(self) -> int:
        """Warps side by side."""
        return self.columns // (ACROSS * self.width)

    def __str__(self) -> str:
        split = f", split of the depth {self.split}" if self.split > 1 else ""
        return (
            f"tiles of {self.rows} x {self.columns} x {self.depth}, {self.height} x {self.width} "
            f"sums in each of {self.threads} threads, two stages{split}"
        )


TILES = (
    Tile(128, 128, 16, 8, 8),
    Tile(128, 64, 16, 8, 8),
    Tile(64, 128, 16, 8, 8),
    Tile(64, 64, 16, 8, 4),
    Tile(128, 32, 16, 8, 4),
    Tile(32, 128, 16, 4, 8),
    Tile(32, 64, 16, 4, 4),
    Tile(64, 32, 16, 4, 4),
    Tile(32, 32, 16, 4, 4),
    Tile(16, 128, 16, 4, 4),
)
"""For numbers of 4 bytes."""
WIDE_TILES = (
    Tile(128, 64, 8, 8, 4),
    Tile(64, 64, 16, 4, 4),
    Tile(64, 32, 16, 4, 4),
    Tile(32, 64, 16, 4, 4),
    Tile(32, 32, 16, 4, 4),
    Tile(16, 64, 16, 4, 2),
)
"""For numbers of 8 bytes."""


def choose(m: Matrices, limits: Limits) -> Tile | None:
    """The cheapest tile; None where one thread for each sum is as good, and for products with a
    vector: nothing is read twice there, so they are sums like others.
    """
    _, rows, columns, _ = m.sizes
    best = min(candidates(m, limits), key=lambda tile: cycles(m, tile, limits), default=None)
    if best is None or min(rows, columns) == 1 or _alone(m, limits) <= cycles(m, best, limits):
        return None
    return best


def candidates(m: Matrices, limits: Limits) -> Iterator[Tile]:
    """Every tile that fits, with every split that leaves each block some steps."""
    size = m.contraction.total.dtype.bytes
    _, _, _, depth = m.sizes
    for tile in TILES if size == 4 else WIDE_TILES:
        steps = -(-depth // tile.depth)
        if shared_bytes(tile, size) > limits.shared_bytes:
            continue
        for split in SPLITS:
            if split == 1 or (steps >= 4 * split and blocks(m, tile) < 2 * limits.multiprocessors):
                yield replace(tile, split=split)


def blocks(m: Matrices, tile: Tile) -> int:
    """Blocks of the grid."""
    batch, rows, columns, _ = m.sizes
    return batch * -(-rows // tile.rows) * -(-columns // tile.columns) * tile.split


def shared_bytes(tile: Tile, size: int) -> int:
    """Shared memory for numbers of ``size`` bytes, with the longer rows of turned operands."""
    return 2 * tile.depth * (tile.rows + tile.columns + 2 * 16 // size) * size


def registers(tile: Tile, size: int) -> int:
    """Registers of a thread, about: sums, numbers that are multiplied, numbers on their way."""
    way = tile.depth * max(tile.rows, tile.columns) // tile.threads
    held = tile.height * tile.width + tile.height + tile.width + way
    return held * size // 4 + BESIDE


def resident(tile: Tile, size: int, limits: Limits) -> int:
    """Blocks that one multiprocessor holds."""
    by_registers = limits.registers // (registers(tile, size) * tile.threads)
    by_memory = limits.shared_bytes // shared_bytes(tile, size)
    return max(1, min(RESIDENT // tile.threads, by_registers, by_memory))


def cycles(m: Matrices, tile: Tile, limits: Limits) -> float:
    """How long a GPU is busy, about: the multiprocessor with most blocks decides."""
    batch, rows, columns, depth = m.sizes
    size = m.contraction.total.dtype.bytes
    most = -(-blocks(m, tile) // limits.multiprocessors)
    steps = -(-depth // (tile.depth * tile.split))
    together = min(most, resident(tile, size, limits))
    warps = together * tile.threads // WARP
    speed = _products(size) * _share(tile, size) * min(1.0, warps / BUSY)
    work = tile.rows * tile.columns * tile.depth * steps / speed
    total = most * work + -(-most // together) * START
    if tile.split > 1:
        partial = batch * rows * columns * size * tile.split
        total += LAUNCH + 2 * partial / TRAFFIC
    return total


def _products(size: int) -> int:
    """Products of numbers of this size that a multiprocessor computes in a cycle."""
    return 128 if size == 4 else 64


def _share(tile: Tile, size: int) -> float:
    """The part of all cycles in which products are computed: a warp's reads of shared memory take
    about a cycle for each 128 bytes of different numbers.
    """
    products = tile.height * tile.width * WARP / _products(size)
    reads = (tile.height * DOWN + tile.width * ACROSS) * size / 128 * 2
    return 0.9 * products / max(products, products * 0.6 + reads)


def _alone(m: Matrices, limits: Limits) -> float:
    """Cycles with a thread for each sum, which reads two numbers for each product."""
    batch, rows, columns, depth = m.sizes
    warps = -(-batch * rows * columns // WARP)
    most = -(-warps // limits.multiprocessors)
    return START / 2 + depth * max(most * 8.0, 60.0)
