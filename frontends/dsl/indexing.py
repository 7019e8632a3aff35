"""What ``x[...]`` means: NumPy's index expressions as slices, flips, takes and reshapes.

Comes in: a node and what stood between the brackets. Goes out: a node. A separate step because
index expressions are a small language of their own; the graph knows only its simple words.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dims import Dim, Size
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.graph import Node
from graphc.ops.indexing import Take
from graphc.ops.movement import reshape
from graphc.ops.selection import Slice, flip
from graphc.types import BOOL


@dataclass(frozen=True)
class _Cut:
    """What happens to one axis: elements start, start + step, ... before stop, perhaps backward."""

    start: Size
    stop: Size
    step: int = 1
    backward: bool = False
    drop: bool = False
    picked: Node | None = None


def index_node(x: Node, key: Any) -> Node:
    """``x[key]`` for ints, slices, ``...``, None, and one integer tensor or array.

    Raises `UserError` GC0103 (too many indices), GC0104 (out of range, or a mask), GC0106.
    """
    items = _expanded(key if isinstance(key, tuple) else (key,), x)
    cuts = [_cut(item, size) for item, size in _pairs(items, x)]
    result = _picked(_sliced(x, cuts), cuts)
    return reshape(result, _with_new_axes(items, result, cuts))


def _expanded(items: tuple[Any, ...], x: Node) -> list[Any]:
    """The items with ``...`` written out and the axes that were left out filled in."""
    dots = [k for k, item in enumerate(items) if item is Ellipsis]
    named = sum(item is not None and item is not Ellipsis for item in items)
    missing = x.type.rank - named
    if missing < 0 or len(dots) > 1:
        raise UserError(
            "GC0103",
            f"{named} indices for {x.type}" if missing < 0 else "... stands in an index twice",
            why=f"the tensor has {x.type.rank} axes",
            fix="leave an index out",
        )
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * missing, *items[at + 1 :]]


def _pairs(items: list[Any], x: Node) -> list[tuple[Any, Size]]:
    return list(zip((item for item in items if item is not None), x.shape, strict=True))


def _cut(item: Any, size: Size) -> _Cut:
    if isinstance(item, slice):
        return _range(item, size)
    item = manners.unwrap(item)
    if isinstance(item, Node | np.ndarray | list):
        return _Cut(0, size, picked=_positions(item))
    try:
        place = operator.index(item)
    except TypeError:
        raise UserError(
            "GC0104",
            f"{item!r} is not an index",
            why="an index is an int, a slice, ..., None, or one integer tensor",
            fix="for a list of masks or positions use gc.where or gc.take",
        ) from None
    return _single(place, size)


def _single(place: int, size: Size) -> _Cut:
    if isinstance(size, int) and not -size <= place < size:
        raise UserError(
            "GC0104",
            f"index {place} is out of range for an axis of size {size}",
            fix=f"use an index from {-size} to {size - 1}" if size else "the axis is empty",
        )
    start = place if place >= 0 else size + place
    return _Cut(start, start + 1, drop=True)


def _range(item: slice, size: Size) -> _Cut:
    try:
        parts = [
            None if p is None else operator.index(p) for p in (item.start, item.stop, item.step)
        ]
    except TypeError:
        raise UserError(
            "GC0104",
            f"{item} has bounds that are not ints",
            why="the shape of a slice must be known while the graph is built",
            fix="slice with ints, or pick positions with gc.take",
        ) from None
    if parts[2] == 0:
        raise UserError("GC0104", "a slice with step 0", fix="use a step such as 1, 2 or -1")
    return _static(parts, size) if isinstance(size, int) else _symbolic(parts, size)


def _static(parts: list[int | None], size: int) -> _Cut:
    start, stop, step = slice(*parts).indices(size)
    chosen = range(start, stop, step)
    if not chosen:
        return _Cut(0, 0)
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return _Cut(low, high + 1, abs(step), backward=step < 0)


def _symbolic(parts: list[int | None], size: Dim) -> _Cut:
    """Bounds on a named size: trusted here, checked when the size is known."""
    start, stop, step = parts[0], parts[1], parts[2] or 1
    if step < 0:
        if (start, stop, step) != (None, None, -1):
            raise UserError(
                "GC0104",
                f"a slice with step {step} of the named size {size}",
                fix="write x[::-1] first, then slice with a positive step",
            )
        return _Cut(0, size, backward=True)

    def bound(value: int) -> Size:
        return value if value >= 0 else size + value

    return _Cut(bound(start or 0), size if stop is None else bound(stop), step)


def _positions(item: Any) -> Node:
    node = manners.as_node(item if isinstance(item, Node) else np.asarray(item))
    if node.dtype == BOOL:
        raise UserError(
            "GC0104",
            "indexing with a mask",
            why="the number of chosen elements, and so the shape, would depend on the data",
            fix="use gc.where(mask, x, 0)",
        )
    return node


def _sliced(x: Node, cuts: list[_Cut]) -> Node:
    """Everything that slicing does; axes that an int drops still have size 1."""
    if any((c.start, c.stop, c.step) != (0, s, 1) for c, s in zip(cuts, x.shape, strict=True)):
        starts, stops, steps = zip(*((c.start, c.stop, c.step) for c in cuts), strict=True)
        x = Slice(starts, stops, steps)(x)
    backward = tuple(axis for axis, cut in enumerate(cuts) if cut.backward)
    return flip(x, backward) if backward else x


def _picked(x: Node, cuts: list[_Cut]) -> Node:
    picks = {axis: cut.picked for axis, cut in enumerate(cuts) if cut.picked is not None}
    if len(picks) > 1:
        raise UserError(
            "GC0104",
            "integer tensors on two axes of one index",
            why="pairs of positions are a gather, which has its own name",
            fix="index one axis at a time, or use gc.take_along_axis",
        )
    for axis, positions in picks.items():
        x = Take(axis)(x, positions)
    return x


def _with_new_axes(items: list[Any], result: Node, cuts: list[_Cut]) -> tuple[Size, ...]:
    """The shape after dropping the axes of ints and adding those of None."""
    sizes, rest = iter(result.shape), iter(cuts)
    shape: list[Size] = []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        cut = next(rest)
        rank = cut.picked.type.rank if cut.picked is not None else 1
        taken = [next(sizes) for _ in range(rank)]
        shape += [] if cut.drop else taken
    return tuple(shape)
