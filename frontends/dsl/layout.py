"""Tensors side by side, taken apart, in one axis, on a diagonal: NumPy's names for these layouts.

Comes in: tensors. Goes out: the same elements under another number of axes. All are short forms of
reshape, concatenate and slices; a separate file because they are many and know nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.dims import evaluate, product
from graphc.errors import UserError
from graphc.frontends.dsl.creation import eye
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.linalg import diagonal
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.padding import pad
from graphc.frontends.dsl.shaping import concatenate, expand_dims, flip
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.types import BOOL

Several = Tensor | tuple[Tensor, ...]
"""What NumPy's atleast family returns: a tensor for one argument, else a tuple."""


@at_user_line
def ravel(x: Value) -> Tensor:
    """All elements in one axis, in row-major order."""
    return tensor(x).flatten()


@at_user_line
def atleast_1d(*tensors: Value) -> Several:
    """Each tensor, a number as [1]."""
    return _each([x if x.ndim else expand_dims(x, 0) for x in map(tensor, tensors)])


@at_user_line
def atleast_2d(*tensors: Value) -> Several:
    """Each tensor with at least two axes, new ones in front: a vector becomes [1, n]."""
    return _each([_rows(x) for x in map(tensor, tensors)])


@at_user_line
def atleast_3d(*tensors: Value) -> Several:
    """Each tensor with at least three axes: a vector becomes [1, n, 1], a matrix [m, n, 1]."""
    return _each([_layers(x) for x in map(tensor, tensors)])


def _each(tensors: Sequence[Tensor]) -> Several:
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _rows(x: Tensor) -> Tensor:
    return x.reshape((*(1,) * (2 - x.ndim), *x.shape))


def _layers(x: Tensor) -> Tensor:
    return x if x.ndim > 2 else expand_dims(_rows(x), 2)


@at_user_line
def hstack(tensors: Sequence[Value]) -> Tensor:
    """Tensors side by side: along the second axis, vectors along their only one."""
    parts = [x if x.ndim else expand_dims(x, 0) for x in map(tensor, tensors)]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


@at_user_line
def vstack(tensors: Sequence[Value]) -> Tensor:
    """Tensors below each other: along the first axis, vectors as rows of a matrix."""
    return concatenate([_rows(tensor(x)) for x in tensors], 0)


@at_user_line
def dstack(tensors: Sequence[Value]) -> Tensor:
    """Tensors behind each other: along the third axis, which matrices and vectors get."""
    return concatenate([_layers(tensor(x)) for x in tensors], 2)


@at_user_line
def column_stack(tensors: Sequence[Value]) -> Tensor:
    """Vectors as the columns of a matrix; matrices side by side."""
    return concatenate([x if x.ndim > 1 else _rows(x).T for x in map(tensor, tensors)], 1)


@at_user_line
def unstack(x: Value, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of ``x`` along ``axis``, which they lose: what `stack` would put together."""
    value = tensor(x)
    place = axis_of(axis, value.ndim)
    extent = evaluate(value.shape[place], {})
    return tuple(value[(*(slice(None),) * place, k)] for k in range(extent))


@at_user_line
def flatten(x: Value, start: int = 0, stop: int = -1) -> Tensor:
    """The axes from ``start`` to ``stop``, both included, as one."""
    value = tensor(x)
    if not value.ndim:
        return value.flatten()
    first, last = axis_of(start, value.ndim), axis_of(stop, value.ndim)
    if first > last:
        raise UserError("GC0104", f"flatten of axes {start} to {stop}", fix="name the first first")
    joined = product(value.shape[first : last + 1])
    return value.reshape((*value.shape[:first], joined, *value.shape[last + 1 :]))


@at_user_line
def fliplr(x: Value) -> Tensor:
    """``x`` backward along its second axis."""
    return flip(x, 1)


@at_user_line
def flipud(x: Value) -> Tensor:
    """``x`` backward along its first axis."""
    return flip(x, 0)


# Diagonals ----------------------------------------------------------------------------------------
@at_user_line
def diag(x: Value, offset: int = 0) -> Tensor:
    """The matrix with a vector on diagonal ``offset``, or that diagonal of a matrix."""
    value = tensor(x)
    if value.ndim not in (1, 2):
        raise UserError(
            "GC0103", f"diag of {value.node.type}",
            fix="use linalg.diagonal or diag_embed for stacks of them",
        )  # fmt: skip
    return diag_embed(value, offset) if value.ndim == 1 else diagonal(value, offset=offset)


@at_user_line
def diag_embed(x: Value, offset: int = 0) -> Tensor:
    """Matrices [..., n + k, n + k] with the last axis of ``x`` on diagonal ``offset``, zeros
    elsewhere; k is the size of the offset.
    """
    value = tensor(x)
    last = axis_of(-1, value.ndim)
    around = [*((0, 0),) * last, (0, abs(offset))]
    longer = pad(value, around, value=_zero_like(value))
    extent = evaluate(longer.shape[last], {})
    rows = expand_dims(longer, -1 if offset >= 0 else -2)
    return where(eye(extent, offset=offset, dtype="bool"), rows, _zero_like(rows))


def _zero_like(x: Tensor) -> int:
    return False if x.dtype == BOOL else 0


@at_user_line
def diagflat(x: Value, offset: int = 0) -> Tensor:
    """`diag` of all elements in one axis."""
    return diag(tensor(x).flatten(), offset)
