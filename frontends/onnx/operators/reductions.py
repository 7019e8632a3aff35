"""Operators that combine whole axes: reductions, running totals, orders, the softmax family.

Comes in: tensors and axes. Goes out: tensors without these axes, or with size 1 there; those of
the softmax family keep the shape. A separate file because these share how axes are named, which
changed between the versions of ONNX.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import product
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Known, KnownList, operator
from graphc.frontends.onnx.values import integers

Fold = Callable[..., Tensor]
"""A reduction of graphc: of a tensor over an axis, with ``keepdims``."""


# Reductions ---------------------------------------------------------------------------------------
def _reducing(name: str, fold: Fold) -> None:
    """Enter the operator ``name``, which is ``fold`` over some axes."""

    @operator(name)
    def reduced(
        x: Tensor,
        axes: KnownList | None = None,
        *,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Tensor:
        named = [] if axes is None else integers(axes)
        over = named if named or noop_with_empty_axes else range(x.ndim)
        return fold(x, tuple(over), keepdims=bool(keepdims))


def _largest(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    fold = gc.any if x.dtype == "bool" else gc.max
    return fold(x, axis, keepdims=keepdims)


def _smallest(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    fold = gc.all if x.dtype == "bool" else gc.min
    return fold(x, axis, keepdims=keepdims)


def _absolute_sum(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    return gc.sum(gc.abs(x), axis, keepdims=keepdims)


def _square_sum(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    return gc.sum(gc.square(x), axis, keepdims=keepdims)


def _length(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    return gc.sqrt(_square_sum(x, axis, keepdims=keepdims))


def _logarithm_of_sum(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
    return gc.log(gc.sum(x, axis, keepdims=keepdims))


def _in_floats(fold: Fold) -> Fold:
    """``fold``, which is defined for floats only, of integers too: the result is cut off."""

    def wide(x: Tensor, axis: Any, *, keepdims: bool) -> Tensor:
        if x.dtype.is_float:
            return fold(x, axis, keepdims=keepdims)
        return fold(x.astype("float64"), axis, keepdims=keepdims).astype(x.dtype)

    return wide


for _name, _fold in {
    "ReduceL1": _absolute_sum,
    "ReduceL2": _in_floats(_length),
    "ReduceLogSum": _in_floats(_logarithm_of_sum),
    "ReduceLogSumExp": _in_floats(gc.logsumexp),
    "ReduceMax": _largest,
    "ReduceMean": _in_floats(gc.mean),
    "ReduceMin": _smallest,
    "ReduceProd": gc.prod,
    "ReduceSum": gc.sum,
    "ReduceSumSquare": _square_sum,
}.items():
    _reducing(_name, _fold)


# Positions ----------------------------------------------------------------------------------------
@operator("ArgMax")
def argmax(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """The position of the first largest element along ``axis``, or of the last one."""
    return _extreme(gc.argmax, x, axis, bool(keepdims), bool(select_last_index))


@operator("ArgMin")
def argmin(x: Tensor, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Tensor:
    """The position of the first smallest element along ``axis``, or of the last one."""
    return _extreme(gc.argmin, x, axis, bool(keepdims), bool(select_last_index))


def _extreme(find: Fold, x: Tensor, axis: int, keepdims: bool, last: bool) -> Tensor:
    if not last:
        return find(x, axis, keepdims=keepdims)
    return x.shape[axis] - 1 - find(gc.flip(x, axis), axis, keepdims=keepdims)


@operator("TopK")
def topk(
    x: Tensor, k: Known | int, *, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Tensor, Tensor]:
    """The ``k`` largest or smallest elements along ``axis``, in order, and where they are."""
    return gc.topk(x, int(np.asarray(k).item()), axis, largest=bool(largest))


# Running totals -----------------------------------------------------------------------------------
@operator("CumSum")
def cumsum(x: Tensor, axis: Known, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """The sum of each element and all before it, or only those; or from the end."""
    return gc.cumsum(x, int(axis.item()), exclusive=bool(exclusive), reverse=bool(reverse))


@operator("CumProd")
def cumprod(x: Tensor, axis: Known, *, exclusive: int = 0, reverse: int = 0) -> Tensor:
    """The product of each element and all before it, or only those; or from the end."""
    return gc.cumprod(x, int(axis.item()), exclusive=bool(exclusive), reverse=bool(reverse))


# The softmax family -------------------------------------------------------------------------------
def hardmax(x: Tensor, axis: int = -1) -> Tensor:
    """1 at the first largest element along ``axis``, 0 elsewhere."""
    if x.size == 0:
        return x
    place = gc.argmax(x, axis)
    return gc.moveaxis(gc.one_hot(place, x.shape[axis], x.dtype), -1, axis)


def _of_matrices(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As it was before version 13: all axes from ``axis`` on together."""

    def flat(x: Tensor, *, axis: int = 1) -> Tensor:
        place = axis if axis >= 0 else axis + x.ndim
        rows = x.reshape([product(x.shape[:place]), product(x.shape[place:])])
        return function(rows, 1).reshape(x.shape)

    return flat


for _name, _function in {
    "Softmax": gc.softmax,
    "LogSoftmax": gc.log_softmax,
    "Hardmax": hardmax,
}.items():
    operator(_name)(_of_matrices(_function))
    operator(_name, since=13)(_function)


@operator("LpNormalization")
def lp_normalization(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    """``x`` divided by its norm along ``axis``: the sum of absolute values for ``p`` 1, else the
    Euclidean length. Zeros stay.
    """
    nothing = gc.all(x == 0, axis, keepdims=True)
    return x / gc.linalg.vector_norm(gc.where(nothing, 1, x), axis, keepdims=True, ord=p)
