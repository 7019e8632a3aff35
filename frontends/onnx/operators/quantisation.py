"""Numbers in 8 and 16 bits: to them, from them, and products of them.

Comes in: tensors of numbers, or of integers that stand for ``(q - zero_point) * scale``. Goes out:
the other kind, or products of integers, which are exact in int32. A separate step because scales
and zero points lie along an axis, or along blocks of one, in the same way for all of them.
"""

from __future__ import annotations

from typing import Any

import onnx

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.narrow import Kind, cast_to, holder, kind_like, kind_of, limits
from graphc.frontends.onnx.operators.convolution import conv
from graphc.frontends.onnx.registry import operator
from graphc.types import FLOAT32, INT32

UINT8 = onnx.TensorProto.UINT8


@operator("QuantizeLinear")
def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Tensor:
    """``x / scale``, rounded to the nearest integer (ties to even), plus ``zero_point``, kept
    within the type of ``zero_point`` or the one asked for (uint8), which may be a float of 8 bits.

    The division is done in the dtype of ``scale``, or in ``precision``.
    """
    working = dtype_of(precision) if precision else scale.dtype
    factor = _along(scale, x, axis, block_size).astype(working)
    offset = None if zero_point is None else _along(zero_point, x, axis, block_size)
    asked = kind_of(output_dtype or UINT8) if zero_point is None else kind_like(zero_point)
    return _stored(x.astype(working) / factor, offset, asked, bool(saturate))


@operator("DequantizeLinear")
def dequantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Tensor:
    """``(x - zero_point) * scale`` in the dtype of ``scale``, or the one asked for."""
    dtype = dtype_of(output_dtype) if output_dtype else scale.dtype
    offset = None if zero_point is None else _along(zero_point, x, axis, block_size)
    return _centred(x, offset).astype(dtype) * _along(scale, x, axis, block_size).astype(dtype)


@operator("MatMulInteger")
def matmul_integer(
    a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    """The product of matrices of 8-bit integers in int32; zero points of ``a`` go by rows, those of
    ``b`` by columns.
    """
    rows = None if a_zero is None else _by_rows(a_zero)
    return _centred(a, rows) @ _centred(b, b_zero)


@operator("ConvInteger")
def conv_integer(
    x: Tensor,
    w: Tensor,
    x_zero: Tensor | None = None,
    w_zero: Tensor | None = None,
    **window: Any,
) -> Tensor:
    """The convolution of 8-bit integers in int32; zero points of ``w`` go by output channels."""
    centred = _centred(w, None if w_zero is None else _along(w_zero, w, 0))
    return conv(_centred(x, None if x_zero is None else x_zero.reshape(())), centred, **window)


@operator("QLinearMatMul")
def qlinear_matmul(
    a: Tensor,
    a_scale: Tensor,
    a_zero: Tensor,
    b: Tensor,
    b_scale: Tensor,
    b_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
) -> Tensor:
    """`matmul_integer`, quantised anew by ``y_scale`` and ``y_zero``."""
    factor = _by_rows(_wide(a_scale)) * _wide(b_scale) / _by_rows(_wide(y_scale))
    product = matmul_integer(a, b, a_zero, b_zero)
    return _stored(_wide(product) * factor, _by_rows(y_zero), kind_like(y_zero))


@operator("QLinearConv")
def qlinear_conv(
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
    **window: Any,
) -> Tensor:
    """`conv_integer`, plus a bias in int32, quantised anew by ``y_scale`` and ``y_zero``."""
    product = conv_integer(x, w, x_zero, w_zero, **window)
    if bias is not None:
        product = product + _along(bias, product, 1)
    factor = x_scale.reshape(()) * _along(w_scale, product, 1) / y_scale.reshape(())
    return _stored(_wide(product) * factor, y_zero.reshape(()), kind_like(y_zero))


# Parts --------------------------------------------------------------------------------------------
def _along(values: Tensor, x: Tensor, axis: int, block: int = 0) -> Tensor:
    """Scales or zero points of ``x`` in a shape that fits it: one for all, one for each place on
    ``axis``, or one for each ``block`` of places.
    """
    if values.shape in ((), (1,)):
        return values.reshape(())
    place = axis % x.ndim if x.ndim > 1 else 0
    if not block:
        return values.reshape([-1 if k == place else 1 for k in range(x.ndim)])
    repeated = gc.repeat(values, block, axis=place)
    return repeated[(slice(None),) * place + (slice(x.shape[place]),)]


def _by_rows(values: Tensor) -> Tensor:
    """One value for each row of a matrix as a column; anything else as it is."""
    return values[:, None] if values.ndim == 1 else values


def _centred(x: Tensor, zero_point: Tensor | None) -> Tensor:
    """What integers stand for, but for the scale: in int32, where no difference overflows. Floats
    of 8 bits are moved in float32.
    """
    dtype = FLOAT32 if x.dtype.is_float else INT32
    wide = x.astype(dtype)
    return wide if zero_point is None else wide - zero_point.astype(dtype)


def _wide(x: Tensor) -> Tensor:
    return x.astype(FLOAT32)


def _stored(x: Tensor, zero_point: Tensor | None, kind: Kind, saturate: bool = True) -> Tensor:
    """``x`` rounded, moved by ``zero_point``, and put into ``kind`` by way of its limits."""
    is_float = holder(kind).is_float
    rounded = _wide(x if is_float else gc.round(x))
    moved = rounded if zero_point is None else rounded + _wide(zero_point)
    return cast_to(moved if is_float else gc.clip(moved, *limits(kind)), kind, saturate)
