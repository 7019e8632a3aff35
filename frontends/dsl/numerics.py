"""Elementwise functions that are made of others, under the names of NumPy and SciPy.

Comes in: tensors, arrays, numbers. Goes out: a tensor of the broadcast shape and the promoted
dtype. All raise `UserError` GC0101 (shapes), GC0102 (dtypes) at the user's line. A separate file
from the functions of `graphc.scalars`: these say in a line or two how they avoid overflow, and what
their slope is where the plain formula has none.
"""

from __future__ import annotations

import math

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import (
    abs,
    exp2,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    maximum,
    minimum,
    power,
    sin,
    softplus,
    sqrt,
    trunc,
    where,
)
from graphc.frontends.dsl.manners import align, at_user_line
from graphc.frontends.dsl.reductions import stop_gradient
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops.elementwise import Bitcast
from graphc.types import DTYPES


# Exponentials and logarithms ----------------------------------------------------------------------
@at_user_line
def logaddexp(a: Value, b: Value) -> Tensor:
    """log(exp(a) + exp(b)), without overflow; -inf for two of them. Floats."""
    larger, gap = _ordered("logaddexp", a, b)
    return larger + softplus(gap)


@at_user_line
def logaddexp2(a: Value, b: Value) -> Tensor:
    """log2(2**a + 2**b), without overflow. Floats."""
    larger, gap = _ordered("logaddexp2", a, b)
    return larger + log1p(exp2(gap)) * (1 / math.log(2))


def _ordered(name: str, a: Value, b: Value) -> tuple[Tensor, Tensor]:
    """The larger of two numbers, and the other less it; chosen by `where`, so that both have slopes
    of all orders in a tie too.
    """
    left, right = map(Tensor, align(name, a, b))
    above = left >= right
    larger, smaller = where(above, left, right), where(above, right, left)
    # the distance of an infinity from itself is nan
    return larger, where(isinf(larger) & (larger == smaller), 0, smaller - larger)


@at_user_line
def xlogy(x: Value, y: Value) -> Tensor:
    """x * log(y), and 0 where x is 0, whatever y is (but nan). Floats."""
    factor, value = map(Tensor, align("xlogy", x, y))
    nothing = (factor == 0) & ((value <= 0) | isinf(value))
    return where(nothing, 0, factor * log(where(nothing, 1, value)))


@at_user_line
def logit(x: Value) -> Tensor:
    """log(x / (1 - x)), the inverse of `sigmoid`; -inf at 0 and inf at 1. Floats."""
    value = tensor(x)
    return log(value) - log1p(-value)


@at_user_line
def cbrt(x: Value) -> Tensor:
    """The cube root, also of negative numbers. Floats; its slope at 0, which is inf, counts as 0.

    By a power, which is as exact as 1/3 is, and one step of Newton's method.
    """
    wide = tensor(x)
    value = wide.astype(wide.dtype.computing)
    plain = isfinite(value) & (value != 0)
    size = where(plain, abs(value), 1)
    root = power(size, 1 / 3)
    root = root - (root - size / (root * root)) * (1 / 3)
    return where(plain, copysign(root, value), stop_gradient(value)).astype(wide.dtype)


@at_user_line
def hypot(a: Value, b: Value) -> Tensor:
    """sqrt(a*a + b*b), without overflow; inf beside inf, also of a nan. Floats; slope 0 at 0."""
    left, right = map(Tensor, align("hypot", a, b))
    largest = maximum(abs(left), abs(right))
    plain = isfinite(largest) & (largest > 0)
    # the result is in proportion to the scale, so the scale needs no slope
    scale = stop_gradient(where(plain, largest, 1))
    x, y = (where(plain, v / scale, 1) for v in (left, right))
    found = where(plain, scale * sqrt(x * x + y * y), largest)
    return where(isinf(left) | isinf(right), math.inf, found)


# Signs and remainders -----------------------------------------------------------------------------
@at_user_line
def signbit(x: Value) -> Tensor:
    """Whether the sign of x is minus, also that of -0.0 and of a nan. Numbers."""
    value = tensor(x)
    if not value.dtype.is_float:
        return value < 0
    return Tensor(Bitcast(DTYPES[f"int{value.dtype.bits}"])(value.node)) < 0


@at_user_line
def copysign(a: Value, b: Value) -> Tensor:
    """The size of a with the sign of b. Floats."""
    left, right = map(Tensor, align("copysign", a, b))
    size = abs(left)
    return where(signbit(right), -size, size)


@at_user_line
def fmod(a: Value, b: Value) -> Tensor:
    """a - b * trunc(a / b), exactly: the remainder with the sign of a, as in C. Numbers."""
    left, right = map(Tensor, align("fmod", a, b))
    if left.dtype.is_float:
        return copysign(abs(left) % abs(right), left)
    rest = left % right
    return where((rest != 0) & ((left < 0) != (right < 0)), rest - right, rest)


@at_user_line
def heaviside(x: Value, at_zero: Value) -> Tensor:
    """0 below 0, 1 above, ``at_zero`` at 0; nan for nan. Floats."""
    value, middle = map(Tensor, align("heaviside", x, at_zero))
    step = where(value < 0, 0, where(value > 0, 1, middle))
    return where(isnan(value), math.nan, step)


@at_user_line
def frac(x: Value) -> Tensor:
    """x without its whole part, with its sign. Floats."""
    value = tensor(x)
    return value - trunc(value)


@at_user_line
def fmax(a: Value, b: Value) -> Tensor:
    """The larger of a and b, or the one that is not nan. Floats; ties share the gradient."""
    left, right = map(Tensor, align("fmax", a, b))
    return maximum(where(isnan(left), right, left), where(isnan(right), left, right))


@at_user_line
def fmin(a: Value, b: Value) -> Tensor:
    """The smaller of a and b, or the one that is not nan. Floats; ties share the gradient."""
    left, right = map(Tensor, align("fmin", a, b))
    return minimum(where(isnan(left), right, left), where(isnan(right), left, right))


# Angles -------------------------------------------------------------------------------------------
def deg2rad(x: Value) -> Tensor:
    """Degrees in radians. Floats."""
    return tensor(x) * (math.pi / 180)


def rad2deg(x: Value) -> Tensor:
    """Radians in degrees. Floats."""
    return tensor(x) * (180 / math.pi)


@at_user_line
def sinc(x: Value) -> Tensor:
    """sin(pi x) / (pi x), 1 at 0. Floats.

    Near 0 it is Taylor's polynomial, whose derivatives of all orders are right to rounding.
    """
    angle = tensor(x) * math.pi
    near = abs(angle) < 0.01
    square = angle * angle
    series = 1 - square * (1 / 6) * (1 - square * (1 / 20) * (1 - square * (1 / 42)))
    far = where(near, 1, angle)
    return where(near, series, sin(far) / far)


# Special values -----------------------------------------------------------------------------------
@at_user_line
def nan_to_num(
    x: Value, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """x with ``nan`` for nan, and the largest and least finite numbers of the dtype for inf and
    -inf unless others are given. Numbers; integers are returned as they are.
    """
    value = tensor(x)
    if not value.dtype.is_float:
        return value
    limits = value.dtype.limits
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    value = where(isnan(value), nan, value)
    return where(value == math.inf, high, where(value == -math.inf, low, value))


@at_user_line
def isclose(
    a: Value, b: Value, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether abs(a - b) <= atol + rtol * abs(b), or both are the same infinity (or both nan, if
    ``equal_nan``). Floats.
    """
    left, right = map(Tensor, align("isclose", a, b))
    if not left.dtype.is_float:
        raise UserError("GC0102", f"isclose of {left.dtype.name}", fix="compare with == instead")
    near = (abs(left - right) <= atol + rtol * abs(right)) & isfinite(right)
    close = near | (left == right)
    return close | (isnan(left) & isnan(right)) if equal_nan else close


def allclose(
    a: Value, b: Value, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """Whether `isclose` holds for all elements: one bool."""
    return isclose(a, b, rtol, atol, equal_nan).all()


@at_user_line
def isposinf(x: Value) -> Tensor:
    """Whether x is inf. Floats."""
    return tensor(x) == math.inf


@at_user_line
def isneginf(x: Value) -> Tensor:
    """Whether x is -inf. Floats."""
    return tensor(x) == -math.inf


radians, degrees = deg2rad, rad2deg
