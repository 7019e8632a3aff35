"""Fusion: which nodes share a kernel, and which need memory.

Comes in: a graph with static sizes. Goes out: groups of nodes, numbered so that the numbers are a
valid schedule, and for every edge between groups the reason why it was not fused. A separate step
because the decision is made on graph nodes and only then written down as kernels (`lower`).

The rule: nodes are visited in execution order. A pointwise node joins the highest-numbered group
among its producers if it reads that group's members at its own index; a reduction joins when its
input runs over the group's whole space, which splits that space into outer and inner indices;
everything else opens a group. A group only ever gets later nodes, so no cycle can arise. "Its own
index" is decided on row-major offsets, so a reshape does not stand in the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import product

from graphc.expr import Buffer, Expr, Lit, Load, Reduce, substitute
from graphc.graph import Graph, Node, readers
from graphc.kernels.candidates import memory_candidates
from graphc.kernels.kernel import Refusal
from graphc.kernels.place import Places, places
from graphc.kernels.trace import Tracer, flatten, iterators, loads, unflatten
from graphc.types import INT64

MEMBERS = 256
"""Nodes in one kernel at most: bounds compile time, which grows with the square. What lives too
long for a register is spilled to the first cache; a kernel more would send it through memory."""
ROW = 16 << 10
"""Bytes of sums over all rows that a kernel keeps beside the row that it works on."""
FEW_ROWS, LARGE = 8, 1 << 16
"""A space this large with fewer rows than this is not reduced by rows: threads would idle."""

RUN = 8
"""Neighbours in memory that fill the lanes of a vector."""


@dataclass(eq=False)
class Group:
    """A kernel being formed over the index space ``shape``, of which the axes ``inner`` are walked
    per outer point.

    ``stages`` maps a member to its stage: even stages run over the inner indices, odd ones once per
    outer point. ``sources`` and ``readers`` are the groups that it reads and that read it.
    """

    number: int
    kind: str
    shape: tuple[int, ...]
    inner: tuple[int, ...] = ()
    stages: dict[Node, int] = field(default_factory=dict)
    sources: set[Group] = field(default_factory=set)
    readers: set[Group] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.respace(self.shape, self.inner)

    def respace(
        self, shape: tuple[int, ...], inner: tuple[int, ...], index: tuple[Expr, ...] | None = None
    ) -> None:
        """Take another view of the same elements as the canonical space."""
        self.shape, self.inner = shape, inner
        self.index = index or iterators(shape)
        self.outer = tuple(a for a in range(len(shape)) if a not in inner)
        self.full_offset = flatten(self.index, shape)
        self.outer_offset = self.offset_along(self.outer)
        self.known: dict[tuple[Expr, tuple[int, ...]], tuple[Expr, ...]] = {}

    def offset_along(self, axes: tuple[int, ...]) -> Expr:
        """The row-major offset in the space of some axes only."""
        return flatten([self.index[a] for a in axes], [self.shape[a] for a in axes])

    @property
    def unrolled(self) -> tuple[int, ...]:
        """The axes that the kernel writes out instead of looping over them."""
        return next(iter(self.stages)).op.unrolled

    def written_out(self) -> Iterator[Group]:
        """The group at every place along its unrolled axes; the other indices are common to all."""
        for place in product(*(range(self.shape[a]) for a in self.unrolled)):
            index = list(self.index)
            for axis, number in zip(self.unrolled, place, strict=True):
                index[axis] = Lit(number, INT64)
            fixed = copy(self)
            fixed.respace(self.shape, self.inner, tuple(index))
            yield fixed

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def outer_size(self) -> int:
        return math.prod(self.shape[a] for a in self.outer)

    @property
    def inner_size(self) -> int:
        return math.prod(self.shape[a] for a in self.inner)

    @property
    def is_serial(self) -> bool:
        """Whether the outer space is too small to be worth sharing while the whole is large."""
        return self.outer_size < FEW_ROWS and self.size > LARGE

    @property
    def is_strided(self) -> bool:
        """Whether the inner indices walk across memory, past `RUN` neighbours: many rows are then
        best walked at once, for which none may be kept from one stage to the next.
        """
        behind = self.shape[max(self.inner) + 1 :] if self.inner else ()
        return math.prod(behind) >= RUN

    def is_across(self, member: Node) -> bool:
        """Whether a member is a reduction over the outer indices, complete after the last one."""
        return member.op.kind == "reduce" and self.inner != member.op.reduced

    def is_outer(self, member: Node) -> bool:
        """Whether a member has one value per outer point rather than per inner point."""
        return member.op.kind == "reduce" or self.stages[member] % 2 == 1

    def offset(self, member: Node) -> Expr:
        """The row-major offset at which the kernel computes a member."""
        if self.is_across(member):
            return self.offset_along(self.inner)
        return self.outer_offset if self.is_outer(member) else self.full_offset

    def index_of(self, member: Node) -> tuple[Expr, ...]:
        """The member's own index, in the group's iterators."""
        key = self.offset(member), member.type.static_shape
        if key not in self.known:
            self.known[key] = unflatten(*key)
        return self.known[key]


@dataclass(frozen=True)
class Fusion:
    """The decision: groups in schedule order, the members' group, candidate buffers, and what was
    refused.
    """

    groups: tuple[Group, ...]
    home: dict[Node, Group]
    tracer: Tracer
    refusals: tuple[Refusal, ...]
    places: Places


class _Fuser:
    def __init__(self, graph: Graph) -> None:
        self.order, self.reading = graph.nodes, readers(graph.nodes)
        self.roots = set(graph.roots)
        self.real = memory_candidates(self.order, self.roots)
        buffers = {n: Buffer(n.type) for n in self.order if n in self.real or n.op.kind == "leaf"}
        self.owner = {b: n for n, b in buffers.items()}
        self.tracer = Tracer(buffers)
        new = {value for _, value in graph.updates}
        given = {x for n in self.order if n.op.kind == "call" for x in n.inputs}
        fixed = given.union(graph.outputs)
        self.places = places(self.order, self.real, fixed, new, self.tracer)
        self.calls: dict[tuple[object, tuple[Node, ...]], Group] = {}
        self.groups: list[Group] = []
        self.home: dict[Node, Group] = {}
        self.refusals: list[Refusal] = []

    def run(self) -> Fusion:
        for node in self.order:
            if node in self.real:
                self.place(node)
        groups = tuple(g for g in self.groups if g.stages)
        home = self.home
        refusals = tuple(r for r in self.refusals if home[r.producer] is not home[r.reader])
        return Fusion(groups, home, self.tracer, refusals, self.places)

    def place(self, node: Node) -> None:
        producers = self.producers(node)
        best, answer = self.best(node, producers)
        if best is not None and isinstance(answer, int):
            best.stages[node] = answer
            self.home[node] = best
        else:
            self.open(node)
        for p in producers:
            if self.home[p] is not self.home[node]:
                self.home[p].readers.add(self.home[node])
                self.home[node].sources.add(self.home[p])
                if p in self.places.of and node in self.places.rest:
                    continue  # written there at once
                late = best is not None and self.home[p] is not best
                reason = "another operand is computed later" if late else answer
                self.refusals.append(Refusal(p, node, str(reason)))

    def best(self, node: Node, producers: list[Node]) -> tuple[Group | None, int | str]:
        """The group that a node would rather join, and the stage, or why it cannot."""
        if node.op.kind == "call":
            twin = self.calls.get((node.op.family, node.inputs))
            if twin is not None and all(x.op.result != node.op.result for x in twin.stages):
                return twin, 0
            return None, "a library computes it from whole arrays"
        self.bring_together(producers)
        best = max((self.home[p] for p in producers), key=lambda g: g.number, default=None)
        answer = "" if best is None else self.join(node, best)
        if isinstance(answer, str) and node.op.kind == "reduce":
            return self.fellow(node, best) or (best, answer)
        return best, answer

    def fellow(self, node: Node, after: Group | None) -> tuple[Group, int] | None:
        """A kernel that reads, row by row, what a reduction sums over all rows, and the stage at
        which it joins: one walk through memory instead of two.
        """
        axes = node.op.reduced
        found = {self.home[r] for r in self.reading[node.inputs[0]] if r in self.home}
        for group in sorted(found, key=lambda g: g.number, reverse=True):
            ready = after is None or after.number < group.number
            if ready and group.inner and group.outer == axes == tuple(range(len(axes))):
                stage = self.join(node, group)
                if isinstance(stage, int):
                    return group, stage
        return None

    def bring_together(self, producers: Iterable[Node]) -> None:
        """Make one group of those that a node reads, wherever no group in between minds."""
        groups = sorted({self.home[p] for p in producers}, key=lambda g: g.number)
        while len(groups) > 1:
            late, early = groups.pop(), groups[-1]
            if early.kind != "map" or late.kind != "map" or early.unrolled or late.unrolled:
                continue
            if all(g.number > late.number for g in early.readers) and self.move(early, late):
                groups[-1] = late
            elif all(g.number < early.number for g in late.sources):
                self.move(late, early)

    def move(self, group: Group, target: Group) -> bool:
        """Move all members of a group into another one that is independent of it, if they fit."""
        trial = copy(target)
        trial.stages = dict(target.stages)
        for member in group.stages:
            stage = self.join(member, trial)
            if isinstance(stage, str):
                return False
            trial.stages[member] = stage
        target.respace(trial.shape, trial.inner)
        target.stages = trial.stages
        self.home.update(dict.fromkeys(group.stages, target))
        for source in group.sources:
            source.readers.remove(group)
            source.readers.add(target)
        for reader in group.readers:
            reader.sources.remove(group)
            reader.sources.add(target)
        target.sources |= group.sources
        target.readers |= group.readers
        group.stages = {}
        return True

    def open(self, node: Node) -> None:
        shape: tuple[int, ...] = node.type.static_shape
        inner: tuple[int, ...] = ()
        if node.op.kind == "reduce":
            shape, inner = node.inputs[0].type.static_shape, node.op.reduced
        kind = node.op.kind if node.op.kind in ("contract", "scatter", "call") else "map"
        kind = "join" if node in self.places.rest else kind
        group = Group(len(self.groups), kind, shape, inner)
        group.stages[node] = 0
        self.groups.append(group)
        self.home[node] = group
        if kind == "call":
            self.calls[node.op.family, node.inputs] = group

    def reads(self, node: Node) -> list[tuple[Node, Load]]:
        """What a node reads at a generic index: the producers with memory, and where."""
        expr = self.tracer.definition(node, iterators(node.type.static_shape))
        return [(self.owner[x.buffer], x) for x in loads(expr)]

    def producers(self, node: Node) -> list[Node]:
        """The computed nodes whose memory ``node`` reads, by way of free nodes."""
        found: dict[Node, None] = {}
        stack = list(reversed(node.inputs))
        while stack:
            x = stack.pop()
            if x in self.home:
                found[x] = None
            elif x.op.kind != "leaf":
                stack.extend(reversed(x.inputs))
        return list(found)

    # Joining: the stage to join at, or the reason not to ------------------------------------------
    def join(self, node: Node, group: Group) -> int | str:
        if group.kind == "scatter":
            return "a scatter must finish before its result is read"
        if group.kind == "call":
            return "a library computes it as a whole"
        if group.kind == "join":
            return "its parts are written in place, so there is no kernel to join"
        if len(group.stages) >= MEMBERS:
            return f"the kernel has {MEMBERS} members already"
        if node.op.kind == "reduce":
            return self.join_reduction(node, group)
        if node.op.kind not in ("pointwise", "free"):
            return f"{node.op.name} reads its operand at other indices"
        size = math.prod(node.type.static_shape)
        if group.kind == "contract" and self.is_summand(node):
            return "only sums read it, and they run in rows"
        if size == group.size:
            return self.stage(node, group, group.full_offset, outer=False)
        if group.inner and size == group.outer_size:
            return self.stage(node, group, group.outer_offset, outer=True)
        return f"{size} elements against a kernel over {group.size}"

    def is_summand(self, node: Node) -> bool:
        """Whether nothing but reductions reads a node, so that it need not be stored."""
        reading = self.reading[node]
        return node not in self.roots and all(r.op.kind == "reduce" for r in reading)

    def join_reduction(self, node: Node, group: Group) -> int | str:
        shape, axes = node.inputs[0].type.static_shape, node.op.reduced
        if group.kind == "contract":
            return "a contraction finishes its tiles in an order of its own"
        if group.unrolled:
            return "the kernel computes several elements at once"
        if math.prod(shape) != group.size:
            return f"reduces {math.prod(shape)} elements, the kernel runs over {group.size}"
        if group.inner and (group.shape, group.outer) == (shape, axes):
            return self.across(node, group)
        if group.inner and (group.shape, group.inner) != (shape, axes):
            return f"reduces axes {axes} of {shape}, the kernel axes {group.inner} of {group.shape}"
        trial = Group(group.number, group.kind, shape, axes)
        if trial.is_serial:
            return f"{trial.outer_size} rows are too few to share {trial.size} elements"
        trial.stages = group.stages
        body = reduction_body(self.tracer, node, trial)
        stage = self.first_stage(body, trial)
        if isinstance(stage, int):
            stage = self.unkept(body, trial, stage + stage % 2)
        if isinstance(stage, int):
            group.respace(shape, axes)
        return stage

    def across(self, node: Node, group: Group) -> int | str:
        """The stage of a reduction over the outer indices: a gradient summed over all rows."""
        if node.dtype.is_narrow or group.inner_size * node.dtype.bytes > ROW:
            return f"{group.inner_size} sums of {node.dtype} are too many to keep in a cache"
        stage = self.first_stage(reduction_body(self.tracer, node, group), group)
        return stage if isinstance(stage, str) else stage + stage % 2

    def stage(self, node: Node, group: Group, offset: Expr, *, outer: bool) -> int | str:
        expr = self.tracer.definition(node, unflatten(offset, node.type.static_shape))
        first = self.first_stage(expr, group)
        if isinstance(first, str):
            return first
        if group.is_serial and first > 0 and not outer:
            return f"{group.outer_size} rows are too few to share {group.size} elements"
        return self.unkept(expr, group, first + (first % 2 != outer))

    def unkept(self, expr: Expr, group: Group, stage: int) -> int | str:
        """``stage``, unless a whole row, far apart in memory, had to be kept for it."""
        for load in loads(expr) if group.is_strided else ():
            producer = self.owner[load.buffer]
            before = group.stages.get(producer, stage)
            if before < stage and not group.is_outer(producer):
                return f"rows of {producer.name or producer.op.name} lie across memory"
        return stage

    def first_stage(self, expr: Expr, group: Group) -> int | str:
        """The first stage at which everything ``expr`` reads from the group is there."""
        first = 0
        for load in loads(expr):
            producer = self.owner[load.buffer]
            if producer not in group.stages:
                continue
            if group.is_across(producer):
                return f"{producer.name or producer.op.name} is complete after the last row only"
            if flatten(load.index, producer.type.static_shape) != group.offset(producer):
                return f"reads {producer.name or producer.op.name} at another index"
            first = max(first, group.stages[producer] + (producer.op.kind == "reduce"))
        return first


def reduction_body(tracer: Tracer, node: Node, group: Group) -> Expr:
    """What a reduction adds up at one point of the group's space."""
    expr = tracer.definition(node, group.index_of(node))
    if not isinstance(expr, Reduce):
        return expr
    places = [group.index[a] for a in sorted(node.op.reduced)]
    new = dict(zip(expr.iters, places, strict=True))
    return substitute(expr.body, lambda e: new.get(e))  # type: ignore[call-overload]


def fuse(graph: Graph) -> Fusion:
    """Decide the kernels of a graph with static sizes whose roots are computed nodes."""
    return _Fuser(graph).run()
