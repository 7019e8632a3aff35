"""Equations of arithmetic: neutral elements, signs, products with numbers, powers.

Comes in: nothing. Goes out: `ARITHMETIC`. They hold for nan and infinity; where the sign of zero or
the last bit may change, the rule says so. What would need finite values (``x * 0``, ``x - x``,
``x / x`` of floats) is not here but in `passes.fast_math`.
"""

from __future__ import annotations

from graphc.rewrite import (
    Rule,
    is_exact,
    is_float,
    is_signed,
    moderate,
    never_negative,
    number,
    power_of_two,
    rule,
    variable,
)
from graphc.scalars import (
    absolute,
    cos,
    cosh,
    exp2,
    maximum,
    minimum,
    negative,
    power,
    reciprocal,
    relu,
    rsqrt,
    sign,
    sqrt,
    square,
)

x, y = variable("x"), variable("y")
c, d = number("c"), number("d")

NEUTRAL: list[Rule] = [
    rule("add zero", x + 0, x, why="0 is neutral", unsafe="sign of zero"),
    rule("subtract zero", x - 0, x, why="0 is neutral", unsafe="sign of zero"),
    rule("multiply by one", x * 1, x, why="1 is neutral"),
    rule("divide by one", x / 1, x, why="1 is neutral"),
    rule("multiply by zero", x * 0, 0, when=is_exact(x), why="integers have no nan"),
    rule("subtract itself", x - x, 0, when=is_exact(x), why="integers have no nan"),
    rule("power one", power(x, 1), x, why="x to the power 1 is x, nan included"),
    rule("power zero", power(x, 0), 1, why="IEEE 754: pow(x, 0) is 1 even for nan"),
    rule("maximum of one", maximum(x, x), x, why="a maximum is one of its operands"),
    rule("minimum of one", minimum(x, x), x, why="a minimum is one of its operands"),
]

SIGNS: list[Rule] = [
    rule("negate twice", negative(-x), x, why="only the sign bit changes"),
    rule("add negative", x + (-y), x - y, why="IEEE 754 defines x - y as x + (-y)"),
    rule("subtract negative", x - (-y), x + y, why="IEEE 754 defines x - y as x + (-y)"),
    rule("negative minus", (-x) - y, -(x + y), why="rounding is symmetric", unsafe="sign of zero"),
    rule("negate difference", -(x - y), y - x, why="rounding is symmetric", unsafe="sign of zero"),
    rule("zero minus", 0 - x, -x, why="0 - x is -x", unsafe="sign of zero"),
    rule("multiply by minus one", x * -1, -x, why="rounding is symmetric"),
    rule("divide by minus one", x / -1, -x, why="rounding is symmetric"),
    rule("negate product", -(x * c), x * -c, why="the sign of a product is that of its factors"),
    rule("negative times number", (-x) * c, x * -c, why="the sign goes to the number"),
    rule("negative times", (-x) * y, -(x * y), why="the sign of a product goes outside"),
    rule("negative divided", (-x) / y, -(x / y), why="the sign of a quotient goes outside"),
    rule("divided by negative", x / (-y), -(x / y), why="the sign of a quotient goes outside"),
    rule(
        "absolute negative", absolute(-x), absolute(x), when=is_signed(x),
        why="both have the same magnitude; unsigned numbers have no sign to lose",
    ),
    rule(
        "absolute of no negative", absolute(x), x, when=never_negative(x),
        why="a value that is never below 0 is its own magnitude", unsafe="sign of zero",
    ),
    rule(
        "relu of no negative", relu(x), x, when=never_negative(x),
        why="relu keeps what is not below 0", unsafe="sign of zero",
    ),
    rule("square of negative", square(-x), square(x), why="the signs cancel"),
    rule("square of absolute", square(absolute(x)), square(x), why="the signs cancel"),
    rule("cosine of negative", cos(-x), cos(x), why="cos is even", unsafe="rounding"),
    rule("cosh of negative", cosh(-x), cosh(x), why="cosh is even", unsafe="rounding"),
    rule("sign of sign", sign(sign(x)), sign(x), why="-1, 0, 1 and nan are their own signs"),
    rule("maximum with zero", maximum(x, 0), relu(x), why="that is what relu means"),
]  # fmt: skip

NUMBERS: list[Rule] = [
    rule("double", x + x, x * 2, why="both are exact up to the exponent"),
    rule("times itself", x * x, square(x), why="that is what square means"),
    rule(
        "two factors", (x * c) * d, x * (c * d), when=is_float(x) & moderate(c, d),
        why="the numbers are far from overflow, so only the last bit changes", unsafe="rounding",
    ),
    rule(
        "factor and divisor", (x * c) / d, x * (c / d), when=moderate(c, d),
        why="the numbers are far from overflow, so only the last bit changes", unsafe="rounding",
    ),
    rule(
        "two integer factors", (x * c) * d, x * (c * d), when=is_exact(x),
        why="integers wrap around, so their products associate",
    ),
    rule(
        "two integer terms", (x + c) + d, x + (c + d), when=is_exact(x),
        why="integers wrap around, so their sums associate; sums of floats do not",
    ),
    rule(
        "divide by power of two", x / c, x * reciprocal(c), when=power_of_two(c),
        why="1 / 2**k is exact, so the product rounds like the quotient",
    ),
    rule("one over", 1 / x, reciprocal(x), why="that is what reciprocal means"),
    rule("reciprocal of root", reciprocal(sqrt(x)), rsqrt(x), why="that is what rsqrt means"),
]  # fmt: skip

POWERS: list[Rule] = [
    rule("power two", power(x, 2), square(x), why="x**2 is x * x", unsafe="rounding"),
    rule(
        "power three", power(x, 3), square(x) * x, when=is_float(x),
        why="two roundings instead of one", unsafe="rounding",
    ),
    rule(
        "power four", power(x, 4), square(square(x)), when=is_float(x),
        why="two roundings instead of one", unsafe="rounding",
    ),
    rule(
        "power minus one", power(x, -1), reciprocal(x), when=is_float(x),
        why="x**-1 is 1 / x", unsafe="rounding",
    ),
    rule(
        "power one half", power(x, 0.5), sqrt(x), when=never_negative(x),
        why="they differ at -inf and -0.0 only", unsafe="rounding",
    ),
    rule(
        "power minus one half", power(x, -0.5), rsqrt(x), when=never_negative(x),
        why="they differ at -inf and -0.0 only", unsafe="rounding",
    ),
    rule(
        "power of two", power(2, x), exp2(x), when=is_float(x),
        why="that is what exp2 means", unsafe="rounding",
    ),
]  # fmt: skip

ARITHMETIC = [*NEUTRAL, *SIGNS, *NUMBERS, *POWERS]
