"""The data of the kernel language.

A kernel is a space of outer indices and a list of stages. At every point of the outer space the
stages run one after another; a stage runs over its own inner indices, stores values and accumulates
reductions, and a later stage may read what an earlier one left at the same outer point. Softmax is
one kernel of three stages.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphc.expr import Buffer, Expr, Iter, Load, walk
from graphc.graph import Graph, Node


@dataclass(frozen=True)
class Store:
    """``buffer[index] = value``, or with ``combine``: fold ``value`` into it by that scalar
    function.

    Accumulating into a "row" buffer starts from the function's identity at every outer point;
    accumulating into a global buffer (a scatter) adds to what is there.
    """

    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    combine: str = ""


@dataclass(frozen=True)
class Stage:
    """``stores`` executed for every value of ``iters`` (none: once)."""

    iters: tuple[Iter, ...]
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Call:
    """A call of a library: of the results those that somebody reads have memory."""

    op: Any
    operands: tuple[Buffer, ...]
    results: tuple[Buffer | None, ...]


@dataclass(frozen=True)
class Kernel:
    """``stages`` in order, for every value of ``iters``; or, with neither, the ``call`` of a
    library. ``nodes`` are the graph nodes it computes (provenance).
    """

    iters: tuple[Iter, ...]
    stages: tuple[Stage, ...]
    nodes: tuple[Node, ...] = field(default=(), compare=False)
    call: Call | None = None

    @property
    def stores(self) -> Iterator[Store]:
        """All stores, in order."""
        for stage in self.stages:
            yield from stage.stores

    @property
    def loads(self) -> Iterator[Load]:
        """All loads, shared ones once."""
        roots = [e for s in self.stores for e in (*s.index, s.value)]
        yield from (e for e in walk(*roots) if isinstance(e, Load))

    @property
    def written(self) -> tuple[Buffer, ...]:
        """Global buffers it writes, in order."""
        if self.call is not None:
            return tuple(b for b in self.call.results if b is not None)
        return tuple(dict.fromkeys(s.buffer for s in self.stores if s.buffer.scope == "global"))

    @property
    def read(self) -> tuple[Buffer, ...]:
        """Global buffers it reads, in order of first occurrence."""
        if self.call is not None:
            return tuple(dict.fromkeys(self.call.operands))
        return tuple(dict.fromkeys(x.buffer for x in self.loads if x.buffer.scope == "global"))

    @property
    def points(self) -> int:
        """The size of the outer space."""
        return math.prod(i.extent for i in self.iters)


@dataclass(frozen=True)
class Refusal:
    """Why ``reader`` was not fused with ``producer``."""

    producer: Node
    reader: Node
    reason: str


@dataclass(frozen=True)
class Plan:
    """Where temporaries live in the arena: byte offsets, and the figures that say how good the plan
    is.

    ``total_bytes`` is what every temporary on its own would take, ``peak_bytes`` the most that is
    live at once.
    """

    offsets: dict[Buffer, int]
    arena_bytes: int
    peak_bytes: int
    total_bytes: int


@dataclass(frozen=True)
class Program:
    """Everything a backend needs to run ``graph``: kernels in order and where each buffer comes
    from.

    ``leaves`` are the parameters and tables that kernels touch, ``owners`` the node each buffer
    holds, ``places`` the nodes that are written as a part of another node's memory.
    """

    graph: Graph
    kernels: tuple[Kernel, ...]
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    leaves: tuple[tuple[Node, Buffer], ...]
    plan: Plan
    refusals: tuple[Refusal, ...]
    owners: dict[Buffer, Node]
    places: dict[Node, Node]
