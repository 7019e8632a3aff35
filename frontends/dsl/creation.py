"""Functions that make tensors from nothing but sizes, under the names of the array API and NumPy.

Comes in: shapes of ints and named sizes, and a dtype. Goes out: tensors that the compiler computes
where they are needed; none is stored. Raises `UserError` GC0104 (sizes), GC0105 (dtypes).
"""

from __future__ import annotations

import math
import operator
from typing import Any

from graphc.dims import Dim, Size, size
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops.elementwise import cast_to
from graphc.ops.leaves import Iota
from graphc.ops.movement import broadcast_to
from graphc.ops.reduction import broadcast_in
from graphc.types import BOOL, FLOAT32, INT64, DType
from graphc.types import dtype as dtype_of


@at_user_line
def full(shape: Any, value: Value, dtype: Any = None) -> Tensor:
    """A tensor of ``shape`` with ``value`` everywhere; its own dtype unless one is given."""
    node = manners.as_node(value, dtype_of(dtype) if dtype is not None else None)
    return Tensor(broadcast_to(node, manners.shape_of(shape)))


def zeros(shape: Any, dtype: Any = "float32") -> Tensor:
    """Zeros of ``shape``."""
    return full(shape, 0, dtype)


def ones(shape: Any, dtype: Any = "float32") -> Tensor:
    """Ones of ``shape``."""
    return full(shape, 1, dtype)


def full_like(x: Value, value: Value, dtype: Any = None) -> Tensor:
    """``value`` in the shape of ``x``, in its dtype unless one is given."""
    like = tensor(x)
    return full(like.shape, value, like.dtype if dtype is None else dtype)


def zeros_like(x: Value, dtype: Any = None) -> Tensor:
    """Zeros in the shape of ``x``, in its dtype unless one is given."""
    return full_like(x, 0, dtype)


def ones_like(x: Value, dtype: Any = None) -> Tensor:
    """Ones in the shape of ``x``, in its dtype unless one is given."""
    return full_like(x, 1, dtype)


@at_user_line
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:
    """start, start + step, ... before ``stop``; from 0 with one argument, which may be a `Dim`.

    int64 for whole numbers, float32 with a float among them, unless a dtype is given.
    """
    first, last = (0, start) if stop is None else (start, stop)
    wanted = _arange_dtype((first, last, step)) if dtype is None else dtype_of(dtype)
    counter = Tensor(Iota((_steps(first, last, step),), 0, INT64)())
    result = counter.astype(wanted) if wanted != INT64 else counter
    result = result if step == 1 else result * step
    return result if first == 0 else result + first


def _arange_dtype(numbers: tuple[Any, ...]) -> DType:
    return FLOAT32 if any(isinstance(n, float) for n in numbers) else INT64


def _steps(first: Any, last: Any, step: Any) -> Size:
    if step == 0:
        raise UserError("GC0104", "arange with step 0", fix="use a step such as 1 or -1")
    if isinstance(last, Dim | str):
        if (first, step) != (0, 1):
            raise UserError(
                "GC0104",
                f"arange from {first} by {step} to the named size {last}",
                fix="write gc.arange(n) * step + start",
            )
        return size(last)
    count: int = math.ceil((last - first) / step)
    return max(0, count)


@at_user_line
def linspace(start: float, stop: float, count: int, dtype: Any = "float32") -> Tensor:
    """``count`` numbers at equal distances from ``start`` to ``stop``, both included."""
    steps = operator.index(count) - 1
    counter = arange(count).astype(dtype)
    return counter * ((stop - start) / max(steps, 1)) + start


@at_user_line
def eye(
    rows: Size | str, columns: Size | str | None = None, offset: int = 0, dtype: Any = "float32"
) -> Tensor:
    """A matrix with ones at [i, i + offset] and zeros elsewhere."""
    shape = manners.shape_of((rows, rows if columns is None else columns))
    row, column = _positions(shape)
    return (column - row == offset).astype(dtype)


def _positions(shape: manners.Shape) -> tuple[Tensor, Tensor]:
    """The row and the column of every element of the matrices in ``shape``."""
    rank = len(shape)
    return tuple(Tensor(Iota(shape, rank - k, INT64)()) for k in (2, 1))  # type: ignore[return-value]


@at_user_line
def tril(x: Value, offset: int = 0) -> Tensor:
    """``x`` with zeros above diagonal ``offset`` of its last two axes. GC0103 with fewer axes."""
    row, column = _positions(_matrices("tril", tensor(x)))
    return where(column - row <= offset, x, zeros_like(x))


@at_user_line
def triu(x: Value, offset: int = 0) -> Tensor:
    """``x`` with zeros below diagonal ``offset`` of its last two axes. GC0103 with fewer axes."""
    row, column = _positions(_matrices("triu", tensor(x)))
    return where(column - row >= offset, x, zeros_like(x))


def _matrices(name: str, x: Tensor) -> manners.Shape:
    if x.ndim < 2:
        raise UserError("GC0103", f"{name} of {x.node.type}", fix="it needs at least two axes")
    return x.shape


@at_user_line
def one_hot(indices: Value, classes: Size, dtype: Any = "float32") -> Tensor:
    """1 at ``[..., indices[...]]`` of a new last axis of size ``classes``, 0 elsewhere.

    ``indices`` are integers; one outside 0..classes-1 gives a row of zeros. It is a comparison with
    a counter, so it fuses and its use needs no scatter in the backward graph.
    """
    positions = tensor(indices)
    if not positions.dtype.is_integer:
        raise UserError("GC0102", f"one_hot of {positions.dtype.name}", fix="pass integers")
    shape = (*positions.shape, size(classes))
    counter = Tensor(Iota(shape, len(shape) - 1, positions.dtype)())
    rows = Tensor(broadcast_in(positions.node, shape, tuple(range(positions.ndim))))
    chosen = rows == counter
    return chosen if dtype_of(dtype) == BOOL else Tensor(cast_to(chosen.node, dtype_of(dtype)))
