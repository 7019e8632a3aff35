"""Operators that make tensors from attributes and sizes.

Comes in: attributes, and numbers that are known while the graph is built. Goes out: tensors.
A separate file because these have no operands that are data.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.registry import Known, operator
from graphc.frontends.onnx.translate import literal
from graphc.frontends.onnx.values import integers
from graphc.graph import Array
from graphc.types import dtype


@operator("Constant")
def constant(**values: Any) -> Tensor:
    """The value of the one attribute that is given; numbers are float32 or int64."""
    ((name, value),) = values.items()
    if name not in _CONSTANTS:
        raise UserError("GC0505", f"a constant by {name}", fix="graphc has tensors of numbers")
    return literal(np.asarray(value, _CONSTANTS[name]))


_CONSTANTS = {
    "value": None,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@operator("ConstantOfShape")
def constant_of_shape(shape: Known, *, value: Array | None = None) -> Tensor:
    """``value``, 0 in float32 unless given, everywhere in ``shape``."""
    element = np.zeros(1, np.float32) if value is None else np.asarray(value)
    return gc.full(integers(shape), element.reshape(-1)[0].item(), element.dtype)


@operator("Range")
def arange(start: Known, limit: Known, delta: Known, *, stash_type: int = 1) -> Tensor:
    """start, start + delta, ... before limit, computed in float32 if narrower."""
    kind = dtype("int64" if start.dtype == object else start.dtype)
    return gc.arange(start.item(), limit.item(), delta.item(), kind.computing).astype(kind)


@operator("EyeLike")
def eye_like(x: Tensor, *, dtype: int | None = None, k: int = 0) -> Tensor:
    """Ones on diagonal ``k``, zeros elsewhere, in the shape of the matrix ``x``."""
    rows, columns = x.shape
    return gc.eye(rows, columns, k, x.dtype if dtype is None else dtype_of(dtype))
