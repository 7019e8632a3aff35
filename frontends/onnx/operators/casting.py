"""Operators that change the element type.

Comes in: tensors, and ONNX's number of a type. Goes out: tensors of another dtype. A separate file
because these speak of ONNX's types, of which graphc has some.
"""

from __future__ import annotations

from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.narrow import cast_to, kind_like, kind_of
from graphc.frontends.onnx.registry import operator
from graphc.ops.elementwise import Bitcast
from graphc.types import BOOL, DTYPES


@operator("Cast")
def cast(x: Tensor, *, to: int, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """``x`` converted; floats become integers by truncation, anything but 0 becomes True.

    ``saturate`` and ``round_mode`` are about floats of 8 bits (`cast_to`).
    """
    return cast_to(x, kind_of(to), bool(saturate), round_mode)


@operator("CastLike")
def cast_like(x: Tensor, like: Tensor, *, saturate: int = 1, round_mode: str = "up") -> Tensor:
    """``x`` converted to the type of ``like``."""
    return cast_to(x, kind_like(like), bool(saturate), round_mode)


@operator("BitCast")
def bit_cast(x: Tensor, *, to: int) -> Tensor:
    """The bits of ``x`` read as another type of the same width; of bools 0 and 1 as numbers."""
    kind = dtype_of(to)
    bits = x.astype("uint8") if x.dtype == BOOL else x
    if kind == BOOL:
        return Tensor(Bitcast(DTYPES["uint8"])(bits.node)) != 0
    return Tensor(Bitcast(kind)(bits.node))
