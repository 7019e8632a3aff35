"""What ``x[...]`` means: NumPy's index expressions as slices, flips, takes and reshapes.

Comes in: a node and what stood between the brackets. Goes out: a node, or the `Selection` that says
where its elements stand in the first one. A separate step because index expressions are a small
language of their own; the graph knows only its simple words.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.dims import Dim, Size, evaluate, product
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.graph import Node
from graphc.ops.indexing import RavelIndex, Take
from graphc.ops.movement import reshape, transpose
from graphc.ops.selection import Slice, flip
from graphc.types import BOOL


@dataclass(frozen=True)
class Cut:
    """What happens to one axis: elements start, start + step, ... before stop, perhaps backward.

    ``drop`` says that an int stood there, ``picked`` are the positions that did.
    """

    start: Size
    stop: Size
    step: int = 1
    backward: bool = False
    drop: bool = False
    picked: Node | None = None


@dataclass(frozen=True)
class Picks:
    """Positions on one or several axes of a node. With its axes in ``order`` and ``merged``, they
    are the ``indices`` along ``axis``; then the axes are ``turned``.
    """

    order: tuple[int, ...]
    merged: manners.Shape
    axis: int
    indices: Node
    turned: tuple[int, ...]

    def lined(self, x: Node) -> Node:
        """``x`` with the picked axes as one."""
        return reshape(transpose(x, self.order), self.merged)

    def taken(self, x: Node) -> Node:
        """The elements of ``x`` at the positions."""
        return transpose(Take(self.axis)(self.lined(x), self.indices), self.turned)


@dataclass(frozen=True)
class Selection:
    """What a key selects of a node: ``part`` of it by ``cuts``, of that the ``picks``, if any, and
    a reshape to ``shape``.
    """

    cuts: tuple[Cut, ...]
    part: Node
    picks: Picks | None
    shape: manners.Shape


def index_node(x: Node, key: Any) -> Node:
    """``x[key]`` for ints, slices, ``...``, None, integer tensors and arrays (which broadcast).

    Raises `UserError` GC0101 (arrays that do not fit), GC0103 (too many indices), GC0104 (out of
    range, or a mask), GC0106.
    """
    found = selection(x, key)
    values = found.part if found.picks is None else found.picks.taken(found.part)
    return reshape(values, found.shape)


def selection(x: Node, key: Any) -> Selection:
    """Where the elements of ``x[key]`` stand. Raises as `index_node`."""
    raw = key if isinstance(key, tuple) else (key,)
    items = _expanded(raw, x)
    cuts = tuple(_cut(item, size) for item, size in _pairs(items, x))
    part = sliced(x, cuts)
    apart = _is_apart(raw)
    picks = _picks(part, cuts, apart)
    return Selection(cuts, part, picks, _shape(items, cuts, part, picks, apart))


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


# One axis -----------------------------------------------------------------------------------------
def _cut(item: Any, size: Size) -> Cut:
    if isinstance(item, slice):
        return _range(item, size)
    item = manners.unwrap(item)
    if _is_array(item):
        return Cut(0, size, picked=_positions(item))
    try:
        place = operator.index(item)
    except TypeError:
        raise UserError(
            "GC0104",
            f"{item!r} is not an index",
            why="an index is an int, a slice, ..., None, or integer tensors",
            fix="for a list of masks or positions use gc.where or gc.take",
        ) from None
    return _single(place, size)


def _is_array(item: Any) -> bool:
    return isinstance(manners.unwrap(item), Node | np.ndarray | list | tuple | bool | np.bool_)


def _single(place: int, size: Size) -> Cut:
    if isinstance(size, int) and not -size <= place < size:
        raise UserError(
            "GC0104",
            f"index {place} is out of range for an axis of size {size}",
            fix=f"use an index from {-size} to {size - 1}" if size else "the axis is empty",
        )
    start = place if place >= 0 else size + place
    return Cut(start, start + 1, drop=True)


def _range(item: slice, size: Size) -> Cut:
    try:
        start, stop = _bound(item.start), _bound(item.stop)
        step = 1 if item.step is None else operator.index(item.step)
    except TypeError:
        raise UserError(
            "GC0104",
            f"{item} has bounds that are not ints",
            why="the shape of a slice must be known while the graph is built",
            fix="slice with ints and named sizes, or pick positions with gc.take",
        ) from None
    if step == 0:
        raise UserError("GC0104", "a slice with step 0", fix="use a step such as 1, 2 or -1")
    if any(isinstance(s, Dim) for s in (size, start, stop)):
        return _symbolic(start, stop, step, size)
    return _static(slice(start, stop, step), evaluate(size, {}))


def _bound(value: Any) -> Size | None:
    return value if value is None or isinstance(value, Dim) else operator.index(value)


def _static(part: slice, size: int) -> Cut:
    start, stop, step = part.indices(size)
    chosen = range(start, stop, step)
    if not chosen:
        return Cut(0, 0)
    low, high = min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1])
    return Cut(low, high + 1, abs(step), backward=step < 0)


def _symbolic(start: Size | None, stop: Size | None, step: int, size: Size) -> Cut:
    """Named sizes in it: bounds are trusted here, and checked when the sizes are known."""
    if step < 0:
        if (start, stop, step) != (None, None, -1):
            raise UserError(
                "GC0104",
                f"a slice with step {step} of the named size {size}",
                fix="write x[::-1] first, then slice with a positive step",
            )
        return Cut(0, size, backward=True)
    return Cut(
        _from_front(start or 0, size), size if stop is None else _from_front(stop, size), step
    )


def _from_front(bound: Size, size: Size) -> Size:
    """A bound counted from the end, which a named one is if it has minus signs only."""
    factors = [c for _, c in bound.terms] if isinstance(bound, Dim) else [bound]
    return size + bound if max(factors) < 0 else bound


def _positions(item: Any) -> Node:
    array = item if isinstance(item, Node) else np.asarray(item)
    if isinstance(item, list | tuple) and not len(item):
        array = np.zeros(0, np.int64)  # NumPy's empty list is of floats
    node = manners.as_node(array)
    if node.dtype == BOOL:
        raise UserError(
            "GC0104",
            "indexing with a mask",
            why="the number of chosen elements, and so the shape, would depend on the data",
            fix="use gc.where(mask, x, 0)",
        )
    return node


# Slices -------------------------------------------------------------------------------------------
def slice_of(x: Node, cuts: Sequence[Cut]) -> Slice | None:
    """The slice that cuts out the elements, none if that is all of them."""
    if all((c.start, c.stop, c.step) == (0, s, 1) for c, s in zip(cuts, x.shape, strict=True)):
        return None
    starts, stops, steps = zip(*((c.start, c.stop, c.step) for c in cuts), strict=True)
    return Slice(starts, stops, steps)


def sliced(x: Node, cuts: Sequence[Cut]) -> Node:
    """Everything that slicing does; axes that an int drops still have size 1."""
    op = slice_of(x, cuts)
    return turned_back(x if op is None else op(x), cuts)


def turned_back(x: Node, cuts: Sequence[Cut]) -> Node:
    """``x`` with the axes reversed that are walked backward."""
    return flip(x, tuple(axis for axis, cut in enumerate(cuts) if cut.backward))


# Positions ----------------------------------------------------------------------------------------
def _picks(part: Node, cuts: Sequence[Cut], apart: bool) -> Picks | None:
    """NumPy's advanced indexing: arrays on several axes broadcast, and pick tuples of positions."""
    places = {axis: cut.picked for axis, cut in enumerate(cuts) if cut.picked is not None}
    if not places:
        return None
    first, rest = min(places), [a for a in range(len(cuts)) if a not in places]
    order = (*(a for a in rest if a < first), *places, *(a for a in rest if a > first))
    sizes = tuple(part.shape[a] for a in places)
    indices = (
        places[first]
        if len(places) == 1
        else RavelIndex(sizes)(*manners.stretch("index", list(places.values())))
    )
    front = tuple(part.shape[a] for a in order[:first])
    back = tuple(part.shape[a] for a in order[first + len(places) :])
    axes = range(first, first + indices.type.rank)
    total = range(len(rest) + indices.type.rank)
    turned = (*axes, *(a for a in total if a not in axes)) if apart else tuple(total)
    return Picks(order, (*front, product(sizes), *back), first, indices, turned)


def _is_apart(items: tuple[Any, ...]) -> bool:
    """Whether a slice, None or ``...`` stands between arrays: then their axes come first. Beside
    an array an int counts as one.
    """
    advanced = [
        item is not None and item is not Ellipsis and not isinstance(item, slice) for item in items
    ]
    if not any(map(_is_array, items)):
        return False
    first, last = advanced.index(True), len(items) - advanced[::-1].index(True)
    return not all(advanced[first:last])


def _shape(
    items: list[Any], cuts: Sequence[Cut], part: Node, picks: Picks | None, apart: bool
) -> manners.Shape:
    """The shape after dropping the axes of ints and adding those of None."""
    block = () if picks is None else picks.indices.shape
    shape: list[Size] = [*block] if apart else []
    rest = iter(zip(cuts, part.shape, strict=True))
    pending = not apart
    for item in items:
        if item is None:
            shape.append(1)
            continue
        cut, size = next(rest)
        if cut.picked is not None:
            shape += block if pending else ()
            pending = False
        elif not cut.drop:
            shape.append(size)
    return tuple(shape)
