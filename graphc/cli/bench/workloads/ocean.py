"""Physics of sea water: one long pointwise formula of a climate model, in float64.

The benchmark is "equation of state" of pyhpc-benchmarks (D. Häfner, 2021); its numbers are the
48-term rational function of TEOS-10 (McDougall et al., IOC Manuals and Guides 56, 2010, appendix
A.30 and K). Specific volume is a0 + a1 p + a2 p^2 + a3 p^3 over b0 + 2 b1 p + b2 p^2, where a and b
are polynomials of temperature and salinity; enthalpy is its integral over pressure, in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Workload

# Coefficients of temperature, from the power 0 up, those of b1 doubled. S and R stand for the parts
# that are multiplied by salinity, and by salinity times its square root.
B0 = (9.998420897506056e2, 2.839940833161907, -3.147759265588511e-2, 1.181805545074306e-3)
B0S = (-6.698001071123802, -2.986498947203215e-2, 2.327859407479162e-4)
B0R = (-3.988822378968490e-2, 5.095422573880500e-4, -1.426984671633621e-5, 1.645039373682922e-7)
B1 = (-2.233269627352527e-2, -3.436090079851880e-4, 3.726050720345733e-6)
B1S = (-1.806789763745328e-4, 6.876837219536232e-7)
B2 = (-3.087032500374211e-7, -1.988366587925593e-8, -1.061519070296458e-11)
B2S = (1.550932729220080e-10,)
A0 = (
    1.0, 2.775927747785646e-3, -2.349607444135925e-5, 1.119513357486743e-6, 6.743689325042773e-10
)  # fmt: skip
A0S = (
    -7.521448093615448e-3, -2.764306979894411e-5, 1.262937315098546e-7, 9.527875081696435e-10,
    -1.811147201949891e-11,
)  # fmt: skip
A0R = (
    -3.303308871386421e-5, 3.801564588876298e-7, -7.672876869259043e-9, -4.634182341116144e-11,
    2.681097235569143e-12,
)  # fmt: skip
A0SS = 5.419326551148740e-6
A1 = (-2.742185394906099e-5, -3.212746477974189e-7, 3.191413910561627e-9, -1.931012931541776e-12)
A1S = (-1.105097577149576e-7, 6.211426728363857e-10)
A2 = (-1.119011592875110e-10, -1.941660213148725e-11, -1.864826425365600e-14)
A2S = (0.0, 1.119522344879478e-14)
A3 = (-1.200507748551599e-15, 6.057902487546866e-17)


def polynomial(coefficients: Sequence[float], t: Any) -> Any:
    """Horner's scheme."""
    high, *rest = reversed(coefficients)
    return reduce(lambda value, c: value * t + c, rest, high)


def value_and_slope(coefficients: Sequence[float], t: Any) -> tuple[Any, Any]:
    """A polynomial, and its derivative by t."""
    slope = [k * c for k, c in enumerate(coefficients)][1:]
    return polynomial(coefficients, t), polynomial(slope or [0.0], t)


def coefficients(s: Any, root: Any, t: Any) -> list[tuple[Any, Any]]:
    """a0, a1, a2, a3, b0, b1, b2 and their derivatives by temperature; ``root`` is sqrt(s)."""

    def mixed(free: Any, salt: Any, rooted: Any = (0.0,)) -> tuple[Any, Any]:
        parts = zip(*(value_and_slope(c, t) for c in (free, salt, rooted)), strict=True)
        value, slope = (x + s * (y + root * z) for x, y, z in parts)
        return value, slope

    a0, da0 = mixed(A0, A0S, A0R)
    twice, dtwice = mixed(B1, B1S)
    return [
        (a0 + A0SS * s * s, da0),
        mixed(A1, A1S),
        mixed(A2, A2S),
        value_and_slope(A3, t),
        mixed(B0, B0S, B0R),
        (0.5 * twice, 0.5 * dtwice),
        mixed(B2, B2S),
    ]


def enthalpy_slope(module: Any, s: Any, t: Any, p: Any) -> Any:
    """The derivative of dynamic enthalpy by temperature, by hand: a leading d is d/dt.

    Absolute salinity ``s`` in g/kg, conservative temperature ``t`` in degrees, pressure ``p`` in
    decibar.
    """
    sqrt, log = module.sqrt, module.log
    (a0, da0), (a1, da1), (a2, da2), (a3, da3), (b0, db0), (b1, db1), (b2, db2) = coefficients(
        s, sqrt(s), t
    )
    q = 1 / b2
    r, dr = b1 * q, (db1 - b1 * q * db2) * q
    w, dw = 2 * a3 * r - a2, 2 * (da3 * r + a3 * dr) - da2
    # The polynomial part of the integral.
    first = p * (0.5 * a3 * p - w) * q
    dfirst = p * (0.5 * da3 * p - dw) * q - first * q * db2
    # What remains is (m + n p) / (b0 + 2 b1 p + b2 p^2): a logarithm of the denominator,
    u = 2 * b1 * w - a3 * b0
    du = 2 * (db1 * w + b1 * dw) - da3 * b0 - a3 * db0
    n, dn = a1 + u * q, da1 + (du - u * q * db2) * q
    ratio = 1 + p * (2 * b1 + b2 * p) / b0
    dratio = (p * (2 * db1 + db2 * p) - (ratio - 1) * db0) / b0
    dsecond = 0.5 * q * ((dn - n * q * db2) * log(ratio) + n * dratio / ratio)
    # and one of its two roots.
    m, dm = a0 + w * b0 * q, da0 + (dw * b0 + w * db0 - w * b0 * q * db2) * q
    root = sqrt(b1 * b1 - b0 * b2)
    droot = (2 * b1 * db1 - db0 * b2 - b0 * db2) / (2 * root)
    low, dlow, high, dhigh = b1 - root, db1 - droot, b1 + root + b2 * p, db1 + droot + db2 * p
    share = (m * b2 - n * b1) * q / (2 * root)
    change = (dm * b2 + m * db2 - dn * b1 - n * db1) * q / (2 * root)
    dshare = change - share * (q * db2 + droot / root)
    part = 2 * b2 * p * root / (low * high)
    dpart = part * (q * db2 + droot / root - dlow / low - dhigh / high)
    dthird = dshare * log(1 + part) + share * dpart / (1 + part)
    return 1e4 * (dfirst + dsecond + dthird)


@dataclass(frozen=True)
class Ocean(Model):
    """The derivative of enthalpy by temperature at every point of an ocean: over 100 operations."""

    size: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        edge = self.size ** (1 / 3)
        wide, deep = int(np.ceil(2**0.5 * edge)), int(np.ceil(0.5 * edge))
        shape = (wide, wide, deep)
        return {
            "s": rng.uniform(0.01, 10, shape),
            "t": rng.uniform(-12, 20, shape),
            "p": rng.uniform(0, 1000, deep),
        }

    def formula(self, module: Any, s: Any, t: Any, p: Any) -> Any:
        """`enthalpy_slope`, which is the same everywhere."""
        return enthalpy_slope(module, s, t, p)

    graphc = numpy = torch = formula

    def jax(self, jax: Any, s: Any, t: Any, p: Any) -> Any:
        return enthalpy_slope(jax.numpy, s, t, p)


WORKLOADS = (
    Workload("ocean-1M", Ocean(1 << 20), Ocean(60), bar=1.3),
    Workload("ocean-4M", Ocean(1 << 22), Ocean(60), bar=1.3),
)
