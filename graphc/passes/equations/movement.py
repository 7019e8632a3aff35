"""Equations of movement: two moves are one, moves of equal numbers are none, work before copies.

Comes in: nothing. Goes out: `MOVEMENT`. All are exact: elements change places, not values. They are
functions and not patterns, because what they compute with are axes and shapes.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from graphc.dims import Size
from graphc.graph import Node
from graphc.ops.copy import OwnGradient, StopGradient
from graphc.ops.elementwise import ELEMENTWISE, Bitcast, Cast, Elementwise
from graphc.ops.leaves import constant
from graphc.ops.movement import Reshape, Transpose, broadcast_to, reshape, transpose
from graphc.ops.reduction import Broadcast, broadcast_in
from graphc.ops.selection import Flip, Slice
from graphc.rewrite import Head, by_hand, number_of


def numbers_like(node: Node, shape: tuple[Size, ...]) -> Node | None:
    """The number that ``node`` is everywhere, in another shape; None when it is no number."""
    value = number_of(node)
    return None if value is None else broadcast_to(constant(value, node.dtype), shape)


def thin(shape: tuple[Size, ...]) -> tuple[int, ...]:
    """The axes that are not of extent 1."""
    return tuple(axis for axis, extent in enumerate(shape) if extent != 1)


def same_but_for_ones(a: tuple[Size, ...], b: tuple[Size, ...]) -> bool:
    """Whether the shapes differ only in axes of extent 1."""
    return [s for s in a if s != 1] == [s for s in b if s != 1]


@by_hand(
    "moved number", Reshape, Transpose, Slice, Flip, number=True,
    why="where all elements are equal their places do not matter",
)  # fmt: skip
def _moved_number(node: Node) -> Node | None:
    return numbers_like(node.inputs[0], node.shape)


@by_hand(
    "stop no gradient", StopGradient, OwnGradient,
    why="derivatives have been taken when passes run",
)  # fmt: skip
def _stop_no_gradient(node: Node) -> Node | None:
    return node.inputs[0]


@by_hand("reshape to its own shape", Reshape, why="nothing moves")
def _reshape_nothing(node: Node) -> Node | None:
    return node.inputs[0] if node.shape == node.inputs[0].shape else None


@by_hand("reshape twice", Reshape, of=Reshape, why="a reshape keeps the row-major order")
def _reshape_twice(node: Node) -> Node | None:
    return reshape(node.inputs[0].inputs[0], node.shape)


@by_hand("transpose nothing", Transpose, why="only axes of extent 1 move, so the order stays")
def _transpose_nothing(node: Node) -> Node | None:
    op: Any = node.op
    wide = thin(node.inputs[0].shape)
    moved = tuple(a for a in op.axes if a in wide)
    return reshape(node.inputs[0], node.shape) if moved == wide else None


@by_hand("transpose twice", Transpose, of=Transpose, why="permutations compose")
def _transpose_twice(node: Node) -> Node | None:
    outer: Any = node.op
    middle = node.inputs[0]
    inner: Any = middle.op
    return transpose(middle.inputs[0], tuple(inner.axes[a] for a in outer.axes))


@by_hand("broadcast by ones", Broadcast, why="an axis of extent 1 repeats nothing")
def _broadcast_nothing(node: Node) -> Node | None:
    x = node.inputs[0]
    if number_of(x) is not None:  # a number in any shape is written as a broadcast
        return None
    return reshape(x, node.shape) if same_but_for_ones(x.shape, node.shape) else None


@by_hand("broadcast twice", Broadcast, of=Broadcast, why="placements of axes compose")
def _broadcast_twice(node: Node) -> Node | None:
    outer: Any = node.op
    middle = node.inputs[0]
    inner: Any = middle.op
    return broadcast_in(middle.inputs[0], outer.shape, tuple(outer.axes[a] for a in inner.axes))


@by_hand("reshape of broadcast", Reshape, of=Broadcast, why="axes of extent 1 come and go freely")
def _reshape_of_broadcast(node: Node) -> Node | None:
    middle = node.inputs[0]
    x, op = middle.inputs[0], _attributes(middle)
    if not same_but_for_ones(middle.shape, node.shape):
        return None
    place = dict(zip(thin(middle.shape), thin(node.shape), strict=True))
    axes = tuple(place[a] for a in op.axes if a in place)
    return broadcast_in(reshape(x, tuple(node.shape[a] for a in axes)), node.shape, axes)


@by_hand("broadcast of reshape", Broadcast, of=Reshape, why="axes of extent 1 come and go freely")
def _broadcast_of_reshape(node: Node) -> Node | None:
    middle = node.inputs[0]
    x, op = middle.inputs[0], _attributes(node)
    if not same_but_for_ones(x.shape, middle.shape) or len(thin(x.shape)) != x.type.rank:
        return None
    return broadcast_in(x, node.shape, tuple(op.axes[a] for a in thin(middle.shape)))


@by_hand("transpose of broadcast", Transpose, of=Broadcast, why="copies can be made in any order")
def _transpose_of_broadcast(node: Node) -> Node | None:
    middle = node.inputs[0]
    op, inner = _attributes(node), _attributes(middle)
    kept = [(k, inner.axes.index(a)) for k, a in enumerate(op.axes) if a in inner.axes]
    moved = transpose(middle.inputs[0], tuple(source for _, source in kept))
    return broadcast_in(moved, node.shape, tuple(place for place, _ in kept))


@by_hand("slice of broadcast", Slice, of=Broadcast, why="copies are cut before they are made")
def _slice_of_broadcast(node: Node) -> Node | None:
    middle = node.inputs[0]
    op, inner = _attributes(node), _attributes(middle)
    starts, stops, steps = (
        tuple(part[a] for a in inner.axes) for part in (op.starts, op.stops, op.steps)
    )
    return broadcast_in(Slice(starts, stops, steps)(middle.inputs[0]), node.shape, inner.axes)


@by_hand("flip of broadcast", Flip, of=Broadcast, why="copies look the same from both ends")
def _flip_of_broadcast(node: Node) -> Node | None:
    middle = node.inputs[0]
    op, inner = _attributes(node), _attributes(middle)
    axes = tuple(k for k, a in enumerate(inner.axes) if a in op.axes)
    flipped = Flip(axes)(middle.inputs[0]) if axes else middle.inputs[0]
    return broadcast_in(flipped, node.shape, inner.axes)


@by_hand("slice of everything", Slice, why="nothing is left out")
def _slice_nothing(node: Node) -> Node | None:
    op, x = _attributes(node), node.inputs[0]
    whole = node.shape == x.shape and all(step == 1 for step in op.steps)
    return x if whole else None


@by_hand("slice twice", Slice, of=Slice, why="starts add up and steps multiply")
def _slice_twice(node: Node) -> Node | None:
    middle = node.inputs[0]
    outer, inner = _attributes(node), _attributes(middle)
    if 0 in node.shape:
        return None
    axes = range(middle.type.rank)
    starts = tuple(inner.starts[a] + outer.starts[a] * inner.steps[a] for a in axes)
    stops = tuple(inner.starts[a] + (outer.stops[a] - 1) * inner.steps[a] + 1 for a in axes)
    steps = tuple(inner.steps[a] * outer.steps[a] for a in axes)
    return Slice(starts, stops, steps)(middle.inputs[0])


@by_hand(
    "slice of reshape", Slice, of=Reshape, why="trailing axes that stay are cut before or after"
)
def _slice_of_reshape(node: Node) -> Node | None:
    op, middle = _attributes(node), node.inputs[0]
    x = middle.inputs[0]
    same = _common_trail(x.shape, middle.shape)
    lead, inner = middle.type.rank - same, x.type.rank - same
    if middle.shape[:lead] != node.shape[:lead]:
        return None
    starts = (*(0,) * inner, *op.starts[lead:])
    stops = (*x.shape[:inner], *op.stops[lead:])
    steps = (*(1,) * inner, *op.steps[lead:])
    return reshape(Slice(starts, stops, steps)(x), node.shape)


def _common_trail(a: tuple[Size, ...], b: tuple[Size, ...]) -> int:
    """How many trailing axes two shapes have in common."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@by_hand("flip twice", Flip, of=Flip, why="a flip is its own inverse")
def _flip_twice(node: Node) -> Node | None:
    middle = node.inputs[0]
    axes = tuple(sorted(set(_attributes(node).axes) ^ set(_attributes(middle).axes)))
    return Flip(axes)(middle.inputs[0]) if axes else middle.inputs[0]


_OUTWARD = (Head(Broadcast), Head(Reshape), Head(Transpose))
_SIGN = Head.of(ELEMENTWISE["negative"])
"""Signs go outside of products and sums, so they are not moved into what only renames elements."""


@by_hand(
    "compute before moving", Elementwise, Cast, Bitcast,
    why="a function of moved or copied elements is the moved or copied value of the function",
)  # fmt: skip
def _compute_before_moving(node: Node) -> Node | None:
    moved = [x for x in node.inputs if number_of(x) is None]
    heads = _OUTWARD[:1] if Head.of(node.op) == _SIGN else _OUTWARD
    if not moved or Head.of(moved[0].op) not in heads:
        return None
    move, shape = moved[0].op, moved[0].inputs[0].shape
    if any(x.op != move or x.inputs[0].shape != shape for x in moved[1:]):
        return None
    inner = (numbers_like(x, shape) or x.inputs[0] for x in node.inputs)
    return move(node.op(*inner))


def _attributes(node: Node) -> Any:
    """The op, whose class the rule has asked for, with its fields."""
    return node.op


MOVEMENT = [
    _moved_number,
    _stop_no_gradient,
    _reshape_nothing,
    _reshape_twice,
    _transpose_nothing,
    _transpose_twice,
    _broadcast_nothing,
    _broadcast_twice,
    _reshape_of_broadcast,
    _broadcast_of_reshape,
    _transpose_of_broadcast,
    _slice_of_broadcast,
    _flip_of_broadcast,
    _slice_nothing,
    _slice_twice,
    _slice_of_reshape,
    _flip_twice,
    _compute_before_moving,
]
