"""Dead code: what no output and no update needs.

Comes in: a graph. Goes out: a graph without useless updates. A graph *is* what its roots reach, so
a node that nobody needs is gone as soon as nobody points at it; what remains to remove is an update
that writes a parameter's own value back. Unused inputs stay: they are the calling convention.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.graph import Graph
from graphc.rewrite import Ledger


def drop_dead(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph without updates that change nothing."""
    kept = tuple((target, value) for target, value in graph.updates if target is not value)
    if ledger is not None:
        for target, value in graph.updates:
            if target is value:
                ledger.add("dce", "update that changes nothing", target, value)
    return graph if len(kept) == len(graph.updates) else replace(graph, updates=kept)
