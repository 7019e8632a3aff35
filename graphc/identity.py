"""The identity of a graph: a digest that two graphs share if one's program will do for the other.

Comes in: a graph with static sizes. Goes out: a digest of everything that compilation depends on.
A separate step because it is taken before anything else is done: a known graph is not compiled. So
it holds operations, their attributes and operands, types, constants, and what is updated by what;
but neither the values of parameters nor where in the user's code a node was made.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from graphc.dims import Dim
from graphc.errors import CompilerBug
from graphc.graph import Graph, Node
from graphc.scalars import Scalar
from graphc.types import DType, TensorType


def graph_identity(graph: Graph) -> str:
    """The digest of ``graph``; nodes are named by their place in execution order."""
    place: dict[Node, int] = {}
    given = {x: k for k, x in enumerate(graph.inputs)}
    shared: dict[int, int] = {}  # memory of parameters by order of appearance
    lines = []
    for node in graph.nodes:
        operands = " ".join([str(place[x]) for x in node.inputs])
        # rules about stability look at the forward pass only
        gradient = "" if node.site.gradient_of is None else "'"
        lines.append(f"{_op(node, given, shared)} {operands}{gradient}")
        place[node] = len(place)
    lines.append(f"outputs {[place[y] for y in graph.outputs]}")
    lines.append(f"updates {[(place[t], place[v]) for t, v in graph.updates]}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _op(node: Node, given: dict[Node, int], shared: dict[int, int]) -> str:
    """The operation with its attributes."""
    op = node.op
    if op.is_input:
        return f"input {given[node]} {node.type}"
    if op.storage is not None:
        memory = shared.setdefault(id(op.storage), len(shared))
        return f"parameter {memory} {node.type}"
    return attribute_text(op)


@cache
def _attributes(kind: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind) if f.compare)


def attribute_text(value: Any) -> str:
    """An operation, or an attribute of one, as text that tells it from every other."""
    if isinstance(value, str | bool | int | float | None):
        return repr(value)
    if isinstance(value, tuple):
        return f"({','.join(map(attribute_text, value))})"
    if isinstance(value, DType | Scalar):
        return value.name
    if isinstance(value, TensorType | Dim):
        return str(value)
    if isinstance(value, Graph):
        return graph_identity(value)
    if is_dataclass(value):
        kind: type = type(value)
        parts = (attribute_text(getattr(value, name)) for name in _attributes(kind))
        return f"{kind.__name__}({','.join(parts)})"
    raise CompilerBug(f"an attribute of type {type(value).__name__} has no identity")
