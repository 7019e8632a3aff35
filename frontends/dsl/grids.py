"""Regular numbers from sizes: spaced by factors, indices, powers, triangles of ones.

Comes in: ints, floats, and a dtype. Goes out: tensors that the compiler computes where they are
needed; none is stored. Raises `UserError` GC0104 (sizes), GC0105 (dtypes).
"""

from __future__ import annotations

import math
import operator
from typing import Any

from graphc.dims import evaluate
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.creation import arange, linspace, ones, tril
from graphc.frontends.dsl.elementwise import exp2
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import expand_dims, flip
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops.leaves import Iota
from graphc.types import dtype as dtype_of


@at_user_line
def logspace(
    start: float, stop: float, count: int = 50, base: float = 10.0, dtype: Any = "float32"
) -> Tensor:
    """``base`` to the power of `linspace`; ``base`` is positive."""
    if base <= 0:
        raise UserError("GC0104", f"logspace with base {base}", fix="use a positive base")
    factor = math.log2(base)
    return exp2(linspace(start * factor, stop * factor, count, "float64")).astype(dtype)


@at_user_line
def geomspace(start: float, stop: float, count: int = 50, dtype: Any = "float32") -> Tensor:
    """``count`` numbers from ``start`` to ``stop``, each the same multiple of the one before."""
    if start == 0 or stop == 0 or (start < 0) != (stop < 0):
        raise UserError(
            "GC0104", f"geomspace from {start} to {stop}",
            why="no factor leads from one to the other", fix="use two numbers of one sign, not 0",
        )  # fmt: skip
    size = logspace(math.log2(abs(start)), math.log2(abs(stop)), count, 2.0, "float64")
    return (size if start > 0 else -size).astype(dtype)


@at_user_line
def indices(shape: Any, dtype: Any = "int64") -> tuple[Tensor, ...]:
    """For each axis of ``shape``, a tensor of that shape with the place along it: the rows of
    NumPy's array one by one.
    """
    sizes = manners.shape_of(shape)
    return tuple(Tensor(Iota(sizes, axis, dtype_of(dtype))()) for axis in range(len(sizes)))


@at_user_line
def tri(rows: int, columns: int | None = None, offset: int = 0, dtype: Any = "float32") -> Tensor:
    """Ones up to diagonal ``offset`` and zeros above it."""
    wanted = dtype_of(dtype)
    shape = (rows, rows if columns is None else columns)
    return tril(ones(shape, "uint8"), offset).astype(wanted)


@at_user_line
def vander(x: Value, columns: int | None = None, *, increasing: bool = False) -> Tensor:
    """The powers of a vector as [n, columns]: columns - 1, ..., 1, 0, or `increasing`. Floats."""
    value = tensor(x)
    if value.ndim != 1:
        raise UserError("GC0103", f"vander of {value.node.type}", fix="pass a vector")
    count = evaluate(value.shape[0], {}) if columns is None else operator.index(columns)
    exponents = arange(count).astype(value.dtype)
    powers = expand_dims(value, 1) ** exponents
    return powers if increasing else flip(powers, 1)
