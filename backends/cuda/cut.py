"""Kernels of few long rows or columns as several kernels of many short ones.

Comes in: a staged kernel. Goes out: kernels to run one after another, joined by numbers in scratch
memory. A separate step because the grid cannot wait for itself: what a stage adds up is known to
all blocks in the next launch only. Slices leave partial sums, which are added up in a fixed order,
so a result is the same bits each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

from graphc.backends.cuda.choice import best_along, choice
from graphc.backends.cuda.columns import Strip
from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.rows import length_of
from graphc.backends.cuda.space import lanes_along
from graphc.backends.cuda.stages import ONLY, kept_outside, number, point_of, recomputed, size
from graphc.expr import Buffer, Expr, Iter, Load, Substitution, walk
from graphc.index import linear
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import TensorType

LONG_ROW, SLICE_OF_ROW = 32_768, 8_192
LONG_COLUMN, SLICE_OF_COLUMN = 2_048, 256
FEW_ROWS = 4
"""Rows that are blocks for this part of all multiprocessors are no longer few: two launches for
each stage would cost more than the others' idleness.
"""
ALIGNED = 32
"""Slices begin at multiples of this, so that accesses stay wide."""


def cut(kernel: Kernel, limits: Limits) -> tuple[Kernel, ...]:
    """Kernels that fill the multiprocessors where ``kernel`` leaves most of them idle."""
    slices = slices_of(kernel, limits)
    return _Cut(kernel, slices).kernels() if slices > 1 else (kernel,)


def slices_of(kernel: Kernel, limits: Limits) -> int:
    """How many slices each stage should have; what has no points cannot be cut."""
    if not all(size(stage.iters) for stage in kernel.stages):
        return 1
    chosen, length, few = choice(kernel), length_of(kernel), limits.multiprocessors
    if chosen == "rows":
        blocks, least, part = kernel.points, LONG_ROW, SLICE_OF_ROW
        few //= FEW_ROWS
    elif chosen == "columns":
        widest = Strip(lanes_along(kernel, best_along(kernel)), 1)
        blocks, least, part = widest.blocks(kernel.points), LONG_COLUMN, SLICE_OF_COLUMN
    else:
        return 1
    if blocks >= few or length < least:
        return 1
    slices: int = min(-(-2 * limits.multiprocessors // blocks), length // part)
    return slices


def width_of(extent: int, slices: int, aligned: int) -> int:
    """The width of about so many slices that begin at aligned places: equal ones if there are any,
    else with a rest.
    """
    for count in chain(range(slices, 2 * slices), range(slices - 1, slices // 2, -1)):
        if extent % (count * aligned) == 0:
            return extent // count
    width = max(extent // slices, 1)
    return width - width % aligned if width > aligned else width


class _Cut:
    """Cuts stage after stage; ``known`` are the numbers of earlier kernels, ``waiting`` the stages
    that have no points of their own.
    """

    def __init__(self, kernel: Kernel, slices: int) -> None:
        self.kernel, self.slices = kept_outside(recomputed(kernel)), slices
        self.inner = choice(kernel) == "rows"
        self.point = point_of(kernel.iters)
        self.known: dict[Buffer, Load] = {}
        self.waiting: list[Stage] = []
        self.found: list[Kernel] = []

    def kernels(self) -> tuple[Kernel, ...]:
        stages = self.kernel.stages
        for place, stage in enumerate(stages):
            if not stage.iters:
                self.waiting.append(stage)
                continue
            self._finish(stages[place:])
            self._slice(self._knowing(stage))
        self._finish(())
        return tuple(self.found)

    def _knowing(self, stage: Stage) -> Stage:
        """The stage with numbers of earlier kernels read from memory."""
        change = Substitution(lambda e: self.known.get(e.buffer) if isinstance(e, Load) else None)
        stores = (replace(s, value=change(s.value)) for s in stage.stores)
        return replace(stage, stores=tuple(stores))

    def _finish(self, later: Iterable[Stage]) -> None:
        """A kernel of what waits, which leaves in memory what ``later`` stages read."""
        if not self.waiting:
            return
        values = [s.value for stage in later for s in stage.stores]
        read = {e.buffer for e in walk(*values) if isinstance(e, Load)}
        stages = [self._knowing(stage) for stage in self.waiting]
        rows = dict.fromkeys(s.buffer for stage in stages for s in stage.stores if s.buffer in read)
        totals = {
            row: Buffer(TensorType(row.type.dtype, (self.kernel.points,)), "scratch")
            for row in rows
            if row.scope == "row"
        }
        leave = tuple(Store(total, (self.point,), Load(row, ONLY)) for row, total in totals.items())
        if leave:
            stages.append(Stage((), leave))
        self.found.append(Kernel(self.kernel.iters, tuple(stages)))
        self.known |= {row: Load(total, (self.point,)) for row, total in totals.items()}
        self.waiting = []

    def _slice(self, stage: Stage) -> None:
        """Kernels for the slices of a stage; the stages that add up their sums wait."""
        iters = self.kernel.iters
        sums = [s for s in stage.stores if s.buffer.scope == "row"]
        if not sums:
            self.found.append(Kernel((*iters, *stage.iters), (Stage((), stage.stores),)))
            return
        long = max(stage.iters, key=lambda i: i.extent)
        width = width_of(long.extent, self.slices, ALIGNED if self.inner else 1)
        whole, rest = divmod(long.extent, width)
        slices = whole + (rest > 0)
        parts = {
            s.buffer: Buffer(TensorType(s.buffer.type.dtype, (size(iters) * slices,)), "scratch")
            for s in sums
        }
        piece = Iter(whole)
        self._part(stage, long, (piece, Iter(width)), width, parts, slices)
        if rest:
            self._part(stage, long, (linear([], whole), Iter(rest)), width, parts, slices)
        found = Iter(slices)
        self.waiting += [
            Stage((found,), (replace(s, value=self._partial(parts, s, found, slices)),))
            for s in sums
        ]

    def _place(self, piece: Expr, slices: int) -> tuple[Expr, ...]:
        """Where the partial sum of a slice lies: beside those that are added to it if that runs
        along memory, else beside those of other points.
        """
        if self.inner:
            return (linear([(self.point, slices), (piece, 1)]),)
        return (linear([(piece, self.kernel.points), (self.point, 1)]),)

    def _partial(self, parts: dict[Buffer, Buffer], s: Store, piece: Expr, slices: int) -> Load:
        return Load(parts[s.buffer], self._place(piece, slices))

    def _part(
        self,
        stage: Stage,
        long: Iter,
        at: tuple[Expr, Iter],
        width: int,
        parts: dict[Buffer, Buffer],
        slices: int,
    ) -> None:
        """The kernel of equal slices: of all whole ones, or of the last."""
        piece, inside = at
        place = linear([(piece, width), (inside, 1)])
        change = Substitution(lambda e: place if e is long else None)
        sums = {b: number(b.type.dtype) for b in parts}
        stores = tuple(
            replace(
                s,
                buffer=sums.get(s.buffer, s.buffer),
                index=tuple(map(change, s.index)),
                value=change(s.value),
            )
            for s in stage.stores
        )
        where = self._place(piece, slices)
        leave = tuple(Store(parts[b], where, Load(own, ONLY)) for b, own in sums.items())
        outer = (piece, *self.kernel.iters) if isinstance(piece, Iter) else self.kernel.iters
        inner = tuple(inside if i is long else i for i in stage.iters)
        self.found.append(Kernel(outer, (Stage(inner, stores), Stage((), leave))))
