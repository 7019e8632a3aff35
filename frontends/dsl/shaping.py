"""Functions that move, join and pick elements, under the names of the array API and NumPy.

Comes in: tensors and axes. Goes out: tensors of the same elements at other places. All raise
`UserError` GC0101 (sizes), GC0103 (number of axes), GC0104 (axes) at the user's line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.autocast import multiplied
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.products import tensordot_nodes
from graphc.frontends.dsl.tensor import Tensor, Value, apply, matmul, tensor
from graphc.ops import selection
from graphc.ops.einsum import einsum as einsum_nodes
from graphc.ops.indexing import Take, TakeAlongAxis
from graphc.ops.movement import broadcast_to as broadcast_node
from graphc.types import INT64


# Shapes -------------------------------------------------------------------------------------------
def reshape(x: Value, shape: Any) -> Tensor:
    """The same elements in row-major order; one size may be -1."""
    return tensor(x).reshape(shape)


def astype(x: Value, dtype: Any) -> Tensor:
    """The values converted to ``dtype``; floats become integers by truncation."""
    return tensor(x).astype(dtype)


@at_user_line
def broadcast_to(x: Value, shape: Any) -> Tensor:
    """``x`` repeated to ``shape``: axes are aligned at the end, size 1 stretches."""
    return Tensor(broadcast_node(tensor(x).node, manners.shape_of(shape)))


@at_user_line
def expand_dims(x: Value, axis: int | Iterable[int]) -> Tensor:
    """``x`` with new axes of size 1 at the places ``axis`` of the result."""
    value = tensor(x)
    count = len(tuple(axis)) if isinstance(axis, Iterable) else 1
    new = manners.axes_of(axis, value.ndim + count)
    old = iter(value.shape)
    return value.reshape([1 if a in new else next(old) for a in range(value.ndim + count)])


@at_user_line
def squeeze(x: Value, axis: int | Iterable[int] | None = None) -> Tensor:
    """``x`` without the axes ``axis``, which have size 1; all such axes for None."""
    value = tensor(x)
    ones = [a for a, s in enumerate(value.shape) if s == 1]
    gone = ones if axis is None else manners.axes_of(axis, value.ndim)
    if wrong := [a for a in gone if a not in ones]:
        raise UserError(
            "GC0101",
            f"squeeze: axis {wrong[0]} of {value.node.type} has size {value.shape[wrong[0]]}",
            why="only axes of size 1 can be dropped",
            fix="use reshape, or a reduction such as x.sum(axis)",
        )
    return value.reshape([s for a, s in enumerate(value.shape) if a not in gone])


def permute_dims(x: Value, axes: Sequence[int]) -> Tensor:
    """Axis k of the result is axis ``axes[k]`` of ``x``."""
    return tensor(x).transpose(tuple(axes))


def transpose(x: Value, axes: Sequence[int] | None = None) -> Tensor:
    """`permute_dims`; all axes reversed for None."""
    return tensor(x).transpose(*(axes or ()))


@at_user_line
def moveaxis(x: Value, source: int, destination: int) -> Tensor:
    """``x`` with one axis moved to another place, the others in their order."""
    value = tensor(x)
    moved = manners.axis_of(source, value.ndim)
    order = [a for a in range(value.ndim) if a != moved]
    order.insert(manners.axis_of(destination, value.ndim), moved)
    return value.transpose(tuple(order))


@at_user_line
def swapaxes(x: Value, first: int, second: int) -> Tensor:
    """``x`` with two axes exchanged."""
    value = tensor(x)
    a, b = manners.axis_of(first, value.ndim), manners.axis_of(second, value.ndim)
    order = list(range(value.ndim))
    order[a], order[b] = b, a
    return value.transpose(tuple(order))


@at_user_line
def flip(x: Value, axis: int | Iterable[int] | None = None) -> Tensor:
    """``x`` backward along ``axis``, along all axes for None."""
    node = tensor(x).node
    axes = manners.axes_of(axis, node.type.rank)
    return Tensor(selection.flip(node, tuple(sorted(axes))) if axes else node)


# Joining and cutting ------------------------------------------------------------------------------
@at_user_line
def concatenate(tensors: Sequence[Value], axis: int = 0) -> Tensor:
    """Tensors of one rank, equal but for ``axis``, one after another; dtypes promote."""
    nodes = _promoted("concatenate", tensors)
    place = manners.axis_of(axis, nodes[0].type.rank)
    return Tensor(selection.concatenate(nodes, place))


@at_user_line
def stack(tensors: Sequence[Value], axis: int = 0) -> Tensor:
    """Tensors of one shape along a new axis."""
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


@at_user_line
def split(x: Value, parts: int | Sequence[Size], axis: int = 0) -> tuple[Tensor, ...]:
    """``x`` cut along ``axis`` into equal ``parts``, or before each position of a sequence."""
    value = tensor(x)
    place = manners.axis_of(axis, value.ndim)
    size = value.shape[place]
    cuts = _equal_cuts(parts, size) if isinstance(parts, int) else (0, *parts, None)
    front = (slice(None),) * place
    return tuple(value[(*front, slice(a, b))] for a, b in pairwise(cuts))


def _equal_cuts(parts: int, size: Size) -> tuple[Size, ...]:
    share = manners.quotient(size, parts) if parts > 0 else None
    if share is None:
        raise UserError(
            "GC0101",
            f"split: an axis of size {size} has no {parts} equal parts",
            fix="choose a divisor of the size, or pass the positions to cut at",
        )
    return tuple(share * k for k in range(parts + 1))


def _promoted(name: str, tensors: Sequence[Value]) -> tuple[Any, ...]:
    if not tensors:
        raise UserError("GC0104", f"{name} of no tensors", fix="pass at least one")
    return manners.promoted(*tensors)


# Picking ------------------------------------------------------------------------------------------
@at_user_line
def take(
    x: Value,
    indices: Value,
    axis: int | None = None,
    mode: Literal["raise", "wrap", "clip"] = "raise",
) -> Tensor:
    """``x`` at integer positions along ``axis``, which the axes of ``indices`` replace.

    ``axis`` may be left out for a 1-d tensor. Positions outside are an error at run time (GC0306);
    "wrap" takes them modulo the size, "clip" takes the nearest, the first one for negative ones.
    """
    node = tensor(x).node
    if axis is None and node.type.rank != 1:
        raise UserError(
            "GC0103", f"take from {node.type} without an axis", fix="pass axis=, e.g. axis=0"
        )
    place = manners.axis_of(axis or 0, node.type.rank)
    positions = _within(tensor(indices), node.shape[place], mode)
    return Tensor(Take(place)(node, positions.node))


def _within(positions: Tensor, extent: Size, mode: str) -> Tensor:
    """Positions after `take`'s ``mode``."""
    if mode == "raise" or not positions.dtype.is_integer:
        return positions
    wide = positions.astype(INT64)
    if mode == "wrap":
        return apply("remainder", wide, extent)
    if mode == "clip":
        return apply("maximum", apply("minimum", wide, extent - 1), 0)
    raise UserError("GC0104", f"take: mode {mode!r}", fix="use 'raise', 'wrap' or 'clip'")


@at_user_line
def take_along_axis(x: Value, indices: Value, axis: int = -1) -> Tensor:
    """``x`` at the position that ``indices``, of the same rank, name along ``axis``."""
    node, positions = tensor(x).node, tensor(indices).node
    place = manners.axis_of(axis, node.type.rank)
    return Tensor(TakeAlongAxis(place)(node, positions))


# Products -----------------------------------------------------------------------------------------
@at_user_line
def einsum(equation: str, *tensors: Value) -> Tensor:
    """Einstein's summation, e.g. ``einsum("bij,bjk->bik", a, b)``; dtypes promote."""
    return Tensor(multiplied(partial(einsum_nodes, equation), *_promoted("einsum", tensors)))


@at_user_line
def tensordot(a: Value, b: Value, axes: int | tuple[Any, Any] = 2) -> Tensor:
    """The sum over paired axes: the last of ``a`` with the first of ``b``, or two lists."""
    left, right = _promoted("tensordot", (a, b))
    if isinstance(axes, int):
        rank = left.type.rank
        pairs: tuple[Any, Any] = (tuple(range(rank - axes, rank)), tuple(range(axes)))
    else:
        pairs = axes
    here = manners.axes_of(pairs[0], left.type.rank)
    there = manners.axes_of(pairs[1], right.type.rank)
    if len(here) != len(there):
        raise UserError("GC0104", f"tensordot pairs axes {here} with {there}", fix="name as many")
    return Tensor(tensordot_nodes(left, right, here, there))


@at_user_line
def dot(a: Value, b: Value) -> Tensor:
    """The product of two vectors or matrices; `matmul`."""
    return matmul(a, b)


def outer(a: Value, b: Value) -> Tensor:
    """Every element of the vector ``a`` times every element of the vector ``b``."""
    return tensordot(a, b, 0)


concat = concatenate
