"""Both sides of every equation, on every dtype and awkward value."""

import pytest

from graphc.passes.equations.stability import STABILITY
from graphc.passes.fast_math import FAST_MATH
from graphc.passes.simplify import ALGEBRA
from graphc.rewrite import is_float, rule, variable
from graphc.scalars import absolute, sqrt, square, where
from passes.judge import faults, has_axes

EQUATIONS = [r for r in [*ALGEBRA, *STABILITY, *FAST_MATH] if r.left is not None]
PLAIN = [r for r in EQUATIONS if not has_axes(r.left)]
x, y, p = variable("x"), variable("y"), variable("p")


@pytest.mark.parametrize("equation", PLAIN, ids=lambda r: r.name)
def test_both_sides_agree(equation):
    assert not faults(equation)


@pytest.mark.parametrize(
    "wrong",
    [
        rule("swapped", x - y, y - x, why="planted"),
        rule("forgets nan", x * 0, 0, why="planted", when=is_float(x)),
        rule("forgets -0.0", x + 0, x, why="planted"),
        rule("forgets nan in a ratio", x / x, 1, why="planted"),
        rule("forgets the sign", sqrt(square(x)), x, why="planted", unsafe="overflow"),
        rule("forgets the least integer", absolute(x) * 1, x, why="planted"),
        rule("other branch", where(p, x, y), where(p, y, x), why="planted"),
        rule("claims to be exact", (x / y) * y, x, why="planted", unsafe="rounding"),
        rule("associates sums", (x + y) + x, x * 2 + y, why="planted"),
        rule("never fires", x + 12345.0, x, why="planted", when=~is_float(x)),
    ],
    ids=lambda r: r.name,
)
def test_a_planted_wrong_equation_is_caught(wrong):
    assert faults(wrong)
