"""Movement: transposes, reshapes, broadcasts, slices, borders, joins.

Comes in: nodes that place elements of their operands. Goes out: values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from graphc.dims import Size
from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.movement import Reshape, Transpose
from graphc.ops.reduction import Broadcast
from graphc.ops.selection import Concatenate, Flip, Interleave, Pad, Slice

BACKWARDS_END = int(np.iinfo(np.int64).min)
"""Where a slice with a negative step ends that takes the first element too."""


@emits(Transpose)
def transpose(scope: Scope, op: Transpose, node: Node) -> Value:
    """Axes in another order."""
    return scope.transpose(scope.ranked(node.inputs[0]), op.axes)


@emits(Reshape)
def reshape(scope: Scope, op: Reshape, node: Node) -> Value:
    """Another shape."""
    return scope.reshape(scope.full(node.inputs[0]), op.shape)


@emits(Broadcast)
def broadcast(scope: Scope, op: Broadcast, node: Node) -> Value:
    """New axes of extent 1: whoever needs all elements stretches them."""
    x = scope.ranked(node.inputs[0])
    sizes = dict(zip(op.axes, x.shape, strict=True))
    first = min(op.axes, default=len(op.shape))
    return scope.reshape(x, [sizes.get(axis, 1) for axis in range(first, len(op.shape))])


@emits(Slice)
def cut(scope: Scope, op: Slice, node: Node) -> Value:
    """Some elements along each axis; axes that are taken whole are not named."""
    x = scope.full(node.inputs[0])
    ends = zip(op.starts, op.stops, op.steps, x.shape, strict=True)
    axes = [a for a, (start, stop, step, n) in enumerate(ends) if (start, stop, step) != (0, n, 1)]
    if not axes:
        return x
    return scope.add(
        "Slice",
        x,
        scope.sizes(op.starts[a] for a in axes),
        scope.sizes(op.stops[a] for a in axes),
        scope.integers(axes),
        scope.integers(op.steps[a] for a in axes),
        like=replace(x, shape=node.shape),
    )


@emits(Flip)
def flip(scope: Scope, op: Flip, node: Node) -> Value:
    """Slices that go backwards."""
    x, count = scope.full(node.inputs[0]), len(op.axes)
    if not count:
        return x
    start, end = scope.integers([-1] * count), scope.integers([BACKWARDS_END] * count)
    return scope.add("Slice", x, start, end, scope.integers(op.axes), start, like=x)


@emits(Pad)
def pad(scope: Scope, op: Pad, node: Node) -> Value:
    """Borders, and elements between neighbours, which ONNX does not know: as borders of an axis of
    extent 1 behind each of these axes.
    """
    x = scope.full(node.inputs[0])
    for axis, gap in enumerate(op.interior):
        if gap and x.shape[axis] not in (0, 1):
            x = _spread(scope, x, axis, gap, op.value)
    if not any(amount != 0 for amount in (*op.low, *op.high)):
        return x
    found = bordered(scope, x, op.low, op.high, node.shape, op.value, op.mode)
    if op.mode == "constant" and op.value == 0 and _are_numbers((*op.low, *op.high)):
        scope.file.padded[found.name] = (x, op.low, op.high)  # type: ignore[assignment]
    return found


def bordered(
    scope: Scope,
    x: Value,
    low: Iterable[Size],
    high: Iterable[Size],
    shape: tuple[Size, ...],
    value: float = 0,
    mode: str = "constant",
) -> Value:
    """``x`` with borders."""
    wide = computing("Pad", x.dtype)
    fill = scope.constant(value, wide) if mode == "constant" else None
    amounts = scope.sizes([*low, *high])
    like = replace(x, dtype=wide, shape=shape)
    return scope.add("Pad", x.cast(wide), amounts, fill, like=like, mode=mode).cast(x.dtype)


def _spread(scope: Scope, x: Value, axis: int, gap: int, value: float) -> Value:
    """``gap`` times ``value`` between neighbours."""
    extent, rank = x.shape[axis], x.rank + 1
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    column = scope.reshape(x, (*before, extent, 1, *after))
    high = [gap if a == axis + 1 else 0 for a in range(rank)]
    wide = (*before, extent, 1 + gap, *after)
    found = bordered(scope, column, [0] * rank, high, wide, value)
    found = scope.reshape(found, (*before, extent * (1 + gap), *after))
    end, axes = scope.integers([-gap]), scope.integers([axis])
    shape = (*before, extent * (1 + gap) - gap, *after)
    return scope.add("Slice", found, scope.integers([0]), end, axes, like=replace(x, shape=shape))


def _are_numbers(sizes: Iterable[Size]) -> bool:
    return all(isinstance(n, int) for n in sizes)


@emits(Concatenate)
def concatenate(scope: Scope, op: Concatenate, node: Node) -> Value:
    """One after another."""
    return scope.concatenate([scope.full(x) for x in node.inputs], op.axis)


@emits(Interleave)
def interleave(scope: Scope, op: Interleave, node: Node) -> Value:
    """Parts side by side in new last axes, which then move to where they belong."""
    count, shape = len(op.steps), node.inputs[0].shape
    parts = [scope.reshape(scope.full(x), (*shape, 1)) for x in node.inputs]
    together = scope.reshape(scope.concatenate(parts, len(shape)), (*shape, *op.steps))
    lead = len(shape) - count
    order = [axis for k in range(lead, len(shape)) for axis in (k, k + count)]
    return scope.transpose(together, [*range(lead), *order])
