"""Constants of the vector mathematics: split constants, polynomials, the table of 2/pi.

Comes in: nothing. Goes out: numbers. They are apart from the code because they were found, not
written: every polynomial is a Remez fit of our own, computed with 40 digits, constant term first,
with the weight that makes the error of the *function* relative. Each states what it approximates
and where; r, f, s, z, x as in `vector_math` and `trigonometry`.

Source of the method: Muller, "Elementary Functions: Algorithms and Implementation", chapters 3
(Remez), 11 (reduction).
"""

from __future__ import annotations

import functools
from fractions import Fraction

# Split constants: HIGH has trailing zeros, so that its product with a small integer is exact.
LN2 = {
    "float": (0.693145751953125, 1.42860682030941723212e-6),
    "double": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
LOG10_2 = (0.3010299955494702, 1.1451100898021838e-10)
LOG2_E = 1.4426950408889634
LOG10_E = 0.4342944819032518
LN_2 = 0.6931471805599453

PI = (3.1415927410125732, -8.742277657347586e-08)
HALF_PI = (1.5707963705062866, -4.371138828673793e-08)
THIRD_HALF_PI = -1.7151245100058819e-15
"""pi / 2 is the sum of HALF_PI and this, to 72 bits."""

# exp(r) = 1 + r + r^2 q(r) for |r| <= ln 2 / 2, relative to exp(r)
EXP = {
    "float": (
        0.4999999337447072, 0.16666519527115414, 0.04166840080840479, 0.008368850876113635,
        0.0013814334463833622,
    ),
    "double": (
        0.5000000000000011, 0.16666666666666408, 0.04166666666652811, 0.008333333333497015,
        0.001388888894424883, 0.00019841269502545768, 2.480149238830423e-05, 2.755758859046294e-06,
        2.7630523566618775e-07, 2.4999806857680016e-08,
    ),
}  # fmt: skip

# the same, relative to exp(r) - 1
EXPM1 = {
    "float": (
        0.5000000046941824, 0.16666666818980266, 0.04166635229523006, 0.008333272537478786,
        0.001394120615169966, 0.00019914479056408615,
    ),
    "double": (
        0.5, 0.16666666666666677, 0.0416666666666667, 0.008333333333321436, 0.0013888888888866353,
        0.0001984126988667209, 2.48015873614736e-05, 2.7557243610401145e-06, 2.7557242002972404e-07,
        2.510926141750554e-08, 2.0924670237722007e-09,
    ),
}  # fmt: skip

# log(1 + f) = f - f^2 / 2 + f^3 q(f) for sqrt(1/2) <= 1 + f <= sqrt(2), relative
LOG_FLOAT = (
    0.3333331674101638, -0.25000810413734004, 0.20002285463354286, -0.1662455309776917,
    0.1418120455664205, -0.13128774176936386, 0.12881588413294262, -0.07859504224831036,
)  # fmt: skip

# log(1 + f) = 2 atanh(s), atanh(s) = s + s z q(z), s = f / (2 + f), z = s^2; the second is shorter
ATANH = (
    0.33333333333333676, 0.19999999999706553, 0.1428571437138512, 0.1111109926538712,
    0.09091783342867019, 0.0765699319006528, 0.07398314151195695,
)  # fmt: skip
ATANH_44 = (
    0.33333333337909904, 0.1999999780742311, 0.14286054977499452, 0.11088076607536611,
    0.09792346101797408,
)  # fmt: skip

# 2^r for |r| <= 1/2, to 2^-34, relative
EXP2_34 = (
    0.9999999999610791, 0.6931471807311302, 0.24022651204171638, 0.05550410347313766,
    0.009618026438726324, 0.0013333925448421418, 0.00015469554278235085, 1.5201727687215248e-05,
)  # fmt: skip

# erf(x) = x + x p(x^2) for |x| < 0.93, relative; erfc(x) = exp(x q(x)) for 0.9 < x < 4, absolute
ERF_SMALL = (
    0.12837916664240032, -0.37612633697480513, 0.11283693945518057, -0.026859270905794055,
    0.005200634522015419, -0.000813743948575634, 8.345231709054589e-05,
)  # fmt: skip
ERFC_EXPONENT = (
    -1.1285448967091556, -0.6356565360504729, -0.10520289146022978, 0.0226119935366493,
    -0.0028922949191816007, 3.606443263150391e-05, 4.8201877722171394e-05, -5.150812327570232e-06,
)  # fmt: skip

# sin(r) = r + r^3 p(r^2) and cos(r) = 1 - r^2 / 2 + r^4 p(r^2) for |r| <= pi / 4, relative
SIN = (-0.16666654838367922, 0.008332171244994482, -0.00019516335142086402)
COS = (0.04166664668875101, -0.0013887358432184828, 2.4437371246558326e-05)

# arcsin(x) = x + x^3 p(x^2) for |x| <= 1/2, to 2^-27, relative
ARCSIN = (
    0.16666752682469158, 0.07495288646495372, 0.04547160972289269, 0.024172940122146616,
    0.042178248736509556,
)  # fmt: skip

# arctan(x) = x + x^3 p(x^2) for |x| <= 1, to 2^-28, relative
ARCTAN = (
    -0.333332990940562, 0.19998548431640042, -0.14264243107747018, 0.10952192392495924,
    -0.08403467439153903, 0.05795785502298408, -0.031178080921064718, 0.010914720803834935,
    -0.001793645361522657,
)  # fmt: skip

TWO_OVER_PI = Fraction(
    0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE5163ABDEBBC561B7246E3A424DD2E0, 1 << 320
)
"""2/pi to 320 bits: as many as the largest float32 needs."""


@functools.cache
def quarter_turns() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """For each float32 exponent field e, 2^(e-150) * 2/pi modulo 4, as a high part of 28 bits and
    the rest.

    A 24-bit integer mantissa times the high part is exact in float64. Whole turns are dropped
    before rounding, which is what makes the reduction right for every float32. Source: Payne and
    Hanek, "Radian reduction for trigonometric functions", 1983.
    """
    high, low = [], []
    for field in range(256):
        turns = TWO_OVER_PI * Fraction(2) ** (max(field, 1) - 150) % 4
        shift = 28 - (turns.numerator.bit_length() - turns.denominator.bit_length() + 1)
        scaled = turns * Fraction(2) ** shift
        top = Fraction(scaled.numerator // scaled.denominator) / Fraction(2) ** shift
        high.append(float(top))
        low.append(float(turns - top))
    return tuple(high), tuple(low)
