"""Graphs with memory where kernels need it: for results, operands of calls and wide sums.

Comes in: a graph with static sizes. Goes out: an equal graph in which every output and every new
parameter value is a computed node of its own, and scatters of narrow floats add up in float32. A
separate step because fusion asks only which nodes have memory, not why.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from graphc.graph import Graph, Node
from graphc.ops.copy import Copy
from graphc.ops.elementwise import cast_to
from graphc.site import serving


def with_wide_sums(graph: Graph) -> Graph:
    """Scatters of narrow floats in float32: what is added up in memory is rounded once."""
    if not any(_adds_narrow(node) for node in graph.nodes):
        return graph

    def widened(nodes: Iterable[Node]) -> dict[Node, Node]:
        new: dict[Node, Node] = {}
        for node in nodes:
            inputs = tuple(new[x] for x in node.inputs)
            if _adds_narrow(node):
                with serving(node):
                    wide = (cast_to(x, x.dtype.computing) for x in inputs)
                    new[node] = cast_to(node.op(*wide), node.dtype)
            else:
                new[node] = node if inputs == node.inputs else replace(node, inputs=inputs)
        return new

    return graph.map(widened)


def _adds_narrow(node: Node) -> bool:
    return node.op.kind == "scatter" and node.dtype.is_narrow


def with_memory_for_roots(graph: Graph) -> Graph:
    """Every output and every new parameter value as a computed node of its own, and operands of
    calls in memory, by copies where they are not.
    """
    graph = graph.map(_with_memory_for_calls)
    taken: set[Node] = set()

    def own(node: Node) -> Node:
        if node.op.kind in ("leaf", "free") or node in taken:
            with serving(node):
                node = Copy()(node)
        taken.add(node)
        return node

    outputs = tuple(own(y) for y in graph.outputs)
    return Graph(graph.inputs, outputs, tuple((t, own(v)) for t, v in graph.updates))


def _with_memory_for_calls(nodes: Iterable[Node]) -> dict[Node, Node]:
    new: dict[Node, Node] = {}
    copies: dict[Node, Node] = {}  # shared, so that calls on the same operands stay such
    for node in nodes:
        inputs = tuple(new[x] for x in node.inputs)
        if node.op.kind == "call":
            for x in inputs:
                if x.op.kind == "free" and x not in copies:
                    with serving(x):
                        copies[x] = Copy()(x)
            inputs = tuple(copies.get(x, x) for x in inputs)
        new[node] = node if inputs == node.inputs else replace(node, inputs=inputs)
    return new
