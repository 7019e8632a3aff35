"""Integers of 2 and 4 bits, floats of 4, 6 and 8: their values, kept in types that graphc has.

Comes in: tensors to be rounded, arrays of the package ml_dtypes. Goes out: tensors whose values are
of such a format. A separate step because graphc computes in none of these types: they are ways to
store numbers, and every value of theirs is one of int8, uint8, float16 or float32 too. So only
what makes such numbers (casts, quantisation, the borders of a model) has to know of them, and the
rest, which moves or widens them, does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.graph import Array
from graphc.ops.elementwise import Bitcast
from graphc.types import DTYPES, FLOAT32, INT32, DType


@dataclass(frozen=True)
class Format:
    """A way to store numbers: its name in ml_dtypes, and the dtype that holds its values."""

    name: str
    holder: DType

    @property
    def numpy(self) -> Any:
        """The dtype of arrays that store it."""
        return np.dtype(getattr(ml_dtypes, self.name))


@dataclass(frozen=True, eq=False)
class Narrow(Tensor):
    """A tensor whose values are all of ``format``."""

    format: Format

    __hash__ = Tensor.__hash__


Kind = DType | Format
"""What an ONNX type is here."""

_NAMES = {
    "INT2": ("int2", "int8"),
    "INT4": ("int4", "int8"),
    "UINT2": ("uint2", "uint8"),
    "UINT4": ("uint4", "uint8"),
    "FLOAT4E2M1": ("float4_e2m1fn", "float16"),
    "FLOAT6E2M3": ("float6_e2m3fn", "float16"),
    "FLOAT6E3M2": ("float6_e3m2fn", "float16"),
    "FLOAT8E4M3FN": ("float8_e4m3fn", "float16"),
    "FLOAT8E4M3FNUZ": ("float8_e4m3fnuz", "float16"),
    "FLOAT8E5M2": ("float8_e5m2", "float16"),
    "FLOAT8E5M2FNUZ": ("float8_e5m2fnuz", "float16"),
    "FLOAT8E8M0": ("float8_e8m0fnu", "float32"),
}
FORMATS = {
    number: Format(_NAMES[name][0], DTYPES[_NAMES[name][1]])
    for name, number in onnx.TensorProto.DataType.items()
    if name in _NAMES and hasattr(ml_dtypes, _NAMES[name][0])
}
"""The formats by ONNX's numbers, as far as the packages installed have them."""

_BY_DTYPE = {form.numpy: form for form in FORMATS.values()}
CONVERSIONS = ("Cast", "CastLike", "DequantizeLinear", "QuantizeLinear")
"""Operators whose results have another format than their operands."""


def kind_of(number: int) -> Kind:
    """The format or dtype with ONNX's number. Raises `UserError` GC0505 for one that is neither."""
    return FORMATS[number] if number in FORMATS else dtype_of(number)


def kind_like(x: Tensor) -> Kind:
    """What the values of ``x`` are."""
    return x.format if isinstance(x, Narrow) else x.dtype


def holder(kind: Kind) -> DType:
    """The dtype of tensors with such values."""
    return kind.holder if isinstance(kind, Format) else kind


def limits(kind: Kind) -> tuple[float, float]:
    """The smallest and the largest value."""
    info = _info(kind)
    return float(info.min), float(info.max)


def _info(kind: Kind) -> Any:
    return (ml_dtypes.iinfo if "int" in kind.name else ml_dtypes.finfo)(kind.numpy)


def marked(x: Any, kind: Kind | None) -> Any:
    """``x``, as a tensor of values of ``kind`` where it is a tensor that can hold them."""
    if isinstance(kind, Format) and isinstance(x, Tensor) and x.dtype == kind.holder:
        return Narrow(x.node, kind)
    return x


def handed_on(operator: str, inputs: Iterable[Any], results: Sequence[Any]) -> Sequence[Any]:
    """``results`` with the format of ``inputs``, which most operators only move."""
    formats = [x.format for x in inputs if isinstance(x, Narrow)]
    if not formats or operator in CONVERSIONS:
        return results
    return tuple(marked(y, formats[0]) for y in results)


# Arrays -------------------------------------------------------------------------------------------
def kind_of_array(array: Array) -> Kind | None:
    """The format of an array of ml_dtypes, None for all others."""
    return _BY_DTYPE.get(array.dtype)


def kept(array: Array) -> Array:
    """An array in the dtype that holds its values."""
    form = _BY_DTYPE.get(array.dtype)
    return array if form is None else array.astype(form.holder.numpy)


def shown(array: Any, kind: Kind | None) -> Any:
    """An array as ``kind`` is stored outside of graphc."""
    return array.astype(kind.numpy) if isinstance(kind, Format) else array


# Rounding -----------------------------------------------------------------------------------------
def cast_to(x: Tensor, kind: Kind, saturate: bool = True, round_mode: str = "up") -> Tensor:
    """``x`` converted to ``kind``.

    Integers lose their higher bits. Floats are rounded to the nearest value, ties to even; beyond
    the largest they become the largest or, without ``saturate``, infinite or not a number. The
    powers of two of float8e8m0 are rounded by ``round_mode``: "up", "down" or "nearest".
    """
    if isinstance(kind, DType):
        return x.astype(kind)
    if "int" in kind.name:
        found = _wrapped(x, kind)
    elif kind.name == "float8_e8m0fnu":
        found = _power_of_two(x, saturate, round_mode)
    else:
        found = _rounded(x.astype(FLOAT32), kind, saturate)
    return Narrow(found.astype(kind.holder).node, kind)


def _bits(x: Tensor) -> Tensor:
    return Tensor(Bitcast(INT32)(x.node))


def _float(bits: Tensor) -> Tensor:
    return Tensor(Bitcast(FLOAT32)(bits.node))


def _wrapped(x: Tensor, form: Format) -> Tensor:
    low, high = limits(form)
    bits = x.astype(INT32)
    if not low:
        return bits & int(high)
    return ((bits + int(-low)) & int(high - low)) + int(low)


def _rounded(x: Tensor, form: Format, saturate: bool) -> Tensor:
    """Multiples of the distance between neighbours, which is a power of two."""
    info, (low, high) = _info(form), limits(form)
    near = gc.clip(x, 2 * low, 2 * high)  # finite, and still too large where it was
    scale = _float(_bits(near) & 0x7F800000)  # the sign and the digits cut off
    unit = gc.maximum(scale, 2.0 ** int(info.minexp)) * 2.0 ** -int(info.nmant)
    found = gc.round(near / unit) * unit
    if form.name[5] != "8":  # has no infinity and no nan
        return gc.where(gc.isnan(x), 0.0, gc.clip(found, low, high))
    if saturate:
        return gc.where(gc.isnan(x), x, gc.clip(found, low, high))
    beyond = gc.copysign(np.inf, x) if form.name == "float8_e5m2" else np.nan
    return gc.where(gc.isnan(x), x, gc.where(gc.abs(found) > high, beyond, found))


def _power_of_two(x: Tensor, saturate: bool, round_mode: str) -> Tensor:
    """2**(e - 127) with e from 0 to 254, by the exponent and the digits of float32."""
    bits = _bits(gc.abs(x.astype(FLOAT32)))
    exponent, digits = bits >> 23, bits & 0x7FFFFF
    half = 1 if round_mode == "up" else 0x400000
    if round_mode != "down":
        exponent = exponent + (digits >= half).astype(INT32)
    known = gc.where(exponent > 0, _float(exponent << 23), 2.0**-127)
    known = gc.where(exponent > 254, 2.0**127 if saturate else np.nan, known)
    return gc.where(gc.isnan(x), np.nan, known)
