"""Sequences and optional values.

Comes in: tensors, lists of values, None for an optional without content. Goes out: the same. A
separate step from tensors because a sequence exists only while the graph is built: its length is
known, its elements are tensors of their own, and a position in it must be known too.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

import graphc.frontends.dsl as gc
from graphc.dims import evaluate
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Body, Known, Node, operator
from graphc.frontends.onnx.translate import literal
from graphc.frontends.onnx.values import Value

Values = Sequence[Value]


# Sequences ----------------------------------------------------------------------------------------
@operator("SequenceConstruct")
def sequence_construct(*values: Value) -> list[Value]:
    """The sequence of its inputs."""
    return list(values)


@operator("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> list[Value]:
    """A sequence without elements; what they would be is not needed."""
    return []


@operator("SequenceInsert")
def sequence_insert(values: Values, value: Value, position: Known | None = None) -> list[Value]:
    """``values`` with ``value`` put before ``position``, at the end unless one is given."""
    place = len(values) if position is None else _place(position, len(values), len(values) + 1)
    return [*values[:place], value, *values[place:]]


@operator("SequenceErase")
def sequence_erase(values: Values, position: Known | None = None) -> list[Value]:
    """``values`` without the one at ``position``, the last unless one is given."""
    place = _place(np.array(-1) if position is None else position, len(values))
    return [*values[:place], *values[place + 1 :]]


@operator("SequenceAt")
def sequence_at(values: Values, position: Known) -> Value:
    """The element at ``position``; negative positions count from the end."""
    found: Value = values[_place(position, len(values))]
    return found


@operator("SequenceLength")
def sequence_length(values: Values) -> Tensor:
    """The number of elements."""
    return literal(np.array(len(values)))


def _place(position: Known, length: int, places: int | None = None) -> int:
    """A position from 0 on, one of ``places``. Raises `UserError` GC0306 outside."""
    place = int(position.item())
    limit = length if places is None else places
    if not -length <= place < limit:
        raise UserError("GC0306", f"position {place} in a sequence of {length}")
    return place + length if place < 0 else place


@operator("SequenceMap")
def sequence_map(first: Values, *others: Value, body: Body, node: Node) -> tuple[list[Value], ...]:
    """``body`` applied to each element of ``first``, together with the elements of further
    sequences, and with tensors as they are; a sequence for each result.
    """
    every = (first, *others)
    rows = [body(*(x[k] if isinstance(x, list) else x for x in every)) for k in range(len(first))]
    return tuple([row[k] for row in rows] for k in range(len(node.outputs)))


# Between tensors and sequences --------------------------------------------------------------------
@operator("SplitToSequence")
def split_to_sequence(
    x: Tensor, split: Known | None = None, *, axis: int = 0, keepdims: int = 1
) -> list[Tensor]:
    """``x`` cut along ``axis`` into pieces of size ``split`` (the last may be smaller), or of each
    size that a vector lists; into pieces of 1, without ``axis`` unless ``keepdims``, by default.
    """
    extent = evaluate(x.shape[axis], {})
    if split is None and not keepdims:
        return list(gc.unstack(x, axis=axis))
    if split is not None and split.ndim:
        _check_sizes(split, extent)
        cuts = list(accumulate(int(size) for size in split[:-1]))
    else:
        step = 1 if split is None else int(split.item())
        cuts = list(range(step, extent, step))
        if not extent:
            return []
    return list(gc.split(x, cuts, axis=axis))


def _check_sizes(sizes: Known, extent: int) -> None:
    if sizes.min(initial=0) < 0 or sizes.sum() != extent:
        raise UserError("GC0101", f"sizes {sizes.tolist()} do not split an axis of {extent}")


@operator("ConcatFromSequence")
def concat_from_sequence(values: Sequence[Tensor], *, axis: int, new_axis: int = 0) -> Tensor:
    """The elements joined along ``axis``, which is new in the result with ``new_axis``."""
    if not values:
        raise UserError("GC0104", "no elements to join", why="the sequence is empty")
    return gc.stack(values, axis=axis) if new_axis else gc.concat(values, axis=axis)


# Optional values ----------------------------------------------------------------------------------
@operator("Optional")
def optional(value: Value = None, **_: Any) -> Value:
    """``value``, or an optional without content, of a type that an attribute names."""
    return value


@operator("OptionalHasElement")
def optional_has_element(value: Value = None) -> Tensor:
    """Whether there is a content."""
    return literal(np.array(value is not None))


@operator("OptionalGetElement")
def optional_get_element(value: Value | None) -> Value:
    """The content."""
    if value is None:
        raise UserError("GC0106", "the content of an optional value that has none")
    return value
