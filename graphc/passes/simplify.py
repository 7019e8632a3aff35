"""Algebra: the same values with fewer and cheaper operations.

Comes in: a graph. Goes out: a graph in which no equation applies any more. The equations are in
`passes.equations`; folding is among them because simplified expressions meet new constants.
"""

from __future__ import annotations

from graphc.graph import Graph
from graphc.passes.equations.arithmetic import ARITHMETIC
from graphc.passes.equations.contraction import CONTRACTIONS
from graphc.passes.equations.convolution import CONVOLUTIONS
from graphc.passes.equations.logic import LOGIC
from graphc.passes.equations.movement import MOVEMENT
from graphc.passes.equations.one_hot import ONE_HOT
from graphc.passes.equations.reduction import REDUCTIONS
from graphc.passes.fold import NUMBERS
from graphc.rewrite import Ledger, Rule, rewrite

ALGEBRA: list[Rule] = [
    *MOVEMENT,
    *ONE_HOT,
    *REDUCTIONS,
    *CONTRACTIONS,
    *CONVOLUTIONS,
    *LOGIC,
    *ARITHMETIC,
]


def simplify(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph after all equations that hold for every value, nan and infinity included."""
    return rewrite(graph, [*NUMBERS, *ALGEBRA], ledger, "simplify")
