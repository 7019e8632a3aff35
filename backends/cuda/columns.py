"""A few neighbouring columns for each thread: what adds up across memory.

Comes in: a kernel whose outer points lie side by side while its stages run across them: gradients
of biases, statistics of batches, softmax over a slow axis. Goes out: one phase. A warp has the
columns of one row's neighbouring accesses; the warps of a block share the rows, leave their sums in
shared memory, and one thread for each column adds them up, always in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from graphc.backends.cuda.choice import best_along
from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.points import guarded, unravelled
from graphc.backends.cuda.rows import length_of
from graphc.backends.cuda.space import Space, lanes_along, space
from graphc.backends.cuda.stages import kept_outside, recomputed, size
from graphc.expr import Buffer, Expr, Iter, Load, Substitution
from graphc.index import linear
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Accumulate, Alloc, Barrier, Put, Statement
from graphc.loops.nest import Nest, identity
from graphc.types import TensorType

FEWEST_WARPS = 4
MOST_WARPS = 32
ROWS = 16
"""Rows of a warp from which on more warps are worth it."""
BUSY = 8
"""Warps of a block where there are blocks enough."""


@dataclass(frozen=True)
class Strip:
    """The columns of a block: ``lanes`` for each thread of a warp; ``warps`` share their rows."""

    lanes: int
    warps: int

    @property
    def columns(self) -> int:
        """Of one block."""
        return WARP * self.lanes

    def blocks(self, points: int) -> int:
        """Blocks for so many columns."""
        return -(-points // self.columns)

    def __str__(self) -> str:
        return f"{self.columns} columns for a block, {self.warps} warps share their rows"


def strip_of(kernel: Kernel, limits: Limits) -> Strip:
    """Wide accesses where there are columns enough for all multiprocessors, and warps where there
    are rows enough.
    """
    lanes, length = lanes_along(kernel, best_along(kernel)), length_of(kernel)
    while lanes > 1 and Strip(lanes, 1).blocks(kernel.points) < limits.multiprocessors:
        lanes //= 2
    warps = max(FEWEST_WARPS, lanes)
    enough = Strip(lanes, 1).blocks(kernel.points) >= 2 * limits.multiprocessors
    while warps < (BUSY if enough else MOST_WARPS) and length > ROWS * warps:
        warps *= 2
    return Strip(lanes, warps)


def columns(kernel: Kernel, limits: Limits) -> tuple[Statement, ...]:
    """The phase of a staged kernel."""
    kernel = kept_outside(recomputed(kernel))
    return _Columns(kernel, strip_of(kernel, limits)).statements()


class _Columns:
    """Writes the phase. ``totals`` are the numbers of a column, in shared memory."""

    def __init__(self, kernel: Kernel, strip: Strip) -> None:
        self.kernel, self.strip = kernel, strip
        along = best_along(kernel)
        self.order = [*(i for i in kernel.iters if i is not along), along]
        self.block = Iter(strip.blocks(kernel.points))
        self.warp, self.member = Iter(strip.warps), Iter(WARP)
        self.lane, self.column = Iter(strip.lanes), Iter(strip.columns)
        self.unit = linear([(self.block, WARP), (self.member, 1)])
        self.own: Expr = self.member
        if strip.lanes > 1:
            self.own = linear([(self.member, strip.lanes), (self.lane, 1)])
        self.totals: dict[Buffer, Buffer] = {}
        self.builder = Nest()

    def statements(self) -> tuple[Statement, ...]:
        self.builder.open(self.block, "block")
        for stage in self.kernel.stages:
            self._totals(stage)
            if stage.iters:
                self._across(stage)
            else:
                self._once(stage)
        return self.builder.close_all()

    def _totals(self, stage: Stage) -> None:
        """Room for the numbers that a stage leaves."""
        for store in stage.stores:
            if store.buffer.scope == "row":
                self.totals[store.buffer] = self._room("shared", store.buffer, self.strip.columns)

    def _room(self, scope: str, like: Buffer, *shape: int) -> Buffer:
        buffer = Buffer(TensorType(like.type.dtype, shape), scope)
        self.builder.append(Alloc(buffer))
        return buffer

    def _placed(self, stage: Stage, places: dict[Iter, Expr], column: Expr) -> tuple[Store, ...]:
        """The stores of a stage by the indices of loops; numbers are those of this column."""

        def change(e: Expr) -> Expr | None:
            if isinstance(e, Load) and e.buffer in self.totals:
                return Load(self.totals[e.buffer], (column,))
            return places.get(e) if isinstance(e, Iter) else None

        changed = Substitution(change)
        return tuple(
            replace(s, index=tuple(map(changed, s.index)), value=changed(s.value))
            for s in stage.stores
        )

    # One number for each column -------------------------------------------------------------------
    def _once(self, stage: Stage) -> None:
        number = linear([(self.block, self.strip.columns), (self.column, 1)])
        places = dict(unravelled(number, self.order, 1, self.lane))
        stores = self._placed(stage, places, self.column)
        kept = tuple(
            replace(s, buffer=self.totals[s.buffer], index=(self.column,))
            if s.buffer in self.totals
            else s
            for s in stores
        )
        points = self.kernel.points
        self.builder.floor = self.builder.depth_now
        self.builder.open(self.column, "thread")
        ragged = points % self.strip.columns != 0
        guarded(self.builder, number, points, ragged, lambda: self.builder.store(kept))
        self.builder.close()

    # Rows of columns ------------------------------------------------------------------------------
    def _across(self, stage: Stage) -> None:
        """What a stage does, and its sums: those of a thread, then those of a column."""
        builder, strip = self.builder, self.strip
        sums = {
            s.buffer: self._room("register", s.buffer, strip.warps * WARP, strip.lanes)
            for s in stage.stores
            if s.buffer in self.totals
        }
        parts = {b: self._room("shared", b, strip.warps, strip.columns) for b in sums}
        functions = {s.buffer: s.combine for s in stage.stores}
        if stage is not self.kernel.stages[0]:
            builder.append(Barrier())
        builder.floor = builder.depth_now
        builder.open(self.warp, "warp")
        builder.open(self.member, "lane")
        self._lanes(lambda: self._begin(sums, functions))
        units = self.kernel.points // strip.lanes
        ragged = units % WARP != 0
        guarded(builder, self.unit, units, ragged, lambda: self._turns(stage, sums))
        self._lanes(lambda: self._leave(sums, parts))
        builder.close(2)
        builder.append(Barrier())
        builder.open(self.column, "thread")
        for buffer, part in parts.items():
            self._fold(part, functions[buffer], self.totals[buffer])
        builder.close()

    def _lanes(self, write: Callable[[], None]) -> None:
        """What ``write`` appends for each of a thread's columns."""
        if self.strip.lanes > 1:
            self.builder.open(self.lane, "vector", self.strip.lanes)
        write()
        if self.strip.lanes > 1:
            self.builder.close()

    @property
    def _register(self) -> tuple[Expr, Expr]:
        thread = linear([(self.warp, WARP), (self.member, 1)])
        return thread, self.lane if self.strip.lanes > 1 else linear([])

    def _begin(self, sums: dict[Buffer, Buffer], functions: dict[Buffer, str]) -> None:
        for buffer, total in sums.items():
            start = identity(functions[buffer], buffer.type.dtype)
            self.builder.append(Put(total, self._register, start))

    def _turns(self, stage: Stage, sums: dict[Buffer, Buffer]) -> None:
        shared: Space = space(stage.iters, self.warp, self.strip.warps, 1, False)
        outer = unravelled(self.unit, self.order, self.strip.lanes, self.lane)
        stores = self._placed(stage, {**outer, **shared.places}, self.own)
        kept = tuple(
            replace(s, buffer=sums[s.buffer], index=self._register) if s.buffer in sums else s
            for s in stores
        )
        if size(stage.iters):
            shared.each(self.builder, lambda: self._lanes(lambda: self.builder.store(kept)))

    def _leave(self, sums: dict[Buffer, Buffer], parts: dict[Buffer, Buffer]) -> None:
        for buffer, part in parts.items():
            value = Load(sums[buffer], self._register)
            self.builder.append(Put(part, (self.warp, self.own), value))

    def _fold(self, part: Buffer, function: str, total: Buffer) -> None:
        """Add up what the warps found, in order."""
        builder, warp = self.builder, Iter(self.strip.warps)
        found = builder.define(identity(function, total.type.dtype), builder.depth_now)
        builder.open(warp, "unroll")
        builder.append(Accumulate(found, function, Load(part, (warp, self.column))))
        builder.close()
        builder.append(Put(total, (self.column,), found))
