"""The value of a node at an index as one scalar expression: what lowering and fusion are made of.

Comes in: a node and an index. Goes out: an expression whose loads name the nodes that have memory.
A separate step because fusion asks "which elements would this read?" before it decides, and
lowering asks again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from graphc.expr import Buffer, Expr, Iter, Lit, Load, lift, walk
from graphc.graph import Node
from graphc.index import linear
from graphc.types import INT64, TensorType

DEEP = 64
"""Nodes substituted into each other at most this deep; the next one gets a buffer. Keeps
expressions bounded.
"""


@dataclass(frozen=True)
class _Read:
    """An input as `Op.at` sees it."""

    tracer: Tracer
    node: Node

    @property
    def type(self) -> TensorType:
        return self.node.type

    def __call__(self, *index: Expr | int) -> Expr:
        return self.tracer.value(self.node, tuple(lift(i, INT64) for i in index))


class Tracer:
    """Writes values as expressions. Nodes in ``buffers`` are loaded; the others are substituted."""

    def __init__(self, buffers: dict[Node, Buffer]) -> None:
        self.buffers = buffers
        self.known: dict[tuple[Node, tuple[Expr, ...]], Expr] = {}
        self.loaded: dict[tuple[Node, tuple[Expr, ...]], Load] = {}

    def value(self, node: Node, index: tuple[Expr, ...]) -> Expr:
        """``node`` at ``index``; loads it when it has a buffer."""
        if node not in self.buffers:
            return self.definition(node, index)
        key = (node, index)
        if key not in self.loaded:
            self.loaded[key] = Load(self.buffers[node], index)
        return self.loaded[key]

    def definition(self, node: Node, index: tuple[Expr, ...]) -> Expr:
        """``node`` at ``index`` by its op's rule, even when it has a buffer. Equal requests share
        one expression.
        """
        key = (node, index)
        if key not in self.known:
            self.known[key] = node.op.at(index, *(_Read(self, x) for x in node.inputs))
        return self.known[key]

    def scatter(self, node: Node, index: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], Expr]:
        """Where a scatter adds, and what, for one point of its updates."""
        target, value = node.op.scatter(index, *(_Read(self, x) for x in node.inputs))
        return target, value


def iterators(shape: Sequence[int]) -> tuple[Expr, ...]:
    """One index per axis: an iterator, or 0 where there is only one element."""
    return tuple(Lit(0, INT64) if extent == 1 else Iter(extent) for extent in shape)


def flatten(index: Iterable[Expr], shape: Sequence[int]) -> Expr:
    """The row-major offset of ``index`` in ``shape``."""
    terms: list[tuple[Expr, int]] = []
    step = 1
    for i, extent in zip(reversed([*index]), reversed(shape), strict=True):
        terms.append((i, step))
        step *= extent
    return linear(reversed(terms))


def unflatten(offset: Expr, shape: Sequence[int]) -> tuple[Expr, ...]:
    """The index in ``shape`` of a row-major offset."""
    found: list[Expr] = []
    for extent in reversed(shape):
        found.append(lift(offset % extent, INT64) if extent > 1 else Lit(0, INT64))
        offset = offset // extent if extent > 1 else offset
    return tuple(reversed(found))


def loads(expr: Expr) -> list[Load]:
    """All loads in ``expr``."""
    return [e for e in walk(expr) if isinstance(e, Load)]
