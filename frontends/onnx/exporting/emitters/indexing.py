"""Reads and writes at indices that are data.

Comes in: takes and scatters along one axis. Goes out: values. A negative index counts from the end
in both languages, and a miss is an error of whatever runs the model.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.indexing import ScatterAdd, ScatterAddAlongAxis, Take, TakeAlongAxis
from graphc.ops.movement import inverse
from graphc.ops.scatter import Scatter
from graphc.types import INT32, INT64

_COMBINED = {"add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}


def _positions(scope: Scope, node: Node) -> Value:
    """Indices as int32 or int64, which is all that ONNX takes."""
    found = scope.full(node)
    return found if found.dtype in (INT32, INT64) else found.cast(INT64)


@emits(Take)
def take(scope: Scope, op: Take, node: Node) -> Value:
    """Gather."""
    x, places = scope.full(node.inputs[0]), _positions(scope, node.inputs[1])
    return scope.add("Gather", x, places, like=replace(x, shape=node.shape), axis=op.axis)


@emits(TakeAlongAxis)
def take_along_axis(scope: Scope, op: TakeAlongAxis, node: Node) -> Value:
    """GatherElements."""
    x, places = scope.full(node.inputs[0]), _positions(scope, node.inputs[1])
    return scope.add("GatherElements", x, places, like=replace(x, shape=node.shape), axis=op.axis)


@emits(ScatterAddAlongAxis)
def scatter_along_axis(scope: Scope, op: ScatterAddAlongAxis, node: Node) -> Value:
    """ScatterElements."""
    wide = computing("ScatterElements", node.dtype)
    base, updates = (scope.full(node.inputs[k]).cast(wide) for k in (0, 2))
    places = _positions(scope, node.inputs[1])
    found = scope.add(
        "ScatterElements", base, places, updates, like=base, axis=op.axis, reduction="add"
    )
    return found.cast(node.dtype)


@emits(ScatterAdd, Scatter)
def scatter(scope: Scope, op: ScatterAdd, node: Node) -> Value:
    """ScatterND, which indexes first axes: the axis of whole slices moves there, and back."""
    base, updates = (scope.full(node.inputs[k]) for k in (0, 2))
    wide = computing("ScatterND", node.dtype)
    places = _positions(scope, node.inputs[1]).cast(INT64)
    to_front = (op.axis, *(a for a in range(base.rank) if a != op.axis))
    chosen = range(op.axis, op.axis + places.rank)
    rest = (a for a in range(updates.rank) if a not in chosen)
    turned = scope.transpose(base.cast(wide), to_front)
    found = scope.add(
        "ScatterND",
        turned,
        scope.reshape(places, (*places.shape, 1)),
        scope.transpose(updates.cast(wide), (*chosen, *rest)),
        like=turned,
        reduction=_COMBINED[op.combine],
    )
    return scope.transpose(found, inverse(to_front)).cast(node.dtype)
