"""How CUDA C spells types and scalar functions: one table from name to text.

Comes in: a dtype (that of the operands) and the texts of operands. Goes out: the text of the
result. A separate step because this table is all that a new scalar function touches in this
backend. The functions called ``gc_...`` are in `meaning.h`, or primitives of the preludes.

Narrow floats are ``u16`` in memory and ``float`` in registers; only casts know them. Bools are a
byte in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.errors import CompilerBug
from graphc.types import DType, Scalar

Spelling = Callable[..., str]
"""``f(dtype, *operands) -> text``; ``dtype`` is that of the operands."""


def type_of(dtype: DType) -> str:
    """What holds a dtype in registers; a narrow float itself is its bits."""
    if dtype.kind == "bool":
        return "bool"
    if dtype.kind == "float":
        return {16: "u16", 32: "float", 64: "double"}[dtype.bits]
    return f"{dtype.kind[0]}{dtype.bits}"


def memory_type(dtype: DType) -> str:
    """What holds a dtype in memory."""
    return "u8" if dtype.kind == "bool" else type_of(dtype)


def literal(value: Scalar, dtype: DType) -> str:
    """A number; floats by as many digits as tell them from all others."""
    if dtype.kind == "bool":
        return "true" if value else "false"
    if dtype.kind != "float":
        return _integer(int(value), dtype)
    if dtype.is_narrow:
        raise CompilerBug(f"a number of {dtype} is computed with as float32")
    x = float(value)
    if math.isnan(x):
        return f"gc_nan<{type_of(dtype)}>()"
    if math.isinf(x):
        return f"({'-' if x < 0 else ''}gc_infinity<{type_of(dtype)}>())"
    text = repr(x) if dtype.bits == 64 else str(dtype.numpy.type(x))
    text += "f" if dtype.bits == 32 else ""
    return f"({text})" if x < 0 else text


def _integer(value: int, dtype: DType) -> str:
    if dtype.bits < 64:
        return (
            f"(({type_of(dtype)}){value})"
            if value < 0 or dtype.bits < 32
            else f"{value}" + ("u" if dtype.kind == "uint" else "")
        )
    if value == -(1 << 63):
        return "(-9223372036854775807ll - 1)"
    return f"({value}{'ull' if dtype.kind == 'uint' else 'll'})"


# Kinds of rows ------------------------------------------------------------------------------------
def _call(name: str) -> Spelling:
    return lambda dtype, *xs: f"{name}({', '.join(xs)})"


def _infix(sign: str) -> Spelling:
    return lambda dtype, a, b: f"({a} {sign} {b})"


def _by_kind(floats: Spelling, integers: Spelling, bools: Spelling | None = None) -> Spelling:
    """One text for floats and one for integers, which bools share unless they have their own."""

    def spell(dtype: DType, *xs: str) -> str:
        kinds = {"float": floats, "bool": bools or integers}
        return kinds.get(dtype.kind, integers)(dtype, *xs)

    return spell


def _numbers(sign: str, integers: str) -> Spelling:
    return _by_kind(_infix(sign), _call(integers))


def _one(dtype: DType) -> str:
    return literal(1, dtype)


def _zero(dtype: DType) -> str:
    return literal(0, dtype)


SPELLING: dict[str, Spelling] = {
    "add": _numbers("+", "gc_add"),
    "subtract": _numbers("-", "gc_subtract"),
    "multiply": _numbers("*", "gc_multiply"),
    "divide": _infix("/"),
    "floor_divide": _call("gc_floor_divide"),
    "remainder": _call("gc_remainder"),
    "negative": _by_kind(lambda d, x: f"(-{x})", _call("gc_negative")),
    "abs": _by_kind(_call("gc_abs"), _call("gc_integer_abs")),
    "power": _call("gc_power"),
    "minimum": _call("gc_min"),
    "maximum": _call("gc_max"),
    "square": _call("gc_square"),
    "reciprocal": lambda d, x: f"({_one(d)} / {x})",
    "rsqrt": lambda d, x: f"({_one(d)} / gc_sqrt({x}))",
    "relu": lambda d, x: f"gc_max({x}, {_zero(d)})",
    "round": _call("gc_rint"),
    "sign": _call("gc_sign"),
    "equal": _infix("=="),
    "not_equal": _infix("!="),
    "less": _infix("<"),
    "less_equal": _infix("<="),
    "greater": _infix(">"),
    "greater_equal": _infix(">="),
    "logical_and": _infix("&"),
    "logical_or": _infix("|"),
    "logical_xor": _infix("!="),
    "logical_not": lambda d, x: f"(!{x})",
    "isnan": lambda d, x: f"gc_is_nan({x})",
    "isinf": _call("gc_is_infinite"),
    "isfinite": lambda d, x: f"(!gc_is_nan({x}) & !gc_is_infinite({x}))",
    "where": lambda d, c, a, b: f"({c} ? {a} : {b})",
    "bitwise_and": lambda d, a, b: f"(({type_of(d)})({a} & {b}))",
    "bitwise_or": lambda d, a, b: f"(({type_of(d)})({a} | {b}))",
    "bitwise_xor": lambda d, a, b: f"(({type_of(d)})({a} ^ {b}))",
    "bitwise_invert": _by_kind(
        _call("~"), lambda d, x: f"(({type_of(d)})~{x})", lambda d, x: f"(!{x})"
    ),
    "bitwise_left_shift": _call("gc_left_shift"),
    "bitwise_right_shift": _call("gc_right_shift"),
    "multiply_high": _call("gc_multiply_high"),
    "arcsin": _call("gc_asin"),
    "arccos": _call("gc_acos"),
    "arctan": _call("gc_atan"),
    "arctan2": _call("gc_atan2"),
    "arcsinh": _call("gc_asinh"),
    "arccosh": _call("gc_acosh"),
    "arctanh": _call("gc_atanh"),
}
_SAME_NAME = """sqrt floor ceil trunc exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh
    sigmoid softplus erf"""
SPELLING |= {name: _call(f"gc_{name}") for name in _SAME_NAME.split()}


# Casts --------------------------------------------------------------------------------------------
def cast(source: DType, target: DType, x: str) -> str:
    """The number in another dtype: floats are cut and saturate, NaN gives 0, integers wrap. What
    becomes a narrow float is rounded once, integers by way of float32.
    """
    if source == target:
        return x
    if source.is_narrow:
        wide = f"gc_from_{short(source)}({x})"
        return wide if target == source.computing else cast(source.computing, target, wide)
    if target.is_narrow:
        exact = source.kind == "float" and (target.name == "float16" or source.bits == 32)
        single = x if exact else cast(source, target.computing, x)
        return f"gc_to_{short(target)}({single})"
    if target.kind == "bool":
        return f"({x} != 0)"
    if source.kind == "float" and target.kind != "float":
        return f"gc_saturated<{type_of(target)}>({x})"
    return f"(({type_of(target)}){x})"


def short(dtype: DType) -> str:
    """A narrow float in names of functions."""
    return dtype.short


def bitcast(source: DType, target: DType, x: str) -> str:
    """The same bits as another dtype of the same width."""
    return f"gc_bits<{type_of(target)}>({x})"
