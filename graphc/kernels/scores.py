"""Scores that never reach memory: kernels that compute matrices again instead of reading them.

Comes in: kernels in order, and the buffers that are not temporaries. Goes out: fewer kernels. A
separate step because it needs the finished kernels, and only pays where a schedule keeps a tile of
scores in fast memory: backends ask for it.

Of attention, ``softmax(q @ k.mT) @ v``, three things remain: a kernel over rows, which makes the
greatest score and the sum of each row and then the row of the result; one over rows for the
gradient of ``q``, and one over columns for those of ``k`` and ``v``, both of which compute scores
again from the numbers of rows that the first one stored (Dao et al., FlashAttention, 2022). What
may be computed again is decided in `dissolve`; attention is not looked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from graphc.expr import Buffer, Iter, Load
from graphc.graph import Node
from graphc.kernels.dense import dense_order, offset_in, offset_of
from graphc.kernels.dissolve import Consumer, Dissolved, dissolved, has_rows
from graphc.kernels.expand import Expansion, Numbers
from graphc.kernels.join import (
    Kernels,
    apart,
    meeting_place,
    side_by_side,
    with_buffer,
    with_copy,
    with_product,
)
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.kernels.walked import shares_factors


@dataclass(frozen=True)
class Shorter:
    """The kernels that are left, the buffers that are gone, the rows whose numbers got memory
    (memory to row), and the buffers that others hold, turned (new to old).
    """

    kernels: list[Kernel]
    gone: frozenset[Buffer] = frozenset()
    numbers: Mapping[Buffer, Buffer] = field(default_factory=dict)
    turned: Mapping[Buffer, Buffer] = field(default_factory=dict)


def without_scores(kernels: Sequence[Kernel], outside: set[Buffer]) -> Shorter:
    """The kernels, of which those dissolve whose matrices cost less to compute again than to keep.

    ``outside`` are the buffers that are not temporaries.
    """
    refused: set[int] = set()
    while True:
        found = dissolved(kernels, outside, refused)
        if not found.parts:
            return Shorter(list(kernels))
        rewriter = _Rewriter(found, outside)
        rewriter.write()
        unfit = rewriter.unfit()
        if not unfit:
            return rewriter.finished()
        refused |= unfit


class _Rewriter:
    """Writes the kernels that are left, then joins those that go through the same scores."""

    def __init__(self, found: Dissolved, outside: set[Buffer]) -> None:
        self.found, self.outside = found, outside
        self.numbers = Numbers(found)
        self.kernels: Kernels = list(found.kernels)
        self.nodes = _nodes(found)
        users = {u for number in found.parts for u in found.users(number)}
        known = {n: found.consumer(n) for n in sorted(users - found.numbers)}
        self.consumers = {n: c for n, c in known.items() if c is not None}
        self.at = {n: n for n in self.consumers}
        self.turned: dict[Buffer, Buffer] = {}

    def unfit(self) -> set[int]:
        """The dissolved kernels whose matrices their readers would compute at too great a cost."""
        found = self.found
        rows = {n for n in found.parts if not _is_fit(self.kernels[n])}
        bad = (found.sources(n) for n in self.consumers if not _is_fit(self.kernels[n]))
        return rows.union(*bad)

    def finished(self) -> Shorter:
        """The kernels, joined."""
        for number in self.consumers:
            self.place_results(number)
        for number in sorted(self.found.numbers, reverse=True):
            self.join_rows(number)
        self.join_consumers()
        self.drop_unread()
        kernels = [k for k in self.kernels if k is not None]
        left = {b for k in kernels for b in k.written}
        gone = frozenset(b for b in self.found.writers if b not in left)
        return Shorter(kernels, gone, self.numbers.new, self.turned)

    def write(self) -> None:
        """The kernels that are left, each on its own."""
        for number in self.found.parts:
            kernel = self.found.kernels[number]
            self.kernels[number] = self.rows(number) if has_rows(kernel) else None
        for number, consumer in self.consumers.items():
            (stage,) = self.expanded(number)
            stages = (Stage(consumer.columns, stage.stores),)
            self.kernels[number] = Kernel(consumer.lines, stages, self.nodes[number])
        for memory, row in self.numbers.new.items():
            self.store_number(self.numbers.owners[memory], memory, row)

    def expanded(self, number: int) -> Iterator[Stage]:
        """The stages of a kernel that reads dissolved matrices."""
        for stage in self.found.kernels[number].stages:
            new = Expansion(self.found, self.numbers, number).stage(stage)
            if new.stores:
                yield new

    def rows(self, number: int) -> Kernel:
        """What is left of a dissolved kernel: the numbers of its rows."""
        stages = tuple(self.expanded(number))
        return Kernel(self.found.kernels[number].iters, stages, self.nodes[number])

    def store_number(self, number: int, memory: Buffer, row: Buffer) -> None:
        """Have a number of rows stored."""
        kernel = self.kernels[number]
        assert kernel is not None
        *stages, last = kernel.stages
        store = Store(memory, kernel.iters, Load(row, ()))
        if last.iters or any(s.buffer is row for s in last.stores):  # it is there afterwards
            stages.append(last)
            last = Stage((), ())
        last = replace(last, stores=(*last.stores, store))
        self.kernels[number] = replace(kernel, stages=(*stages, last))

    # Joining --------------------------------------------------------------------------------------
    def put(
        self, joined: Kernel | None, places: tuple[int, int], handed: Set[Buffer]
    ) -> int | None:
        """Have one kernel take the places of two, if they exchange no more than is ``handed`` on;
        where it is then.
        """
        first, second = (self.kernels[p] for p in sorted(places))
        if joined is None or first is None or second is None or not apart(first, second, handed):
            return None
        place = meeting_place(self.kernels, *sorted(places))
        if place is not None:
            self.kernels[min(places)] = self.kernels[max(places)] = None
            self.kernels[place] = joined
        return place

    def place_results(self, number: int) -> None:
        """Have a product stored where it is wanted: where a copy, which is all that reads it, would
        put it, or with its columns side by side.
        """
        for store in _stores(self.kernels[number]):
            buffer, readers = store.buffer, self.found.readers.get(store.buffer, [])
            kernels = [self.kernels[r] for r in readers]
            plain = all(k is self.found.kernels[r] for k, r in zip(kernels, readers, strict=True))
            if buffer in self.outside or len(self.found.writers[buffer]) != 1 or not plain:
                continue
            if len(readers) == 1 and self.fold_copy(number, readers[0], buffer):
                return
            self.turn(number, store, readers)

    def fold_copy(self, number: int, reader: int, buffer: Buffer) -> bool:
        """Have a product do what a copy does, if it is one."""
        product, copy = self.kernels[number], self.kernels[reader]
        assert product is not None
        assert copy is not None
        place = self.put(with_copy(product, copy, buffer), (number, reader), {buffer})
        self.at[number] = number if place is None else place
        return place is not None

    def turn(self, number: int, store: Store, readers: Sequence[int]) -> None:
        """Store the columns of a product side by side: so its tiles are written, and in its readers
        any order is as good.
        """
        consumer, buffer = self.consumers[number], store.buffer
        offset, size = offset_in(buffer, store.index), math.prod(buffer.shape)
        order = dense_order(offset, consumer.lines + consumer.columns, size)
        called = any(self.found.kernels[r].call is not None for r in readers)
        if order is None or order[-1] in consumer.columns or called:
            return
        wanted = tuple(i for part in (consumer.lines, consumer.columns) for i in order if i in part)
        new = Buffer(replace(buffer.type, shape=tuple(i.extent for i in wanted)))
        self.turned[new] = buffer
        for place in (number, *readers):
            kernel = self.kernels[place]
            assert kernel is not None
            self.kernels[place] = with_buffer(kernel, buffer, new, order, wanted)

    def join_rows(self, number: int) -> None:
        """Have a kernel of rows compute a product of the same rows, too: the first that may run at
        the same time.
        """
        rows, handed = self.kernels[number], self.numbers.handed(number)
        for late, place in [*self.at.items()] if rows is not None else ():
            product = self.kernels[place]
            assert rows is not None
            assert product is not None
            joined = with_product(rows, product, handed)
            if self.put(joined, (number, place), handed.keys()) is not None:
                del self.at[late]
                return

    def join_consumers(self) -> None:
        """Have two products that walk alike through the same scores do it together."""
        group_of = {n: k for k, group in enumerate(self.found.groups()) for n in group}
        waiting: dict[object, int] = {}
        for late, place in self.at.items():
            consumer = self.consumers[late]
            key = group_of[min(self.found.sources(late))], _manner(consumer)
            early = waiting.pop(key, late)
            first, second = self.kernels[self.at[early]], self.kernels[place]
            assert first is not None
            assert second is not None
            same = dict(zip(_lines(consumer), _lines(self.consumers[early]), strict=True))
            joined = side_by_side(first, second, same) if early != late else None
            if self.put(joined, (self.at[early], place), frozenset()) is None:
                waiting[key] = late

    def drop_unread(self) -> None:
        """Store no number of rows that nobody reads after all."""
        changed = {*self.found.parts, *self.consumers}
        places = changed.union(self.at.values())
        kernels = {p: k for p in places if (k := self.kernels[p]) is not None}
        read = {b for k in kernels.values() for b in k.read}
        for memory in self.numbers.rounded.keys() - self.outside:
            if not changed.issuperset(self.found.readers.get(memory, ())):
                read.add(memory)
        unread = (self.numbers.new.keys() | self.numbers.rounded.keys()) - self.outside - read
        for place, kernel in kernels.items():
            if not unread.isdisjoint(kernel.written):
                self.kernels[place] = _without(kernel, unread)


def _is_fit(kernel: Kernel | None) -> bool:
    return kernel is None or shares_factors(kernel)


def _stores(kernel: Kernel | None) -> list[Store]:
    return [] if kernel is None else [*kernel.stores]


def _without(kernel: Kernel, memory: Set[Buffer]) -> Kernel:
    """The kernel without its stores to some memory."""
    kept = (
        Stage(t.iters, tuple(s for s in t.stores if s.buffer not in memory)) for t in kernel.stages
    )
    return replace(kernel, stages=tuple(t for t in kept if t.stores))


def _order(consumer: Consumer) -> tuple[Iter, ...]:
    """The indices by which a product walks through its scores, slowest first."""
    load = consumer.read[0]
    iters, size = consumer.lines + consumer.total.iters, math.prod(load.buffer.shape)
    order = dense_order(offset_of(load), iters, size)
    assert order is not None
    return order


def _lines(consumer: Consumer) -> list[Iter]:
    return [i for i in _order(consumer) if i in consumer.lines]


def _manner(consumer: Consumer) -> tuple[tuple[int, bool], ...]:
    """How a product walks through its scores: along which indices it adds up."""
    return tuple((i.extent, i in consumer.lines) for i in _order(consumer))


def _nodes(found: Dissolved) -> dict[int, tuple[Node, ...]]:
    """The nodes that each kernel computes: what is dissolved counts where it is made first."""
    nodes = {n: k.nodes for n, k in enumerate(found.kernels)}
    for number in sorted(found.parts):
        if not has_rows(found.kernels[number]):
            user = min(found.users(number))
            nodes[user] = nodes[number] + nodes[user]
    return nodes
