"""Products of vectors and of blocks: vecdot, inner, cross, kron.

Comes in: tensors that promote and broadcast. Goes out: a tensor. Numbers. All raise `UserError`
GC0101 (sizes), GC0102 (dtypes), GC0103, GC0104 (axes) at the user's line.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.manners import align, at_user_line, axis_of, promoted
from graphc.frontends.dsl.repetition import roll
from graphc.frontends.dsl.shaping import expand_dims, tensordot
from graphc.frontends.dsl.tensor import Tensor, Value


@at_user_line
def vecdot(a: Value, b: Value, axis: int = -1) -> Tensor:
    """The sum of products along ``axis``, counted in the broadcast shape."""
    left, right = map(Tensor, align("vecdot", a, b))
    return (left * right).sum(axis)


@at_user_line
def inner(a: Value, b: Value) -> Tensor:
    """The sum of products over the last axes of both; of numbers, the product."""
    left, right = map(Tensor, promoted(a, b))
    return left * right if 0 in (left.ndim, right.ndim) else tensordot(left, right, ((-1,), (-1,)))


@at_user_line
def cross(a: Value, b: Value, axis: int = -1) -> Tensor:
    """The vector at right angles to both, of vectors of 3 numbers along ``axis``."""
    left, right = map(Tensor, align("cross", a, b))
    place = axis_of(axis, left.ndim)
    if left.shape[place] != 3:
        raise UserError(
            "GC0101", f"cross: axis {axis} of {left.node.type} has size {left.shape[place]}",
            why="the cross product is defined for vectors of 3 numbers",
        )  # fmt: skip
    after, before = ([roll(x, shift, place) for x in (left, right)] for shift in (-1, -2))
    return after[0] * before[1] - before[0] * after[1]


@at_user_line
def kron(a: Value, b: Value) -> Tensor:
    """``b`` times every element of ``a``, as blocks in the places of these elements: axis k has the
    product of both sizes. The tensor of fewer axes gets new ones in front.
    """
    left, right = map(Tensor, promoted(a, b))
    rank = max(left.ndim, right.ndim)
    left, right = (x.reshape((*(1,) * (rank - x.ndim), *x.shape)) for x in (left, right))
    spaced = expand_dims(left, tuple(range(1, 2 * rank, 2)))
    blocks = spaced * expand_dims(right, tuple(range(0, 2 * rank, 2)))
    return blocks.reshape(tuple(m * n for m, n in zip(left.shape, right.shape, strict=True)))
