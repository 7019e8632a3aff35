"""The table of scalar functions: name, NumPy meaning, derivative. One row is a whole function.

Comes in: nothing. Goes out: `SCALARS`, which the elementwise ops, the scalar expressions of
kernels, the loop interpreter and every backend's spelling table share. A separate step so that a
new function is one row.

Derivatives follow the standard tables (Abramowitz and Stegun, ch. 4 and 7). They are written with
`arith.Arithmetic` operators: ``g`` is the cotangent of the result ``y``; a rule returns one
cotangent per operand, or None where nothing flows (conditions, and functions that are constant
wherever they have a derivative). Where there is none: abs and relu have slope 0 at 0, minimum and
maximum share the cotangent in a tie, rounding and sign have slope 0 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.arith import Arithmetic
from graphc.errors import CompilerBug
from graphc.types import DType

Derivative = Callable[..., tuple[Any, ...]]


@dataclass(frozen=True, eq=False)
class Scalar:
    """A function of numbers.

    ``domain`` names the operand kinds it takes (any, number, float, integer, bits, bool, uint32);
    ``result`` is "same" (the operands' dtype) or "bool". ``cost`` is its rough price in additions,
    used by fusion. ``identity`` makes it usable for reductions, called ``fold``. ``commutes``
    allows the rewriter to swap the operands.
    """

    name: str
    numpy: Callable[..., Any]
    derivative: Derivative | None
    arity: int = 1
    domain: str = "float"
    result: str = "same"
    cost: int = 1
    commutes: bool = False
    identity: float | None = None
    fold: str = ""

    def __call__(self, *operands: Any) -> Any:
        """Apply to anything with `Arithmetic`: nodes, expressions, patterns, frontend tensors."""
        first = next(x for x in operands if isinstance(x, Arithmetic))
        return first.combine(self.name, *operands)


SCALARS: dict[str, Scalar] = {}


def _row(
    name: str, numpy: Callable[..., Any], derivative: Derivative | None, **more: Any
) -> Scalar:
    SCALARS[name] = Scalar(name, numpy, derivative, **more)
    return SCALARS[name]


def identity_of(function: Scalar, dtype: DType) -> bool | int | float:
    """The number that ``function`` leaves alone, in ``dtype``; integers have no infinity."""
    value = function.identity
    if value is None:
        raise CompilerBug(f"{function.name} has no identity, so it cannot accumulate")
    if dtype.kind == "bool":
        return value > 0
    if dtype.is_float:
        return value
    greatest = (1 << (dtype.bits - (dtype.kind == "int"))) - 1
    least = -greatest - 1 if dtype.kind == "int" else 0
    return int(min(max(value, least), greatest))


def _flat(*operands: Any) -> tuple[Any, ...]:
    """The rule of piecewise constant functions: nothing flows."""
    return (None,) * (len(operands) - 2)


def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, np.ones_like(x)) / (1 + small)


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _erf_like(x: Any) -> Any:
    return _erf(x).astype(x.dtype) if np.size(x) else x


def _rsqrt(x: Any) -> Any:
    return np.reciprocal(np.sqrt(x))


def _power(a: Any, b: Any) -> Any:
    """NumPy's; integers to negative powers are rounded towards 0, where NumPy refuses them."""
    if np.result_type(a).kind != "i":
        return np.power(a, b)
    fraction = (b < 0) & (np.abs(a) != 1)
    return np.where(fraction, 0, np.power(a, np.where(b < 0, b & 1, b)))


def _relu(x: Any) -> Any:
    return np.maximum(x, np.zeros((), x.dtype))


def _multiply_high(a: Any, b: Any) -> Any:
    return ((a.astype(np.uint64) * b.astype(np.uint64)) >> np.uint64(32)).astype(np.uint32)


def _share(g: Any, wins: Any, ties: Any) -> Any:
    """The cotangent of one operand of minimum or maximum: all if it wins, half in a tie."""
    return where(wins, g, where(ties, g * 0.5, 0.0))


# Arithmetic ---------------------------------------------------------------------------------------
_NUMBERS: dict[str, Any] = {"arity": 2, "domain": "number"}

add = _row(
    "add",
    np.add,
    lambda g, y, a, b: (g, g),
    commutes=True,
    identity=0.0,
    fold="sum",
    **_NUMBERS,
)
subtract = _row("subtract", np.subtract, lambda g, y, a, b: (g, -g), **_NUMBERS)
multiply = _row(
    "multiply",
    np.multiply,
    lambda g, y, a, b: (g * b, g * a),
    commutes=True,
    identity=1.0,
    fold="prod",
    **_NUMBERS,
)
divide = _row("divide", np.divide, lambda g, y, a, b: (g / b, -g * y / b), arity=2, cost=4)
floor_divide = _row("floor_divide", np.floor_divide, _flat, cost=6, **_NUMBERS)
remainder = _row(
    "remainder", np.remainder, lambda g, y, a, b: (g, -g * floor(a / b)), cost=6, **_NUMBERS
)
negative = _row("negative", np.negative, lambda g, y, x: (-g,), domain="number")
absolute = _row("abs", np.abs, lambda g, y, x: (g * sign(x),), domain="number")
power: Scalar = _row(
    "power",
    _power,
    # 0 ** 0 counts as a constant, and a <= 0 gives the exponent no gradient: the limits at a = 0
    # for b > 0, where b / a and log(a) alone would give nan
    lambda g, y, a, b: (
        g * b * power(a, where(equal(b, 0.0), 1.0, b - 1)),
        g * where(a > 0, y * log(where(a > 0, a, 1.0)), 0.0),
    ),
    cost=16,
    **_NUMBERS,
)
minimum = _row(
    "minimum",
    np.minimum,
    lambda g, y, a, b: (_share(g, a < b, equal(a, b)), _share(g, b < a, equal(a, b))),
    commutes=True,
    identity=math.inf,
    fold="min",
    **_NUMBERS,
)
maximum = _row(
    "maximum",
    np.maximum,
    lambda g, y, a, b: (_share(g, a > b, equal(a, b)), _share(g, b > a, equal(a, b))),
    commutes=True,
    identity=-math.inf,
    fold="max",
    **_NUMBERS,
)
square = _row("square", np.square, lambda g, y, x: (g * x * 2,), domain="number")
reciprocal = _row("reciprocal", np.reciprocal, lambda g, y, x: (-g * y * y,), cost=4)
sqrt = _row("sqrt", np.sqrt, lambda g, y, x: (g * 0.5 / y,), cost=4)
rsqrt: Scalar = _row("rsqrt", _rsqrt, lambda g, y, x: (g * -0.5 * y * y * y,), cost=6)

# Exponentials and logarithms ----------------------------------------------------------------------
exp: Scalar = _row("exp", np.exp, lambda g, y, x: (g * y,), cost=12)
exp2 = _row("exp2", np.exp2, lambda g, y, x: (g * y * math.log(2),), cost=12)
expm1 = _row("expm1", np.expm1, lambda g, y, x: (g * (y + 1),), cost=14)
log: Scalar = _row("log", np.log, lambda g, y, x: (g / x,), cost=14)
log2 = _row("log2", np.log2, lambda g, y, x: (g / (x * math.log(2)),), cost=14)
log10 = _row("log10", np.log10, lambda g, y, x: (g / (x * math.log(10)),), cost=14)
log1p = _row("log1p", np.log1p, lambda g, y, x: (g / (x + 1),), cost=16)

# Trigonometric and hyperbolic ---------------------------------------------------------------------
sin: Scalar = _row("sin", np.sin, lambda g, y, x: (g * cos(x),), cost=20)
cos: Scalar = _row("cos", np.cos, lambda g, y, x: (-g * sin(x),), cost=20)
tan = _row("tan", np.tan, lambda g, y, x: (g * (y * y + 1),), cost=24)
arcsin = _row("arcsin", np.arcsin, lambda g, y, x: (g * rsqrt((1 - x) * (1 + x)),), cost=24)
arccos = _row("arccos", np.arccos, lambda g, y, x: (-g * rsqrt((1 - x) * (1 + x)),), cost=24)
arctan = _row("arctan", np.arctan, lambda g, y, x: (g / (x * x + 1),), cost=24)
arctan2 = _row(
    "arctan2",
    np.arctan2,
    lambda g, y, a, b: (g * b / (a * a + b * b), -g * a / (a * a + b * b)),
    arity=2,
    cost=28,
)
sinh: Scalar = _row("sinh", np.sinh, lambda g, y, x: (g * cosh(x),), cost=20)
cosh: Scalar = _row("cosh", np.cosh, lambda g, y, x: (g * sinh(x),), cost=20)
tanh = _row("tanh", np.tanh, lambda g, y, x: (g * (1 - y * y),), cost=16)
arcsinh = _row("arcsinh", np.arcsinh, lambda g, y, x: (g * rsqrt(x * x + 1),), cost=24)
arccosh = _row("arccosh", np.arccosh, lambda g, y, x: (g * rsqrt((x - 1) * (x + 1)),), cost=24)
arctanh = _row("arctanh", np.arctanh, lambda g, y, x: (g / ((1 - x) * (1 + x)),), cost=24)

# Activations and special functions ----------------------------------------------------------------
sigmoid: Scalar = _row("sigmoid", _sigmoid, lambda g, y, x: (g * y * (1 - y),), cost=16)
softplus = _row(
    "softplus",
    lambda x: np.logaddexp(x, np.zeros((), x.dtype)),
    lambda g, y, x: (g * sigmoid(x),),
    cost=28,
)
erf = _row("erf", _erf_like, lambda g, y, x: (g * (2 / math.sqrt(math.pi)) * exp(-x * x),), cost=20)
# the result says where the operand was positive, so the operand need not be kept
relu = _row("relu", _relu, lambda g, y, x: (where(y > 0, g, 0.0),), domain="number")

# Rounding -----------------------------------------------------------------------------------------
floor: Scalar = _row("floor", np.floor, _flat)
ceil = _row("ceil", np.ceil, _flat)
round_ = _row("round", np.rint, _flat)
trunc = _row("trunc", np.trunc, _flat)
sign: Scalar = _row("sign", np.sign, _flat, domain="number", cost=2)

# Comparisons and logic ----------------------------------------------------------------------------
_COMPARES: dict[str, Any] = {"arity": 2, "domain": "any", "result": "bool"}
equal: Scalar = _row("equal", np.equal, _flat, commutes=True, **_COMPARES)
not_equal = _row("not_equal", np.not_equal, _flat, commutes=True, **_COMPARES)
less = _row("less", np.less, _flat, **_COMPARES)
less_equal = _row("less_equal", np.less_equal, _flat, **_COMPARES)
greater = _row("greater", np.greater, _flat, **_COMPARES)
greater_equal = _row("greater_equal", np.greater_equal, _flat, **_COMPARES)
_LOGIC: dict[str, Any] = {"arity": 2, "domain": "bool", "commutes": True}
logical_and = _row("logical_and", np.logical_and, _flat, identity=1.0, fold="all", **_LOGIC)
logical_or = _row("logical_or", np.logical_or, _flat, identity=0.0, fold="any", **_LOGIC)
logical_xor = _row("logical_xor", np.logical_xor, _flat, **_LOGIC)
logical_not = _row("logical_not", np.logical_not, _flat, domain="bool")
isnan = _row("isnan", np.isnan, _flat, result="bool")
isinf = _row("isinf", np.isinf, _flat, result="bool", cost=2)
isfinite = _row("isfinite", np.isfinite, _flat, result="bool", cost=2)
where: Scalar = _row(
    "where",
    np.where,
    lambda g, y, c, a, b: (None, where(c, g, 0.0), where(c, 0.0, g)),
    arity=3,
    domain="any",
)

# Bits ---------------------------------------------------------------------------------------------
_BITS: dict[str, Any] = {"arity": 2, "domain": "bits", "commutes": True}
bitwise_and = _row("bitwise_and", np.bitwise_and, _flat, **_BITS)
bitwise_or = _row("bitwise_or", np.bitwise_or, _flat, **_BITS)
bitwise_xor = _row("bitwise_xor", np.bitwise_xor, _flat, **_BITS)
bitwise_invert = _row("bitwise_invert", np.bitwise_not, _flat, domain="bits")
bitwise_left_shift = _row("bitwise_left_shift", np.left_shift, _flat, arity=2, domain="integer")
bitwise_right_shift = _row("bitwise_right_shift", np.right_shift, _flat, arity=2, domain="integer")
multiply_high = _row("multiply_high", _multiply_high, _flat, arity=2, domain="uint32", cost=2)
