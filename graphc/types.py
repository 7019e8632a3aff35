"""Tensor types: dtype and shape, known before anything runs.

Comes in: names and sizes. Goes out: `TensorType` values that compare by value. A separate step
because inference, error messages, drawings and cost formulas all speak about types and none of them
needs an array.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from graphc.dims import Dim, Size, evaluate, product
from graphc.errors import UserError

Scalar = bool | int | float
_BFLOAT16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class DType:
    """An element type. ``kind`` is one of bool, int, uint, float; ``bits`` its width in memory.

    Equal to its name and to NumPy's dtype of that name: ``x.dtype == "float32"``.
    """

    name: str
    kind: str
    bits: int

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType | str):
            return self.name == (other.name if isinstance(other, DType) else other)
        if isinstance(other, type | np.dtype):
            try:
                return self.name == np.dtype(other).name
            except TypeError:
                return NotImplemented
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def short(self) -> str:
        """The name in printed types, e.g. ``f32``."""
        if self.name == "bfloat16":
            return "bf16"
        return self.name if self.kind == "bool" else f"{self.kind[0]}{self.bits}"

    @property
    def bytes(self) -> int:
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def is_narrow(self) -> bool:
        """Whether it is a float of 16 bits: a way to store numbers, not one to compute."""
        return self.kind == "float" and self.bits == 16

    @property
    def computing(self) -> DType:
        """The dtype that arithmetic has inside an operation: float32 for float16 and bfloat16,
        which only memory holds; for all others itself.

        Results are rounded to the nearest, ties to even, when they are stored; sums and products
        are accumulated in float32 (Micikevicius et al., Mixed precision training, 2018).
        """
        return DTYPES["float32"] if self.is_narrow else self

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype; that of bfloat16 comes from the package ml_dtypes."""
        return _BFLOAT16 if self.name == "bfloat16" else np.dtype(self.name)

    @property
    def limits(self) -> Any:
        """NumPy's `finfo` or `iinfo`: eps, max, min, smallest_subnormal, ..."""
        if self.is_float:
            return ml_dtypes.finfo(self.numpy)  # type: ignore[no-untyped-call]
        return np.iinfo(self.numpy)

    def __str__(self) -> str:
        return self.short


DTYPES: dict[str, DType] = {
    d.name: d
    for d in [
        DType("bool", "bool", 8),
        *(DType(f"int{n}", "int", n) for n in (8, 16, 32, 64)),
        *(DType(f"uint{n}", "uint", n) for n in (8, 16, 32, 64)),
        DType("float16", "float", 16),
        DType("bfloat16", "float", 16),
        DType("float32", "float", 32),
        DType("float64", "float", 64),
    ]
}
_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}
BOOL, INT32, INT64, UINT32 = (DTYPES[n] for n in ("bool", "int32", "int64", "uint32"))
FLOAT16, FLOAT32, FLOAT64 = (DTYPES[n] for n in ("float16", "float32", "float64"))


COMPLEX = "graphc has no complex numbers; keep real and imaginary parts as two tensors"
"""Why a complex dtype is refused."""


def dtype(spec: DType | DTypeLike) -> DType:
    """The `DType` for a name, a NumPy dtype or a DType. Raises `UserError` GC0105."""
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, np.dtype) and spec in _BY_NUMPY:  # the name of a dtype is slow to compute
        return _BY_NUMPY[spec]
    name = spec if isinstance(spec, str) else None
    if name not in DTYPES:
        try:
            name = np.dtype(spec).name
        except TypeError:
            name = str(spec)
    if name not in DTYPES:
        known = ", ".join(DTYPES)
        why = COMPLEX if str(name).startswith("complex") else ""
        raise UserError("GC0105", f"unknown dtype {spec!r}", why=why, fix=f"use one of {known}")
    return DTYPES[name]


def is_known(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a NumPy dtype hold numbers or bools that a `DType` may describe."""
    return dtype.kind in "biuf" or dtype == _BFLOAT16


def _float_promotion(a: DType, b: DType) -> DType:
    if a.bits == b.bits:  # float16 with bfloat16: neither holds the other
        return FLOAT32
    return a if a.bits > b.bits else b


def _integer_promotion(a: DType, b: DType) -> DType | None:
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.kind == "int" else (b, a)
    bits = max(signed.bits, 2 * unsigned.bits)
    return DTYPES.get(f"int{bits}")


def promote(a: DType, b: DType) -> DType:
    """The common dtype of two tensors, by the Python array API standard (2023.12).

    Kinds do not mix: bool with a number, or an integer with a float, raises `UserError` GC0102, as
    does uint64 with a signed integer; nothing is widened behind the user's back.
    """
    if a == b:
        return a
    found: DType | None = None
    if a.is_float and b.is_float:
        found = _float_promotion(a, b)
    elif a.is_integer and b.is_integer:
        found = _integer_promotion(a, b)
    if found is None:
        raise UserError(
            "GC0102",
            f"dtypes {a.name} and {b.name} do not mix",
            why="the array API standard promotes within bools, integers and floats, not across",
            fix=f"cast one operand, e.g. x.astype({_wider(a, b)!r})",
        )
    return found


def _wider(a: DType, b: DType) -> str:
    order = ("bool", "uint", "int", "float")
    return max((a, b), key=lambda d: (order.index(d.kind), d.bits)).name


def weak_dtype(value: Scalar | Dim, other: DType) -> DType:
    """The dtype a Python number takes beside a tensor of dtype ``other``: array API weak scalars.

    A float beside an integer tensor, or a number beside a bool tensor, raises `UserError` GC0102.
    """
    is_float = isinstance(value, float | np.floating)
    is_bool = isinstance(value, bool | np.bool_)
    if other.is_float or is_bool or (other.is_integer and not is_float):
        return other
    raise UserError(
        "GC0102",
        f"Python {type(value).__name__} {value!r} beside a tensor of {other.name}",
        why="a Python number takes the dtype of the tensor beside it and must fit its kind",
        fix="cast the tensor first, e.g. x.astype('float32')",
    )


@dataclass(frozen=True)
class TensorType:
    """A dtype and a shape of ints and symbolic `Dim`s; ``str`` gives e.g. ``f32[batch,784]``."""

    dtype: DType
    shape: tuple[Size, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> Size:
        """The number of elements."""
        return product(self.shape)

    @property
    def static_shape(self) -> tuple[int, ...]:
        """The shape as ints; a symbolic size raises `UserError` GC0305."""
        return tuple(evaluate(s, {}) for s in self.shape)

    @property
    def bytes(self) -> int:
        """Memory of a dense array of this type, in bytes; needs static sizes."""
        return math.prod(self.static_shape) * self.dtype.bytes

    def keep(self, axes: Iterable[int]) -> TensorType:
        """The type with only ``axes``, in the order given."""
        return TensorType(self.dtype, tuple(self.shape[a] for a in axes))

    def drop(self, axes: Iterable[int]) -> TensorType:
        """The type without ``axes``."""
        gone = set(axes)
        return TensorType(self.dtype, tuple(s for a, s in enumerate(self.shape) if a not in gone))

    def with_dtype(self, new: DType) -> TensorType:
        return TensorType(new, self.shape)

    def with_shape(self, shape: Iterable[Size]) -> TensorType:
        return TensorType(self.dtype, tuple(shape))

    def substitute(self, sizes: Mapping[str, int]) -> TensorType:
        """The type with the named sizes replaced by numbers."""
        shape = (s.substitute(sizes) if isinstance(s, Dim) else s for s in self.shape)
        return TensorType(self.dtype, tuple(shape))

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"
