"""By which tiles attention is computed.

Comes in: walks (`attention`). Goes out: how many rows a block has and how many places it takes at a
time, and by which products; nothing where no tile fits. A separate step because the choice is made
of sizes alone: it can be printed, compared and forced.

A warp has ``height`` rows of its own, so warps meet only where a part of the walk comes near. What
it adds up stays in registers: sums that do not fit there are found in a walk of their own, for
which the inner products are computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from graphc.backends.cuda.attention import Mix, Scores, Walk
from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.matrices import count
from graphc.backends.cuda.tensor_cores import AMPERE, RATE, SHARED, common, kind
from graphc.expr import Apply, Expr, Iter, Lit, Select
from graphc.loops.fragments import ROWS
from graphc.types import DType

BESIDE = 40
"""Registers of a thread beside sums and factors."""
REGISTERS = 216
"""Of a thread, at most, so that nothing is spilled."""
WIDEST_PART = 128
"""Columns of a sum, at most: the rest is found in another walk."""
MARGIN = 2048
"""Bytes of shared memory that arrays lose because each begins at a multiple of many bytes."""
BUSY = 8
"""Warps that hide each other's waiting."""
WAIT, START = 200, 1500
"""Cycles that a step waits, and a block before its first one and after its last one."""
EACH = 16
"""Columns and products are counted in so many."""


@dataclass(frozen=True)
class Tile:
    """``warps`` of a block with ``height`` rows each; ``places`` of the walk at a time, in
    ``stages`` copies.
    """

    warps: int
    height: int
    places: int
    stages: int

    @property
    def rows(self) -> int:
        """Of a block."""
        return self.warps * self.height

    @property
    def threads(self) -> int:
        return self.warps * WARP

    def __str__(self) -> str:
        rows = f"{self.warps} x {self.height} rows, walks in steps of {self.places}"
        return f"{rows}, {self.stages} stages" if self.stages > 1 else rows


TILES = tuple(
    Tile(warps, height, places, 2)
    for height in (2 * ROWS, ROWS)
    for places in (64, 32, 16)
    for warps in (1, 2, 4, 8)
)
"""For tensor cores."""
PLAIN = tuple(Tile(warps, height, 32, 1) for height in (32, 16) for warps in (1, 2, 4, 8))
"""For numbers of 4 bytes, without them: numbers go through registers, so nothing runs ahead."""
WIDE = tuple(Tile(warps, height, 16, 1) for height in (16, 8) for warps in (1, 2, 4, 8))
"""For numbers of 8 bytes."""


@dataclass(frozen=True)
class Plan:
    """Walks by a tile. ``narrow`` are the dtypes in which tensor cores multiply, for each inner
    product and for each sum of weighted factors; none: ordinary arithmetic in ``dtype``.
    """

    scores: Scores
    tile: Tile
    dtype: DType
    narrow: dict[Expr, DType]

    def __str__(self) -> str:
        how = "tensor cores" if self.narrow else "threads"
        walks = len(self.scores.walks)
        return f"scores by {how}, {walks} walk{'s' if walks > 1 else ''}: {self.tile}"

    def dtype_of(self, total: Expr) -> DType:
        """The dtype of the factors of a sum in shared memory."""
        return self.narrow.get(total, self.dtype)


# Numbers ------------------------------------------------------------------------------------------
def padded(extent: int, plan_: Plan) -> int:
    """A number of columns in whole accesses of a warp."""
    each = EACH if plan_.narrow else 8 * 16 // plan_.dtype.bytes
    return -(-extent // each) * each


def deep(iters: Sequence[Iter]) -> int:
    """A number of products of a sum, in whole steps."""
    return -(-count(iters) // EACH) * EACH


def shared_bytes(p: Plan) -> int:
    """Of a block, at most: factors of rows, parts of a walk, weights, what lanes exchange."""
    tile, size = p.tile, p.dtype.bytes
    beside = 0 if p.narrow else 16
    total, weights = MARGIN, 0
    near: dict[object, int] = {}  # each comes near in one place, whichever walk asks for it
    for x in p.scores.inner:
        each = p.dtype_of(x.total).bytes
        total += deep(x.total.iters) * (tile.rows * each + beside)
        near[x.total] = deep(x.total.iters) * (tile.places * each + beside)
    for walk_ in p.scores.walks:
        for mix in walk_.mixes:
            each = p.dtype_of(mix.total).bytes
            near[mix.total, mix.first] = tile.places * (padded(mix.width, p) * each + beside)
        sizes = [p.dtype_of(mix.total).bytes for mix in walk_.mixes]
        weights = max(weights, tile.places * sum(tile.rows * each + beside for each in sizes))
        total += len(walk_.folds) * tile.rows * 8 * size
    return total + weights + tile.stages * sum(near.values())


def registers(p: Plan, walk_: Walk) -> int:
    """Of a thread, about: sums, inner products, numbers of rows, factors that are multiplied."""
    tile, words = p.tile, p.dtype.bytes // 4
    columns = [padded(m.width, p) for m in walk_.mixes]
    inner = len(p.scores.inner_of(walk_)) * tile.places * 5 // 4  # and what becomes of them
    sums = (sum(columns) + inner) * tile.height // WARP
    widest = max([tile.places, *columns])
    factors = widest // 4 if p.narrow else widest // 8 + tile.height // 4
    slots = tile.height // (8 if p.narrow else 4)
    return (sums + factors + slots * (len(walk_.folds) + 2)) * words + BESIDE


# Choosing -----------------------------------------------------------------------------------------
def choose(scores: Scores, limits: Limits) -> Plan | None:
    """The plan whose estimate is least; None where nothing fits."""
    return min(candidates(scores, limits), key=lambda p: cycles(p, limits), default=None)


def candidates(scores: Scores, limits: Limits) -> Iterator[Plan]:
    """Every tile that fits, with as many walks as its registers ask for."""
    dtype = scores.inner[0].total.dtype
    sums = [x.total for x in scores.inner] + [m.total for w in scores.walks for m in w.mixes]
    if any(total.dtype != dtype for total in sums):
        return
    narrow = narrow_of(scores, limits)
    tiles = TILES if narrow else PLAIN if dtype.bits == 32 else WIDE
    for tile in tiles:
        if scores.walked.extent <= tile.places:  # a loop of one turn would be written out, and
            tile = replace(tile, stages=2)  # what walks have in common kept in too many registers
        plan_ = Plan(scores, tile, dtype, narrow)
        walks = [part for w in scores.walks for part in parted(plan_, w)]
        plan_ = replace(plan_, scores=replace(scores, walks=tuple(walks)))
        fits = all(registers(plan_, w) <= REGISTERS for w in walks)
        most = max(registers(plan_, w) for w in walks) * tile.threads
        if fits and most <= limits.registers and shared_bytes(plan_) <= limits.shared_bytes:
            yield plan_


def narrow_of(scores: Scores, limits: Limits) -> dict[Expr, DType]:
    """The dtypes in which tensor cores multiply; empty if they cannot multiply all of it."""
    pairs: list[tuple[Expr, Expr, Expr]] = [(x.total, x.row, x.walked) for x in scores.inner]
    pairs += [(m.total, m.weight, m.factor) for w in scores.walks for m in w.mixes]
    found = {total: common(held(a), held(b), limits) for total, a, b in pairs}
    known = {total: dtype for total, dtype in found.items() if dtype is not None}
    return known if limits.has(AMPERE) and len(known) == len(found) else {}


def held(factor_: Expr) -> DType:
    """The dtype that holds a factor without loss; it holds zeros, too."""
    while True:
        match factor_:
            case Apply("where", (_, chosen, Lit(0))) | Select(_, chosen, Lit(0)):
                factor_ = chosen
            case _:
                return kind(factor_)


def parted(p: Plan, walk_: Walk) -> list[Walk]:
    """The walk, or several ones where its sums are too many for registers."""
    found = [Walk(walk_.folds, [], walk_.after, walk_.running)]
    for mix in (part for m in walk_.mixes for part in _parts(m)):
        now = found[-1]
        if now.mixes and registers(p, replace(now, mixes=[*now.mixes, mix])) > REGISTERS:
            found.append(now := Walk())
        now.mixes.append(mix if now.running is not None else replace(mix, scaled=False))
    return found


def _parts(mix: Mix) -> list[Mix]:
    """The sum by parts of its columns."""
    starts = range(0, mix.width, WIDEST_PART)
    return [replace(mix, first=n, width=min(WIDEST_PART, mix.width - n)) for n in starts]


def cycles(p: Plan, limits: Limits) -> float:
    """How long a GPU is busy, about: the multiprocessor with most blocks decides. Few warps do not
    hide each other's waiting.
    """
    tile, scores = p.tile, p.scores
    blocks = count(scores.batch) * -(-count(scores.rows) // tile.rows)
    most = -(-blocks // limits.multiprocessors)
    used = max(registers(p, w) for w in scores.walks) * tile.threads
    room = min(limits.shared_bytes // shared_bytes(p), limits.registers // used)
    warps = tile.warps * max(1, min(room, most))
    steps = -(-scores.walked.extent // tile.places)
    step = sum(step_cycles(p, w) for w in scores.walks)
    return most * (steps * (step * max(1.0, BUSY / warps) + WAIT) + START)


def step_cycles(p: Plan, walk_: Walk) -> float:
    """How long a multiprocessor takes for a step: products, what goes through shared memory, and
    what threads compute of each inner product; they overlap in part.
    """
    tile, inner = p.tile, p.scores.inner_of(walk_)
    area = tile.rows * tile.places
    products, moved = 0, 0
    for x in inner:
        depth, size = deep(x.total.iters), p.dtype_of(x.total).bytes
        products += area * depth
        moved += (tile.warps * (tile.height + tile.places) + tile.places) * depth * size
    for mix in walk_.mixes:
        columns, size = padded(mix.width, p), p.dtype_of(mix.total).bytes
        products += area * columns
        moved += (tile.warps * columns + 2 * tile.rows + columns) * tile.places * size
    if p.narrow:
        rate = RATE[1, min(dtype.bits for dtype in p.narrow.values())]
    else:
        rate = 256 // p.dtype.bytes
    parts = (products / rate, moved / SHARED, area * len(inner) / 4)
    return max(parts) + sum(parts) / 4
