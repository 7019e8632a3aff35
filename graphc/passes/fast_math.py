"""Fast math: equations that assume that no value is nan or infinite. Not in the pipeline.

Comes in: a graph. Goes out: a graph that may give a number where the old one gave nan. A separate
pass so that nobody gets it without asking.
"""

from __future__ import annotations

from graphc.graph import Graph
from graphc.passes.fold import NUMBERS
from graphc.passes.simplify import ALGEBRA
from graphc.rewrite import Ledger, Rule, is_float, number, rewrite, rule, variable

x, y = variable("x"), variable("y")
c, d = number("c"), number("d")

FAST_MATH: list[Rule] = [
    rule("zero times", x * 0, 0, when=is_float(x), why="x is finite", unsafe="nan"),
    rule("difference of one", x - x, 0, when=is_float(x), why="x is finite", unsafe="nan"),
    rule("ratio of one", x / x, 1, why="x is finite and not 0", unsafe="nan"),
    rule("zero over", 0 / x, 0, why="x is not 0 and not nan", unsafe="nan"),
    rule("divide and multiply", (x / y) * y, x, why="y is finite and not 0", unsafe="nan"),
    rule("two float terms", (x + c) + d, x + (c + d), why="sums associate", unsafe="nan"),
]


def assume_finite(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph after equations that hold for finite values only."""
    return rewrite(graph, [*FAST_MATH, *NUMBERS, *ALGEBRA], ledger, "fast_math")
