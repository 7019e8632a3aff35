"""Programs that fit into little memory: values are computed again instead of being kept.

Comes in: a graph, and how many bytes its temporaries may take. Goes out: a program whose memory
plan keeps to them. A separate step because only the plan says what is live when memory is short.

Where most is live, some values lie idle: they were read before, and will be read later. Those that
cost least to compute again, per byte, are given up there and made anew just before they are read,
from what is there anyway. Then the program is made, planned and looked at again. Chen, Xu, Zhang
and Guestrin, Training deep nets with sublinear memory cost (2016); that the cheapest go first is
the rule of Kirisame et al., Dynamic tensor rematerialization (2021).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from graphc.errors import UserError
from graphc.expr import Buffer
from graphc.graph import Graph, Node, toposort
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.ops.copy import After
from graphc.rewrite import Ledger
from graphc.site import serving

RULE = "computed again"
PATIENCE = 4
"""Programs in a row that need no less memory, after which no more are tried."""
FIXED = ("call", "scatter", "reduce")
"""Kinds of operations that are not repeated: sums are small, and in another kernel they are added
up in another order."""
LONGEST = 64
"""Operations that are repeated for one value at most."""


def lower_within(
    graph: Graph, limit: int, ledger: Ledger | None = None, *, recomputing: bool = False
) -> Program:
    """The program of ``graph`` whose temporaries take at most ``limit`` bytes; what is computed
    again is noted in the ledger.

    Results are those of `lower`, bit by bit unless a product that was stored before is now added up
    where it is made, and so rounded once less. Raises `UserError` GC0104 when no program is found,
    with the least that was.
    """
    best = program = lower(graph, saving=True, recomputing=recomputing)
    idle = 0
    notes: list[tuple[Node, Node]] = []
    while best.plan.arena_bytes > limit and idle < PATIENCE:
        lives = Lives(program)
        given_up = _given_up(lives, limit * program.plan.peak_bytes // program.plan.arena_bytes)
        if not given_up:
            break
        remade = _Remade(lives, given_up)
        notes += remade.notes
        program = lower(remade.graph, saving=True, recomputing=recomputing)
        better = program.plan.arena_bytes < best.plan.arena_bytes
        best, idle = (program, 0) if better else (best, idle + 1)
    if best.plan.arena_bytes > limit:
        raise UserError(
            "GC0104",
            f"temporaries take {best.plan.arena_bytes:,} bytes at least, not {limit:,}",
            why="values were given up and computed again as far as that saves memory",
            fix=f"allow memory={best.plan.arena_bytes}, or make the batch smaller",
        )
    if ledger is not None:
        for before, after in notes:
            ledger.add("memory", RULE, before, after)
    return best


class Lives:
    """When the temporaries of a program are used: the numbers of kernels."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.made: dict[Node, int] = {n: t for t, k in enumerate(program.kernels) for n in k.nodes}
        self.uses: dict[Node, list[int]] = {}
        for time, kernel in enumerate(program.kernels):
            for buffer in dict.fromkeys((*kernel.written, *kernel.read)):
                if buffer in program.plan.offsets:
                    self.uses.setdefault(program.owners[buffer], []).append(time)

    def keep(self, nodes: Iterable[Node], time: int) -> None:
        """Note that kernel ``time`` will read these."""
        for node in nodes:
            if node in self.uses and time not in self.uses[node]:
                insort(self.uses[node], time)

    @cached_property
    def wholes(self) -> set[Node]:
        """What is written part by part."""
        return set(self.program.places.values())

    @property
    def live(self) -> list[int]:
        """The bytes that are live during each kernel."""
        found = [0] * (len(self.program.kernels) + 1)
        for node, uses in self.uses.items():
            found[uses[0]] += node.type.bytes
            found[uses[-1] + 1] -= node.type.bytes
        for time in range(1, len(found)):
            found[time] += found[time - 1]
        return found[:-1]

    def is_there(self, node: Node, time: int) -> bool:
        """Whether a node can be read by kernel ``time`` at no cost."""
        if node.op.kind == "leaf":
            return True
        if node in self.uses:
            return self.uses[node][0] < time <= self.uses[node][-1]
        return node in self.stored and self.made[node] < time

    @cached_property
    def stored(self) -> set[Node]:
        """What kernels write, temporaries and results."""
        written: Iterator[Buffer] = (b for k in self.program.kernels for b in k.written)
        return {self.program.owners[b] for b in written if b in self.program.owners}

    def again(self, node: Node, time: int) -> list[Node] | None:
        """What must be computed again so that kernel ``time`` can read ``node``; None if that is
        too much, or cannot be done.
        """
        ends, found, stack = set[Node](), dict[Node, None](), [node]
        while stack:
            x = stack.pop()
            if x is not node and self.is_there(x, time):
                ends.add(x)
                continue
            if x.op.kind in FIXED or x in self.wholes or len(found) >= LONGEST:
                return None
            if x not in found:
                found[x] = None
                stack.extend(x.inputs)
        return toposort([node], ends)


def _given_up(lives: Lives, limit: int) -> dict[Node, int]:
    """Values to give up, and the number of the kernel before which each is made again."""
    chosen: dict[Node, int] = {}
    live = lives.live
    while max(live, default=0) > limit:
        worst = live.index(max(live))
        candidates = [*_idle(lives, worst, chosen)]
        helpful = [c for c in candidates if live[c.time] + c.extra < live[worst]]
        best = min(helpful or candidates, key=lambda c: c.price, default=None)
        if best is None:
            break
        chosen[best.node] = best.time
        lives.keep(best.reads, best.time)
        for time in range(best.since + 1, best.time):
            live[time] -= best.node.type.bytes
    return chosen


@dataclass(frozen=True)
class _Candidate:
    """A value that nobody reads between the kernels ``since`` and ``time``; to make it again takes
    ``extra`` bytes for a while.
    """

    node: Node
    since: int
    time: int
    price: float
    extra: int
    reads: set[Node]


def _idle(lives: Lives, worst: int, chosen: Mapping[Node, int]) -> Iterator[_Candidate]:
    """The values that lie idle during kernel ``worst``."""
    for node, uses in lives.uses.items():
        if node in chosen or not uses[0] < worst < uses[-1] or worst in uses:
            continue
        since = max(t for t in uses if t < worst)
        time = min(t for t in uses if t > worst)
        again = lives.again(node, time)
        reads = {x for n in again or () for x in n.inputs}.difference(again or ())
        if again is None or any(time < chosen.get(x, 0) for x in reads):
            continue  # what it is made of is given up, too
        cost = sum(n.op.cost(n.type, *(x.type for x in n.inputs)) for n in again)
        extra = max((n.type.bytes for n in again if n in lives.stored and n is not node), default=0)
        yield _Candidate(node, since, time, (cost + 1) / node.type.bytes, extra, reads)


class _Remade:
    """The graph of a program in which the values in ``given_up`` are computed again: walks the
    kernels in order, and knows for each what its operands are by then.
    """

    def __init__(self, lives: Lives, given_up: Mapping[Node, int]) -> None:
        self.lives, self.given_up = lives, given_up
        self.new: dict[Node, Node] = {}
        self.late: dict[Node, Node] = {}
        self.shared: dict[tuple[Node, tuple[Node, ...]], Node] = {}
        self.notes: list[tuple[Node, Node]] = []
        self.graph = self._made()

    def _made(self) -> Graph:
        graph, kernels = self.lives.program.graph, self.lives.program.kernels
        due: dict[int, list[Node]] = {}
        for node in graph.nodes:
            if node in self.given_up:
                due.setdefault(self.given_up[node], []).append(node)
        for time, kernel in enumerate(kernels):
            for node in due.get(time, ()):
                self._again(node, time)
            ends = {x for x in self.lives.stored if self.lives.made.get(x, time) < time}
            for node in toposort(kernel.nodes, ends):
                self._visit(node, time)
        for node in graph.nodes:
            if node not in self.new:  # leaves, and renamed leaves
                self._visit(node, len(kernels))
        return graph.map(lambda nodes: self.new)

    def _visit(self, node: Node, time: int) -> None:
        inputs = tuple(self._seen(x, time) for x in node.inputs)
        key = node, inputs
        if key not in self.shared:
            self.shared[key] = node if inputs == node.inputs else replace(node, inputs=inputs)
        self.new[node] = self.shared[key]

    def _seen(self, x: Node, time: int) -> Node:
        """A value as a kernel reads it."""
        return self.late[x] if self.given_up.get(x, time + 1) <= time else self.new.get(x, x)

    def _again(self, node: Node, time: int) -> None:
        """Make a value again from what is there before kernel ``time``."""
        again = self.lives.again(node, time) or []
        trigger = self.new[self.lives.program.kernels[time - 1].nodes[-1]]
        made: dict[Node, Node] = {}
        for x in again:
            with serving(x, rule=RULE):
                inputs = [made[y] if y in made else self._after(trigger, y, time) for y in x.inputs]
                made[x] = x.op(*inputs)
        self.late[node] = made[node]
        self.notes.append((node, made[node]))

    def _after(self, trigger: Node, x: Node, time: int) -> Node:
        """What is read when ``trigger`` is there; numbers that are no memory are there always."""
        seen = self._seen(x, time)
        is_number = seen.op.kind == "leaf" and not seen.op.is_input and seen.op.storage is None
        return seen if is_number else After()(trigger, seen)
