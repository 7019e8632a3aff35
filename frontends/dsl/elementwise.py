"""Functions that work element by element, under the names of the array API and NumPy.

Comes in: tensors, arrays, numbers. Goes out: a tensor of the broadcast shape and the promoted
dtype. All raise `UserError` GC0101 (shapes), GC0102 (dtypes) at the user's line. The meaning and
the derivative of each are a row of `graphc.scalars`; here are the names people call, and the
activations that are compositions.
"""

from __future__ import annotations

import math
from typing import Literal

from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, apply, tensor


# Arithmetic --------------------------------------------------------------------------------------
def add(a: Value, b: Value) -> Tensor:
    """a + b. Numbers."""
    return apply("add", a, b)


def subtract(a: Value, b: Value) -> Tensor:
    """a - b. Numbers."""
    return apply("subtract", a, b)


def multiply(a: Value, b: Value) -> Tensor:
    """a * b. Numbers."""
    return apply("multiply", a, b)


def divide(a: Value, b: Value) -> Tensor:
    """a / b. Floats; integers must be cast first, or use `floor_divide`."""
    return apply("divide", a, b)


def floor_divide(a: Value, b: Value) -> Tensor:
    """The largest whole number not above a / b. Numbers."""
    return apply("floor_divide", a, b)


def remainder(a: Value, b: Value) -> Tensor:
    """a - b * floor_divide(a, b), with the sign of b. Numbers."""
    return apply("remainder", a, b)


def power(a: Value, b: Value) -> Tensor:
    """a to the power b. Numbers; the gradient by b is 0 where a <= 0."""
    return apply("power", a, b)


def minimum(a: Value, b: Value) -> Tensor:
    """The smaller of a and b; nan if either is. Ties share the gradient."""
    return apply("minimum", a, b)


def maximum(a: Value, b: Value) -> Tensor:
    """The larger of a and b; nan if either is. Ties share the gradient."""
    return apply("maximum", a, b)


def negative(x: Value) -> Tensor:
    """-x. Numbers."""
    return apply("negative", x)


def abs(x: Value) -> Tensor:
    """x without its sign. Numbers; the gradient at 0 is 0."""
    return apply("abs", x)


def sign(x: Value) -> Tensor:
    """-1, 0 or 1. Numbers; its gradient is 0."""
    return apply("sign", x)


def square(x: Value) -> Tensor:
    """x * x. Numbers."""
    return apply("square", x)


def sqrt(x: Value) -> Tensor:
    """The square root; nan below 0. Floats."""
    return apply("sqrt", x)


def rsqrt(x: Value) -> Tensor:
    """1 / sqrt(x). Floats."""
    return apply("rsqrt", x)


def reciprocal(x: Value) -> Tensor:
    """1 / x. Floats."""
    return apply("reciprocal", x)


# Exponentials and logarithms ---------------------------------------------------------------------
def exp(x: Value) -> Tensor:
    """e to the power x. Floats."""
    return apply("exp", x)


def exp2(x: Value) -> Tensor:
    """2 to the power x. Floats."""
    return apply("exp2", x)


def expm1(x: Value) -> Tensor:
    """exp(x) - 1, exact for small x. Floats."""
    return apply("expm1", x)


def log(x: Value) -> Tensor:
    """The natural logarithm. Floats."""
    return apply("log", x)


def log2(x: Value) -> Tensor:
    """The logarithm to base 2. Floats."""
    return apply("log2", x)


def log10(x: Value) -> Tensor:
    """The logarithm to base 10. Floats."""
    return apply("log10", x)


def log1p(x: Value) -> Tensor:
    """log(1 + x), exact for small x. Floats."""
    return apply("log1p", x)


# Trigonometry, angles in radians -----------------------------------------------------------------
def sin(x: Value) -> Tensor:
    """The sine. Floats."""
    return apply("sin", x)


def cos(x: Value) -> Tensor:
    """The cosine. Floats."""
    return apply("cos", x)


def tan(x: Value) -> Tensor:
    """The tangent. Floats."""
    return apply("tan", x)


def asin(x: Value) -> Tensor:
    """The angle in [-pi/2, pi/2] whose sine is x. Floats."""
    return apply("arcsin", x)


def acos(x: Value) -> Tensor:
    """The angle in [0, pi] whose cosine is x. Floats."""
    return apply("arccos", x)


def atan(x: Value) -> Tensor:
    """The angle in (-pi/2, pi/2) whose tangent is x. Floats."""
    return apply("arctan", x)


def atan2(a: Value, b: Value) -> Tensor:
    """The angle of the point (b, a), in [-pi, pi]. Floats."""
    return apply("arctan2", a, b)


def sinh(x: Value) -> Tensor:
    """The hyperbolic sine. Floats."""
    return apply("sinh", x)


def cosh(x: Value) -> Tensor:
    """The hyperbolic cosine. Floats."""
    return apply("cosh", x)


def tanh(x: Value) -> Tensor:
    """The hyperbolic tangent. Floats."""
    return apply("tanh", x)


def asinh(x: Value) -> Tensor:
    """The inverse of `sinh`. Floats."""
    return apply("arcsinh", x)


def acosh(x: Value) -> Tensor:
    """The inverse of `cosh`. Floats."""
    return apply("arccosh", x)


def atanh(x: Value) -> Tensor:
    """The inverse of `tanh`. Floats."""
    return apply("arctanh", x)


# Rounding ----------------------------------------------------------------------------------------
def floor(x: Value) -> Tensor:
    """The largest whole number not above x. Floats."""
    return apply("floor", x)


def ceil(x: Value) -> Tensor:
    """The smallest whole number not below x. Floats."""
    return apply("ceil", x)


def round(x: Value) -> Tensor:
    """The nearest whole number; halves go to the even one. Floats."""
    return apply("round", x)


def trunc(x: Value) -> Tensor:
    """x without its fraction. Floats."""
    return apply("trunc", x)


# Comparisons, to bool ----------------------------------------------------------------------------
def equal(a: Value, b: Value) -> Tensor:
    """Whether a == b."""
    return apply("equal", a, b)


def not_equal(a: Value, b: Value) -> Tensor:
    """Whether a != b."""
    return apply("not_equal", a, b)


def less(a: Value, b: Value) -> Tensor:
    """Whether a < b."""
    return apply("less", a, b)


def less_equal(a: Value, b: Value) -> Tensor:
    """Whether a <= b."""
    return apply("less_equal", a, b)


def greater(a: Value, b: Value) -> Tensor:
    """Whether a > b."""
    return apply("greater", a, b)


def greater_equal(a: Value, b: Value) -> Tensor:
    """Whether a >= b."""
    return apply("greater_equal", a, b)


def isnan(x: Value) -> Tensor:
    """Whether x is not a number. Floats."""
    return apply("isnan", x)


def isinf(x: Value) -> Tensor:
    """Whether x is infinite. Floats."""
    return apply("isinf", x)


def isfinite(x: Value) -> Tensor:
    """Whether x is neither infinite nor nan. Floats."""
    return apply("isfinite", x)


# Logic and bits ----------------------------------------------------------------------------------
def logical_and(a: Value, b: Value) -> Tensor:
    """a and b. Bools."""
    return apply("logical_and", a, b)


def logical_or(a: Value, b: Value) -> Tensor:
    """a or b. Bools."""
    return apply("logical_or", a, b)


def logical_xor(a: Value, b: Value) -> Tensor:
    """Either a or b. Bools."""
    return apply("logical_xor", a, b)


def logical_not(x: Value) -> Tensor:
    """Not x. Bools."""
    return apply("logical_not", x)


def bitwise_and(a: Value, b: Value) -> Tensor:
    """a & b. Integers and bools."""
    return apply("bitwise_and", a, b)


def bitwise_or(a: Value, b: Value) -> Tensor:
    """a | b. Integers and bools."""
    return apply("bitwise_or", a, b)


def bitwise_xor(a: Value, b: Value) -> Tensor:
    """a ^ b. Integers and bools."""
    return apply("bitwise_xor", a, b)


def bitwise_invert(x: Value) -> Tensor:
    """~x. Integers and bools."""
    return apply("bitwise_invert", x)


def bitwise_left_shift(a: Value, b: Value) -> Tensor:
    """a << b. Integers."""
    return apply("bitwise_left_shift", a, b)


def bitwise_right_shift(a: Value, b: Value) -> Tensor:
    """a >> b. Integers."""
    return apply("bitwise_right_shift", a, b)


# Special functions -------------------------------------------------------------------------------
def sigmoid(x: Value) -> Tensor:
    """1 / (1 + exp(-x)), without overflow. Floats."""
    return apply("sigmoid", x)


def softplus(x: Value) -> Tensor:
    """log(1 + exp(x)), without overflow. Floats."""
    return apply("softplus", x)


def erf(x: Value) -> Tensor:
    """The error function (Abramowitz and Stegun, 7.1). Floats."""
    return apply("erf", x)


def relu(x: Value) -> Tensor:
    """max(x, 0). Numbers; the gradient at 0 is 0."""
    return apply("relu", x)


# Compositions ------------------------------------------------------------------------------------
def where(condition: Value, a: Value, b: Value) -> Tensor:
    """``a`` where the bool ``condition`` holds, else ``b``; all three broadcast."""
    return apply("where", condition, a, b)


def clip(x: Value, low: Value | None = None, high: Value | None = None) -> Tensor:
    """``x`` kept between ``low`` and ``high``; None leaves a side open. Numbers."""
    result = tensor(x)
    result = result if low is None else maximum(result, low)
    return result if high is None else minimum(result, high)


def silu(x: Value) -> Tensor:
    """x * sigmoid(x), also called swish (Hendrycks and Gimpel 2016). Floats."""
    value = tensor(x)
    return value * sigmoid(value)


@at_user_line
def gelu(x: Value, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """x times the probability that a standard normal is below x (Hendrycks and Gimpel 2016).

    Floats. ``approximate="tanh"`` is the paper's formula with tanh in place of erf.
    """
    value = tensor(x)
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (value + 0.044715 * value * value * value)
        return 0.5 * value * (1 + tanh(inner))
    return 0.5 * value * (1 + erf(value * math.sqrt(0.5)))


def elu(x: Value, alpha: float = 1.0) -> Tensor:
    """x above 0, else alpha * (exp(x) - 1) (Clevert et al. 2015); slope alpha at 0. Floats."""
    value = tensor(x)
    above = value > 0
    # the unused side must stay finite: a gradient of inf * 0 would be nan; and `minimum`, which
    # shares a tie, would halve the slope alpha at 0
    return where(above, value, alpha * expm1(where(above, 0, value)))


def leaky_relu(x: Value, slope: float = 0.01) -> Tensor:
    """x above 0, else slope * x (Maas et al. 2013). Floats."""
    value = tensor(x)
    return where(value > 0, value, slope * value)


# NumPy's older names for the same functions
absolute = abs
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
pow = power
invert = bitwise_invert
