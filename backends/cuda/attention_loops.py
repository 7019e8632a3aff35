"""The loops of attention: every block has a tile of rows and walks over all places.

Comes in: a plan (`attention_tiles`). Goes out: one phase. A separate step because what a warp
multiplies with, and which sums its lanes have, is settled elsewhere (`attention_teams`).

The factors of the rows come near once. In each step of a walk the next parts of the other factors
are on their way while inner products are made of the ones before. They stay in registers; weights
are made of them point by point, which go through shared memory to be multiplied with the columns.
Rows belong to one warp each, so its lanes wait for each other only.

What places fold into a number is found by each lane for its own columns; at the end of a walk lanes
exchange what they found. The running maximum of a walk is exchanged in every step: then all sums so
far are multiplied by ``exp(old - new)``. A row that has seen nothing but -inf has no maximum yet:
its weights are zeros, until there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, reduce

from graphc.backends.cuda.attention import Fold, Mix, Walk
from graphc.backends.cuda.attention_blocks import Block, Known, zero
from graphc.backends.cuda.attention_masks import hiding
from graphc.backends.cuda.attention_teams import ONLY, ZERO, number
from graphc.backends.cuda.attention_tiles import Plan, padded
from graphc.backends.cuda.factors import TRUE, within
from graphc.backends.cuda.matrices import count
from graphc.backends.cuda.points import unravelled
from graphc.expr import (
    Apply,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Select,
    Substitution,
    apply,
    substitute,
)
from graphc.index import linear
from graphc.kernels.kernel import Store
from graphc.loops.ir import Alloc, Barrier, Loop, Pipeline, Put, Statement, When
from graphc.loops.nest import Nest, identity


def scored(plan_: Plan) -> tuple[tuple[Statement, ...], ...]:
    """The phases of a plan."""
    block, nest = Block(plan_), Nest()
    nest.open(block.block, "block")
    for side in {side.room: side for side in block.rows.values()}.values():
        nest.append(Alloc(side.room))
        nest.append(block.team.fill(side, block.first, ZERO, block.batch, False))
    block.keep(nest)
    for number_, walk_ in enumerate(block.walks):
        if number_ and plan_.tile.stages > 1:
            nest.append(Barrier())  # the last parts of the walk before are still in use
        _Walk(block, walk_).append(nest)
    return (nest.close_all(),)


class _Walk:
    """One walk of a block."""

    def __init__(self, block: Block, walk_: Walk) -> None:
        self.block, self.walk, self.team = block, walk_, block.team
        self.plan, self.tile, self.scores = block.plan, block.tile, block.scores
        self.near, self.hidden = block.near(walk_), hiding(walk_, self.scores)
        self.maxima = [f for f in walk_.folds if f.number is walk_.running]
        self.others = [f for f in walk_.folds if f.number is not walk_.running]
        self.step = Iter(-(-self.scores.walked.extent // self.tile.places))
        self.products = {
            x.total: self.team.sums(self.tile.places) for x in self.scores.inner_of(walk_)
        }
        self.sums = [self.team.sums(padded(m.width, self.plan)) for m in walk_.mixes]
        self.weights = [
            block.weights(n, self.plan.dtype_of(m.total)) for n, m in enumerate(walk_.mixes)
        ]
        dtypes = {f.number: f.value.dtype for f in walk_.folds}
        self.parts = {b: self.team.numbers(dtype) for b, dtype in dtypes.items()}
        self.homes = {b: self.team.numbers(dtype) for b, dtype in dtypes.items()}
        self.rooms = {b: self.team.exchanged(dtype) for b, dtype in dtypes.items()}
        self.shift = {f.number: self.team.numbers(f.value.dtype) for f in self.maxima}

    def append(self, nest: Nest) -> None:
        """The walk and what follows from it."""
        if self.walk.folds or self.walk.mixes:
            self._begin(nest)
            self._go(nest)
        self._finish(nest)

    def _go(self, nest: Nest) -> None:
        """All steps: what comes near runs ahead, or waits until the step before is done."""
        buffers, stages = self.near.buffers, self.tile.stages
        fill, use = self._fill(), self._use()
        if stages > 1:
            parts = self._if_seen(fill), self._if_seen(use)
            nest.append(Pipeline(self.step, stages, buffers, *parts, False))
            return
        for buffer in buffers:
            nest.append(Alloc(buffer))
        body = self._if_seen((*fill, Barrier(), *use, Barrier()))
        nest.append(Loop(self.step, "serial", body))

    def _if_seen(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        """What is done in steps in which any row sees a place."""
        if self.hidden is None:
            return body
        ends = {**self.block.ends}
        ends[self.scores.walked] = (self._place, self._place + (self.tile.places - 1))
        return (When(self.hidden.is_seen(ends), body, ()),)

    # Beginning ------------------------------------------------------------------------------------
    def _begin(self, nest: Nest) -> None:
        """Sums are zeros, and what is folded is nothing yet."""
        numbers = (*self.parts.values(), *self.homes.values(), *self.shift.values())
        for buffer in (*self.sums, *self.weights, *numbers, *self.rooms.values()):
            nest.append(Alloc(buffer))
        own = Nest()
        self.block.open(own)
        for fold in self.walk.folds:
            start = self._start(fold)
            opened = self.block.open_rows(own)
            own.append(Put(self.parts[fold.number], self.block.slot, start))
            if fold in self.maxima:
                own.append(Put(self.homes[fold.number], self.block.slot, start))
            own.close(opened)
        for sums in self.sums:
            self._zeros(own, sums)
        _move(own, nest)

    def _start(self, fold: Fold) -> Expr:
        """What a fold begins with; the first lane of a row begins with what was hidden."""
        nothing = identity(fold.function, fold.value.dtype)
        found = self.hidden.starts.get(fold.number) if self.hidden is not None else None
        if found is None or fold.function != "add":
            return found or nothing
        return Select(apply("equal", self.team.sharer, ZERO), found, nothing)

    def _zeros(self, nest: Nest, sums: Buffer) -> None:
        index = [Iter(extent) for extent in sums.shape[1:]]
        for i in index:
            nest.open(i, "unroll")
        nest.append(Put(sums, (self.team.thread, *index), Lit(0.0, self.plan.dtype)))
        nest.close(len(index))

    # What comes near ------------------------------------------------------------------------------
    @property
    def _place(self) -> Expr:
        """The first place of a step."""
        return linear([(self.step, self.tile.places)])

    def _fill(self) -> tuple[Statement, ...]:
        """The parts of a step."""
        first = dict.fromkeys(self.near.products.values(), 0)
        mixes = zip(self.near.mixed, self.walk.mixes, strict=True)
        first |= {side: mix.first for side, mix in mixes}
        found = [
            self.team.fill(side, self._place, number(start), self.block.batch, True)
            for side, start in first.items()
        ]
        lines = self.near.lines.items()
        return (*found, *(self.block.fill_line(x, room, self._place) for x, room in lines))

    # Steps ----------------------------------------------------------------------------------------
    def _use(self) -> tuple[Statement, ...]:
        """Inner products, weights, sums."""
        nest = Nest()
        nest.open(self.team.warp, "warp")
        for sums in self.products.values():
            nest.append(Alloc(sums))
        self.block.open_lanes(nest)
        for sums in self.products.values():
            self._zeros(nest, sums)
        nest.close()
        for total, sums in self.products.items():
            first, second = self.block.rows[total], self.near.products[total]
            self.team.multiply_rows(nest, sums, first, second)
        self._exchange_maximum(nest)
        self.block.open_lanes(nest)
        self._rescale(nest)
        self._points(nest, self._stores, self._empty)
        nest.close()
        if self.walk.mixes:
            nest.append(Barrier())
        for sums, weights, side in zip(self.sums, self.weights, self.near.mixed, strict=True):
            self.team.multiply_weights(nest, sums, weights, side)
        return nest.close_all()

    def _points(
        self,
        nest: Nest,
        stores: Callable[[Expr, tuple[Expr, ...]], list[Store]],
        empty: Callable[[Expr], list[Store]],
    ) -> None:
        """``stores`` at every row and place of a lane that there is, ``empty`` at the others;
        neighbours along which weights lie side by side together, if none of them is alone.
        """
        group, neighbour = self.team.groups(self.tile.places), Iter(self.team.neighbours)
        near = self.team.column(group, neighbour)
        full, none = stores(near, self.team.place(group, neighbour)), empty(near)
        rows, places = count(self.scores.rows), self.scores.walked.extent
        order, extent = [group, neighbour, *self.team.row_loops], rows
        if self.team.by_columns:
            order, extent = [group, *self.team.row_loops, neighbour], places
        lane = order[-1]
        wide = extent % lane.extent == 0
        extents = [
            (substitute(x, lambda e: ZERO if e is lane and wide else None), n)
            for x, n in ((self.block.row, rows), (self._place + near, places))
        ]
        opened = order[:-1] if wide else order
        for i in opened:
            nest.open(i, "unroll")
        write = (partial(_store, nest, found, lane, wide) for found in (full, none))
        self.block.guarded(nest, within(extents), *write)
        nest.close(len(opened))

    def _values(self, near: Expr, index: tuple[Expr, ...]) -> Substitution:
        """Makes values those of a row and a place, where the running maximum counts as zero as long
        as it is -inf.
        """
        known: dict[Expr, Expr] = {t: Load(sums, index) for t, sums in self.products.items()}
        known |= {load: Load(room, (near,)) for load, room in self.near.lines.items()}
        known |= {load: Load(home, self.block.slot) for load, home in self.block.kept.items()}
        numbers = {**self.block.numbers, **self.shift}
        return self.block.placed(self._place + near, known, numbers)

    def _stores(self, near: Expr, index: tuple[Expr, ...]) -> list[Store]:
        """What is folded, and the weights."""
        change = self._values(near, index)
        found = [self._folded(fold, change) for fold in self.others]
        for mix, room in zip(self.walk.mixes, self.weights, strict=True):
            place = self.team.weight_place(room, self.block.own, near)
            found.append(Store(room, place, change(mix.weight)))
        return found

    def _empty(self, near: Expr) -> list[Store]:
        """Weights where there is no row or no place."""
        return [
            Store(room, self.team.weight_place(room, self.block.own, near), zero(mix.weight))
            for mix, room in zip(self.walk.mixes, self.weights, strict=True)
        ]

    # The running maximum --------------------------------------------------------------------------
    def _exchange_maximum(self, nest: Nest) -> None:
        """All lanes of a row tell each other the largest value that they have seen."""
        for fold in self.maxima:
            self.block.open_lanes(nest)
            self._points(nest, self._seen, lambda _: [])
            self._tell(nest, fold)
            nest.close()
            nest.append(Barrier())

    def _seen(self, near: Expr, index: tuple[Expr, ...]) -> list[Store]:
        """What the running maximum is made of."""
        change = self._values(near, index)
        return [self._folded(fold, change) for fold in self.maxima]

    def _folded(self, fold: Fold, change: Substitution) -> Store:
        part, slot = self.parts[fold.number], self.block.slot
        return Store(part, slot, change(fold.value), fold.function)

    def _tell(self, nest: Nest, fold: Fold) -> None:
        """What a lane has found, for the others."""
        opened = self.block.open_rows(nest)
        place = (self.block.own, self.team.sharer)
        found = Load(self.parts[fold.number], self.block.slot)
        nest.append(Put(self.rooms[fold.number], place, found))
        nest.close(opened)

    def _told(self, fold: Fold) -> Expr:
        """What all lanes of a row have found together."""
        room = self.rooms[fold.number]
        parts: list[Expr] = [
            Load(room, (self.block.own, number(n))) for n in range(self.team.sharers)
        ]
        return reduce(lambda a, b: apply(fold.function, a, b), parts)

    def _rescale(self, nest: Nest) -> None:
        """The new maximum, and the sums so far by it."""
        for fold in self.maxima:
            home, slot, dtype = self.homes[fold.number], self.block.slot, fold.value.dtype
            opened = self.block.open_rows(nest)
            depth = nest.depth_now
            old, new = Load(home, slot), nest.define(self._told(fold), depth)
            grown = Apply("exp", (apply("subtract", old, new),), dtype)
            scale = Select(apply("equal", old, new), Lit(1.0, dtype), grown)
            kept = nest.define(scale, depth)
            shift = Select(apply("equal", new, -math.inf), Lit(0.0, dtype), new)
            nest.append(Put(home, slot, new))
            nest.append(Put(self.shift[fold.number], slot, shift))
            for other in (f for f in self.walk.folds if f.scaled):
                nest.append(Put(self.parts[other.number], slot, kept, "multiply"))
            for mix, sums in zip(self.walk.mixes, self.sums, strict=True):
                if mix.scaled:
                    self._rescale_sums(nest, sums, padded(mix.width, self.plan), kept)
            nest.close(opened)

    def _rescale_sums(self, nest: Nest, sums: Buffer, columns: int, scale: Expr) -> None:
        group, neighbour = self.team.groups(columns), Iter(self.team.neighbours)
        nest.open(group, "unroll")
        nest.open(neighbour, "unroll")
        nest.append(Put(sums, self.team.place(group, neighbour), scale, "multiply"))
        nest.close(2)

    # Results --------------------------------------------------------------------------------------
    def _finish(self, nest: Nest) -> None:
        """Numbers of rows, and all stores."""
        own = Nest()
        rows = [s for s in self.walk.after if s.buffer.scope == "row"]
        homes = {s.buffer: self.team.numbers(s.value.dtype) for s in rows}
        for home in homes.values():
            nest.append(Alloc(home))
        own.open(self.team.warp, "warp")
        self._gather(own)
        self.block.open_lanes(own)
        for store in rows:
            self._number(own, store, homes[store.buffer])
        self._store_once(own)
        for mix, sums in zip(self.walk.mixes, self.sums, strict=True):
            self._store_sums(own, mix, sums)
        _move(own, nest)

    def _gather(self, nest: Nest) -> None:
        """What all places of a row are folded into."""
        self.block.numbers |= self.homes
        if not self.others:
            return
        self.block.open_lanes(nest)
        for fold in self.others:
            self._tell(nest, fold)
        nest.close()
        nest.append(Barrier())
        self.block.open_lanes(nest)
        opened = self.block.open_rows(nest)
        for fold in self.others:
            nest.append(Put(self.homes[fold.number], self.block.slot, self._told(fold)))
        nest.close(opened + 1)

    def _number(self, nest: Nest, store: Store, home: Buffer) -> None:
        """What follows from numbers of a row is one, too."""
        opened = self.block.open_rows(nest)
        nest.store([Store(home, self.block.slot, self._at(store, {}).value)])
        nest.close(opened)
        self.block.numbers[store.buffer] = home

    def _store_once(self, nest: Nest) -> None:
        """Numbers of rows go out; the first lane of a row stores them."""
        stores = [self._at(s, {}) for s in self.walk.after if s.buffer.scope != "row"]
        if stores:
            first, inside = apply("equal", self.team.sharer, ZERO), self.block.inside
            only = first if inside == TRUE else apply("logical_and", first, inside)
            opened = self.block.open_rows(nest)
            nest.branch(only, lambda: nest.store(stores), lambda: None)
            nest.close(opened)

    def _at(self, store: Store, known: Known) -> Store:
        """A store by the indices of loops."""
        change = self.block.placed(None, known, self.block.numbers)
        return Store(store.buffer, tuple(map(change, store.index)), change(store.value))

    def _store_sums(self, nest: Nest, mix: Mix, sums: Buffer) -> None:
        """What becomes of the sums of weighted factors: neighbours are stored together."""
        near = self.team.neighbours
        wide = mix.columns[-1].extent % near == 0
        group, neighbour = self.team.groups(padded(mix.width, self.plan)), Iter(near)
        column = self.team.column(group, neighbour)
        first = substitute(column, lambda e: ZERO if e is neighbour and wide else None)
        places = unravelled(column + mix.first, mix.columns, 1, ONLY)
        known: dict[Expr, Expr] = dict(places.items())
        known[mix.total] = Load(sums, self.team.place(group, neighbour))
        stores = [self._at(s, known) for s in mix.stores]
        inside = within([(self.block.row, count(self.scores.rows)), (first, mix.width)])
        write = partial(_store, nest, stores, neighbour, wide)
        opened = self.block.open_rows(nest)
        nest.open(group, "unroll")
        if not wide:
            nest.open(neighbour, "unroll")
        self.block.guarded(nest, inside, write, lambda: None)
        nest.close(opened + (1 if wide else 2))


def _store(nest: Nest, stores: list[Store], lane: Iter, wide: bool) -> None:
    """Stores, of all neighbours together if they are ``wide``."""
    if not stores:
        return
    if wide:
        nest.open(lane, "vector", lane.extent)
    nest.store(stores)
    if wide:
        nest.close()


def _move(own: Nest, nest: Nest) -> None:
    """Statements that are complete, behind those of another nest."""
    for statement in own.close_all():
        nest.append(statement)
