"""A team of threads for each row: what adds up along memory, in one stage after another.

Comes in: a kernel whose stages run along memory: softmax, the norms, losses, sums of rows. Goes
out: one phase. A team is a warp for short rows and a block for long ones; its threads take
neighbours that fill one access, then those as many places further as the team is wide. What a later
stage reads again stays in registers: each thread comes back to the places it had before. Only rows
that do not fit there are read from memory twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from graphc.backends.cuda.choice import SHORT
from graphc.backends.cuda.device import WARP, Limits
from graphc.backends.cuda.packs import sure_loads
from graphc.backends.cuda.points import THREADS, guarded, unravelled
from graphc.backends.cuda.space import Space, lanes_along, space
from graphc.backends.cuda.stages import kept_outside, recomputed, row_arrays, size
from graphc.expr import Buffer, Expr, Iter, Lit, Load, Substitution, depends_on
from graphc.index import linear
from graphc.kernels.flat import map_kernel
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Alloc, Barrier, Put, Statement
from graphc.loops.nest import Nest, identity
from graphc.types import INT64, DType, TensorType

WARPS = 8
"""Of a block whose warps have a row each."""
LONGEST_FOR_WARP = 1024
FEW = 256
"""Elements of a row that one warp reads as fast as a block would."""
SMALLEST_BLOCK = 128
LARGEST_BLOCK = 1024
KEPT, KEPT_BY_MANY = 64, 24
"""Registers of a thread for what later stages read again, and those where a block has as many
threads as there can be, which have 64 registers each.
"""


@dataclass(frozen=True)
class Team:
    """Who computes a row: ``threads`` threads, ``lanes`` neighbours each; ``rows`` teams are one
    block, and have so many ``turns``.
    """

    threads: int
    rows: int
    lanes: int
    turns: int = 1

    @property
    def kind(self) -> str:
        """The kind of loop that the members of a team share; none for a single thread."""
        return {1: "", WARP: "lane"}.get(self.threads, "thread")

    @property
    def shares(self) -> str:
        """The kind of loop over the teams of a block; none where it is one team."""
        return {1: "thread", WARP: "warp"}.get(self.threads, "")

    @property
    def registers(self) -> int:
        """Of a thread, for numbers that it keeps."""
        return KEPT_BY_MANY if self.threads == LARGEST_BLOCK else KEPT

    def share(self, length: int) -> int:
        """Elements of a row for one thread."""
        return -(-length // (self.threads * self.lanes)) * self.lanes

    def __str__(self) -> str:
        who = {"": "a thread", "lane": "a warp"}.get(self.kind, "a block")
        rows = f"{self.turns} rows and their sums" if self.turns > 1 else "a row"
        return (
            f"{who} for {rows}, {self.lanes} neighbours at once, {self.threads * self.rows} threads"
        )


def length_of(kernel: Kernel) -> int:
    """The longest stage."""
    return max((size(s.iters) for s in kernel.stages if s.iters), default=1)


def team_of(kernel: Kernel, limits: Limits) -> Team:
    """The threads for a row: few rows are for blocks, as there are enough of them."""
    length, arrays = length_of(kernel), max(len(row_arrays(kernel)), 1)
    last = max((s.iters for s in kernel.stages if s.iters), key=size)[-1]
    lanes = lanes_along(kernel, last)
    many = kernel.points >= limits.multiprocessors
    if length < SHORT:
        return Team(1, min(THREADS, -(-kernel.points // WARP) * WARP), lanes)
    if length <= (LONGEST_FOR_WARP if many else FEW) and length * arrays <= KEPT * WARP:
        warps = WARPS
        while warps > 1 and kernel.points < warps * limits.multiprocessors:
            warps //= 2
        return Team(WARP, warps, lanes)
    return _block(length * arrays, lanes)


@dataclass(frozen=True)
class Carried:
    """A sum of rows that teams carry along: its function, and a row of ``parts`` for each team."""

    function: str
    parts: Buffer


def carrying(kernel: Kernel, sums: int, limits: Limits) -> Team | None:
    """The team that carries so many sums of rows in registers; None where they do not fit, or where
    rows are so short that threads would idle. More blocks than are busy at a time would only leave
    more parts.
    """
    length, kept = length_of(kernel), len(row_arrays(kernel)) + sums
    last = max((s.iters for s in kernel.stages if s.iters), key=size)[-1]
    team = _block(length * kept, lanes_along(kernel, last))
    blocks = limits.multiprocessors * (LARGEST_BLOCK // team.threads)
    turns = -(-kernel.points // blocks)
    fits = team.share(length) * kept <= team.registers
    return replace(team, turns=turns) if fits and length >= FEW and turns > 1 else None


def _block(numbers: int, lanes: int) -> Team:
    """A block for a row for which so many numbers are kept."""
    threads = SMALLEST_BLOCK
    while threads < LARGEST_BLOCK and numbers > 16 * threads:
        threads *= 2
    return Team(threads, 1, lanes)


def with_sums(kernel: Kernel, team: Team, sums: Mapping[Buffer, Carried]) -> tuple[Statement, ...]:
    """The phase of a kernel whose stores into the buffers of ``sums`` are to be added up."""
    return _Rows(kernel, team, sums).statements()


def rows(kernel: Kernel, limits: Limits) -> tuple[Statement, ...]:
    """The phase of a staged kernel."""
    team = team_of(kernel, limits)
    if team.share(length_of(kernel)) * len(row_arrays(kernel)) > team.registers:
        kernel = kept_outside(recomputed(kernel))
        team = team_of(kernel, limits)
    return _Rows(kernel, team).statements()


class _Rows:
    """Writes the phase: ``spaces`` by the shape of a stage, so that a thread has the same points in
    each stage of a shape.
    """

    def __init__(
        self, kernel: Kernel, team: Team, sums: Mapping[Buffer, Carried] | None = None
    ) -> None:
        self.team, self.points, self.sums = team, kernel.points, sums or {}
        self.thread = Iter(team.threads)
        self.member: Expr = self.thread if team.kind else Lit(0, INT64)
        self.block = Iter(-(-kernel.points // (team.rows * team.turns)))
        self.other, self.turn = Iter(team.rows), Iter(team.turns)
        self.row: Expr = self.block
        if team.turns > 1:
            self.row = linear([(self.turn, self.block.extent), (self.block, 1)])
        elif team.shares:
            self.row = linear([(self.block, team.rows), (self.other, 1)])
        self.builder = Nest()
        shapes = {tuple(i.extent for i in s.iters): s.iters for s in kernel.stages if s.iters}
        self.spaces = {shape: self._space(iters) for shape, iters in shapes.items() if size(iters)}
        self.kernel = self._in_registers(self._placed(kernel))

    def _space(self, iters: tuple[Iter, ...]) -> Space:
        team, lanes = self.team, self.team.lanes
        while iters[-1].extent % lanes:
            lanes //= 2
        keep = team.share(size(iters)) <= team.registers
        return space(iters, self.member, team.threads, lanes, keep)

    def space_of(self, stage: Stage) -> Space | None:
        return self.spaces.get(tuple(i.extent for i in stage.iters))

    def _placed(self, kernel: Kernel) -> Kernel:
        """The kernel by the indices of its loops."""
        outer = unravelled(self.row, kernel.iters, 1, Iter(1))
        kernel = map_kernel(kernel, lambda e: outer.get(e) if isinstance(e, Iter) else None)
        return replace(kernel, stages=tuple(map(self._placed_stage, kernel.stages)))

    def _placed_stage(self, stage: Stage) -> Stage:
        shared = self.space_of(stage)
        if shared is None:
            return stage
        places = dict(zip(stage.iters, map(shared.places.__getitem__, shared.iters), strict=True))
        change = Substitution(lambda e: places.get(e) if isinstance(e, Iter) else None)
        stores = (
            replace(s, index=tuple(map(change, s.index)), value=change(s.value))
            for s in stage.stores
        )
        return replace(stage, stores=tuple(stores))

    # Registers ------------------------------------------------------------------------------------
    def _in_registers(self, kernel: Kernel) -> Kernel:
        """Rows, sums, and loads that several stages share, as registers."""
        self.homes: dict[Buffer, Buffer] = {}
        self.totals: dict[Buffer, tuple[Buffer, Space]] = {}
        stages = [self._kept_rows(stage) for stage in kernel.stages]
        taken = [*self.homes.values(), *(total for total, _ in self.totals.values())]
        room = self.team.registers - sum(b.shape[1] for b in taken)
        for load, found in self._shared_loads(kernel).items():
            shared = self.space_of(kernel.stages[found[0]])
            if shared is None or shared.share > room:
                continue
            room -= shared.share
            home = self._home(load.dtype, shared)
            self.homes[home] = home
            place = (self.member, shared.own)
            _keep(stages, found, load, Load(home, place), Store(home, place, load))
        return replace(kernel, stages=tuple(stages))

    def _home(self, dtype: DType, shared: Space) -> Buffer:
        return Buffer(TensorType(dtype, (self.team.threads, shared.share)), "register")

    def _kept_rows(self, stage: Stage) -> Stage:
        shared = self.space_of(stage)
        if shared is None:
            return stage
        place = (self.member, shared.own)
        for store in stage.stores:
            row = store.buffer
            if row.scope == "row" and row.shape and row not in self.homes:
                self.homes[row] = self._home(row.type.dtype, shared)
            elif row in self.sums:
                self.totals[row] = (self._home(row.type.dtype, shared), shared)

        def kept(e: Expr) -> Expr | None:
            if not isinstance(e, Load) or e.buffer not in self.homes:
                return None
            return Load(self.homes[e.buffer], place)

        change = Substitution(kept)
        stores = (self._kept(replace(s, value=change(s.value)), place) for s in stage.stores)
        return replace(stage, stores=tuple(stores))

    def _kept(self, store: Store, place: tuple[Expr, ...]) -> Store:
        """A store into a row or a sum as one into registers."""
        if store.buffer in self.homes:
            return replace(store, buffer=self.homes[store.buffer], index=place)
        if store.buffer in self.totals:
            total, function = self.totals[store.buffer][0], self.sums[store.buffer].function
            return Store(total, place, store.value, function)
        return store

    def _shared_loads(self, kernel: Kernel) -> Mapping[Load, list[int]]:
        """Loads along a row that several stages make, and which stages; the most frequent first."""
        made: dict[Load, list[int]] = {}
        lasting = set(kernel.read) - set(kernel.written)
        for number, stage in enumerate(kernel.stages):
            for load in dict.fromkeys(sure_loads(tuple(s.value for s in stage.stores))):
                if load.buffer in lasting and self._moves(load, stage):
                    made.setdefault(load, []).append(number)
        often = Counter({load: len(found) for load, found in made.items() if len(found) > 1})
        return {load: made[load] for load, _ in often.most_common()}

    def _moves(self, load: Load, stage: Stage) -> bool:
        """Whether points of a stage read different elements."""
        shared = self.space_of(stage)
        return shared is not None and any(depends_on(load, i) for i in shared.loops(self.thread))

    # Loops ----------------------------------------------------------------------------------------
    def statements(self) -> tuple[Statement, ...]:
        builder, team = self.builder, self.team
        builder.open(self.block, "block")
        for total, _ in self.totals.values():
            builder.append(Alloc(total))
        self._each_total(self._begin)
        loops = [(self.turn, "serial")] if team.turns > 1 else []
        loops += [(self.other, team.shares)] if team.shares else []
        for iterator, kind in loops:
            builder.open(iterator, kind)
        ragged = self.points % (team.rows * team.turns) != 0
        guarded(builder, self.row, self.points, ragged, self._row)
        builder.close(len(loops))
        self._each_total(self._leave)
        return builder.close_all()

    def _each_total(self, write: Callable[[Buffer], None]) -> None:
        """What ``write`` appends for every number of every sum."""
        for room, (_, shared) in self.totals.items():
            self.builder.open(self.thread, self.team.kind)
            shared.each(self.builder, partial(write, room))
            self.builder.close()

    def _begin(self, room: Buffer) -> None:
        total, shared = self.totals[room]
        start = identity(self.sums[room].function, total.type.dtype)
        self.builder.append(Put(total, (self.thread, shared.own), start))

    def _leave(self, room: Buffer) -> None:
        total, shared = self.totals[room]
        parts, lanes = self.sums[room].parts, shared.lane.extent
        point = linear([(shared.number, lanes), (shared.lane, 1)]) if lanes > 1 else shared.number
        place = (linear([(self.block, parts.shape[1]), (point, 1)]),)
        self.builder.append(Put(parts, place, Load(total, (self.thread, shared.own))))

    def _row(self) -> None:
        for home in dict.fromkeys(self.homes.values()):
            self.builder.append(Alloc(home))
        for number, stage in enumerate(self.kernel.stages):
            if self.team.kind and meets(self.kernel.stages[:number], stage, self.thread):
                self.builder.append(Barrier())
            self._stage(stage)

    def _stage(self, stage: Stage) -> None:
        builder, shared = self.builder, self.space_of(stage)
        for store in stage.stores:
            builder.make_room(store)
        if stage.iters and shared is None:
            return  # no points
        builder.floor = builder.depth_now
        if shared is None:
            self._once(stage)
            return
        if self.team.kind:
            builder.open(self.thread, self.team.kind)
        shared.each(builder, lambda: builder.store(stage.stores))
        if self.team.kind:
            builder.close()

    def _once(self, stage: Stage) -> None:
        """What a row has once: numbers in every thread; the first one stores them, and that alone
        reads what it changes.
        """
        inside = tuple(s for s in stage.stores if s.buffer.scope == "row")
        outside = tuple(s for s in stage.stores if s.buffer.scope != "row")
        self.builder.store(inside)
        if not (outside and self.team.kind):
            self.builder.store(outside)
            return
        if meets((Stage((), inside),), Stage((), outside), self.thread):
            self.builder.append(Barrier())
        self.builder.open(Iter(1), self.team.kind)
        self.builder.floor = self.builder.depth_now
        self.builder.store(outside)
        self.builder.close()


def _keep(stages: list[Stage], found: list[int], load: Load, kept: Load, store: Store) -> None:
    """Store a load in the first of the stages that make it, and read it in the others."""
    first = stages[found[0]]
    stages[found[0]] = replace(first, stores=(store, *first.stores))
    for number in found[1:]:
        change = Substitution(lambda e: kept if e == load else None)
        stores = (replace(s, value=change(s.value)) for s in stages[number].stores)
        stages[number] = replace(stages[number], stores=tuple(stores))


def meets(before: tuple[Stage, ...], stage: Stage, member: Iter) -> bool:
    """Whether a stage touches what another thread wrote or read in global memory before."""
    return any(
        old.buffer is new.buffer
        and (isinstance(old, Store) or isinstance(new, Store))
        and not (old.index == new.index and depends_on(old.index[0], member))
        for old in (x for s in before for x in _accesses(s))
        for new in _accesses(stage)
    )


def _accesses(stage: Stage) -> list[Store | Load]:
    kernel = Kernel((), (stage,))
    found: list[Store | Load] = [*kernel.stores, *kernel.loads]
    return [x for x in found if x.buffer.scope in ("global", "scratch")]
