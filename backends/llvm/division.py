"""Division of many numbers by one: a reciprocal, and a correction of the quotient's last bit.

Comes in: a scalar divisor that a vector loop does not change, then vectors. Goes out: the same
quotients as division gives. A separate step because a vector division occupies its unit for as long
as ten multiplications, while the reciprocal is computed once.

With r = 1/b and q = x*r, the remainder e = x - q*b is exact, and q + e*r is x/b correctly rounded
(Markstein, Computation of elementary functions on the IBM RISC System/6000 processor, 1990), but
for results below the normal numbers, which may be off by their last bit. The divisor is first
brought near 1 by a power of 2, and the operands with it, so that neither r nor the products leave
the range of normal numbers where the quotient does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.llvm.value import Value

FAR = {"float": 2.0**64, "double": 2.0**512}
"""Divisors above this, or below its inverse, are scaled by it."""


@dataclass(frozen=True)
class Divisor:
    """``scale`` is a power of 2, ``number`` the divisor times it, ``inverse`` one over that."""

    scale: Value
    number: Value
    inverse: Value

    def quotients(self, x: Value) -> Value:
        """x / divisor in every lane."""
        scaled = x * self.scale
        quotient = scaled * self.inverse
        rest = (-quotient).fma(self.number, scaled)
        better = rest.fma(self.inverse, quotient)
        # no rest: exact, and zeros keep their sign; no number: the quotient is infinite or NaN
        inexact = rest.compare("one", 0.0) & better.compare("ord", better)
        return inexact.select(better, quotient)


def divisor(b: Value) -> Divisor:
    """What `Divisor.quotients` needs to know of a scalar."""
    size, far = b.abs(), FAR[b.base]
    scale = size.compare("olt", 1 / far).select(far, b.constant(1.0))
    scale = size.compare("ogt", far).select(1 / far, scale)
    number = b * scale
    return Divisor(scale, number, 1.0 / number)
