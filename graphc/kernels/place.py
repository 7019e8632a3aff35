"""Parts that are written where they belong: a concatenation without copies.

Comes in: the nodes of a graph and which of them may have memory. Goes out: for every tensor that is
put side by side with others, its place in the whole. A separate step because the decision must come
before fusion (nothing joins a kernel that does not exist) and takes effect after it, when kernels
are written: then loads and stores of the part become loads and stores of the whole.

The time steps of a recurrent network are what this is for: stacked, they are operands of one large
product instead of many small ones, and stacking costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

from graphc.expr import Buffer, Expr, Iter, Lit, Load, Substitution, substitute
from graphc.graph import Node
from graphc.index import stride
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.kernels.trace import Tracer, flatten, iterators, unflatten
from graphc.types import INT64

Index = tuple[Expr, ...]


@dataclass(frozen=True)
class Place:
    """Where a node's elements are: at ``index(i)`` of ``whole`` for the element at ``i``."""

    whole: Node
    index: Callable[[Index], Index]


@dataclass
class Places:
    """``of`` each placed node; ``rest`` of each whole: the operands that must be copied into it."""

    of: dict[Node, Place] = field(default_factory=dict)
    rest: dict[Node, tuple[int, ...]] = field(default_factory=dict)


def places(
    order: Iterable[Node], real: set[Node], outputs: set[Node], new: set[Node], tracer: Tracer
) -> Places:
    """Where the operands of concatenations can be written at once, the largest whole first.

    An operand must be computed, have no other place and be neither an output nor a parameter's
    ``new`` value; it may be transposed and reshaped on the way. When all such operands are less
    than half of the whole, the whole is copied together like any other tensor.
    """
    found = Places()
    owner = {b: n for n, b in tracer.buffers.items()}
    fixed = outputs | new
    wholes = [y for y in order if y in real and y not in new and _is_whole(y)]
    wholes.reverse()  # a whole before those that may lie in it
    for y in sorted(wholes, key=lambda y: -math.prod(y.type.static_shape)):
        view = None if y in found.of or y in fixed else _view(y, found, tracer, owner)
        if view is not None:
            found.of[y], found.rest[y] = view, ()
            continue
        free = {k: (x, moves) for k, x, moves in _sources(y, real) if _is_free(x, found, fixed)}
        size = sum(math.prod(x.type.static_shape) for x, _ in free.values())
        if 2 * size < math.prod(y.type.static_shape):
            continue
        for k, (x, moves) in free.items():
            found.of[x] = _composed(found.of.get(y), y, (*moves, (y, k)))
        found.rest[y] = tuple(k for k in range(len(y.inputs)) if k not in free)
    return found


Moves = tuple[tuple[Node, int], ...]


def _is_whole(y: Node) -> bool:
    """Whether a "compute" node does nothing but put its operands side by side."""
    return y.op.kind == "compute" and 0 not in y.type.static_shape and _lands(y, 0) is not None


def _lands(y: Node, k: int) -> Index | None:
    index = iterators(y.inputs[k].type.static_shape) if y.inputs else ()
    landed: Index | None = y.op.lands(k, index, *(x.type for x in y.inputs))
    return landed


def _is_free(x: Node, found: Places, fixed: set[Node]) -> bool:
    return x.op.kind not in ("scatter", "call") and x not in found.of and x not in fixed


def _sources(y: Node, real: set[Node]) -> Iterator[tuple[int, Node, Moves]]:
    """The operands of ``y`` that rename a node with memory one-to-one, each such node once: the
    operand's number, the node, the renamings from there on.
    """
    seen: set[Node] = set()
    for k, x in enumerate(y.inputs):
        moves: list[tuple[Node, int]] = []
        while x not in real and x.op.kind == "free" and _lands(x, 0) is not None:
            moves.append((x, 0))
            (x,) = x.inputs
        if x in real and x not in seen:
            seen.add(x)
            yield k, x, tuple(reversed(moves))


def _composed(outer: Place | None, y: Node, moves: Moves) -> Place:
    """The place reached by ``moves``, which end in ``y``; ``y`` itself may lie in another."""

    def index(i: Index) -> Index:
        for reader, k in moves:
            landed = reader.op.lands(k, i, *(x.type for x in reader.inputs))
            assert landed is not None
            i = landed
        return i if outer is None else outer.index(i)

    return Place(y if outer is None else outer.whole, index)


def _view(y: Node, found: Places, tracer: Tracer, owner: Mapping[Buffer, Node]) -> Place | None:
    """The place of ``y`` when its operands lie side by side in one whole already."""
    first = y.inputs[0]
    if len(y.inputs) < 2 or any(x.shape != first.shape for x in y.inputs):
        return None
    lead, offsets, wholes = iterators(first.type.static_shape), [], set()
    for x in y.inputs:
        load = tracer.value(x, lead)
        place = found.of.get(owner[load.buffer]) if isinstance(load, Load) else None
        if place is None:
            return None
        assert isinstance(load, Load)
        wholes.add(place.whole)
        offsets.append(flatten(place.index(load.index), place.whole.type.static_shape))
    (whole, *others) = wholes
    steps = {b - a for a, b in pairwise(offsets)}
    step = steps.pop()
    if others or steps or not isinstance(step, Lit):
        return None
    return _strided(y, whole, lead, offsets[0], int(step.value))


def _strided(y: Node, whole: Node, lead: Index, offset: Expr, step: int) -> Place | None:
    """``y`` in ``whole``: operand 0 is at ``offset``, and each next one is ``step`` further."""
    start = y.op.lands(1, tuple(Lit(0, INT64) for _ in lead), *(x.type for x in y.inputs))
    assert start is not None
    (axis,) = (a for a, i in enumerate(start) if i != Lit(0, INT64))
    own, extent = lead[axis], y.inputs[0].type.static_shape[axis]
    if isinstance(own, Iter) and (stride(offset, own) or 0) * extent != step:
        return None

    def index(i: Index) -> Index:
        new = {a: b for a, b in zip(lead, i, strict=True) if isinstance(a, Iter)}
        moved = substitute(offset, lambda e: new.get(e) if isinstance(e, Iter) else None)
        moved = moved if isinstance(own, Iter) else moved + i[axis] * step
        return unflatten(moved, whole.type.static_shape)

    return Place(whole, index)


# When kernels are written -------------------------------------------------------------------------
def relocated(kernel: Kernel, places: Places, buffers: Mapping[Node, Buffer]) -> Kernel:
    """The kernel with everything placed read and written where it belongs."""
    known = {buffers[node]: place for node, place in places.of.items()}
    if known.keys().isdisjoint((*kernel.read, *kernel.written)):
        return kernel

    def moved(e: Expr) -> Expr | None:
        if not isinstance(e, Load) or e.buffer not in known:
            return None
        place = known[e.buffer]
        return Load(buffers[place.whole], place.index(tuple(map(change, e.index))))

    def store(s: Store) -> Store:
        index, value = tuple(map(change, s.index)), change(s.value)
        if s.buffer not in known:
            return replace(s, index=index, value=value)
        place = known[s.buffer]
        return replace(s, buffer=buffers[place.whole], index=place.index(index), value=value)

    change = Substitution(moved)
    stages = tuple(Stage(x.iters, tuple(map(store, x.stores))) for x in kernel.stages)
    return replace(kernel, stages=stages)
