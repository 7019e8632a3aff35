"""Equations of stability: the same value, without overflow, cancellation or 0 * inf on the way.

Comes in: nothing. Goes out: `STABILITY`. Source: Higham, Accuracy and Stability of Numerical
Algorithms, ch. 1 and 27; Blanchard, Higham and Higham, Accurately computing the log-sum-exp and
softmax functions (2021). They are marked "overflow": where the left side is accurate, both agree.
"""

from __future__ import annotations

from graphc.rewrite import (
    Pattern,
    Rule,
    along,
    forward,
    never_negative,
    peak,
    rule,
    shifted,
    total,
    variable,
)
from graphc.scalars import (
    absolute,
    exp,
    expm1,
    isfinite,
    log,
    log1p,
    reciprocal,
    rsqrt,
    sigmoid,
    softplus,
    sqrt,
    square,
    tanh,
    where,
)

x, y, root = variable("x"), variable("y"), variable("root")
AXES = "axes"


def _shift(x: Pattern) -> Pattern:
    """The maximum of ``x``, or 0 where that is infinite, because inf - inf is nan."""
    largest = peak(x, AXES)
    return where(isfinite(largest), largest, 0)  # type: ignore[no-any-return]


def _below(x: Pattern) -> Pattern:
    return x - along(_shift(x), AXES)


_sum = total(exp(x), AXES)
_safe = exp(_below(x))
_softmax = _safe / along(total(_safe, AXES), AXES)

LOGARITHMS: list[Rule] = [
    rule(
        "log of one plus", log(x + 1), log1p(x), unsafe="overflow",
        why="x + 1 forgets the digits of a small x",
    ),
    rule(
        "exp minus one", exp(x) - 1, expm1(x), unsafe="overflow",
        why="exp(x) - 1 cancels for small x",
    ),
    rule(
        "log of exp", log(exp(x)), x, unsafe="overflow",
        why="exp and log are inverse where exp does not overflow or vanish",
    ),
    rule(
        "reciprocal of exp", reciprocal(exp(x)), exp(-x), unsafe="overflow",
        why="exp(x) may vanish where its reciprocal does not overflow",
    ),
    rule(
        "exp of log", exp(log(x)), x, when=never_negative(x), unsafe="rounding",
        why="log is defined for x >= 0, and they are inverse there",
    ),
    rule(
        "log1p of expm1", log1p(expm1(x)), x, unsafe="overflow",
        why="they are inverse where expm1 does not overflow or reach -1",
    ),
    rule(
        "expm1 of log1p", expm1(log1p(x)), x, when=never_negative(x), unsafe="rounding",
        why="log1p is defined for x >= 0, and they are inverse there",
    ),
    rule(
        "log of ratio to exp", log(y / exp(x)), log(y) - x, when=never_negative(y),
        unsafe="overflow", why="exp(x) vanishes or overflows where x does not",
    ),
    rule(
        "log of ratio of exp", log(exp(x) / y), x - log(y), when=never_negative(y),
        unsafe="overflow", why="exp(x) vanishes or overflows where x does not",
    ),
]  # fmt: skip

SIGMOIDS: list[Rule] = [
    rule(
        "softplus", log1p(exp(x)), softplus(x), unsafe="overflow",
        why="exp(x) overflows where log(1 + exp(x)) is nearly x",
    ),
    rule(
        "sigmoid", reciprocal(exp(x) + 1), sigmoid(-x), unsafe="overflow",
        why="1 / (1 + exp(x)) vanishes too early for large x",
    ),
    rule(
        "sigmoid as a ratio", exp(x) / (exp(x) + 1), sigmoid(x), unsafe="overflow",
        why="inf / inf is nan for large x",
    ),
    rule(
        "log of sigmoid", log(sigmoid(x)), -softplus(-x), unsafe="overflow",
        why="sigmoid(x) vanishes for very negative x",
    ),
    rule(
        "one minus sigmoid", 1 - sigmoid(x), sigmoid(-x), when=forward(root), unsafe="overflow",
        why="1 - sigmoid(x) cancels for large x; a gradient keeps the sigmoid it has",
    ),
    rule(
        "log of one minus sigmoid", log(1 - sigmoid(x)), -softplus(x), unsafe="overflow",
        why="1 - sigmoid(x) cancels for large x",
    ),
    rule(
        "tanh", (exp(x) - exp(-x)) / (exp(x) + exp(-x)), tanh(x), unsafe="overflow",
        why="inf / inf is nan for large x, and the difference cancels for small x",
    ),
]  # fmt: skip

ROOTS: list[Rule] = [
    rule(
        "root of square", sqrt(square(x)), absolute(x), unsafe="overflow",
        why="the square overflows or vanishes where x does not",
    ),
    rule(
        "square of root", square(sqrt(x)), x, when=never_negative(x), unsafe="rounding",
        why="the root is defined for x >= 0, and they are inverse there",
    ),
    rule(
        "divide by root", x / sqrt(y), x * rsqrt(y), unsafe="rounding",
        why="rsqrt(y) is 1 / sqrt(y), and a product is cheaper than a quotient",
    ),
    rule(
        "divide by repeated root", x / along(sqrt(y), AXES), x * along(rsqrt(y), AXES),
        unsafe="rounding", why="one root per group instead of one quotient per element",
    ),
]  # fmt: skip

SUMS_OF_EXP: list[Rule] = [
    rule(
        "softmax", exp(x) / along(_sum, AXES), _softmax, when=~shifted(x), unsafe="overflow",
        why="a factor exp(-max) cancels, and then no exp overflows",
    ),
    rule(
        "softmax by reciprocal", exp(x) * along(reciprocal(_sum), AXES), _softmax,
        when=~shifted(x), unsafe="overflow",
        why="a factor exp(-max) cancels, and then no exp overflows",
    ),
    rule(
        "log of sum of exp", log(_sum), _shift(x) + log(total(_safe, AXES)), when=~shifted(x),
        unsafe="overflow", why="a factor exp(max) leaves the sum, and then no exp overflows",
    ),
]  # fmt: skip

STABILITY = [*LOGARITHMS, *SIGMOIDS, *ROOTS, *SUMS_OF_EXP]
