"""Operations that a library computes: whole arrays in, whole arrays out.

Comes in: nodes. Goes out: one of the results of a call. A kind of its own, because such an
operation has no value at an index: nothing is fused with it, its operands are in memory before it
and its results afterwards. What LAPACK does, sorting, and loops over graphs are of this kind.

A call may have several results. Each is a node; nodes of the same call on the same operands are
computed together, and what nobody reads is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from graphc.graph import Array, Graph, Node, Op
from graphc.precision import widened
from graphc.types import TensorType

Places = Sequence[Array | None]
"""Memory for each result of a call; None for those that nobody reads."""

Fill = Callable[[Sequence[Array], Places], None]
"""What computes a call: operands, and places to be filled."""


@dataclass(frozen=True, eq=False)
class Track:
    """What the steps of a loop read or write: step t the element ``order[t]`` of ``stack``, a dense
    array [n, ...].
    """

    stack: Array
    order: NDArray[np.intp]

    def part(self, first: int, end: int) -> Track:
        """Those of some of the steps."""
        return Track(self.stack, self.order[first:end])

    @property
    def addresses(self) -> NDArray[np.int64]:
        """Where they begin in memory."""
        return self.stack.ctypes.data + self.stack.strides[0] * self.order.astype(np.int64)


class Run(Protocol):
    """Runs a graph that a call has as a body."""

    def run(self, arrays: Sequence[Array]) -> Sequence[Array]:
        """The outputs, given an array for each input."""
        ...

    def loop(self, reads: Sequence[Track], writes: Sequence[Track]) -> None:
        """Run once for each step, with a track for each input and for each output."""
        ...


def loop_in_python(
    run: Callable[[Sequence[Array]], Sequence[Array]],
    reads: Sequence[Track],
    writes: Sequence[Track],
) -> None:
    """`Run.loop`, by one call after another."""
    steps = len(next(iter([*reads, *writes])).order) if reads or writes else 0
    for t in range(steps):
        found = run([x.stack[x.order[t], ...] for x in reads])
        for y, value in zip(writes, found, strict=True):
            y.stack[y.order[t], ...] = value


def put(places: Places, values: Iterable[Array]) -> None:
    """Write values where they are wanted."""
    for place, value in zip(places, values, strict=False):
        if place is not None:
            with np.errstate(all="ignore"):
                place[...] = value  # which rounds what is stored in fewer bits


@dataclass(frozen=True, kw_only=True)
class LibraryCall(Op):
    """Result number ``result`` of a call."""

    kind: ClassVar[str] = "call"
    result: int = 0

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        """The types of all results. Raises `UserError` when the operands do not fit."""
        raise NotImplementedError

    def call(self, *arrays: Array) -> tuple[Array, ...]:
        """All results, of the types that `results` says."""
        raise NotImplementedError

    def batch(self, *xs: Node) -> Node:
        return self.joint_batch(*xs)[self.result]

    def joint_batch(self, *xs: Node) -> tuple[Node, ...]:
        """All results for each element of a new first axis. Raises `UserError` GC0104."""
        if not self.stackable:
            raise self.without_batch()
        return self.each(*xs)

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """Graphs that the call runs: the backend compiles them."""
        return ()

    def bound(self, runs: Sequence[Run]) -> Fill:
        """What computes the call, given what runs each of the ``bodies``."""
        return lambda operands, places: put(places, self.call(*map(widened, operands)))

    def joint_grad(
        self, gs: Sequence[Node | None], ys: Sequence[Node], xs: Sequence[Node]
    ) -> Sequence[Node | None]:
        """The cotangents of ``xs`` given those of all results, of which ``ys`` are there; None
        where nothing flows.

        Here each result brings its own rule (`Op.grad`). Raises `UserError` GC0201 without one.
        """
        total: list[Node | None] = [None] * len(xs)
        for y in {y.op.result: y for y in ys}.values():
            g = gs[y.op.result]
            if g is not None:
                parts = y.op.grad(g, y, *xs)
                total = [_sum(a, b) for a, b in zip(total, parts, strict=True)]
        return total

    @property
    def family(self) -> Self:
        """What nodes of one call have in common."""
        return replace(self, result=0) if self.result else self

    def infer(self, *types: TensorType, **_: Any) -> TensorType:
        return self.results(*types)[self.result]

    def eval(self, *arrays: Array, **_: Any) -> Array:
        return self.call(*arrays)[self.result]

    def each(self, *inputs: Node) -> tuple[Node, ...]:
        """All results as nodes."""
        count = len(self.results(*(x.type for x in inputs)))
        return tuple(replace(self, result=k)(*inputs) for k in range(count))


def _sum(a: Node | None, b: Node | None) -> Node | None:
    return b if a is None else a if b is None else a + b
