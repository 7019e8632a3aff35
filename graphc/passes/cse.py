"""Common subexpressions: equal operations on equal operands are one node.

Comes in: a graph. Goes out: the graph with equal nodes shared. It is the rewriter run with no
rules; random nodes are functions of their key like any other, so they may be shared too.
"""

from __future__ import annotations

from graphc.graph import Graph
from graphc.rewrite import Ledger, rewrite


def share_equal(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph in which no two nodes have the same op and the same operands."""
    return rewrite(graph, (), ledger, "cse")
