"""Sums over all rows of a kernel that works row by row: blocks of rows have sums of their own.

Comes in: a kernel that folds into memory which no outer index moves (the gradient of a bias, beside
the gradient that it is the sum of). Goes out: loops that threads can share: each block of rows
folds into partial sums, and a last loop folds these together. A separate step because the loops are
not those of one kernel: something happens before and after the rows of a block.

The number of blocks does not depend on the number of threads, so that results do not either.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Reduce, Substitution
from graphc.index import bounds, linear, stride
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Statement
from graphc.loops.nest import Nest, identity, nest
from graphc.types import INT64, TensorType

BLOCKS = 16
"""Blocks of rows at most."""


def across(kernel: Kernel) -> list[Store]:
    """The stores that fold over the outer indices, if there are such and no other scatters."""
    folds = [s for s in kernel.stores if s.combine and s.buffer.scope == "global"]
    fixed = all(stride(s.index[0], i) == 0 for s in folds for i in kernel.iters)
    inner = [i for stage in kernel.stages for i in stage.iters]
    dense = all(any(stride(s.index[0], i) == 1 for i in inner) for s in folds)
    return folds if fixed and dense and kernel.iters else []


def in_blocks(kernel: Kernel, lane: Iter | None) -> tuple[Statement, ...]:
    """The phases of a kernel that has stores `across`: blocks of rows, the rest, the last sums."""
    folds = across(kernel)
    rows = max(kernel.iters, key=lambda i: i.extent)
    count = max(1, min(BLOCKS, rows.extent))
    size, rest = divmod(rows.extent, count)
    total = count + (rest > 0)
    partials = {s.buffer: _partial(s, total) for s in folds}
    block = Iter(count)
    main = _Block(kernel, rows, partials, block, block, Iter(size), linear([(block, size)]))
    phases = main.statements(lane)
    if rest:
        only = Iter(1)
        number, start = linear([(only, 1)], count), Lit(count * size, INT64)
        last = _Block(kernel, rows, partials, only, number, Iter(rest), start)
        phases += last.statements(lane)
    for store in folds:
        phases += _together(store, partials[store.buffer], total)
    return phases


def _reach(store: Store) -> int:
    """The elements that a store folds into."""
    found = bounds(store.index[0])
    assert found is not None
    return found[1] + 1


def _partial(store: Store, count: int) -> Buffer:
    return Buffer(TensorType(store.buffer.type.dtype, (count * _reach(store),)), "scratch")


def _together(store: Store, partial: Buffer, count: int) -> tuple[Statement, ...]:
    """Fold the partial sums of all blocks into the memory of the whole."""
    element, block = Iter(_reach(store)), Iter(count)
    parts = Load(partial, (linear([(block, element.extent), (element, 1)]),))
    total: Expr = Reduce(store.combine, (block,), parts)
    before = Load(store.buffer, (element,))
    value = Apply(store.combine, (before, total), total.dtype)
    last = Kernel((element,), (Stage((), (Store(store.buffer, (element,), value),)),))
    return nest(last, None, {element: "vector"})


class _Block:
    """The loops of a block: ``rows`` is ``start`` and what ``row`` counts from there."""

    def __init__(
        self, kernel: Kernel, rows: Iter, partials: dict[Buffer, Buffer], block: Iter, number: Expr,
        row: Iter, start: Expr,
    ) -> None:  # fmt: skip
        self.kernel, self.rows, self.partials = kernel, rows, partials
        self.block, self.number, self.row = block, number, row
        place = linear([(row, 1), (start, 1)])
        self.change = Substitution(lambda e: place if e is rows else None)

    def statements(self, lane: Iter | None) -> tuple[Statement, ...]:
        kinds = {} if lane is None else {lane: "vector"}
        builder = Nest(kinds)
        builder.open(self.block, "parallel")
        for store in across(self.kernel):
            element = Iter(_reach(store))
            builder.kinds[element] = "vector"
            start = identity(store.combine, store.buffer.type.dtype)
            place = self.placed(store, element)
            builder.stage(Stage((element,), (Store(self.partials[store.buffer], place, start),)))
        for iterator in (i for i in self.kernel.iters if i is not self.rows):
            builder.open(iterator, "serial")
        builder.open(self.row, "serial")
        for stage in self.kernel.stages:
            builder.stage(replace(stage, stores=tuple(map(self.store, stage.stores))))
        return builder.close_all()

    def placed(self, store: Store, index: Expr) -> tuple[Expr]:
        return (linear([(self.number, _reach(store)), (index, 1)]),)

    def store(self, store: Store) -> Store:
        value, index = self.change(store.value), tuple(map(self.change, store.index))
        if store.buffer in self.partials:
            index = self.placed(store, index[0])
            return replace(store, buffer=self.partials[store.buffer], index=index, value=value)
        return replace(store, index=index, value=value)
