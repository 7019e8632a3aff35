"""Reductions in the order in which memory lies: many sums at once instead of one after another.

Comes in: a kernel whose operands lie so that a step of a reduction jumps further than a step of an
outer index (the sum of every column of a matrix). Goes out: the same kernel with a block of that
outer index moved inside the reduction: each sum becomes a row of sums, which stays in the first
cache. A separate step because it changes the kernel and not how it is written: everything after
sees rows, as in any other kernel.

Eight steps of the reduction are folded into the row at a time, so that the row is read and written
once for eight operands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from graphc.expr import Apply, Buffer, Expr, Iter, Load, Reduce, Substitution, substitute, walk
from graphc.index import linear, stride
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.nest import identity
from graphc.types import TensorType

Step = tuple[Iter, int]
"""An index and how many elements it moves by."""

BLOCK, LEAST = 1024, 64
"""Sums in a row, at most and at least: 4 KiB of float32 are a page, 64 a few vectors."""
PIECES = 4
"""Blocks that threads find to share, where the extent allows."""
FOLDED = 8
"""Steps of a reduction folded into a row at a time."""
LARGE = 1 << 17
"""Bytes below which operands stay in a near cache in any order."""
PIECE = 1 << 13
"""Bytes in a row that are enough for a cache to fetch ahead."""


@dataclass(frozen=True)
class Part:
    """A kernel, and the index of it that shall fill the lanes."""

    kernel: Kernel
    lane: Iter


def interchanged(kernel: Kernel) -> list[Part]:
    """The parts of ``kernel``, one for whole blocks and one for the rest; none when its loops are
    in a good order as they are.
    """
    outer = _misplaced(kernel)
    if outer is None:
        return []
    block = _block(kernel, outer)
    whole, rest = divmod(outer.extent, block)
    parts = [_part(kernel, outer, Iter(whole), Iter(block), 0)] if whole else []
    return parts + ([_part(kernel, outer, Iter(1), Iter(rest), whole * block)] if rest else [])


# Whether ------------------------------------------------------------------------------------------
def _misplaced(kernel: Kernel) -> Iter | None:
    """The outer index with a step smaller than one of the reduction, if moving it inside pays."""
    rows = [s for stage in kernel.stages for s in stage.stores if s.buffer.scope == "row"]
    if any(s.buffer.shape for s in rows) or not any(s.combine for s in rows):
        return None
    if any(s.combine and s.buffer.scope != "row" for s in kernel.stores):
        return None
    if any(isinstance(e, Reduce) for s in kernel.stores for e in walk(s.value)):
        return None
    steps = _steps(kernel)
    inner = {i for stage in kernel.stages for i in stage.iters}
    order = [i for i, _ in steps]
    candidates = [i for n, i in enumerate(order) if i not in inner and inner & {*order[:n]}]
    if not candidates:
        return None
    found = candidates[-1]
    if steps[-1][1] != 1:
        return None
    size = math.prod(i.extent for i in order)
    run = math.prod(i.extent for i in order[order.index(found) + 1 :])
    width = max(x.buffer.type.dtype.bytes for x in kernel.loads)
    long = found.extent >= LEAST and size * width > LARGE
    return found if long and run * width < PIECE else None


def _steps(kernel: Kernel) -> list[Step]:
    """The indices of the largest operand of a reduction, widest step first; none if a step is not
    known.
    """
    inner = [i for stage in kernel.stages for i in stage.iters]
    best: list[Step] = []
    size = 0
    for load in kernel.loads:
        if load.buffer.scope == "row":
            continue
        steps = [(i, stride(load.index[0], i)) for i in dict.fromkeys([*kernel.iters, *inner])]
        known = [(i, abs(s)) for i, s in steps if s]
        if any(s is None for _, s in steps) or not any(i in inner for i, _ in known):
            return []
        extent = math.prod(i.extent for i, _ in known)
        if extent > size:
            best, size = sorted(known, key=lambda step: -step[1]), extent
    return best


def _block(kernel: Kernel, outer: Iter) -> int:
    """How many sums make a row."""
    even = -(-outer.extent // PIECES)
    passes = sum(bool(stage.iters) for stage in kernel.stages)
    most = BLOCK if passes == 1 else LEAST  # what several stages read shall stay in a cache
    return min(outer.extent, max(LEAST, min(most, -(-even // LEAST) * LEAST)))


# How ----------------------------------------------------------------------------------------------
def _part(kernel: Kernel, outer: Iter, slow: Iter, fast: Iter, start: int) -> Part:
    """The kernel for ``outer = start + slow * fast.extent + fast``."""
    place = linear([(slow, fast.extent), (fast, 1)], start)
    rows = {
        s.buffer: Buffer(TensorType(s.buffer.type.dtype, (fast.extent,)), "row")
        for s in kernel.stores
        if s.buffer.scope == "row"
    }

    def moved(e: Expr) -> Expr | None:
        if isinstance(e, Load) and e.buffer in rows:
            return Load(rows[e.buffer], (fast,))
        return place if e is outer else None

    change = Substitution(moved)
    steps = [i for i, _ in _steps(kernel)]
    stages: list[Stage] = []
    for stage in kernel.stages:
        stores = tuple(_moved(s, rows, fast, change) for s in stage.stores)
        stages += _starts(stores, fast)
        after = [i for i in stage.iters if i in steps[steps.index(outer) :]]
        before = tuple(i for i in stage.iters if i not in after)
        stages += _folds(Stage(before, stores), fast, tuple(after))
    iters = tuple(i for i in kernel.iters if i is not outer)
    lane = fast if steps[-1] is outer else steps[-1]
    return Part(Kernel((*iters, slow), tuple(stages), kernel.nodes), lane)


def _moved(store: Store, rows: dict[Buffer, Buffer], fast: Iter, change: Substitution) -> Store:
    if store.buffer in rows:
        return replace(store, buffer=rows[store.buffer], index=(fast,), value=change(store.value))
    return replace(store, index=tuple(map(change, store.index)), value=change(store.value))


def _starts(stores: tuple[Store, ...], fast: Iter) -> Iterator[Stage]:
    """Rows of sums begin with what their function leaves alone."""
    folds = [s for s in stores if s.combine]
    if folds:
        yield Stage(
            (fast,),
            tuple(
                Store(s.buffer, s.index, identity(s.combine, s.buffer.type.dtype)) for s in folds
            ),
        )


def _folds(stage: Stage, fast: Iter, after: tuple[Iter, ...]) -> Iterator[Stage]:
    """A stage with the block inside, ``after`` inside that; steps are folded in several at once."""
    folds = [s for s in stage.stores if s.combine]
    plain = tuple(s for s in stage.stores if not s.combine)
    if after or not folds:
        if plain:
            yield Stage((*stage.iters, fast, *after), plain)
        totals = tuple(_folded(s, [Reduce(s.combine, after, s.value)]) for s in folds)
        if totals:
            yield Stage((*stage.iters, fast), totals)
        return
    *others, last = stage.iters
    price = sum(isinstance(e, Apply) for s in stage.stores for e in walk(s.value))
    count = 1 if plain else max(1, min(FOLDED, 16 // (1 + price)))
    whole, rest = divmod(last.extent, count)
    for extent, times, start in ((whole, count, 0), (rest, 1, whole * count)):
        if extent:
            step = last if times == last.extent // extent == 1 else Iter(extent)
            places = [linear([(step, times)], start + n) for n in range(times)]
            stores = tuple(_folded(s, _at(s.value, last, places)) for s in folds)
            yield Stage((*others, step, fast), (*plain, *stores))


def _at(value: Expr, index: Iter, places: list[Expr]) -> list[Expr]:
    """``value`` with each of the places for the index."""
    return [substitute(value, partial(_exchange, index, place)) for place in places]


def _exchange(index: Iter, place: Expr, e: Expr) -> Expr | None:
    return place if e is index else None


def _folded(store: Store, values: list[Expr]) -> Store:
    """The values folded into the store's element, one after another."""
    total: Expr = Load(store.buffer, store.index)
    for value in values:
        total = Apply(store.combine, (total, value), total.dtype)
    return replace(store, value=total, combine="")
