"""What a graph must cost at least: arithmetic and memory traffic.

Comes in: a graph, best after the passes, which remove what nobody needs. Goes out: `Cost`. A
separate step because the limit of a machine is stated in these two numbers (the roofline model:
Williams, Waterman and Patterson 2009).

Arithmetic is `Op.cost` of every node: exact for contractions, where a product and a sum are two
operations; a scalar function is one, however many instructions it takes. Traffic is that of a
program with boundless caches: every input and parameter that is used is read once, every output and
every new value of a parameter is written once, and all between stays in the caches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphc.graph import Graph, Node, toposort


@dataclass(frozen=True)
class Cost:
    """``flops`` operations and ``bytes`` of memory; numbers, or expressions of named sizes."""

    flops: Any
    bytes: Any


def cost(graph: Graph) -> Cost:
    """The least cost of one call of ``graph``."""
    nodes = toposort(graph.roots)
    read = [n for n in nodes if n.op.is_input or n.op.storage is not None]
    written = list(dict.fromkeys(graph.roots))
    return Cost(
        flops=sum(n.op.cost(n.type, *(x.type for x in n.inputs)) for n in nodes),
        bytes=sum(map(_bytes, read)) + sum(map(_bytes, written)),
    )


def _bytes(node: Node) -> Any:
    return node.type.size * node.dtype.bytes
