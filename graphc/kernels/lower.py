"""Lowering: from fused groups of nodes to kernels.

Comes in: a graph with static sizes. Goes out: a `Program`. Members of one stage are substituted
into each other; what a later stage needs is kept per outer point ("row" buffers), repeated when
that is cheaper, or read back from the result just stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import replace
from functools import partial

from graphc.expr import (
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Reduce,
    Sharing,
    Substitution,
    walk,
)
from graphc.graph import Graph, Node
from graphc.kernels.divide import without_divisions
from graphc.kernels.fuse import Fusion, Group, fuse, reduction_body
from graphc.kernels.kernel import Call, Kernel, Program, Stage, Store
from graphc.kernels.memory import plan
from graphc.kernels.order import saving_order
from graphc.kernels.place import relocated
from graphc.kernels.roots import with_memory_for_roots, with_wide_sums
from graphc.kernels.scores import without_scores
from graphc.kernels.trace import iterators, loads
from graphc.kernels.update import update_in_place
from graphc.scalars import SCALARS, identity_of
from graphc.types import TensorType

REPEAT = 6
"""A value this cheap is computed again by a later stage instead of being kept."""
STACK = 256 << 10
"""Bytes that the rows of one kernel take at most: they lie on the stack of each thread."""


def lower(graph: Graph, *, saving: bool = False, recomputing: bool = False) -> Program:
    """The program of ``graph``, its kernels in the order of the graph or one that is ``saving``
    memory, ``recomputing`` scores rather than keeping them. Sizes must be static
    (`graph.specialise`).
    """
    graph = with_memory_for_roots(with_wide_sums(graph))
    fusion = fuse(graph)
    definitions = {g: _definitions(fusion, g) for g in fusion.groups}
    reads = {g: _reads(fusion, g, definitions[g]) for g in fusion.groups}
    stored = _stored(graph, fusion, reads)
    if saving:
        fusion = saving_order(graph, fusion, reads, stored)
    homes, copies = update_in_place(graph, fusion, reads)
    rows: dict[Buffer, Node] = {}
    kernels = [
        k for g in fusion.groups for k in _kernels(fusion, g, definitions[g], stored, homes, rows)
    ]
    buffers = fusion.tracer.buffers
    placed = [relocated(k, fusion.places, buffers) for k in kernels + copies]
    kernels, outside = [*map(without_divisions, placed)], _outside(graph, buffers)
    owners = {b: n for n, b in buffers.items()}
    gone: Set[Buffer] = frozenset()
    if recomputing:
        shorter = without_scores(kernels, outside)
        kernels, gone = [*map(without_divisions, shorter.kernels)], shorter.gone
        owners |= {memory: rows[row] for memory, row in shorter.numbers.items()}
        owners |= {new: owners[old] for new, old in shorter.turned.items()}
    used = {b for k in kernels for b in (*k.read, *k.written)}
    return Program(
        graph,
        tuple(kernels),
        tuple(buffers[x] for x in graph.inputs),
        tuple(buffers[y] for y in graph.outputs),
        tuple((n, buffers[n]) for n in graph.nodes if _is_held(n, graph) and buffers[n] in used),
        plan(kernels, outside),
        tuple(r for r in fusion.refusals if buffers[r.producer] not in gone),
        owners,
        {part: place.whole for part, place in fusion.places.of.items()},
    )


def _is_held(node: Node, graph: Graph) -> bool:
    return node.op.kind == "leaf" and node not in graph.inputs


def _outside(graph: Graph, buffers: dict[Node, Buffer]) -> set[Buffer]:
    leaves = {buffers[n] for n in graph.nodes if n.op.kind == "leaf"}
    return leaves | {buffers[y] for y in graph.outputs}


def _definitions(fusion: Fusion, group: Group) -> dict[Node, Expr]:
    """Each member as an expression over the group's iterators, members still loaded."""
    found: dict[Node, Expr] = {}
    for node in group.stages:
        if node.op.kind == "reduce":
            found[node] = reduction_body(fusion.tracer, node, group)
        elif group.kind not in ("scatter", "call"):
            found[node] = fusion.tracer.definition(node, group.index_of(node))
    return found


def _reads(fusion: Fusion, group: Group, exprs: dict[Node, Expr]) -> list[tuple[Node, Load]]:
    """The loads of a group and the member that makes each."""
    if group.kind == "call":
        operands = ((n, x) for n in group.stages for x in n.inputs)
        whole = ((n, fusion.tracer.value(x, iterators(x.type.static_shape))) for n, x in operands)
        return [(node, load) for node, load in whole if isinstance(load, Load)]
    if group.kind != "scatter":
        return [(node, x) for node, e in exprs.items() for x in loads(e)]
    (node,) = group.stages
    base = fusion.tracer.value(node.inputs[0], iterators(node.type.static_shape))
    target, value = fusion.tracer.scatter(node, iterators(node.inputs[-1].type.static_shape))
    return [(node, x) for e in (base, *target, value) for x in loads(e)]


def _stored(graph: Graph, fusion: Fusion, reads: dict[Group, list[tuple[Node, Load]]]) -> set[Node]:
    """The nodes that need memory outside their kernel: roots, and what other kernels read."""
    owner = {b: n for n, b in fusion.tracer.buffers.items()}
    stored = set(graph.roots)
    for group, found in reads.items():
        for _, load in found:
            producer = owner[load.buffer]
            if producer in fusion.home and fusion.home[producer] is not group:
                stored.add(producer)
    return stored


def _kernels(
    fusion: Fusion,
    group: Group,
    definitions: dict[Node, Expr],
    stored: set[Node],
    homes: dict[Buffer, Buffer],
    rows: dict[Buffer, Node],
) -> list[Kernel]:
    """The kernels of a group: one, for a scatter two, none when nothing reads it. What they keep of
    their ``rows`` is noted.
    """
    writer = _Writer(fusion, group, stored, homes, rows)
    if group.kind == "call":
        return writer.call()
    if group.kind == "join":
        return writer.join()
    if group.kind == "scatter":
        return writer.scatter()
    if not group.unrolled:
        return writer.kernels(definitions)
    for place in group.written_out():  # by one writer, for places share most of what they read
        writer.group = place
        writer.define(_definitions(fusion, place))
    share = Sharing()
    return [
        replace(kernel, stages=tuple(_shared(stage, share) for stage in kernel.stages))
        for kernel in writer.written()
    ]


def _shared(stage: Stage, share: Sharing) -> Stage:
    """The stage with equal parts of its values as one."""
    return replace(stage, stores=tuple(replace(s, value=share(s.value)) for s in stage.stores))


class _Writer:
    """Writes the kernel (for a scatter: the two kernels) of one group."""

    def __init__(
        self,
        fusion: Fusion,
        group: Group,
        stored: set[Node],
        homes: dict[Buffer, Buffer],
        kept: dict[Buffer, Node],
    ) -> None:
        self.fusion, self.group, self.stored, self.homes = fusion, group, stored, homes
        self.kept = kept
        self.owner = {fusion.tracer.buffers[n]: n for n in group.stages}
        self.updated = {homes[b] for b in self.owner if b in homes}
        self.final: dict[Node, Expr] = {}
        self.rows: dict[Node, Buffer] = {}
        self.spills: set[Node] = set()
        self.stores: dict[int, list[Store]] = {}
        self.resolvers: dict[int, Substitution] = {}

    def kernels(self, definitions: dict[Node, Expr]) -> list[Kernel]:
        self.define(definitions)
        return self.written()

    def define(self, definitions: dict[Node, Expr]) -> None:
        """Write the members, given as expressions whose loads name each other."""
        for node, expr in definitions.items():
            self.final[node] = self.resolve(expr, self.group.stages[node])
            self.write(node)

    def written(self) -> list[Kernel]:
        """What was written; nothing when nobody reads it."""
        group = self.group
        inner = _iters(group.index[a] for a in group.inner)
        stages = tuple(
            Stage(inner if number % 2 == 0 else (), tuple(stores))
            for number, stores in sorted(self.stores.items())
        )
        outer = _iters(group.index[a] for a in group.outer)
        starts = [self.start(n) for n in group.stages if group.is_across(n) and n in self.stored]
        return [*starts, Kernel(outer, stages, tuple(group.stages))] if stages else []

    def start(self, node: Node) -> Kernel:
        """What a reduction over the outer indices begins with."""
        index = iterators(node.type.static_shape)
        value = Lit(identity_of(SCALARS[node.op.combine], node.dtype), node.dtype.computing)
        stage = Stage((), (Store(self.memory(node), index, value),))
        return Kernel(_iters(index), (stage,), (node,))

    def write(self, node: Node) -> None:
        """Emit the stores of one member: its accumulation, and its memory."""
        stage, value = self.group.stages[node], self.final[node]
        if self.group.is_across(node):
            if node in self.stored:
                place = self.group.index_of(node)
                self.put(stage, Store(self.memory(node), place, value, node.op.combine))
            return
        if node.op.kind == "reduce":
            row = self.row(node)
            self.put(stage, Store(row, (), value, node.op.combine))
            stage, value = stage + 1, Load(row, ())
        if node in self.stored:
            self.put(stage, Store(self.memory(node), self.group.index_of(node), value))

    def memory(self, node: Node) -> Buffer:
        """Where a stored member lives: its own buffer, or the parameter it updates."""
        own = self.fusion.tracer.buffers[node]
        return self.homes.get(own, own)

    def put(self, stage: int, store: Store) -> None:
        self.stores.setdefault(stage, []).append(store)

    def row(self, node: Node) -> Buffer:
        """The member's memory per outer point: one number, or one per inner point."""
        if node not in self.rows:
            group = self.group
            shape = () if group.is_outer(node) else tuple(group.shape[a] for a in group.inner)
            self.rows[node] = Buffer(TensorType(node.dtype.computing, shape), "row")
            self.kept[self.rows[node]] = node
        return self.rows[node]

    def resolve(self, expr: Expr, stage: int) -> Expr:
        """``expr`` with its loads of other members replaced by what they are at this stage, and
        indices that guards keep in bounds in place of their promises.
        """
        if stage not in self.resolvers:  # one per stage, so that members share what they share
            self.resolvers[stage] = Substitution(partial(self.replaced, stage))
        return self.resolvers[stage](expr)

    def replaced(self, stage: int, e: Expr) -> Expr | None:
        if isinstance(e, Bounded):
            return self.resolvers[stage](e.index) if e.owner is None else None
        if not isinstance(e, Load) or not (e.buffer in self.owner or e.buffer in self.homes):
            return None
        index = tuple(map(self.resolvers[stage], e.index))
        if e.buffer in self.owner:
            return self.member(self.owner[e.buffer], Load(e.buffer, index), stage)
        return Load(self.homes[e.buffer], index)

    def member(self, node: Node, load: Load, stage: int) -> Expr:
        if node.op.kind == "reduce":
            return Load(self.row(node), ())
        value = self.final[node]
        if self.group.stages[node] == stage:
            return value
        if self.may_repeat(node, value):
            return value
        if not self.group.is_outer(node) and (node in self.stored or self.spilled(node)):
            return Load(self.memory(node), load.index)
        inner = () if self.group.is_outer(node) else self.group.inner
        index = tuple(self.group.index[a] for a in inner)
        if node not in self.rows:
            self.put(self.group.stages[node], Store(self.row(node), index, value))
        return Load(self.row(node), index)

    def spilled(self, node: Node) -> bool:
        """Whether a row would not fit on the stack; the whole member is stored instead, once."""
        taken = sum(b.type.bytes for b in self.rows.values() if b.shape)
        if node in self.rows or taken + self.group.inner_size * node.dtype.bytes <= STACK:
            return False
        if node not in self.spills:
            self.spills.add(node)
            place = self.group.index_of(node)
            self.put(self.group.stages[node], Store(self.memory(node), place, self.final[node]))
        return True

    def may_repeat(self, node: Node, value: Expr) -> bool:
        """Whether a later stage may compute a member again: what it reads must still be there."""
        lasting = not any(x.buffer in self.updated for x in loads(value))
        return lasting and _price(value) <= REPEAT and not self.group.is_outer(node)

    def call(self) -> list[Kernel]:
        """A call of a library, which computes what is read of its results."""
        first, buffers = next(iter(self.group.stages)), self.fusion.tracer.buffers
        types = first.op.results(*(x.type for x in first.inputs))
        results: list[Buffer | None] = [None] * len(types)
        for node in self.group.stages:
            if node in self.stored:
                results[node.op.result] = self.memory(node)
        operands = tuple(self.homes.get(buffers[x], buffers[x]) for x in first.inputs)
        made = Call(first.op.family, operands, tuple(results))
        return [Kernel((), (), tuple(self.group.stages), made)] if any(results) else []

    def join(self) -> list[Kernel]:
        """Copies of the operands that could not be written in place."""
        (node,) = self.group.stages
        found: list[Kernel] = []
        for number in self.fusion.places.rest[node]:
            x = node.inputs[number]
            index = iterators(x.type.static_shape)
            value = self.resolve(self.fusion.tracer.value(x, index), 0)
            place = node.op.lands(number, index, *(x.type for x in node.inputs))
            stage = Stage((), (Store(self.memory(node), place, value),))
            found.append(Kernel(_iters(index), (stage,), (node,)))
        return found

    def scatter(self) -> list[Kernel]:
        """First a copy of the base, then the updates, one point after another."""
        (node,) = self.group.stages
        memory = self.memory(node)
        index = iterators(node.type.static_shape)
        base = self.resolve(self.fusion.tracer.value(node.inputs[0], index), 0)
        first = Kernel(_iters(index), (Stage((), (Store(memory, index, base),)),), (node,))
        place = iterators(node.inputs[-1].type.static_shape)
        target, value = self.fusion.tracer.scatter(node, place)
        where = tuple(self.resolve(i, 0) for i in target)
        store = Store(memory, where, self.resolve(value, 0), node.op.combine)
        return [first, Kernel(_iters(place), (Stage((), (store,)),), (node,))]


def _iters(index: Iterable[Expr]) -> tuple[Iter, ...]:
    return tuple(i for i in index if isinstance(i, Iter))


def _price(expr: Expr) -> int:
    """The price of computing a value again: its functions, and one per load; reductions are never
    repeated.
    """
    total = 0
    for e in walk(expr):
        if isinstance(e, Reduce):
            return 1 << 30
        if isinstance(e, Apply):
            scalar = SCALARS.get(e.function)
            total += scalar.cost if scalar else 1
    return total
