"""Operators that change shapes, and those that speak about them.

Comes in: tensors, and sizes and axes that are known while the graph is built. Goes out: tensors of
the same elements, or shapes as tensors, in which sizes with a name keep it. A separate file because
here named sizes are computed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Known, KnownList, Node, operator
from graphc.frontends.onnx.values import Value, integers

FAR = 2**31 - 1
"""What exporters write for the end of an axis of any size, or more."""


# Speaking about shapes ----------------------------------------------------------------------------
@operator("Shape")
def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    """The sizes of the axes from ``start`` to ``end`` as a vector."""
    sizes = x.shape[start:end]
    if all(isinstance(s, int) for s in sizes):
        return gc.constant(np.array(sizes, np.int64))
    return gc.stack([gc.constant(s) for s in sizes])


@operator("Size")
def size(x: Tensor) -> Tensor:
    """The number of elements."""
    return gc.constant(x.size)


# The same elements in another shape ---------------------------------------------------------------
@operator("Identity")
def identity(x: Value | None) -> Value:
    """``x``, a tensor or not."""
    return x


@operator("Reshape")
def reshape(x: Tensor, shape: KnownList, *, allowzero: int = 0) -> Tensor:
    """``x`` in ``shape``, where -1 fills up and 0 is the size that is there, or 0 if allowed."""
    wanted = integers(shape)
    return x.reshape(
        [x.shape[a] if not allowzero and _is(s, 0) else s for a, s in enumerate(wanted)]
    )


@operator("Flatten")
def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    """``x`` as a matrix: the axes before ``axis``, and those from it on."""
    place = axis if axis >= 0 else axis + x.ndim
    return x.reshape([product(x.shape[:place]), product(x.shape[place:])])


@operator("Squeeze")
def squeeze(x: Tensor, axes: KnownList | None = None) -> Tensor:
    """``x`` without ``axes``, or without all of size 1."""
    return gc.squeeze(x, None if axes is None else integers(axes))


@operator("Unsqueeze")
def unsqueeze(x: Tensor, axes: KnownList) -> Tensor:
    """``x`` with new axes of size 1 at the places ``axes`` of the result."""
    return gc.expand_dims(x, integers(axes))


@operator("Transpose")
def transpose(x: Tensor, *, perm: Sequence[int] | None = None) -> Tensor:
    """``x`` with its axes in the order ``perm``, backward if there is none."""
    return gc.transpose(x, perm)


@operator("Expand")
def expand(x: Tensor, shape: Known) -> Tensor:
    """``x`` broadcast with ``shape``: sizes of 1 on either side give way."""
    return gc.broadcast_arrays(x, gc.zeros(integers(shape)))[0]


@operator("Tile")
def tile(x: Tensor, repeats: Known) -> Tensor:
    """``x`` so many times along each axis."""
    return gc.tile(x, integers(repeats))


# Joining and cutting ------------------------------------------------------------------------------
@operator("Concat")
def concatenate(*tensors: Tensor, axis: int) -> Tensor:
    """The tensors one after another along ``axis``."""
    return gc.concatenate(tensors, axis)


@operator("Split")
def split(
    x: Tensor,
    split: KnownList | None = None,
    *,
    node: Node,
    axis: int = 0,
    num_outputs: int | None = None,
) -> tuple[Tensor, ...]:
    """``x`` cut along ``axis`` into parts of sizes ``split``, or as many as there are outputs, of
    which the last may be smaller.
    """
    extent, count = x.shape[axis], len(node.outputs)
    if num_outputs not in (None, count):
        raise UserError("GC0501", f"Split into {num_outputs} parts with {count} results")
    if split is None:
        largest = -(-extent // count)
        parts = [largest] * count
    else:
        parts = integers(split)
    return gc.split(x, list(accumulate(parts))[:-1], axis)


@operator("Slice")
def slice_(
    x: Tensor,
    starts: KnownList,
    ends: KnownList,
    axes: KnownList | None = None,
    steps: Known | None = None,
) -> Tensor:
    """``x[start:end:step]`` along each of ``axes``; bounds beyond the axis are its ends."""
    first, last = integers(starts), integers(ends)
    places = range(len(first)) if axes is None else integers(axes)
    strides = [1] * len(first) if steps is None else integers(steps)
    key = [slice(None)] * x.ndim
    for axis, start, stop, step in zip(places, first, last, strides, strict=True):
        key[axis] = _slice(start, stop, step)
    return x[tuple(key)]


def _slice(start: Size, stop: Size, step: int) -> slice:
    """Python's slice, which leaves out what exporters write as a number far beyond any axis."""
    sign = 1 if step > 0 else -1
    from_end = _is(start, 0 if step > 0 else -1) or _is_beyond(start, -sign)
    return slice(None if from_end else start, None if _is_beyond(stop, sign) else stop, step)


def _is(value: Size, number: int) -> bool:
    return isinstance(value, int) and value == number


def _is_beyond(value: Size, sign: int) -> bool:
    return isinstance(value, int) and value * sign >= FAR


# Triangles ----------------------------------------------------------------------------------------
@operator("Trilu")
def trilu(x: Tensor, k: Known | None = None, *, upper: int = 1) -> Tensor:
    """``x`` with zeros below diagonal ``k`` of its last two axes, or above it."""
    offset = 0 if k is None else int(k.item())
    return gc.triu(x, offset) if upper else gc.tril(x, offset)
