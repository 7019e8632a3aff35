"""Operators that pick elements at positions that are data, and put elements there.

Comes in: tensors and integer tensors of positions, negative ones from the end. Goes out: tensors.
A separate file because positions are computed when a program runs, not while a graph is built.
"""

from __future__ import annotations

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import Dim, Size
from graphc.errors import UserError
from graphc.frontends.dsl.scatter import Reduction
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Known, operator
from graphc.frontends.onnx.translate import literal
from graphc.frontends.onnx.values import integers

_REDUCTIONS: dict[str, Reduction] = {
    "none": "set",
    "add": "add",
    "mul": "multiply",
    "max": "max",
    "min": "min",
}
"""What happens to the element that is there, in ONNX's words and in graphc's."""


@operator("Gather")
def take(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """``x`` at positions along ``axis``, which the axes of ``indices`` replace."""
    return gc.take(x, indices, axis)


@operator("GatherElements")
def gather(x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
    """``x`` at the position along ``axis`` that each of ``indices`` names."""
    return gc.gather(x, indices, axis)


@operator("GatherND")
def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0) -> Tensor:
    """``x`` at the tuples of positions in the last axis of ``indices``."""
    return gc.gather_nd(x, indices, batch_dims)


@operator("Scatter", "ScatterElements")
def scatter(
    x: Tensor, indices: Tensor, updates: Tensor, *, axis: int = 0, reduction: str = "none"
) -> Tensor:
    """``x`` with ``updates`` where `gather` would read."""
    return gc.scatter(x, indices, updates, axis, reduction=_reduction(reduction))


@operator("ScatterND")
def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, *, reduction: str = "none") -> Tensor:
    """``x`` with ``updates`` where `gather_nd` would read."""
    return gc.scatter_nd(x, indices, updates, reduction=_reduction(reduction))


def _reduction(name: str) -> Reduction:
    if name not in _REDUCTIONS:
        raise UserError("GC0505", f"reduction {name!r}", fix=f"ONNX has {', '.join(_REDUCTIONS)}")
    return _REDUCTIONS[name]


@operator("ReverseSequence")
def reverse_sequence(
    x: Tensor, lengths: Tensor, *, batch_axis: int = 1, time_axis: int = 0
) -> Tensor:
    """The first ``lengths[b]`` elements along ``time_axis`` backward, for each b of the batch."""
    steps = _along(gc.arange(x.shape[time_axis]), time_axis, x.ndim)
    counts = _along(lengths.astype("int64"), batch_axis, x.ndim)
    places = gc.where(steps < counts, counts - 1 - steps, steps)
    return gc.take_along_axis(x, gc.broadcast_to(places, x.shape), time_axis)


@operator("TensorScatter")
def tensor_scatter(
    cache: Tensor,
    update: Tensor,
    write_indices: Tensor | None = None,
    *,
    axis: int = -2,
    mode: str = "linear",
) -> Tensor:
    """``cache`` with ``update`` along ``axis`` from the place that each of the batch is at, 0 if
    none is given; in ``mode`` circular it goes on at the front.
    """
    steps = _along(gc.arange(update.shape[axis]), axis, update.ndim)
    start = 0 if write_indices is None else _along(write_indices, 0, update.ndim)
    places = start + steps
    if mode == "circular":
        places = places % cache.shape[axis]
    return gc.scatter(cache, gc.broadcast_to(places, update.shape), update, axis)


def _along(vector: Tensor, axis: int, rank: int) -> Tensor:
    """``vector`` along ``axis`` of ``rank`` axes, the others of size 1."""
    shape: list[Size] = [1] * rank
    shape[axis] = vector.shape[0]
    return vector.reshape(shape)


@operator("OneHot")
def one_hot(indices: Tensor, depth: Known, values: Tensor, *, axis: int = -1) -> Tensor:
    """``values[1]`` at the place along a new ``axis`` that ``indices`` name, ``values[0]``
    elsewhere; places count from the end if negative, and those outside are nowhere.
    """
    (given,) = integers(depth)
    extent: Size = given if isinstance(given, Dim) else int(given)
    places = indices.astype("int64")
    hot = gc.one_hot(gc.where(places < 0, places + extent, places), extent, "bool")
    return gc.where(gc.moveaxis(hot, -1, axis), values[1], values[0])


# How many there are depends on the data -----------------------------------------------------------
@operator("Compress")
def compress(x: Tensor, condition: Known, *, axis: int | None = None) -> Tensor:
    """``x`` where ``condition`` is true along ``axis``, or in the flattened ``x``."""
    places = np.flatnonzero(condition)
    return gc.take(x.flatten() if axis is None else x, places, axis or 0)


@operator("NonZero")
def nonzero(x: Known) -> Tensor:
    """The positions of all elements but zeros: a row for each axis."""
    places = np.nonzero(np.atleast_1d(x))
    return literal(np.array(places, np.int64)[: max(x.ndim, 1)])


@operator("Unique")
def unique(x: Known, *, axis: int | None = None, sorted: int = 1) -> tuple[Tensor, ...]:
    """The different elements (or slices along ``axis``), where each stands first, which of them
    every element is, and how often each occurs; in order, or in that of first places.
    """
    found, first, which, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    order = np.arange(len(first)) if sorted else np.argsort(first)
    rank = np.argsort(order)
    results = (
        np.take(found, order, axis or 0),
        first[order],
        rank[which.reshape(-1)],
        counts[order],
    )
    return tuple(literal(y) for y in results)
