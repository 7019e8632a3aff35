"""A second meaning of scalar expressions, written for tests: NumPy over all points at once.

Reads outside a buffer fail, the branch of a `Select` that is not taken is not evaluated, and every
value is computed in its own dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from graphc.expr import Affine, Apply, Bounded, Buffer, Expr, Iter, Lit, Load, Reduce, Select
from graphc.graph import Array, Node
from graphc.kernels.trace import Tracer
from graphc.scalars import SCALARS, identity_of


@dataclass
class Points:
    """A list of points: the value of every iterator at each of them."""

    values: dict[Iter, Array]
    count: int
    memory: Mapping[Buffer, Array]
    known: dict[int, tuple[Expr, Array]] = field(default_factory=dict)

    def where(self, mask: Array) -> Points:
        kept = {i: v[mask] for i, v in self.values.items()}
        return Points(kept, int(mask.sum()), self.memory)

    def times(self, iters: tuple[Iter, ...]) -> Points:
        extents = [i.extent for i in iters]
        inner = int(np.prod(extents))
        values = {i: np.repeat(v, inner) for i, v in self.values.items()}
        grid = np.indices(extents).reshape(len(iters), inner)
        values |= {i: np.tile(v, self.count) for i, v in zip(iters, grid, strict=True)}
        return Points(values, self.count * inner, self.memory)


def evaluate(expr: Expr, points: Points) -> Array:
    """The value at every point; shared parts once."""
    if id(expr) not in points.known:
        value = np.asarray(_evaluate(expr, points))
        assert value.dtype == expr.dtype.numpy, f"{expr.dtype} came out as {value.dtype}"
        # the expression is kept too, so that its id stays its own
        points.known[id(expr)] = expr, np.broadcast_to(value, (points.count,))
    return points.known[id(expr)][1]


def _evaluate(expr: Expr, points: Points) -> Array:
    match expr:
        case Iter():
            return points.values[expr]
        case Lit(value, dtype):
            return np.asarray(value, dtype.numpy)
        case Affine(terms, constant):
            return constant + sum(evaluate(a, points) * c for a, c in terms)
        case Load(buffer, index):
            place = tuple(evaluate(i, points) for i in index)
            for i, extent in zip(place, buffer.shape, strict=True):
                assert ((i >= 0) & (i < extent)).all(), "read outside a buffer"
            found = points.memory[buffer][place]
            return np.broadcast_to(found.astype(expr.dtype.numpy), (points.count,))
        case Select():
            return _select(expr, points)
        case Bounded(index, extent, _):
            place = evaluate(index, points)
            assert ((place >= 0) & (place < extent)).all(), "an index from data is out of bounds"
            return place
        case Reduce():
            return _reduce(expr, points)
        case Apply():
            return _apply(expr, [evaluate(a, points) for a in expr.args])
    raise AssertionError(f"no meaning for {expr}")


def _select(expr: Select, points: Points) -> Array:
    mask = evaluate(expr.condition, points)
    result = np.zeros(points.count, expr.dtype.numpy)
    result[mask] = evaluate(expr.chosen, points.where(mask))
    result[~mask] = evaluate(expr.other, points.where(~mask))
    return result


def _reduce(expr: Reduce, points: Points) -> Array:
    function = SCALARS[expr.function]
    inner = points.times(expr.iters)
    body = evaluate(expr.body, inner).reshape(points.count, -1) if points.count else None
    start = np.full(points.count, identity_of(function, expr.dtype), expr.dtype.numpy)
    if body is None or inner.count == 0:
        return start
    with np.errstate(all="ignore"):
        return reduce(function.numpy, body.T, start).astype(start.dtype)


def _apply(expr: Apply, args: list[Array]) -> Array:
    target = expr.dtype.numpy
    with np.errstate(all="ignore"):
        if expr.function == "cast":
            return args[0].astype(target)
        if expr.function == "bitcast":
            return np.ascontiguousarray(args[0]).view(target)
        return np.asarray(SCALARS[expr.function].numpy(*args)).astype(target)


def at_every_index(node: Node, arrays: Mapping[Node, Array]) -> Array:
    """The tensor that ``node``'s `at` rules describe; nodes in ``arrays`` are read from memory."""
    buffers = {x: Buffer(x.type) for x in arrays}
    shape = node.type.static_shape
    iters = tuple(map(Iter, shape))
    memory = {buffers[x]: array for x, array in arrays.items()}
    points = Points({}, 1, memory).times(iters)
    value = evaluate(Tracer(buffers).definition(node, iters), points)
    return np.array(value).reshape(shape).astype(node.dtype.numpy)
