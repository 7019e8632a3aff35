"""Scalar functions in ONNX's words.

Comes in: the names of `graphc.scalars`. Goes out: for each the operator that computes it, or a
formula of other functions. A separate step because a formula serves every element type at once, and
because some operators take fewer types than graphc's functions do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from graphc import scalars
from graphc.scalars import equal, less, logical_and, logical_or, where
from graphc.types import BOOL, DTYPES, UINT32, DType

OPERATORS: dict[str, tuple[str, Mapping[str, Any]]] = {
    name: (operator, {})
    for name, operator in {
        "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "remainder": "Mod",
        "mod": "Mod",
        "negative": "Neg", "abs": "Abs", "power": "Pow", "minimum": "Min", "maximum": "Max",
        "reciprocal": "Reciprocal", "sqrt": "Sqrt", "exp": "Exp", "log": "Log", "sin": "Sin",
        "cos": "Cos", "tan": "Tan", "arcsin": "Asin", "arccos": "Acos", "arctan": "Atan",
        "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh", "arcsinh": "Asinh", "arccosh": "Acosh",
        "arctanh": "Atanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "erf": "Erf",
        "relu": "Relu", "floor": "Floor", "ceil": "Ceil", "round": "Round", "sign": "Sign",
        "equal": "Equal", "less": "Less", "less_equal": "LessOrEqual", "greater": "Greater",
        "greater_equal": "GreaterOrEqual", "logical_and": "And", "logical_or": "Or",
        "logical_xor": "Xor", "logical_not": "Not", "isnan": "IsNaN", "isinf": "IsInf",
        "where": "Where", "bitwise_and": "BitwiseAnd", "bitwise_or": "BitwiseOr",
        "bitwise_xor": "BitwiseXor", "bitwise_invert": "BitwiseNot",
    }.items()
} | {
    "fmod": ("Mod", {"fmod": 1}),
    "bitwise_left_shift": ("BitShift", {"direction": "LEFT"}),
    "bitwise_right_shift": ("BitShift", {"direction": "RIGHT"}),
}  # fmt: skip
"""The operator for a function, and its attributes. Two names are for formulas alone: "mod" is the
operator as it is, and "fmod" is C's remainder, which has the sign of the dividend.
"""

# Element types ------------------------------------------------------------------------------------
_FLOATS = "f16 f32 f64"
_NUMBERS = f"{_FLOATS} i8 i16 i32 i64 u8 u16 u32 u64"
_COMPARED = f"{_FLOATS} i8 i32 i64 u8 u32 u64"
TAKES: dict[str, str] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod"), _NUMBERS),
    **dict.fromkeys(("Less", "LessOrEqual", "Greater", "GreaterOrEqual"), _NUMBERS),
    **dict.fromkeys(("Min", "Max"), _COMPARED),
    **dict.fromkeys(("ReduceMax", "ReduceMin"), f"{_FLOATS} i8 i32 i64 u8 u64 bool"),
    **dict.fromkeys(("ReduceSum", "ReduceProd", "Pow", "Einsum", "CumSum"), f"{_FLOATS} i32 i64"),
    **dict.fromkeys(("ArgMax", "ArgMin", "TopK"), f"{_FLOATS} i8 i32 i64 u8 u64"),
    "Where": f"{_FLOATS} i8 i32 i64 u8 u32",
    "Neg": f"{_FLOATS} i8 i16 i32 i64",
    **dict.fromkeys(("ScatterElements", "ScatterND"), f"{_NUMBERS} bool".removeprefix("f16 ")),
    "MatMul": f"{_FLOATS} i32 i64 u32 u64",
    "Gemm": _FLOATS,
    "BitShift": "u8 u32 u64",
    "Pad": f"{_COMPARED} bool",
    "Range": "f32 f64 i16 i32 i64",
}
"""The types that an operator takes, in the standard and in ONNX Runtime both (1.31, on a CPU);
operators that are not here take `_EVERYTHING`. bfloat16 is stored and moved, not computed.
"""

_EVERYTHING = f"{_NUMBERS} bool"

_WIDER = ("i32", "u32", "i64")
"""What stands in for types that an operator lacks, in this order."""


def computing(operator: str, dtype: DType) -> DType:
    """The type in which ``operator`` computes for operands of ``dtype``: itself if it takes it."""
    taken = TAKES.get(operator, _EVERYTHING).split()
    if dtype.short in taken or dtype.is_narrow:
        return dtype if dtype.short in taken else dtype.computing
    known = {d.short: d for d in DTYPES.values()}
    fitting = [known[name] for name in _WIDER if name in taken and _holds(known[name], dtype)]
    return dtype if dtype.is_float or not fitting else fitting[0]


def _holds(wide: DType, dtype: DType) -> bool:
    """Whether all integers of ``dtype`` are in ``wide``. Those of uint64 are in nothing else, but
    what asks for a stand-in adds and multiplies, which gives the same bits in int64.
    """
    return wide.bits > dtype.bits or wide.bits == dtype.bits == 64


# Formulas -----------------------------------------------------------------------------------------
Formula = Callable[..., Any]
"""Of operands with `graphc.arith.Arithmetic` and a ``dtype``; None where the operator will do."""


def _remainder(a: Any, b: Any) -> Any:
    """With the sign of the divisor, as Python's. The operator does so for integers, but stops at a
    divisor of 0, where the remainder is 0 here.
    """
    if not a.dtype.is_float:
        return None if b.is_nonzero else where(equal(b, 0), 0, a.combine("mod", a, _nonzero(b)))
    rest = a.combine("fmod", a, b)
    other_side = logical_and(scalars.not_equal(rest, 0.0), scalars.logical_xor(rest < 0, b < 0))
    return where(other_side, rest + b, rest)


def _floor_divide(a: Any, b: Any) -> Any:
    """The operator cuts off towards 0, so the remainder is taken away first. Integers divided by 0
    are 0.
    """
    if a.dtype.is_float:
        return where(equal(b, 0.0), a / b, scalars.round_((a - a % b) / b))
    safe = b if b.is_nonzero else _nonzero(b)
    whole = a / safe if a.dtype.kind == "uint" else (a - a.combine("mod", a, safe)) / safe
    return whole if b.is_nonzero else where(equal(b, 0), 0, whole)


def _nonzero(b: Any) -> Any:
    return where(equal(b, 0), 1, b)


def _expm1(x: Any) -> Any:
    """(u - 1) x / log u for u = exp x: the errors of u - 1 and of log u cancel (W. Kahan; Higham,
    Accuracy and stability of numerical algorithms, 2002, section 1.14.1).
    """
    u = scalars.exp(x)
    gone, power = u - 1.0, scalars.log(u)
    ratio = where(equal(power, x), 1.0, x / power)
    return where(equal(u, 1.0), x, where(equal(gone, -1.0), gone, gone * ratio))


def _log1p(x: Any) -> Any:
    """log(u) x / (u - 1) for u = 1 + x (as `_expm1`)."""
    u = x + 1.0
    gone = u - 1.0
    ratio = where(equal(gone, x), 1.0, x / gone)
    return where(equal(u, 1.0), x, scalars.log(u) * ratio)


def _arctan2(y: Any, x: Any) -> Any:
    """The angle of (x, y), all quadrants, zeros with their signs."""
    below, left = _is_negative(y), _is_negative(x)
    same = equal(abs(y), abs(x))
    ratio = where(same, 1.0, abs(y) / abs(x))
    steep = scalars.arctan(where(logical_and(same, equal(x, 0.0)), 0.0, ratio))
    turned = where(left, math.pi - steep, steep)
    return where(below, -turned, turned)


def _is_negative(x: Any) -> Any:
    """Whether the sign is minus, that of -0 too."""
    return logical_or(less(x, 0.0), less(scalars.reciprocal(x), 0.0))


def _left_shift(x: Any, count: Any) -> Any:
    """Of signed integers by their bits."""
    if x.dtype.kind != "int":
        return None
    bits = DTYPES[f"u{x.dtype.name}"]
    return (x.cast(bits) << count.cast(bits)).cast(x.dtype)


def _right_shift(x: Any, count: Any) -> Any:
    """Of signed integers: what is below 0 is shifted with all its bits turned."""
    if x.dtype.kind != "int":
        return None
    bits = DTYPES[f"u{x.dtype.name}"]
    negative = less(x, 0)
    found = (where(negative, ~x, x).cast(bits) >> count.cast(bits)).cast(x.dtype)
    return where(negative, ~found, found)


def _multiply_high(a: Any, b: Any) -> Any:
    wide = DTYPES["uint64"]
    return ((a.cast(wide) * b.cast(wide)) >> 32).cast(UINT32)


def _on_bools(function: scalars.Scalar) -> Formula:
    return lambda *xs: function(*xs) if xs[0].dtype == BOOL else None


FORMULAS: dict[str, Formula] = {
    "remainder": _remainder,
    "floor_divide": _floor_divide,
    "square": lambda x: x * x,
    "rsqrt": lambda x: scalars.reciprocal(scalars.sqrt(x)),
    "exp2": lambda x: x.combine("power", 2.0, x),
    "expm1": _expm1,
    "log1p": _log1p,
    "log2": lambda x: scalars.log(x) / math.log(2),
    "log10": lambda x: scalars.log(x) / math.log(10),
    "arctan2": _arctan2,
    "relu": lambda x: None if x.dtype.is_float else scalars.maximum(x, 0),
    "trunc": lambda x: where(x < 0, scalars.ceil(x), scalars.floor(x)),
    "not_equal": lambda a, b: scalars.logical_not(equal(a, b)),
    "isfinite": lambda x: scalars.logical_not(logical_or(scalars.isnan(x), scalars.isinf(x))),
    "bitwise_and": _on_bools(logical_and),
    "bitwise_or": _on_bools(logical_or),
    "bitwise_xor": _on_bools(scalars.logical_xor),
    "bitwise_invert": _on_bools(scalars.logical_not),
    "bitwise_left_shift": _left_shift,
    "bitwise_right_shift": _right_shift,
    "multiply_high": _multiply_high,
}
"""Functions that ONNX lacks, for some types or for all."""
