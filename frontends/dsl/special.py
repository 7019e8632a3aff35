"""The gamma function's logarithm and what its derivatives are.

Comes in: tensors of floats. Goes out: tensors of the same shape and dtype. A separate file because
these functions have one method between them: a series for large arguments, steps of one up to it,
and a reflection for negative ones (Abramowitz and Stegun, 6.1.17, 6.1.41, 6.3.5 to 6.3.18). They
are made of other functions, so they have derivatives of all orders. All is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from graphc.frontends.dsl.elementwise import cos, floor, isinf, log, minimum, sin, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.numerics import copysign
from graphc.frontends.dsl.tensor import Tensor, Value, tensor

STEPS = 10
"""The series begins at 10, where eight terms are enough for float64."""

BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
"""Bernoulli's numbers B2, B4, ..."""


@at_user_line
def lgamma(x: Value) -> Tensor:
    """log|gamma(x)|; inf at 0, -1, -2, ... and at both infinities.

    In float64 within 2e-14 of the value or, near the zeros at 1 and 2, of 1. The derivative is
    `digamma`.
    """
    given = tensor(x)
    wide = _Argument(given)
    z = wide.large
    terms = [b / (2 * k * (2 * k - 1)) for k, b in enumerate(BERNOULLI, 1)]
    series = (z - 0.5) * log(z) - z + 0.5 * math.log(2 * math.pi) + _series(terms, z) * z
    product = math.prod((wide.base + k for k in range(1, STEPS)), start=wide.base)
    found = series - where(wide.is_small, log(product), 0.0)
    mirrored = math.log(math.pi) - log(sin(math.pi * minimum(wide.part, 1 - wide.part))) - found
    result = where(wide.is_mirrored, mirrored, found)
    return where(isinf(wide.x), math.inf, result).astype(given.dtype)


@at_user_line
def digamma(x: Value) -> Tensor:
    """The derivative of `lgamma`; nan at -1, -2, ... and -inf, -inf at 0 and inf at -0.

    In float64 within 2e-14 of the value or, near the zeros, of 1; less exact near the poles at
    negative numbers, as x itself is. Its own derivative is the trigamma function.
    """
    given = tensor(x)
    wide = _Argument(given)
    z = wide.large
    terms = [b / (2 * k) for k, b in enumerate(BERNOULLI, 1)]
    series = log(z) - 0.5 / z - _series(terms, z)
    steps = sum((1 / (wide.base + k) for k in range(1, STEPS)), start=1 / wide.base)
    found = series - where(wide.is_small, steps, 0.0)
    turn = math.pi * where(wide.is_pole, 0.5, wide.part)
    result = where(wide.is_mirrored, found - math.pi * cos(turn) / sin(turn), found)
    pole = where(wide.x == 0, -copysign(math.inf, wide.x), math.nan)
    end = where(wide.x > 0, math.inf, math.nan)
    found = where(wide.is_pole, pole, where(isinf(wide.x), end, result))
    return found.astype(given.dtype)


class _Argument:
    """``x`` in float64, and the number ``large`` >= 10 to compute its function at: x or, below 0.5,
    1 - x, and that plus 10 where it ``is_small``; the steps between begin at ``base``.
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x.astype("float64")
        self.is_mirrored = self.x < 0.5
        finite = where(isinf(self.x), 1.0, self.x)
        y = where(self.is_mirrored, 1 - finite, finite)
        self.is_small = y < STEPS
        self.base = where(self.is_small, y, 1.0)
        self.large = where(self.is_small, y + STEPS, y)
        part = finite - floor(finite)
        self.is_pole = (self.x <= 0) & (part == 0)
        self.part = where(self.is_mirrored, part, 0.5)


def _series(terms: Sequence[float], z: Tensor) -> Tensor:
    """``terms[0] / z**2 + terms[1] / z**4 + ...``, by Horner's rule."""
    square = 1 / (z * z)
    total = square * terms[-1]
    for term in reversed(terms[:-1]):
        total = (total + term) * square
    return total
