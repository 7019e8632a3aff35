"""Scatters as sums over sorted places: in parallel, and the same bits each time.

Comes in: a kernel that folds values into places which data decides, such as the gradient of an
embedding. Goes out: phases. The places are written down and sorted (`sort`); so those that meet are
neighbours, in the order of their points. Every thread then folds a few neighbours: runs that begin
and end with it are done, the parts of others are left for the next phase, which treats them alike,
until one thread folds what is left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from graphc.backends.cuda.across import adds, parts
from graphc.backends.cuda.device import WARP
from graphc.backends.cuda.expressions import SMALL
from graphc.backends.cuda.points import THREADS, guarded, unravelled
from graphc.backends.cuda.sort import Numbers
from graphc.backends.cuda.stages import point_of, size
from graphc.expr import (
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Select,
    Substitution,
    apply,
    cast,
    walk,
)
from graphc.index import flat_index, linear
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Alloc, Put, Statement, When
from graphc.loops.nest import Nest, identity
from graphc.types import BOOL, INT32, INT64, TensorType

Phases = tuple[tuple[Statement, ...], ...]
FEWEST = 33
"""Points that meet: fewer are quick to take one after another."""
RUN = 16
"""Neighbours that a thread folds."""
LAST = 64
"""Neighbours that are left to one thread."""
YES, NO = Lit(True, BOOL), Lit(False, BOOL)


@dataclass(frozen=True)
class Scatter:
    """``store``, whose place is ``key``, an offset that the indices ``alone`` decide, and
    ``column``, one that the indices ``shared`` by threads do.
    """

    store: Store
    alone: tuple[Iter, ...]
    shared: tuple[Iter, ...]
    key: Expr
    column: Expr


@dataclass(frozen=True)
class Items:
    """What is still to be folded: sorted ``keys``, and the value at a number and a column."""

    count: int
    keys: Buffer
    value: Callable[[Expr], Expr]


def scatter_of(kernel: Kernel) -> Scatter | None:
    """The scatter of a kernel that does nothing else and is worth sorting; else None."""
    stores = [*kernel.stores]
    if len(stores) != 1 or not adds(stores[0]) or kernel.stages[0].iters:
        return None
    store = stores[0]
    shared = tuple(i for i in kernel.iters if parts(store, i))
    if any(_is_mixed(place, shared) for place in store.index):
        shared = ()  # each column has places of its own
    alone = tuple(i for i in kernel.iters if i not in shared)
    if size(alone) < FEWEST or max(size(alone), math.prod(store.buffer.shape)) >= SMALL:
        return None
    zero = Substitution(lambda e: Lit(0, INT64) if e in shared else None)
    where = flat_index(store.buffer, store.index)
    key = zero(where) if shared else where
    return Scatter(store, alone, shared, key, where - key)


def _is_mixed(place: Expr, shared: tuple[Iter, ...]) -> bool:
    """Whether indices that threads share decide a place together with others or with data."""
    inside = [*walk(place)]
    return any(e in shared for e in inside) and any(
        isinstance(e, Load) or (isinstance(e, Iter) and e not in shared) for e in inside
    )


def written_down(scatter: Scatter, keys: Buffer) -> Kernel:
    """The kernel that writes down the place of every point."""
    write = Store(keys, (point_of(scatter.alone),), cast(scatter.key, INT32))
    return Kernel(scatter.alone, (Stage((), (write,)),))


def folded(scatter: Scatter, order: Numbers) -> Phases:
    """The phases that fold the values of sorted points."""
    alone = scatter.alone

    def value(item: Expr) -> Expr:
        point = Bounded(cast(Load(order.places, (item,)), INT64), size(alone))
        at = unravelled(point, alone, 1, Iter(1))
        change = Substitution(lambda e: at.get(e) if isinstance(e, Iter) else None)
        return change(scatter.store.value)

    items: Items | None = Items(size(alone), order.keys, value)
    phases: Phases = ()
    while items is not None:
        level = _Level(scatter, items)
        phases += (level.phase(),)
        items = level.left
    return phases


class _Level:
    """Writes a phase: a thread for each run of items and each column. ``left`` are the parts of
    longer runs: for each thread one from its begin and one from its end.
    """

    def __init__(self, scatter: Scatter, items: Items) -> None:
        self.scatter, self.items = scatter, items
        run = items.count if items.count <= LAST else RUN
        self.step, self.runs = Iter(run), Iter(-(-items.count // run))
        self.columns = size(scatter.shared)
        units = self.runs.extent * self.columns
        self.threads = min(THREADS, -(-units // WARP) * WARP)
        self.block, self.thread = Iter(-(-units // self.threads)), Iter(self.threads)
        self.number = linear([(self.block, self.threads), (self.thread, 1)])
        self.units = units
        self.places = unravelled(self.number, [self.runs, *scatter.shared], 1, Iter(1))
        self.builder = Nest()
        dtype = scatter.store.value.dtype
        self.total = Buffer(TensorType(dtype, (self.threads, 1)), "register")
        self.goes_on = Buffer(TensorType(BOOL, (self.threads, 1)), "register")
        self.one = (self.thread, Lit(0, INT64))
        self.start = identity(scatter.store.combine, dtype)
        self.left: Items | None = None
        if self.runs.extent > 1:
            self.ends = Buffer(TensorType(INT32, (2 * self.runs.extent,)), "scratch")
            shape = (2 * self.runs.extent, self.columns)
            self.rest = Buffer(TensorType(dtype, shape), "scratch")
            self.left = Items(2 * self.runs.extent, self.ends, self._part)

    def _part(self, item: Expr) -> Expr:
        return Load(self.rest, (item * self.columns + point_of(self.scatter.shared),))

    def phase(self) -> tuple[Statement, ...]:
        builder = self.builder
        builder.open(self.block, "block")
        builder.open(self.thread, "thread")
        ragged = self.units % self.threads != 0
        guarded(builder, self.number, self.units, ragged, self._run)
        return builder.close_all()

    def _run(self) -> None:
        builder, run = self.builder, self.places[self.runs]
        builder.append(Alloc(self.total))
        builder.append(Alloc(self.goes_on))
        if self.left is not None:
            self._leave(0, self.start)
            self._leave(1, self.start)
            ends = ((0, run * self.step.extent), (1, self._last(run)))
            puts = tuple(Put(self.ends, (run * 2 + n,), self._key(item)) for n, item in ends)
            builder.append(When(apply("equal", self._column(), 0), puts, ()))
        builder.open(self.step, "serial")
        item = linear([(run, self.step.extent), (self.step, 1)])
        ragged = self.items.count % self.step.extent != 0
        guarded(builder, item, self.items.count, ragged, lambda: self._fold(item))
        builder.close()

    def _last(self, run: Expr) -> Expr:
        """The last item of a run."""
        after, count = run * self.step.extent + (self.step.extent - 1), self.items.count
        if count % self.step.extent == 0:
            return after
        least = apply("minimum", after, Lit(count - 1, INT64))
        return Bounded(least, count)

    def _column(self) -> Expr:
        return self.number % self.columns

    def _key(self, item: Expr) -> Load:
        return Load(self.items.keys, (item,))

    def _placed(self, e: Expr) -> Expr:
        def known(x: Expr) -> Expr | None:
            return self.places.get(x) if isinstance(x, Iter) else None

        return Substitution(known)(e)

    def _leave(self, end: int, value: Expr) -> None:
        """What is left of a run for the next phase, at its begin (0) or its end (1)."""
        place = (self.places[self.runs] * 2 + end) * self.columns + self._column()
        self.builder.append(Put(self.rest, (place,), value))

    def _fold(self, item: Expr) -> None:
        """One item: it begins a sum or goes on with it; the sum is stored where its places end."""
        builder, combine = self.builder, self.scatter.store.combine
        depth = builder.depth_now
        builder.floor = depth
        (value,) = builder.values([self._placed(self.items.value(item))])
        value = builder.define(value, depth)
        key, first = builder.define(self._key(item), depth), apply("equal", self.step, 0)
        alike = apply("equal", self._key(item - 1), key)
        begins = Select(apply("equal", item, 0), YES, apply("logical_not", alike))
        fresh = builder.define(begins, depth)
        start = apply("logical_or", fresh, first)
        before = Load(self.total, self.one)
        total = Select(start, value, apply(combine, before, value))
        builder.append(Put(self.total, self.one, total))
        going = Select(fresh, NO, Select(first, YES, Load(self.goes_on, self.one)))
        builder.append(Put(self.goes_on, self.one, going))
        differ = apply("not_equal", self._key(item + 1), key)
        ends = builder.define(
            Select(apply("equal", item, self.items.count - 1), YES, differ), depth
        )
        whole = apply("logical_and", ends, apply("logical_not", Load(self.goes_on, self.one)))
        builder.branch(whole, lambda: self._store(key), lambda: self._keep(ends))

    def _store(self, key: Expr) -> None:
        """A sum that is complete goes to its place, which no other thread has."""
        store = self.scatter.store
        offset = Bounded(cast(key, INT64), max(math.prod(store.buffer.shape), 1))
        place = (offset + self._placed(self.scatter.column),)
        self.builder.append(Put(store.buffer, place, Load(self.total, self.one), store.combine))

    def _keep(self, ends: Expr) -> None:
        """A sum that goes on elsewhere waits, when the thread has no more of it."""
        if self.left is None:
            return
        total, begun = Load(self.total, self.one), Load(self.goes_on, self.one)
        last = apply("logical_or", ends, apply("equal", self.step, self.step.extent - 1))
        self.builder.branch(
            last,
            lambda: self.builder.branch(
                begun, lambda: self._leave(0, total), lambda: self._leave(1, total)
            ),
            lambda: None,
        )
