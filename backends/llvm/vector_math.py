"""Exponentials, logarithms, hyperbolic functions, activations and powers as straight lines of IR.

Comes in: values of float32 or float64, scalar or vector. Goes out: the function of each lane;
scalar and vector code give the same bits. A separate step because LLVM would call the C library
once for every lane.

Largest errors in float32, in units in the last place (ULP), measured on millions of operands of
every size (not proved); the tests hold to them, with and without fused multiply-add:

    exp 1.1    exp2 1.5   expm1 2       sinh 2.5   cosh 2   tanh 2.5   sigmoid 2.5
    log 1      log2 0.51  log10 0.51    log1p 0.51          softplus 2
    pow 0.51   erf 1.2    arcsinh 0.51  arccosh 0.51        arctanh 0.51

In float64 everything here is ours and was measured below 3 ULP, but `erf` and `pow`, which call the
C library lane by lane.

Methods are the classical ones: Cody and Waite's reduction, fdlibm's arrangement of the logarithm;
polynomials are in `coefficients`. Integers come out of floats by adding a magic number, never by a
conversion that NaN would poison; ordered compares let NaN through every clamp. Source: Muller,
"Elementary Functions", chapters 10 and 11.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from graphc.backends.llvm import coefficients as c
from graphc.backends.llvm.value import Value

_MAGIC = {"float": (12582912.0, 0x4B400000), "double": (6755399441055744.0, 0x4338000000000000)}
_BIAS = {"i32": (127, 23), "i64": (1023, 52)}
_ROOT_HALF = {"i32": 0x3F3504F3, "i64": 0x3FE6A09E667F3BCD}
"""The bits of sqrt(1/2); mantissas from there to sqrt(2) keep log(1) from cancelling."""


# Building blocks ----------------------------------------------------------------------------------
def horner(x: Value, coefficients: Sequence[float]) -> Value:
    """A polynomial, constant term first, with the fewest multiplications."""
    result = x.constant(coefficients[-1])
    for number in reversed(coefficients[:-1]):
        result = result.fma(x, number)
    return result


def estrin(x: Value, coefficients: Sequence[float]) -> Value:
    """A polynomial, constant term first, as a tree: a few more multiplications, a shorter chain."""
    terms: list[Value] = [x.constant(number) for number in coefficients]
    power = x
    while len(terms) > 1:
        odd = [terms[-1]] if len(terms) % 2 else []
        paired = zip(terms[::2], terms[1::2], strict=False)
        terms = [high.fma(power, low) for low, high in paired] + odd
        if len(terms) > 1:
            power = power * power
    return terms[0]


def nearest(x: Value, factor: float = 1.0) -> tuple[Value, Value]:
    """The integer nearest to ``x * factor``, which is below 2^22 (2^51 in float64), as a float and
    as an integer.
    """
    magic, bits = _MAGIC[x.base]
    shifted = x + magic if factor == 1.0 else x.fma(factor, magic)
    return shifted - magic, shifted.bits() - bits


def clamp(x: Value, low: float, high: float) -> Value:
    """x moved into the interval; NaN stays."""
    x = x.compare("olt", low).select(low, x)
    return x.compare("ogt", high).select(high, x)


def by_width(x: Value, single: float, double: float) -> float:
    """The first number for float32, the second for float64."""
    return single if x.base == "float" else double


def in_double(function: Callable[..., Value], *values: Value) -> Value:
    """A float32 result computed in float64 and rounded once."""
    return function(*(value.convert("fpext", "double") for value in values)).convert(
        "fptrunc", "float"
    )


def library(name: str, *values: Value) -> Value:
    """The C library's float64 function, lane by lane."""
    emitter, lanes = values[0].emitter, values[0].lanes
    if not lanes:
        return emitter.call(name, values, "double")
    result = emitter.constant(0.0, "double", lanes)
    for lane in range(lanes):
        one = emitter.call(name, [value.lane(lane) for value in values], "double")
        text = f"insertelement {result.typed}, {one.typed}, i64 {lane}"
        result = emitter.emit(text, "double", lanes)
    return result


def power_of_two(exponent: Value) -> Value:
    """2^exponent for an integer in the range of normal numbers."""
    bias, shift = _BIAS[exponent.base]
    return ((exponent + bias) << shift).floats()


def _scale(x: Value, number: Value, exponent: Value) -> Value:
    """x * 2^exponent, rounded once, as in two steps only the last can be; ``number`` is the
    exponent as a float.
    """
    if x.can_scale:
        return x.scaled(number)
    half = exponent.ashr(1)
    return x * power_of_two(half) * power_of_two(exponent - half)


# Exponentials -------------------------------------------------------------------------------------
def reduce_exponent(x: Value) -> tuple[Value, Value, Value]:
    """r, and k as a float and as an integer, with x = k ln 2 + r, abs(r) <= ln 2 / 2."""
    high, low = c.LN2[x.base]
    number, k = nearest(x, c.LOG2_E)
    return number.fma(-low, number.fma(-high, x)), number, k


def _exp_polynomial(r: Value) -> Value:
    return (r * r).fma(estrin(r, c.EXP[r.base]), r) + 1.0


def exp(x: Value) -> Value:
    """e^x."""
    inside = clamp(x, by_width(x, -105.0, -746.0), by_width(x, 89.0, 710.0))
    r, number, k = reduce_exponent(inside)
    return _scale(_exp_polynomial(r), number, k)


def exp2(x: Value) -> Value:
    """2^x; exact for integers."""
    x = clamp(x, by_width(x, -151.0, -1076.0), by_width(x, 129.0, 1025.0))
    number, k = nearest(x)
    return _scale(_exp_polynomial((x - number) * c.LN_2), number, k)


def _exp_minus_one(x: Value, shift: int) -> Value:
    """(e^x - 1) / 2^shift: the shift keeps what follows from overflowing too early."""
    r, _, k = reduce_exponent(x)
    scale = power_of_two(k - shift)
    return scale.fma((r * r).fma(estrin(r, c.EXPM1[x.base]), r), scale - 2.0**-shift)


def expm1(x: Value) -> Value:
    """e^x - 1 without cancellation; x itself where the next term is below its last place."""
    inside = clamp(x, by_width(x, -17.5, -38.0), by_width(x, 89.0, 710.0))
    tiny = x.abs().compare("olt", by_width(x, 2.0**-25, 2.0**-54))
    return tiny.select(x, _exp_minus_one(inside, 2) * 4.0)


def sinh(x: Value) -> Value:
    """Hyperbolic sine: (t + t / (t + 1)) / 2 with t = e^|x| - 1, computed from t / 4."""
    size = x.abs()
    limit = by_width(x, 89.6, 710.6)
    quarter = _exp_minus_one(size.compare("ogt", limit).select(limit, size), 2)
    result = (quarter + quarter / quarter.fma(4.0, 1.0)) * 2.0
    tiny = size.compare("olt", by_width(x, 2.0**-12, 2.0**-27))
    return tiny.select(size, result).copysign(x)


def cosh(x: Value) -> Value:
    """Hyperbolic cosine: (e + 1 / e) / 2."""
    size = x.abs()
    limit = by_width(x, 89.6, 710.6)
    quarter = _exp_minus_one(size.compare("ogt", limit).select(limit, size), 2)
    return quarter.fma(2.0, 0.5 / quarter.fma(4.0, 1.0) + 0.5)


def tanh(x: Value) -> Value:
    """Hyperbolic tangent: t / (t + 2) with t = e^(2|x|) - 1."""
    size, limit = x.abs(), by_width(x, 9.1, 20.0)
    size = size.compare("ogt", limit).select(limit, size)
    t = _exp_minus_one(size + size, 0)
    return (t / (t + 2.0)).copysign(x)


def sigmoid(x: Value) -> Value:
    """1 / (1 + e^-x), never through a large exponential."""
    small = exp(-x.abs())
    return x.compare("olt", 0.0).select(small, 1.0) / (small + 1.0)


# Logarithms ---------------------------------------------------------------------------------------
def _split(x: Value) -> tuple[Value, Value]:
    """f and k with x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for positive normal x."""
    bits = x.bits()
    root, shift = _ROOT_HALF[bits.base], _BIAS[bits.base][1]
    moved = bits - root
    mantissa = (moved & ((1 << shift) - 1)) + root
    return mantissa.floats() - 1.0, moved.ashr(shift)


def _split_any(x: Value) -> tuple[Value, Value]:
    """`_split` for denormals too."""
    tiny = x.compare("olt", by_width(x, 2.0**-126, 2.0**-1022))
    shift = _BIAS["i32" if x.base == "float" else "i64"][1]
    f, k = _split(tiny.select(x * 2.0**shift, x))
    return f, k - tiny.select(shift, k.constant(0))


def _log_near_one(f: Value, more: Value | float) -> Value:
    """log(1 + f) + more, for a `more` that is small or has few bits."""
    if f.base == "float":
        square = f * f
        return square.fma(-0.5, f * square * estrin(f, c.LOG_FLOAT) + more) + f
    s = f / (f + 2.0)
    z, half = s * s, f * f * 0.5
    return f - (half - s.fma(half + z * estrin(z, c.ATANH) * 2.0, more))


def _log_domain(x: Value, y: Value) -> Value:
    """Logarithms outside the positive numbers: NaN below 0, -inf at 0; inf and NaN stay."""
    y = x.compare("olt", math.inf).select(y, x)
    y = x.compare("olt", 0.0).select(math.nan, y)
    return x.compare("oeq", 0.0).select(-math.inf, y)


def log(x: Value) -> Value:
    """The natural logarithm."""
    f, k = _split_any(x)
    number, (high, low) = k.convert("sitofp", x.base), c.LN2[x.base]
    return _log_domain(x, number.fma(high, _log_near_one(f, number * low)))


def log2(x: Value) -> Value:
    """The logarithm to base 2; exact for powers of 2."""
    if x.base == "float":
        return in_double(log2, x)
    f, k = _split_any(x)
    return _log_domain(x, _log_near_one(f, 0.0).fma(c.LOG2_E, k.convert("sitofp", x.base)))


def log10(x: Value) -> Value:
    """The logarithm to base 10."""
    if x.base == "float":
        return in_double(log10, x)
    f, k = _split_any(x)
    number, (high, low) = k.convert("sitofp", x.base), c.LOG10_2
    return _log_domain(x, number.fma(high, number.fma(low, _log_near_one(f, 0.0) * c.LOG10_E)))


def log1p(x: Value) -> Value:
    """log(1 + x); what the sum loses goes back into f (Knuth, TAOCP 2, 4.2.2, theorem B)."""
    if x.base == "float":
        return in_double(log1p, x)
    total = x + 1.0
    part = total - 1.0
    lost = (1.0 - (total - part)) + (x - part)
    f, k = _split(total)
    unscaled = k.compare("slt", 1000).select(power_of_two(-k), 0.0)
    f = k.compare("eq", 0).select(x, f + lost * unscaled)
    number, (high, low) = k.convert("sitofp", x.base), c.LN2[x.base]
    y = number.fma(high, _log_near_one(f, number * low))
    return _log_domain(total, y).copysign(x)


def softplus(x: Value) -> Value:
    """log(1 + e^x) as max(x, 0) + log(1 + e^-|x|)."""
    t = exp(-x.abs())
    return x.maximum(0.0) + (_log1p_unit(t) if x.base == "float" else log1p(t))


def _log1p_unit(t: Value) -> Value:
    """log(1 + t) for 0 <= t <= 1 in float32: from 0.4 on, as log 2 + log(1 + (t - 1) / 2)."""
    large = t.compare("ogt", 0.4)
    f = large.select((t - 1.0) * 0.5, t)
    high, low = c.LN2["float"]
    return _log_near_one(f, large.select(t.constant(low), 0.0)) + large.select(
        t.constant(high), 0.0
    )


def arcsinh(x: Value) -> Value:
    """log(a + sqrt(a^2 + 1)) for a = |x|, as log1p; from 2^28 on the root is a itself."""
    if x.base == "float":
        return in_double(arcsinh, x)
    size = x.abs()
    large = size.compare("ogt", 2.0**28)
    a = large.select(1.0, size)
    square = a * a
    inner = large.select(size - 1.0, a + square / ((square + 1.0).sqrt() + 1.0))
    return (log1p(inner) + large.select(c.LN_2, a.constant(0.0))).copysign(x)


def arccosh(x: Value) -> Value:
    """log(x + sqrt(x^2 - 1)) for x >= 1, as log1p of what x exceeds 1 by; NaN below."""
    if x.base == "float":
        return in_double(arccosh, x)
    large = x.compare("ogt", 2.0**28)
    t = large.select(1.0, x - 1.0)
    inner = large.select(x - 1.0, t + (t * (t + 2.0)).sqrt())
    y = log1p(inner) + large.select(c.LN_2, t.constant(0.0))
    return x.compare("olt", 1.0).select(math.nan, y)


def arctanh(x: Value) -> Value:
    """log((1 + a) / (1 - a)) / 2 for a = |x|, as log1p; inf at 1, NaN beyond."""
    if x.base == "float":
        return in_double(arctanh, x)
    size = x.abs()
    return (log1p((size + size) / (1.0 - size)) * 0.5).copysign(x)


# The rest -----------------------------------------------------------------------------------------
def erf(x: Value) -> Value:
    """The error function: a polynomial below 0.92, 1 - exp(a q(a)) above."""
    if x.base == "double":
        return library("erf", x)
    size = x.abs()
    small = x.fma(horner(x * x, c.ERF_SMALL), x)
    a = size.compare("ogt", 4.0).select(4.0, size)
    r, _, k = reduce_exponent(a * horner(a, c.ERFC_EXPONENT))
    large = 1.0 - _exp_polynomial(r) * power_of_two(k)
    return size.compare("olt", 0.92).select(small, x.is_nan().select(x, large.copysign(x)))


def pow(x: Value, y: Value) -> Value:
    """x^y with the special cases of IEEE 754-2019, section 9.2.1; float32 rounds once."""
    x, y = x.pair(y)
    if x.base == "double":
        return library("pow", x, y)
    size = in_double(_power_of_size, x.abs(), y)
    whole = y.abs().intrinsic("trunc").compare("oeq", y.abs())
    half = y.abs() * 0.5
    odd = whole & half.intrinsic("trunc").compare("one", half) & half.compare("olt", 2.0**23)
    signed = (size.bits() | odd.select(x.bits() & -(2**31), 0)).floats()
    outside = x.compare("olt", 0.0) & ~whole & x.compare("one", -math.inf)
    result = (outside | x.compare("uno", y)).select(math.nan, signed)
    unit = x.compare("oeq", -1.0) & y.abs().compare("oeq", math.inf)
    return (x.compare("oeq", 1.0) | y.compare("oeq", 0.0) | unit).select(1.0, result)


def _power_of_size(x: Value, y: Value) -> Value:
    """2^(y log2 x) in float64, good to 2^-33, for a float32 x >= 0."""
    f, k = _split(x)
    s = f / (f + 2.0)
    z = s * s
    logarithm = (
        (s * z).fma(horner(z, c.ATANH_44), s).fma(2.0 * c.LOG2_E, k.convert("sitofp", x.base))
    )
    logarithm = x.compare("oeq", 0.0).select(-math.inf, logarithm)
    logarithm = x.compare("oeq", math.inf).select(math.inf, logarithm)
    exponent = clamp(logarithm * y, -200.0, 200.0)
    number, k = nearest(exponent)
    return estrin(exponent - number, c.EXP2_34) * power_of_two(k)
