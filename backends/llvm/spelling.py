"""How LLVM spells the scalar functions: one table from name to instructions, and the casts.

Comes in: a dtype (that of the operands) and values in registers, scalar or vector. Goes out: the
value of the result. A separate step because this table is all that a new scalar function touches in
this backend.

The meaning is NumPy's, bit by bit: integers wrap, division by zero gives 0, remainders take the
sign of the divisor, shifts by the width or more give 0 or the sign, minimum and maximum pass NaN
on. Only casts of floats that the integer type cannot hold differ, since NumPy leaves them to the
processor: here they saturate, and NaN gives 0. Bools are i1 in registers, float16 and bfloat16 are
their bits: only casts know them (`narrow`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from graphc.backends.llvm import trigonometry, vector_math
from graphc.backends.llvm.emitter import Emitter
from graphc.backends.llvm.narrow import narrow, to_odd, widen
from graphc.backends.llvm.value import WIDTH, Value
from graphc.types import FLOAT16, FLOAT32, FLOAT64, DType

Spelling = Callable[..., Value]
"""``f(emitter, dtype, *values) -> Value``; ``dtype`` is that of the operands."""

_FLOAT_BASES = {16: "i16", 32: "float", 64: "double"}


def base_of(dtype: DType) -> str:
    """The IR type that holds a dtype in registers."""
    if dtype.kind == "bool":
        return "i1"
    return _FLOAT_BASES[dtype.bits] if dtype.kind == "float" else f"i{dtype.bits}"


# Three kinds of rows ------------------------------------------------------------------------------
def _plain(function: Callable[..., Value]) -> Spelling:
    """A function that is the same for every dtype."""
    return lambda emitter, dtype, *values: function(*values)


def _by_kind(**kinds: Callable[..., Value]) -> Spelling:
    """One body for each kind: `floats`, `signed`, `unsigned` (which bools share)."""

    def spell(emitter: Emitter, dtype: DType, *values: Value) -> Value:
        key = {"float": "floats", "int": "signed"}.get(dtype.kind, "unsigned")
        return kinds[key](*values)

    return spell


def _compare(floats: str, signed: str, unsigned: str) -> Spelling:
    """A comparison by its three predicates."""
    return _by_kind(
        floats=lambda a, b: a.compare(floats, b),
        signed=lambda a, b: a.compare(signed, b),
        unsigned=lambda a, b: a.compare(unsigned, b),
    )


# Division -----------------------------------------------------------------------------------------
def _quotient(a: Value, b: Value, signed: bool) -> Value:
    """a / b towards zero. Vector units divide floats only: up to 32 bits the quotient in float64 is
    exact.

    Its error is below |a / b| * 2^-53 < 1 / |b|, so it never reaches the next integer.
    """
    if not a.lanes or WIDTH[a.base] > 32 or b.is_literal:
        return a.binary("sdiv" if signed else "udiv", b)
    there, back = ("sitofp", "fptosi") if signed else ("uitofp", "fptoui")
    return (a.convert(there, "double") / b.convert(there, "double")).convert(back, a.base)


def _divide_unsigned(a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient and remainder; both 0 for a zero divisor."""
    a, b = a.pair(b)
    zero = b.compare("eq", 0)
    safe = zero.select(1, b)
    quotient = _quotient(a, safe, signed=False)
    return zero.select(0, quotient), zero.select(0, a - quotient * safe)


def _divide_signed(a: Value, b: Value) -> tuple[Value, Value]:
    """Floor quotient and remainder; least / -1 wraps, a zero divisor gives 0 and 0."""
    a, b = a.pair(b)
    least = -(1 << (WIDTH[a.base] - 1))
    zero, wraps = b.compare("eq", 0), b.compare("eq", -1) & a.compare("eq", least)
    safe = (zero | wraps).select(1, b)
    quotient = _quotient(a, safe, signed=True)
    rest = a - quotient * safe
    below = rest.compare("ne", 0) & (rest ^ safe).compare("slt", 0)
    quotient, rest = below.select(quotient - 1, quotient), below.select(rest + safe, rest)
    return zero.select(0, quotient), zero.select(0, rest)


def _remainder(a: Value, b: Value) -> Value:
    """The remainder with the sign of b, as Python and NumPy define it; exact, through C's fmod."""
    rest = a.binary("frem", b)
    other_side = rest.compare("olt", 0.0) ^ b.compare("olt", 0.0)
    moved = (rest.compare("une", 0.0) & other_side).select(rest + b, rest)
    return rest.compare("oeq", 0.0).select(rest.constant(0.0).copysign(b), moved)


def _floor_divide(a: Value, b: Value) -> Value:
    """floor(a / b) by way of the exact remainder, as NumPy does; a / b may round up."""
    rest, ratio = a.binary("frem", b), a / b
    quotient = (a - rest) / b
    other_side = rest.compare("olt", 0.0) ^ b.compare("olt", 0.0)
    quotient = (rest.compare("une", 0.0) & other_side).select(quotient - 1.0, quotient)
    down = quotient.intrinsic("floor")
    down = (quotient - down).compare("ogt", 0.5).select(down + 1.0, down)
    down = quotient.compare("oeq", 0.0).select(quotient.constant(0.0).copysign(ratio), down)
    return b.compare("oeq", 0.0).select(ratio, down)


# Powers, signs, shifts ----------------------------------------------------------------------------
def _integer_power(a: Value, b: Value) -> Value:
    """a ** b by squaring, wrapping; the exponent is read as unsigned."""
    a, b = a.pair(b)
    with a.emitter.loop(0, WIDTH[a.base], carry=[a.constant(1), a, b]) as loop:
        result, factor, left = loop.carried
        odd = (left & 1).compare("ne", 0)
        loop.carry(odd.select(result * factor, result), factor * factor, left.lshr(1))
    return loop.results[0]


def _inverse(a: Value, b: Value) -> Value:
    """a ** b for a negative b, cut to an integer: 1, -1 or 0."""
    a, b = a.pair(b)
    sign = (b & 1).compare("ne", 0).select(a, 1)
    return (a.compare("eq", 1) | a.compare("eq", -1)).select(sign, 0)


def _sign(x: Value) -> Value:
    one = x.compare("ogt", 0.0).select(1.0, x.compare("olt", 0.0).select(-1.0, x))
    return x.compare("oeq", 0.0).select(0.0, one)


def _integer_sign(x: Value) -> Value:
    return x.compare("sgt", 0).select(1, x.ashr(WIDTH[x.base] - 1))


def _left_shift(a: Value, b: Value) -> Value:
    """Counts are read as unsigned, so a negative one is beyond the width: 0, as in NumPy."""
    fits = b.compare("ult", WIDTH[b.base])
    return fits.select(a << fits.select(b, 0), 0)


def _right_shift_signed(a: Value, b: Value) -> Value:
    last = WIDTH[b.base] - 1
    return a.ashr(b.compare("ult", last).select(b, last))


def _right_shift_unsigned(a: Value, b: Value) -> Value:
    fits = b.compare("ult", WIDTH[b.base])
    return fits.select(a.lshr(fits.select(b, 0)), 0)


def _multiply_high(a: Value, b: Value) -> Value:
    wide = a.convert("zext", "i64") * b.convert("zext", "i64")
    return wide.lshr(32).convert("trunc", "i32")


def _integer_extreme(predicate: str) -> Callable[[Value, Value], Value]:
    return lambda a, b: a.compare(predicate, b).select(a, b)


# The table ----------------------------------------------------------------------------------------
_AND, _OR, _XOR = (_plain(f) for f in (Value.__and__, Value.__or__, Value.__xor__))

SPELLING: dict[str, Spelling] = {
    "add": _plain(lambda a, b: a + b),
    "subtract": _plain(lambda a, b: a - b),
    "multiply": _plain(lambda a, b: a * b),
    "divide": _plain(lambda a, b: a / b),
    "floor_divide": _by_kind(
        floats=_floor_divide,
        signed=lambda a, b: _divide_signed(a, b)[0],
        unsigned=lambda a, b: _divide_unsigned(a, b)[0],
    ),
    "remainder": _by_kind(
        floats=_remainder,
        signed=lambda a, b: _divide_signed(a, b)[1],
        unsigned=lambda a, b: _divide_unsigned(a, b)[1],
    ),
    "negative": _plain(lambda x: -x),
    "abs": _by_kind(floats=Value.abs, signed=Value.abs, unsigned=lambda x: x),
    "power": _by_kind(
        floats=vector_math.pow,
        signed=lambda a, b: b.compare("slt", 0).select(_inverse(a, b), _integer_power(a, b)),
        unsigned=_integer_power,
    ),
    "minimum": _by_kind(
        floats=Value.minimum, signed=_integer_extreme("slt"), unsigned=_integer_extreme("ult")
    ),
    "maximum": _by_kind(
        floats=Value.maximum, signed=_integer_extreme("sgt"), unsigned=_integer_extreme("ugt")
    ),
    "square": _plain(lambda x: x * x),
    "reciprocal": _plain(lambda x: 1.0 / x),
    "sqrt": _plain(Value.sqrt),
    "rsqrt": _plain(lambda x: 1.0 / x.sqrt()),
    "relu": _by_kind(
        floats=lambda x: x.maximum(0.0),
        signed=lambda x: x.compare("sgt", 0).select(x, 0),
        unsigned=lambda x: x,
    ),
    "floor": _plain(lambda x: x.intrinsic("floor")),
    "ceil": _plain(lambda x: x.intrinsic("ceil")),
    "round": _plain(Value.round_even),
    "trunc": _plain(lambda x: x.intrinsic("trunc")),
    "sign": _by_kind(
        floats=_sign,
        signed=_integer_sign,
        unsigned=lambda x: x.compare("ne", 0).convert("zext", x.base),
    ),
    "equal": _compare("oeq", "eq", "eq"),
    "not_equal": _compare("une", "ne", "ne"),
    "less": _compare("olt", "slt", "ult"),
    "less_equal": _compare("ole", "sle", "ule"),
    "greater": _compare("ogt", "sgt", "ugt"),
    "greater_equal": _compare("oge", "sge", "uge"),
    "logical_and": _AND,
    "logical_or": _OR,
    "logical_xor": _XOR,
    "logical_not": _plain(lambda x: ~x),
    "isnan": _plain(Value.is_nan),
    "isinf": _plain(lambda x: x.abs().compare("oeq", math.inf)),
    "isfinite": _plain(lambda x: x.abs().compare("olt", math.inf)),
    "where": _plain(Value.select),
    "bitwise_and": _AND,
    "bitwise_or": _OR,
    "bitwise_xor": _XOR,
    "bitwise_invert": _plain(lambda x: ~x),
    "bitwise_left_shift": _plain(_left_shift),
    "bitwise_right_shift": _by_kind(signed=_right_shift_signed, unsigned=_right_shift_unsigned),
    "multiply_high": _plain(_multiply_high),
}

_MATHEMATICS = {
    vector_math: "exp exp2 expm1 log log2 log10 log1p sinh cosh tanh arcsinh arccosh arctanh "
    "sigmoid softplus erf",
    trigonometry: "sin cos tan arcsin arccos arctan arctan2",
}
for _module, _names in _MATHEMATICS.items():
    for _name in _names.split():
        SPELLING[_name] = _plain(getattr(_module, _name))


# Casts --------------------------------------------------------------------------------------------
def _from_float(value: Value, target: DType) -> Value:
    if target.kind == "bool":
        return value.compare("une", 0.0)
    if target.kind == "float":
        wider = target.bits > WIDTH[value.base]
        return value.convert("fpext" if wider else "fptrunc", base_of(target))
    return value.saturated(base_of(target), signed=target.kind == "int")


def _from_integer(value: Value, source: DType, target: DType) -> Value:
    base, signed = base_of(target), source.kind == "int"
    if target.kind == "bool":
        return value if source.kind == "bool" else value.compare("ne", 0)
    if target.kind == "float":
        return value.convert("sitofp" if signed else "uitofp", base)
    if WIDTH[base] < WIDTH[value.base]:
        return value.convert("trunc", base)
    return value.convert("sext" if signed else "zext", base)


def cast(emitter: Emitter, source: DType, target: DType, value: Value) -> Value:
    """The number in another dtype: floats are cut and saturate, NaN gives 0, integers wrap.

    What becomes float16 is rounded once, from float64 too. Integers and float64 become bfloat16 by
    way of float32, as in ml_dtypes; every integer below the overflow of float16 is exact in it.
    """
    if source == target:
        return value
    if source.is_narrow:
        return cast(emitter, FLOAT32, target, widen(value, source))
    if target.is_narrow:
        odd = target == FLOAT16 and source == FLOAT64
        single = to_odd(value) if odd else cast(emitter, source, FLOAT32, value)
        return narrow(single, target)
    if source.kind == "float":
        return _from_float(value, target)
    return _from_integer(value, source, target)


def bitcast(emitter: Emitter, source: DType, target: DType, value: Value) -> Value:
    """The same bits as another dtype of the same width; not for bools."""
    return value.convert("bitcast", base_of(target))
