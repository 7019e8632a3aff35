"""Constant folding: what depends on constants alone is computed now.

Comes in: a graph. Goes out: a graph whose constants are numbers (broadcast where needed) and small
tables. A separate pass because it asks for values, by `Op.eval`, where equations ask for shapes of
expressions. Leaves and anything random are never folded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.graph import Graph, Node, toposort
from graphc.ops.elementwise import Bitcast, Cast, Elementwise
from graphc.ops.leaves import Constant, Table, constant
from graphc.ops.movement import broadcast_to
from graphc.precision import evaluate
from graphc.rewrite import Head, Ledger, Rule, by_hand, number_of, rewrite

LARGEST = 4096
"""Elements of the largest table that folding makes; a larger one is cheaper to compute."""

_FOLDED_KINDS = ("free", "pointwise", "reduce", "contract")


@by_hand(
    "compute with numbers", Elementwise, Cast, Bitcast, number=True,
    why="a function of numbers is a number",
)  # fmt: skip
def _numbers(node: Node) -> Node | None:
    values = [number_of(x) for x in node.inputs]
    if None in values:
        return None
    arrays = [np.array(v, x.dtype.numpy) for v, x in zip(values, node.inputs, strict=True)]
    return broadcast_to(constant(evaluate(node, arrays).item(), node.dtype), node.shape)


@by_hand("number in its dtype", Constant, why="0 and 0.0 of one float dtype are one number")
def _number(node: Node) -> Node | None:
    value = number_of(node)
    if value is None or not node.dtype.is_float or isinstance(value, float):
        return None
    return constant(float(value), node.dtype)


@by_hand("compute with tables", why="a function of small tables is a small table")
def _tables(node: Node) -> Node | None:
    tables = [x for x in node.inputs if Head.of(x.op) == Head(Table)]
    if not tables or node.op.kind not in _FOLDED_KINDS or not _is_small(node, tables):
        return None
    values = [_value(x) for x in node.inputs]
    if any(v is None for v in values):
        return None
    return Table.of(evaluate(node, values), node.dtype)()


def _is_small(node: Node, tables: list[Node]) -> bool:
    """Whether the result is no larger than the tables it comes from, or than `LARGEST`."""
    size: Any = node.type.size
    return isinstance(size, int) and size <= min(LARGEST, max(x.op.eval().size for x in tables))


def _value(x: Node) -> Any:
    """The array of a table or of equal numbers; None for everything else."""
    if Head.of(x.op) == Head(Table):
        return x.op.eval()
    value = number_of(x)
    if value is None:
        return None
    return np.broadcast_to(np.array(value, x.dtype.numpy), x.type.static_shape)


def is_constant(node: Node) -> bool:
    """Whether ``node`` is made of numbers and tables alone."""
    return all(
        x.inputs or x.op.kind == "free" or Head.of(x.op) == Head(Table) for x in toposort([node])
    )


def computed(node: Node) -> Node:
    """The table of a node that `is_constant`."""
    values: dict[Node, Any] = {}
    for x in toposort([node]):
        values[x] = evaluate(x, [values[y] for y in x.inputs])
    return Table.of(values[node], node.dtype)()


NUMBERS: list[Rule] = [_number, _numbers]
FOLDING: list[Rule] = [*NUMBERS, _tables]


def fold_constants(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with constant parts computed; every result has the value `Op.eval` gives."""
    return rewrite(graph, FOLDING, ledger, "fold")
