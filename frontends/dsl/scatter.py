"""Reading and writing at positions that are data, under the names of NumPy, PyTorch and ONNX.

Comes in: tensors, integer positions, updates. Goes out: tensors; nothing is changed in place.
``reduction`` says what an update does: "set" (of several for one place the last stays), "add",
"multiply", "max" or "min" (all of them, with what was there; a nan wins). Gradients flow to the
updates and to ``x``. Negative positions count from the end; another miss is GC0306 at run time.
All raise `UserError` GC0101, GC0102, GC0103, GC0104 at the user's line.
"""

from __future__ import annotations

from typing import Any, Literal

from graphc.dims import Size, product, size
from graphc.errors import UserError
from graphc.frontends.dsl.creation import full, ones_like
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.indexing import index_node
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.dsl.updating import as_updates
from graphc.graph import Node
from graphc.ops import scatter as nodes
from graphc.ops.indexing import RavelIndex, Take, TakeAlongAxis
from graphc.ops.leaves import Iota
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.selection import crop
from graphc.scalars import SCALARS, identity_of
from graphc.types import INT64

Reduction = Literal["set", "add", "multiply", "max", "min"]


# Whole slices along one axis ----------------------------------------------------------------------
@at_user_line
def put(
    x: Value,
    indices: Value,
    values: Value,
    axis: int | None = None,
    *,
    reduction: Reduction = "set",
) -> Tensor:
    """``x`` with ``values`` at positions along ``axis``, of the flattened ``x`` for None: the
    inverse of `take`. ``values`` broadcast to the shape that `take` gives.
    """
    node, positions = tensor(x).node, tensor(indices).node
    if axis is None:
        flat = reshape(node, (node.type.size,))
        return Tensor(reshape(_put(flat, positions, values, 0, reduction), node.shape))
    return Tensor(_put(node, positions, values, axis_of(axis, node.type.rank), reduction))


@at_user_line
def index_add(x: Value, indices: Value, values: Value, axis: int = 0) -> Tensor:
    """``x`` with ``values`` added at positions along ``axis``; equal positions add up."""
    return put(x, indices, values, axis, reduction="add")


def _put(x: Node, indices: Node, values: Value, axis: int, reduction: str) -> Node:
    wanted = Take(axis).infer(x.type, indices.type).shape
    return nodes.put(x, indices, broadcast_to(as_updates(x, values), wanted), axis, reduction)


# Tuples of positions ------------------------------------------------------------------------------
@at_user_line
def gather_nd(x: Value, indices: Value, batch_dims: int = 0) -> Tensor:
    """``x[indices[..., 0], indices[..., 1], ...]``: the last axis of ``indices`` holds positions
    along the first axes of ``x``, after ``batch_dims`` axes that both share. As ONNX GatherND.
    """
    lined, numbers = _numbered(tensor(x).node, tensor(indices).node, batch_dims)
    return Tensor(Take(0)(lined, numbers))


@at_user_line
def scatter_nd(x: Value, indices: Value, updates: Value, *, reduction: Reduction = "set") -> Tensor:
    """``x`` with ``updates`` where `gather_nd` would read. As ONNX ScatterND."""
    node = tensor(x).node
    lined, numbers = _numbered(node, tensor(indices).node, 0)
    return Tensor(reshape(_put(lined, numbers, updates, 0, reduction), node.shape))


def _numbered(x: Node, indices: Node, batch: int) -> tuple[Node, Node]:
    """``x`` with its indexed axes as one, and the positions along that."""
    depth = indices.shape[-1] if indices.shape else 0
    if not isinstance(depth, int) or depth < 1 or not 0 <= batch <= x.type.rank - depth:
        raise UserError(
            "GC0103",
            f"{x.type} at indices {indices.type}, after {batch} axes",
            why="the last axis of the indices has one position for each indexed axis",
        )
    if batch >= indices.type.rank or indices.shape[:batch] != x.shape[:batch]:
        raise UserError("GC0101", f"{x.type} and indices {indices.type} share no {batch} axes")
    places = [index_node(indices, (..., k)) for k in range(depth)]
    shared = [Iota(places[0].shape, axis, INT64)() for axis in range(batch)]
    axes = batch + depth
    numbers = RavelIndex(x.shape[:axes])(*shared, *places)
    return reshape(x, (product(x.shape[:axes]), *x.shape[axes:])), numbers


# Elements along one axis --------------------------------------------------------------------------
@at_user_line
def gather(x: Value, indices: Value, axis: int = -1) -> Tensor:
    """``y[i, j] = x[indices[i, j], j]`` for axis 0, and so on: `take_along_axis` for ``indices``
    whose other axes may be shorter than those of ``x``. As ONNX GatherElements.
    """
    node, positions = tensor(x).node, tensor(indices).node
    place = _elements(node, positions, axis)
    shape = (*positions.shape[:place], node.shape[place], *positions.shape[place + 1 :])
    return Tensor(TakeAlongAxis(place)(crop(node, (0,) * len(shape), shape), positions))


@at_user_line
def scatter(
    x: Value,
    indices: Value,
    updates: Value,
    axis: int = -1,
    *,
    reduction: Reduction = "set",
) -> Tensor:
    """``x`` with ``updates[i, j]`` at ``[indices[i, j], j]`` for axis 0, and so on: where `gather`
    would read. ``updates`` broadcast to the shape of ``indices``. As ONNX ScatterElements.
    """
    node, positions = tensor(x).node, tensor(indices).node
    place = _elements(node, positions, axis)
    counters = [
        positions if a == place else Iota(positions.shape, a, INT64)()
        for a in range(node.type.rank)
    ]
    flat = reshape(node, (node.type.size,))
    new = _put(flat, RavelIndex(node.shape)(*counters), updates, 0, reduction)
    return Tensor(reshape(new, node.shape))


def _elements(x: Node, indices: Node, axis: int) -> int:
    """The axis from the front. Raises `UserError` GC0101, GC0103 when the indices do not fit."""
    place = axis_of(axis, x.type.rank)
    if x.type.rank != indices.type.rank:
        raise UserError(
            "GC0103", f"{x.type} and indices {indices.type}", fix="give both the same axes"
        )
    if any(
        a != place and not _at_most(n, m)
        for a, (n, m) in enumerate(zip(indices.shape, x.shape, strict=True))
    ):
        raise UserError(
            "GC0101",
            f"indices {indices.type} reach beyond {x.type}",
            why=f"only axis {place} of the indices may be longer",
        )
    return place


def _at_most(small: Size, large: Size) -> bool:
    gap = large - small
    return not isinstance(gap, int) or gap >= 0


# Segments -----------------------------------------------------------------------------------------
def segment_sum(x: Value, segments: Value, count: Size) -> Tensor:
    """``[count, ...]``: the sums of the rows of ``x`` [n, ...] that ``segments`` [n], integers from
    0 to ``count`` - 1 in any order, gives the same number; 0 where there is none.
    """
    return _folded(x, segments, count, "add")


def segment_prod(x: Value, segments: Value, count: Size) -> Tensor:
    """The products of the rows of each segment, as `segment_sum`; 1 where there is none."""
    return _folded(x, segments, count, "multiply")


def segment_max(x: Value, segments: Value, count: Size) -> Tensor:
    """The largest elements of each segment, as `segment_sum`; -inf (of integers the least) where
    there is none. Ties share the gradient.
    """
    return _folded(x, segments, count, "max")


def segment_min(x: Value, segments: Value, count: Size) -> Tensor:
    """The smallest elements of each segment, as `segment_max`."""
    return _folded(x, segments, count, "min")


@at_user_line
def _folded(x: Value, segments: Value, count: Size, reduction: str) -> Tensor:
    value, numbers = tensor(x), tensor(segments)
    if numbers.ndim != 1 or value.ndim < 1:
        raise UserError(
            "GC0103",
            f"segments {numbers.node.type} of {value.node.type}",
            fix="number the rows of x [n, ...] by integers [n]",
        )
    nothing = identity_of(SCALARS[nodes.REDUCTIONS[reduction]], value.dtype)
    start = full((size(count), *value.shape[1:]), nothing, value.dtype)
    places = _not_negative(numbers, count)
    return Tensor(nodes.put(start.node, places.node, value.node, 0, reduction))


@at_user_line
def bincount(x: Value, length: Size, weights: Value | None = None) -> Tensor:
    """``[length]``: how often each of 0 to ``length`` - 1 stands in ``x``, as int64; or the sum of
    the ``weights`` there, in their dtype. Unlike NumPy's, the length is fixed beforehand.
    """
    numbers = tensor(x)
    each = ones_like(numbers, INT64) if weights is None else tensor(weights)
    start = full((size(length),), 0, each.dtype)
    return index_add(start, _not_negative(numbers, length), each)


def _not_negative(numbers: Tensor, count: Any) -> Tensor:
    """Numbers of which the negative ones are out of bounds, where indices count from the end."""
    if not numbers.dtype.is_integer:
        raise UserError("GC0102", f"numbers of {numbers.dtype.name}", fix="pass integers")
    whole = numbers.astype(INT64)
    return whole if numbers.dtype.kind == "uint" else where(whole < 0, size(count), whole)
