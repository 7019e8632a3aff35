"""A graph as NetworkX data, for people who want to compute on its structure.

Comes in: what the user wants to see. Goes out: a `networkx.MultiDiGraph` of every node, unfolded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import networkx

from graphc.graph import Node
from graphc.show.names import attributes, node_names
from graphc.show.roles import Roles
from graphc.show.subject import subject


def to_networkx(shown: Any) -> networkx.MultiDiGraph:
    """Every node and every operand of ``shown`` (see `graphc.show.subject.subject`).

    Nodes are ints in execution order, with the attributes name, op, attributes, type, shape, dtype,
    role, scope, file, line, gradient_of (an int, or None) and made_by. An edge goes from operand to
    reader; its key is the operand's index, so ``x * x`` has two edges.
    """
    graph = subject(shown)
    roles = Roles(graph.outputs, graph.updates, detail="all")
    names = node_names(roles.nodes)
    number = {node: k for k, node in enumerate(roles.nodes)}
    made = networkx.MultiDiGraph()
    for node, k in number.items():
        made.add_node(k, name=names[node], role=roles.of[node], **_data(node, number))
        for operand, x in enumerate(node.inputs):
            made.add_edge(number[x], k, key=operand)
    return made


def _data(node: Node, number: Mapping[Node, int]) -> dict[str, Any]:
    served = node.site.gradient_of
    return {
        "op": node.op.name,
        "attributes": attributes(node),
        "type": str(node.type),
        "shape": node.shape,
        "dtype": node.dtype.name,
        "scope": node.site.scope,
        "file": node.site.file,
        "line": node.site.line,
        "gradient_of": None if served is None else number.get(served),
        "made_by": node.site.made_by,
    }
