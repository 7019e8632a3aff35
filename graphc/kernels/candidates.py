"""Which nodes may have memory: what is computed once, and what its readers compute for themselves.

Comes in: the nodes of a graph in order. Goes out: those that are computed once and, unless a kernel
takes them in, stored. A separate step because it looks at prices only; where a node is computed is
settled afterwards (`fuse`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from graphc.graph import Node, readers
from graphc.kernels.trace import DEEP
from graphc.ops.elementwise import is_widening
from graphc.scalars import SCALARS

CHEAP = 4
"""A chain of operations this cheap that reads one tensor is repeated by its readers rather than
stored.
"""
SMALL = 16
"""A tensor this many times smaller than its reader counts as a number: the scale of a channel."""
TURN = 8
"""What a free node counts towards `DEEP`: reshapes and transposes in turn double an index each.
"""


def memory_candidates(order: list[Node], roots: set[Node]) -> set[Node]:
    """The nodes that are computed once and, unless fused away, stored: all but leaves, free nodes
    and cheap repeats.
    """
    cheap = _cheap_chains(order)
    reading = readers(order)
    wanted: set[Node] = set()  # read by something that needs whole tensors in memory
    real: set[Node] = set()
    for node in reversed(order):
        if any(_is_hard(r) or (r not in real and r in wanted) for r in reading[node]):
            wanted.add(node)
        if node.op.kind in ("leaf", "free") or (is_widening(node) and node not in roots):
            continue
        if node in roots or node in wanted or node not in cheap:
            real.add(node)
    return real | _too_deep(order, real)


def _is_hard(reader: Node) -> bool:
    return reader.op.kind in ("contract", "compute", "scatter", "call")


def _cheap_chains(order: Iterable[Node]) -> set[Node]:
    """Pointwise nodes whose whole chain costs little and starts from at most one tensor (and any
    numbers, and tensors so much smaller that they stay in the cache).
    """
    price: dict[Node, int] = {}
    sources: dict[Node, frozenset[Node]] = {}
    cheap: set[Node] = set()
    for node in order:
        own = _price(node)
        price[node] = own + sum(price[x] for x in node.inputs)
        sources[node] = frozenset().union(*(sources[x] for x in node.inputs))
        if node.op.kind == "pointwise" and price[node] <= CHEAP and _is_one(sources[node], node):
            cheap.add(node)
        elif node.op.kind != "free":
            price[node] = 0
            sources[node] = frozenset({node}) if node.shape else frozenset()
    return cheap


def _is_one(sources: frozenset[Node], node: Node) -> bool:
    """Whether a chain from ``sources`` reads one tensor, small ones aside.

    A contraction adds its bias for nothing, so there a chain with small leaves is no cheap repeat.
    """
    size = math.prod(node.type.static_shape)
    large = [x for x in sources if math.prod(x.type.static_shape) * SMALL > size]
    small = [x for x in sources if x not in large]
    is_epilogue = any(x.op.kind == "contract" for x in large) and small
    if is_epilogue and all(x.op.kind == "leaf" for x in small):
        return False
    return len(large) <= 1


def _price(node: Node) -> int:
    scalar = SCALARS.get(node.op.name)
    return scalar.cost if scalar else 0 if node.op.kind == "free" else 1


def _too_deep(order: Iterable[Node], real: set[Node]) -> set[Node]:
    """Free and cheap nodes at the end of a chain longer than `DEEP`."""
    depth: dict[Node, int] = {}
    forced: set[Node] = set()
    for node in order:
        own = TURN if node.op.kind == "free" else 1
        depth[node] = own + max((depth[x] for x in node.inputs), default=0)
        if depth[node] > DEEP and node not in real:
            forced.add(node)
        if node in real or node in forced or node.op.kind == "leaf":
            depth[node] = 0
    return forced
