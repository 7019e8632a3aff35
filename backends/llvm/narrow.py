"""Floats of 16 bits and float32: how one becomes the other.

Comes in: 16 bits as an integer, or a float32; scalars or vectors. Goes out: the other. A separate
step because memory is all that knows narrow floats. Rounding is to the nearest, ties to even;
subnormal numbers, infinities and nans are what IEEE 754 says.

float16 has instructions on processors with F16C and on all of ARM's. Elsewhere, and for bfloat16
everywhere, integers do it: LLVM would call the compiler's library, which nobody links here, and the
instruction that AVX-512 has for bfloat16 takes subnormal numbers for 0.
"""

from __future__ import annotations

from graphc.backends.llvm.value import Value
from graphc.types import FLOAT16, DType


def widen(x: Value, dtype: DType) -> Value:
    """The float32 that 16 bits stand for; exact."""
    if dtype != FLOAT16:
        return (x.convert("zext", "i32") << 16).floats()
    if x.emitter.module.machine.has_half:
        return x.convert("bitcast", "half").convert("fpext", "float")
    return _half_to_float(x.convert("zext", "i32"))


def narrow(x: Value, dtype: DType) -> Value:
    """The 16 bits of ``dtype`` nearest to a float32."""
    if dtype != FLOAT16:
        return _float_to_bfloat(x)
    if x.emitter.module.machine.has_half:
        return x.convert("fptrunc", "half").convert("bitcast", "i16")
    return _float_to_half(x)


def to_odd(x: Value) -> Value:
    """A float64 as float32, rounded to odd where it does not fit: that spoils no later rounding to
    fewer bits.

    Source: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms
    using rounding to odd".
    """
    nearest = x.convert("fptrunc", "float")
    exact, bits = nearest.convert("fpext", "double"), nearest.bits()
    above = exact.abs().compare("ogt", x.abs())
    towards_zero = bits - above.select(bits.constant(1), 0)
    return exact.compare("one", x).select(towards_zero | 1, bits).floats()


def _to_even(bits: Value, dropped: int) -> Value:
    """Bits without the last ``dropped`` ones, rounded: half an ulp less one is added, and one more
    if the bit that becomes the last is odd.
    """
    odd = bits.lshr(dropped) & 1
    return (bits + odd + ((1 << (dropped - 1)) - 1)).lshr(dropped)


def _float_to_bfloat(x: Value) -> Value:
    """The upper half of a float32, rounded; a nan stays one whatever it loses."""
    bits = x.bits()
    quiet = bits.lshr(16) | 0x40
    return x.is_nan().select(quiet, _to_even(bits, 16)).convert("trunc", "i16")


_BIAS = 112 << 23
"""What the exponents of float32 and float16 differ by, in place."""


def _half_to_float(x: Value) -> Value:
    magnitude, sign = x & 0x7FFF, (x & 0x8000) << 16
    normal = (magnitude << 13) + _BIAS
    endless = magnitude.compare("uge", 0x7C00).select(normal | 0x7F800000, normal)
    small = (magnitude.convert("uitofp", "float") * 2.0**-24).bits()
    return (magnitude.compare("ult", 0x400).select(small, endless) | sign).floats()


def _float_to_half(x: Value) -> Value:
    bits = x.bits()
    magnitude, sign = bits & 0x7FFFFFFF, bits.lshr(16) & 0x8000
    most = 0x47800000  # 2**16, which becomes infinity
    bounded = magnitude.compare("ult", most).select(magnitude, most)
    # the last bit of 1/2 + |x| counts 2**-24, as that of subnormal numbers does
    small = (magnitude.floats() + 0.5).bits() - (126 << 23)
    rounded = magnitude.compare("ult", 113 << 23).select(small, _to_even(bounded - _BIAS, 13))
    return (x.is_nan().select(0x7E00, rounded) | sign).convert("trunc", "i16")
