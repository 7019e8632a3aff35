"""Numerical stability: formulas as written in books become formulas that work in float32.

Comes in: a graph. Goes out: a graph with the same value wherever the old one was accurate, and an
accurate value where it was not. A separate pass because these equations are not about speed.
"""

from __future__ import annotations

from graphc.graph import Graph
from graphc.passes.equations.stability import STABILITY
from graphc.passes.fold import NUMBERS
from graphc.passes.simplify import ALGEBRA
from graphc.rewrite import Ledger, rewrite


def stabilise(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph after the equations of stability, simplified again where they fired."""
    return rewrite(graph, [*STABILITY, *NUMBERS, *ALGEBRA], ledger, "stabilise")
