"""What a user asks to see, as a graph: tensors, nodes, graphs, executables.

Comes in: anything that is or holds nodes. Goes out: one `Graph`. A separate step because every way
of showing accepts the same things.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphc.errors import UserError
from graphc.graph import Graph, Node, toposort


def subject(shown: Any) -> Graph:
    """The graph of ``shown``: a `Graph`, something with a ``.graph``, or one or more nodes.

    Nodes may be wrapped: a tensor of a frontend has its node in ``.node``. Inputs of the graph are
    the labelled leaves found below, in execution order. Raises `UserError` GC0107.
    """
    if isinstance(shown, Graph):
        return shown
    inner = getattr(shown, "graph", None)
    if isinstance(inner, Graph):
        return inner
    outputs = nodes(shown)
    leaves = (n for n in toposort(outputs) if not n.inputs and n.op.label)
    return Graph(tuple(n for n in leaves if n.op.storage is None), outputs)


def nodes(shown: Any) -> tuple[Node, ...]:
    """The node or nodes in ``shown``, a node, a tensor, or a sequence of them. Raises GC0107."""
    inner = getattr(shown, "node", shown)
    if isinstance(inner, Node):
        return (inner,)
    if isinstance(inner, Iterable) and not isinstance(inner, str | bytes | dict):
        return tuple(node for each in inner for node in nodes(each))
    raise UserError(
        "GC0107",
        f"cannot draw {type(shown).__name__} {str(shown)[:40]!r}",
        why="a drawing shows the nodes of a graph",
        fix="pass tensors of the graph, a list of them, or a compiled function",
    )
