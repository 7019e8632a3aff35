"""Circular functions and their inverses as straight lines of IR.

Comes in: values of float32 or float64, scalar or vector. Goes out: the function of each lane;
scalar and vector code give the same bits. Apart from `vector_math` because its theme is another:
reducing an angle.

Largest errors in float32, in units in the last place, measured on millions of operands of every
size (not proved); the tests hold to them, with and without fused multiply-add:

    sin 1.6  cos 1.6  tan 2  arcsin 2.5  arccos 2  arctan 2  arctan2 2

In float64 all of them call the C library lane by lane. Sources: Muller, "Elementary Functions",
chapter 11 (reduction); Payne and Hanek, 1983 (large angles).
"""

from __future__ import annotations

import math

from graphc.backends.llvm import coefficients as c
from graphc.backends.llvm.value import Value
from graphc.backends.llvm.vector_math import horner, library, nearest

SMALL = 3e4
"""Up to here the angle minus a multiple of pi/2 in three parts keeps its bits."""


# Reduction: x = q pi / 2 + r, abs(r) <= pi / 4
# ---------------------------------------------------------------------
def _reduce_small(x: Value) -> tuple[Value, Value]:
    """r and q modulo 4 for abs(x) <= SMALL, with fused multiply-adds."""
    number, q = nearest(x * (2.0 / math.pi))
    r = number.fma(-c.HALF_PI[0], x)
    r = number.fma(-c.HALF_PI[1], r)
    return number.fma(-c.THIRD_HALF_PI, r), q


def _reduce_any(x: Value) -> tuple[Value, Value]:
    """r and q modulo 4 for every finite x: the mantissa times 2/pi without its whole turns."""
    bits, emitter = x.bits(), x.emitter
    field = bits.lshr(23) & 255
    hidden = field.compare("eq", 0).select(0, field.constant(1 << 23))
    mantissa = ((bits & 0x7FFFFF) | hidden).convert("sitofp", "double")
    high, low = (
        emitter.gather(emitter.table(part, "double"), field, "double") for part in c.quarter_turns()
    )
    top = mantissa * high
    number, _ = nearest(mantissa.fma(low, top))
    rest = mantissa.fma(low, top - number)
    turns, _ = nearest(number * 0.25)
    _, q = nearest(number - turns * 4.0)
    r, q = (rest * (math.pi / 2.0)).convert("fptrunc", "float"), q.convert("trunc", "i32")
    negative = x.compare("olt", 0.0)
    r = negative.select(-r, r)
    return field.compare("eq", 255).select(math.nan, r), negative.select(-q, q)


def _sin_cos(r: Value) -> tuple[Value, Value]:
    """sin and cos for abs(r) <= pi / 4."""
    z = r * r
    sine = (z * r).fma(horner(z, c.SIN), r)
    cosine = (z * z).fma(horner(z, c.COS), z.fma(-0.5, z.constant(1.0)))
    return sine, cosine


def _turn(x: Value, r: Value, q: Value, name: str) -> Value:
    """The function of the whole angle from the reduced one and its quadrant."""
    if name == "cos":
        q = q + 1
    even = (q & 1).compare("eq", 0)
    if name == "tan":
        y = _quotient(r, even)
    else:
        sine, cosine = _sin_cos(r)
        y = (even.select(sine, cosine).bits() ^ ((q & 2) << 30)).floats()
    return y if name == "cos" else x.compare("oeq", 0.0).select(x, y)


def _quotient(r: Value, even: Value) -> Value:
    """tan of r or, in odd quadrants, -1 / tan; in float64, as three float32 roundings add up."""
    sine, cosine = _sin_cos(r.convert("fpext", "double"))
    y = even.select(sine, -cosine) / even.select(cosine, sine)
    return y.convert("fptrunc", "float")


def _circular(x: Value, name: str) -> Value:
    """One cheap reduction for everyday angles; only if a lane is large, the other one too.

    Each lane's result depends on that lane alone. Without a fused multiply-add the cheap one would
    lose bits.
    """
    if x.base == "double":
        return library(name, x)
    emitter = x.emitter
    if not emitter.module.machine.has_fma:
        return _turn(x, *_reduce_any(x), name)
    everyday = _turn(x, *_reduce_small(x), name)
    large = x.abs().compare("ogt", SMALL)
    return emitter.either(
        large.any(),
        lambda: large.select(_turn(x, *_reduce_any(x), name), everyday),
        lambda: everyday,
    )


def sin(x: Value) -> Value:
    """The sine."""
    return _circular(x, "sin")


def cos(x: Value) -> Value:
    """The cosine."""
    return _circular(x, "cos")


def tan(x: Value) -> Value:
    """The tangent."""
    return _circular(x, "tan")


# Inverses -----------------------------------------------------------------------------------------
def _arcsin_parts(x: Value) -> tuple[Value, Value]:
    """Whether a = |x| > 1/2, and arcsin of a or, there, of sqrt((1 - a) / 2)."""
    size = x.abs()
    large = size.compare("ogt", 0.5)
    z = large.select((1.0 - size) * 0.5, size * size)
    root = large.select(z.sqrt(), size)
    return large, (root * z).fma(horner(z, c.ARCSIN), root)


def _from(angle: tuple[float, float], x: Value) -> Value:
    """A constant angle in two parts minus x."""
    return (angle[1] - x) + angle[0]


def arcsin(x: Value) -> Value:
    """The angle in -pi/2 .. pi/2 with this sine; NaN outside -1 .. 1."""
    if x.base == "double":
        return library("asin", x)
    large, part = _arcsin_parts(x)
    return large.select(_from(c.HALF_PI, part + part), part).copysign(x)


def arccos(x: Value) -> Value:
    """The angle in 0 .. pi with this cosine; NaN outside -1 .. 1."""
    if x.base == "double":
        return library("acos", x)
    large, part = _arcsin_parts(x)
    double = part + part
    far = x.compare("olt", 0.0).select(_from(c.PI, double), double)
    return large.select(far, _from(c.HALF_PI, part.copysign(x)))


def _arctan_unit(x: Value) -> Value:
    """arctan for 0 <= x <= 1."""
    z = x * x
    return (x * z).fma(horner(z, c.ARCTAN), x)


def arctan(x: Value) -> Value:
    """The angle in -pi/2 .. pi/2 with this tangent."""
    if x.base == "double":
        return library("atan", x)
    size = x.abs()
    steep = size.compare("ogt", 1.0)
    angle = _arctan_unit(steep.select(1.0 / size, size))
    return steep.select(_from(c.HALF_PI, angle), angle).copysign(x)


def arctan2(y: Value, x: Value) -> Value:
    """The angle in -pi .. pi of the point (x, y); signs of zero and infinities as in C's atan2."""
    y, x = y.pair(x)
    if x.base == "double":
        return library("atan2", y, x)
    steep = y.abs().compare("ogt", x.abs())
    small, large = steep.select(x.abs(), y.abs()), steep.select(y.abs(), x.abs())
    slope = small / large
    slope = large.compare("oeq", 0.0).select(0.0, slope)
    slope = small.compare("oeq", math.inf).select(1.0, slope)
    angle = _arctan_unit(slope)
    angle = steep.select(_from(c.HALF_PI, angle), angle)
    angle = x.bits().compare("slt", 0).select(_from(c.PI, angle), angle)
    return y.compare("uno", x).select(math.nan, angle.copysign(y))
