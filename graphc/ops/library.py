"""Operations that a library computes: whole arrays in, whole arrays out.

Comes in: nodes. Goes out: one of the results of a call. A kind of its own, because such an
operation has no value at an index: nothing is fused with it, its operands are in memory before it
and its results afterwards. What LAPACK does, sorting, and loops over graphs are of this kind.

A call may have several results. Each is a node; nodes of the same call on the same operands are
computed together, and what nobody reads is not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from graphc.graph import Array, Graph, Node, Op
from graphc.types import TensorType

Run = Callable[[list[Array]], Sequence[Array]]
"""Runs a graph on arrays, one for each of its inputs."""


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

    @property
    def bodies(self) -> tuple[Graph, ...]:
        """Graphs that the call runs: the backend compiles them."""
        return ()

    def bound(self, runs: Sequence[Run]) -> Callable[..., tuple[Array, ...]]:
        """`call`, given what runs each of the ``bodies``."""
        return self.call

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


def as_library(x: Array) -> Array:
    """An array as libraries know it: halves as float32."""
    return x.astype(np.float32) if x.dtype == np.float16 else x
