"""Two kernels as one: where the second may run beside the first, and what comes out.

Comes in: kernels in order, some of them gone. Goes out: the same, with two of them joined. A
separate step because it asks nothing but who reads and writes what, and when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from graphc.expr import Buffer, Expr, Iter, Load, Reduce, Substitution, walk
from graphc.index import bounds
from graphc.kernels.dense import dense_order, offset_in, offset_of, solved
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.kernels.trace import flatten

Kernels = list[Kernel | None]
"""Kernels in order; None is one that is gone."""


def meeting_place(kernels: Kernels, early: int, late: int) -> int | None:
    """Where both kernels can run at once: at the time of one of them, if the other may run then;
    None if neither may.
    """
    between = [k for k in kernels[early + 1 : late] if k is not None]
    for place, moved in ((late, kernels[early]), (early, kernels[late])):
        if moved is not None and not any(_clash(moved, k) for k in between):
            return place
    return None


def _clash(a: Kernel, b: Kernel) -> bool:
    """Whether the order of two kernels matters."""
    reads = set(a.written) & set(b.read) or set(b.written) & set(a.read)
    return bool(reads) or not _store_apart(a, b)


def apart(first: Kernel, second: Kernel, handed: Set[Buffer]) -> bool:
    """Whether two kernels exchange nothing but what is ``handed`` on from the first."""
    reads = set(second.read) & set(first.written) - handed or set(second.written) & set(first.read)
    return not reads and _store_apart(first, second)


def _store_apart(a: Kernel, b: Kernel) -> bool:
    """Whether two kernels store nothing at the same place, though maybe in one buffer: parts of a
    concatenation are written where they belong.
    """
    both = set(a.written) & set(b.written)
    return all(
        _differ(s, t)
        for s in a.stores
        for t in b.stores
        if s.buffer is t.buffer and s.buffer in both
    )


def _differ(s: Store, t: Store) -> bool:
    """Whether two stores reach different parts of an axis."""
    for i, j in zip(s.index, t.index, strict=True):
        first, second = bounds(i), bounds(j)
        if first and second and (first[1] < second[0] or second[1] < first[0]):
            return True
    return False


def with_product(rows: Kernel, product: Kernel, handed: Mapping[Buffer, Buffer]) -> Kernel | None:
    """A kernel of rows with a product as its last stage, if the product's rows are the same: it
    reads the numbers ``handed`` on, memory to row, at one place, which walks through all rows.
    """
    offsets = {offset_of(x) for x in product.loads if x.buffer in handed}
    if len(offsets) != 1:
        return None
    (offset,) = offsets
    order = dense_order(offset, product.iters, rows.points)
    if order is None:
        return None
    places = solved(order, flatten(rows.iters, [i.extent for i in rows.iters]))

    def moved(e: Expr) -> Expr | None:
        if isinstance(e, Iter):
            return places.get(e)
        if isinstance(e, Load) and e.buffer in handed:
            return Load(handed[e.buffer], ())
        return None

    stages = tuple(_changed(stage, Substitution(moved)) for stage in product.stages)
    return Kernel(rows.iters, rows.stages + stages, rows.nodes + product.nodes)


def side_by_side(first: Kernel, second: Kernel, places: Mapping[Iter, Iter]) -> Kernel:
    """Two kernels over one space; ``places`` are the indices of the second in the first."""
    change = Substitution(lambda e: places.get(e) if isinstance(e, Iter) else None)
    stages = tuple(_changed(stage, change) for stage in second.stages)
    nodes = first.nodes + tuple(n for n in second.nodes if n not in first.nodes)
    return Kernel(first.iters, first.stages + stages, nodes)


def _changed(stage: Stage, change: Substitution) -> Stage:
    return replace(stage, stores=tuple(_store(s, change) for s in stage.stores))


def _store(store: Store, change: Substitution) -> Store:
    return replace(store, index=tuple(map(change, store.index)), value=change(store.value))


def with_buffer(
    kernel: Kernel, old: Buffer, new: Buffer, order: Sequence[Iter], wanted: Sequence[Iter]
) -> Kernel:
    """The kernel with another buffer in place of one through which ``order`` walks: through the new
    one the same indices walk as ``wanted``.
    """

    def place(index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        places = solved(order, offset_in(old, index))
        return tuple(places[i] for i in wanted)

    def moved(e: Expr) -> Expr | None:
        if isinstance(e, Load) and e.buffer is old:
            return Load(new, place(tuple(map(change, e.index))))
        return None

    def store(s: Store) -> Store:
        s = _store(s, change)
        return replace(s, buffer=new, index=place(s.index)) if s.buffer is old else s

    change = Substitution(moved)
    stages = (replace(t, stores=tuple(map(store, t.stores))) for t in kernel.stages)
    return replace(kernel, stages=tuple(stages))


def with_copy(maker: Kernel, copy: Kernel, between: Buffer) -> Kernel | None:
    """A kernel that stores at once what another copied out of the memory ``between`` them, at other
    indices; None if the copy is more than that.
    """
    (store,) = (s for s in maker.stores if s.buffer is between)
    plain = len(copy.stages) == 1 and not copy.stages[0].iters
    offsets = {offset_of(x) for x in copy.loads if x.buffer is between}
    sums = any(isinstance(e, Reduce) for e in walk(*(s.value for s in copy.stores)))
    alone = copy.read == (between,) and not any(s.combine for s in copy.stores)
    if not plain or sums or not alone or len(offsets) != 1:
        return None
    order = dense_order(offsets.pop(), copy.iters, math.prod(between.shape))
    if order is None:
        return None
    places = solved(order, offset_in(between, store.index))

    def moved(e: Expr) -> Expr | None:
        if isinstance(e, Iter):
            return places.get(e)
        return store.value if isinstance(e, Load) and e.buffer is between else None

    change = Substitution(moved)
    new = tuple(_store(s, change) for s in copy.stores)
    stages = tuple(
        Stage(t.iters, tuple(n for s in t.stores for n in (new if s is store else (s,))))
        for t in maker.stages
    )
    return Kernel(maker.iters, stages, maker.nodes + copy.nodes)
