"""Kernels whose reductions are stages, and rows that are computed again instead of kept.

Comes in: a flat kernel. Goes out: an equal kernel. A separate step because a schedule shares the
points of stages among threads: what adds up has to be a stage, and what no thread can keep must not
be a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from graphc.expr import Buffer, Expr, Iter, Lit, Load, Reduce, Substitution, walk
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import INT64, DType, TensorType

ONLY = (Lit(0, INT64),)
"""Where the number of a buffer without axes lies."""


def number(dtype: DType) -> Buffer:
    """Memory of one number at each point of the outer space."""
    return Buffer(TensorType(dtype, ()), "row")


def size(iters: Iterable[Iter]) -> int:
    """How many points these indices have together."""
    return math.prod(i.extent for i in iters)


def staged(kernel: Kernel) -> Kernel:
    """Each reduction that the outer indices decide as a stage, before that in which it is used."""
    stages: list[Stage] = []
    for stage in kernel.stages:
        hoist = _Hoist(kernel.iters)
        stores = tuple(replace(s, value=hoist(s.value)) for s in stage.stores)
        stages += [*hoist.before, replace(stage, stores=stores)]
    return replace(kernel, stages=tuple(stages))


class _Hoist(Substitution):
    """Takes reductions out of values; ``before`` are the stages that compute them."""

    def __init__(self, outer: Iterable[Iter]) -> None:
        super().__init__(self._total)
        self.outer, self.before = set(outer), list[Stage]()
        self.known: dict[Reduce, Load] = {}

    def _total(self, e: Expr) -> Expr | None:
        if not isinstance(e, Reduce):
            return None
        own = Reduce(e.function, e.iters, self(e.body))
        if not self.outer.issuperset(free(own)):
            return own
        if own not in self.known:
            total = number(e.dtype)
            self.before.append(Stage(e.iters, (Store(total, ONLY, own.body, e.function),)))
            self.known[own] = Load(total, ONLY)
        return self.known[own]


def free(e: Expr) -> set[Iter]:
    """The indices that an expression depends on, but those it reduces over."""
    parts = [*walk(e)]
    bound = {i for x in parts if isinstance(x, Reduce) for i in x.iters}
    return {x for x in parts if isinstance(x, Iter)} - bound


def row_arrays(kernel: Kernel) -> list[Buffer]:
    """The rows of more than one number that stages leave to later ones."""
    rows = (s.buffer for s in kernel.stores if s.buffer.scope == "row" and s.buffer.shape)
    return [*dict.fromkeys(rows)]


def recomputed(kernel: Kernel) -> Kernel:
    """Rows computed again wherever they are read, if what they are made of is still there then."""
    values: dict[tuple[Buffer, Expr], Expr] = {}
    again = Substitution(
        lambda e: values.get((e.buffer, e.index[0])) if isinstance(e, Load) else None
    )
    stages = []
    for stage in kernel.stages:
        stores = [replace(s, value=again(s.value)) for s in stage.stores]
        stages.append(replace(stage, stores=tuple(stores)))
        for store in stores:
            if store.buffer.scope == "row" and store.buffer.shape and _lasts(kernel, store):
                values[store.buffer, store.index[0]] = store.value
        again.done.clear()
    kernel = replace(kernel, stages=tuple(stages))
    return _without_unread(kernel)


def _lasts(kernel: Kernel, store: Store) -> bool:
    """Whether a value can be computed later as well."""
    changed = {s.buffer for s in kernel.stores if s.buffer.scope != "row" or s.buffer.shape}
    return not store.combine and not any(
        isinstance(e, Load) and e.buffer in changed for e in walk(store.value)
    )


def _without_unread(kernel: Kernel) -> Kernel:
    read = {e.buffer for e in kernel.loads}
    stages = (
        replace(x, stores=tuple(s for s in x.stores if s.buffer.scope != "row" or s.buffer in read))
        for x in kernel.stages
    )
    return replace(kernel, stages=tuple(x for x in stages if x.stores))


def kept_outside(kernel: Kernel) -> Kernel:
    """The rows that are left, in global memory: each point of the outer space has its own."""
    point = point_of(kernel.iters)
    places = {
        row: Buffer(TensorType(row.type.dtype, (kernel.points, row.type.size)), "scratch")
        for row in row_arrays(kernel)
    }

    def moved(e: Expr) -> Expr | None:
        if not isinstance(e, Load) or e.buffer not in places:
            return None
        return Load(places[e.buffer], (point * e.buffer.type.size + e.index[0],))

    change = Substitution(moved)

    def store(s: Store) -> Store:
        value = change(s.value)
        if s.buffer not in places:
            return replace(s, value=value)
        place = (point * s.buffer.type.size + s.index[0],)
        return replace(s, buffer=places[s.buffer], index=place, value=value)

    stages = (replace(x, stores=tuple(map(store, x.stores))) for x in kernel.stages)
    return replace(kernel, stages=tuple(stages))


def point_of(iters: Iterable[Iter]) -> Expr:
    """The number of a point, the last index fastest."""
    found: Expr = Lit(0, INT64)
    for iterator in iters:
        found = found * iterator.extent + iterator
    return found
