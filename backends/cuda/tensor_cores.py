"""Which contractions tensor cores compute, and by which tiles.

Comes in: a kernel. Goes out: the product of matrices that it is, of narrow floats (of float32,
where its factors may be rounded to TF32), and the tile of a block; nothing where other schedules
fit better. A separate step because the choice is made of sizes alone.

Tiles are data, and an estimate chooses among them: a block takes as long as its products or its
copies, whichever is longer, and the last blocks leave multiprocessors idle (NVIDIA, "Matrix
Multiplication Background").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.factors import Factor, factor
from graphc.backends.cuda.matrices import Matrices, matrices
from graphc.expr import Apply, Expr, Iter, Load, Reduce, walk
from graphc.index import stride
from graphc.kernels.contraction import Contraction, find
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Boxed
from graphc.types import FLOAT32, DType

AMPERE, HOPPER = 80, "sm_90a"
BARRIERS = 1024
"""Bytes of shared memory beside the tiles, at most."""
LEAST = 8
"""Rows and columns under which a matrix instruction would multiply zeros mostly."""


@dataclass(frozen=True)
class Tile:
    """What a block computes: ``rows`` x ``columns``, ``depth`` bytes along the sum at a time;
    ``teams`` down and across, of so many ``warps``; ``stages`` of the pipeline; ``parts`` into
    which sums are divided. Four warps multiply by wgmma, and boxes are copied for them.
    """

    rows: int
    columns: int
    depth: int
    teams: tuple[int, int]
    stages: int
    warps: int = 1
    parts: int = 1

    @property
    def threads(self) -> int:
        """Of a block, those that compute."""
        return math.prod(self.teams) * self.warps * WARP

    @property
    def held(self) -> int:
        """Sums of a thread."""
        return self.rows * self.columns // self.threads

    @property
    def shared_bytes(self) -> int:
        """Of a block."""
        return (self.rows + self.columns) * self.depth * self.stages


TILES = (
    Tile(128, 256, 64, (2, 4), 4),
    Tile(256, 128, 64, (4, 2), 4),
    Tile(128, 128, 64, (2, 4), 4),
    Tile(128, 64, 64, (2, 2), 4),
    Tile(64, 128, 64, (2, 2), 4),
    Tile(64, 64, 64, (2, 2), 4),
    Tile(64, 32, 64, (2, 1), 4),
    Tile(32, 64, 64, (1, 2), 4),
    Tile(32, 32, 64, (1, 1), 4),
    Tile(128, 256, 128, (2, 1), 4, 4),
    Tile(256, 128, 128, (2, 1), 4, 4),
    Tile(128, 128, 128, (2, 1), 6, 4),
    Tile(64, 256, 128, (1, 2), 5, 4),
    Tile(64, 128, 128, (1, 2), 8, 4),
)


@dataclass(frozen=True)
class Product:
    """A contraction as a product of matrices for every value of the batch indices."""

    matrices: Matrices
    first: Factor
    second: Factor

    @property
    def kernel(self) -> Kernel:
        """What it is a part of."""
        return self.matrices.kernel

    @property
    def total(self) -> Reduce:
        """The sum."""
        return self.matrices.contraction.total

    @property
    def batch(self) -> tuple[Iter, ...]:
        """Indices that choose among matrices."""
        return self.matrices.batch

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Matrices, rows, columns, products of a sum."""
        return self.matrices.sizes

    @property
    def asynchronous(self) -> bool:
        """Whether no factor goes through registers on its way."""
        return self.first.load is not None and self.second.load is not None

    @property
    def arrays(self) -> tuple[Boxed, Boxed] | None:
        """The factors as arrays that boxes can be copied from, if both are."""
        first, second = self.first.array(self.batch), self.second.array(self.batch)
        return None if first is None or second is None else (first, second)

    @property
    def dtype(self) -> DType:
        """Of the factors in tiles."""
        return self.first.dtype


# Which kernels ------------------------------------------------------------------------------------
def product(kernel: Kernel, limits: Limits) -> Product | None:
    """The product of matrices that a kernel is, if tensor cores can multiply them."""
    found = find(kernel) if limits.has(AMPERE) else None
    if found is None or found.total.dtype != FLOAT32:
        return None
    m = matrices(found)
    dtype = common(kind(m.first), kind(m.second), limits)
    if dtype is None or not (_sizes_suit(m) and _is_linear(found)):
        return None
    inner = _nearest_last(m.inner, (m.first, m.second))
    return Product(
        m,
        factor(m.first, dtype, m.rows, inner, m.batch),
        factor(m.second, dtype, m.columns, inner, m.batch),
    )


def kind(factor_: Expr) -> DType:
    """The dtype that holds a factor without loss: narrow floats are computed with as float32."""
    if isinstance(factor_, Load):
        return factor_.buffer.type.dtype
    if (
        isinstance(factor_, Apply)
        and factor_.function == "cast"
        and factor_.args[0].dtype.is_narrow
    ):
        return factor_.args[0].dtype
    return factor_.dtype


def common(first: DType, second: DType, limits: Limits) -> DType | None:
    """The dtype in which tensor cores multiply such factors. Float32 stands for TF32, which holds
    every narrow float.
    """
    if first == second and first.is_narrow:
        return first
    wide = all(d == FLOAT32 or d.is_narrow for d in (first, second))
    return FLOAT32 if wide and limits.tf32 else None


def _sizes_suit(m: Matrices) -> bool:
    batches, *sizes = m.sizes
    return batches > 0 and min(sizes) >= LEAST


def _is_linear(c: Contraction) -> bool:
    """Whether every index moves all that both factors read evenly."""
    parts = [*walk(c.first, c.second)]
    loads = [e for e in parts if isinstance(e, Load)]
    known = not any(isinstance(e, Reduce) for e in parts) and loads
    indices = (*c.kernel.iters, *c.total.iters)
    return bool(known) and all(stride(x.index[0], i) is not None for x in loads for i in indices)


def _nearest_last(indices: Sequence[Iter], factors: Sequence[Expr]) -> tuple[Iter, ...]:
    """The indices, that along which most loads are contiguous at the end."""
    loads = [e for e in walk(*factors) if isinstance(e, Load)]
    last = max(indices, key=lambda i: sum(stride(x.index[0], i) == 1 for x in loads))
    return (*(i for i in indices if i is not last), last)


HELD = 64
"""Sums of a thread, at most, where it has factors in registers too."""
PARTS = (1, 2, 4, 8, 16)
"""Into which sums may be divided, if each is at least four stages long."""


# Choosing -----------------------------------------------------------------------------------------
RATE = {(1, 16): 1024, (1, 32): 512, (4, 16): 2048}
"""Products of a multiprocessor in a cycle, by warps that multiply together and bits of factors."""
COPIED, SHARED = 64, 128
"""Bytes that reach a multiprocessor in a cycle, and that its shared memory moves."""
MEMORY = 16
"""Bytes that go to or come from memory in a cycle, for each multiprocessor."""
LAUNCH = 4000
"""Cycles from one phase to the next."""
START = 1500
"""Cycles until the first product, and from the last one to the end of a block."""


def choose(p: Product, limits: Limits) -> Tile:
    """The tile whose estimate is least."""
    return min(candidates(p, limits), key=lambda tile: cycles(p, tile, limits))


def candidates(p: Product, limits: Limits) -> Iterator[Tile]:
    """The tiles that fit, with the sums in one part or in several."""
    boxed = limits.target == HOPPER and p.dtype.is_narrow and p.arrays is not None
    for tile in TILES:
        fits = tile.shared_bytes + BARRIERS <= limits.shared_bytes and (boxed or tile.warps == 1)
        if not fits or (tile.held > HELD and not p.asynchronous):
            continue
        steps = -(-p.shape[3] * p.dtype.bytes // tile.depth)
        for parts in PARTS:
            if parts == 1 or steps >= 4 * parts:
                yield replace(tile, parts=parts)


def cycles(p: Product, tile: Tile, limits: Limits) -> float:
    """How long the whole product takes, about."""
    batches, rows, columns, depth = p.shape
    blocks = batches * -(-rows // tile.rows) * -(-columns // tile.columns) * tile.parts
    steps = -(-depth * p.dtype.bytes // (tile.depth * tile.parts))
    together = max(1, min(limits.shared_bytes // tile.shared_bytes, 512 // tile.threads))
    rounds = -(-blocks // (limits.multiprocessors * together))
    busy = min(together, -(-blocks // limits.multiprocessors))
    each = steps * step_cycles(p, tile) * busy + START
    if tile.parts == 1:
        return rounds * each
    sums = 2 * tile.parts * batches * rows * columns * FLOAT32.bytes  # written and read
    return rounds * each + sums / (limits.multiprocessors * MEMORY) + LAUNCH


def step_cycles(p: Product, tile: Tile) -> float:
    """How long a block takes for one stage: its products, its copies, or what goes through shared
    memory, where each team reads its rows and columns.
    """
    down, across = tile.teams
    copied = (tile.rows + tile.columns) * tile.depth
    read = (tile.rows * across + tile.columns * down) * tile.depth
    return max(
        tile.rows * tile.columns * tile.depth / p.dtype.bytes / RATE[tile.warps, p.dtype.bits],
        copied / COPIED,
        (copied + read) / SHARED,
    )
