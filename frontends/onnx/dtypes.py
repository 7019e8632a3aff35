"""ONNX's element types and graphc's.

Comes in: numbers of `onnx.TensorProto.DataType`. Goes out: dtypes, and back. A separate step
because ONNX has types that graphc lacks (text, complex numbers, floats and integers below 8 bits),
which must be refused by name.
"""

from __future__ import annotations

import onnx

from graphc.errors import UserError
from graphc.types import DTYPES, DType


def dtype_of(number: int) -> DType:
    """The dtype with ONNX's number. Raises `UserError` GC0505 for one that graphc lacks."""
    names = {code: name for name, code in _CODES.items()}
    if number not in names:
        known = number in onnx.TensorProto.DataType.values()
        name = onnx.TensorProto.DataType.Name(number).lower() if known else f"type {number}"
        raise UserError(
            "GC0505",
            f"graphc has no tensors of {name}",
            why=f"elements are {', '.join(DTYPES)}",
            fix="cast in the model that exports",
        )
    return DTYPES[names[number]]


def number_of(dtype: DType) -> int:
    """ONNX's number of ``dtype``."""
    return _CODES[dtype.name]


_NAMES = {"float32": "FLOAT", "float64": "DOUBLE"}
_CODES: dict[str, int] = {
    name: onnx.TensorProto.DataType.Value(_NAMES.get(name, name.upper())) for name in DTYPES
}
