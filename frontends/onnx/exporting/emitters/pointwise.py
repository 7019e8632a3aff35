"""Elementwise operations, and those that change nothing but what graphc knows about a value.

Comes in: nodes whose operands have one shape. Goes out: values, broadcast as late as possible.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.frontends.onnx.dtypes import number_of
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.copy import After, Copy, OwnGradient, StopGradient
from graphc.ops.elementwise import Bitcast, Cast, Elementwise
from graphc.ops.indexing import RavelIndex
from graphc.scalars import where
from graphc.types import INT64


@emits(Elementwise)
def elementwise(scope: Scope, op: Elementwise, node: Node) -> Value:
    """A scalar function."""
    return scope.apply(op.function.name, *map(scope.thin, node.inputs))


@emits(Cast)
def cast(scope: Scope, op: Cast, node: Node) -> Value:
    """A conversion."""
    return scope.thin(node.inputs[0]).cast(op.dtype)


@emits(Bitcast)
def bitcast(scope: Scope, op: Bitcast, node: Node) -> Value:
    """The same bits; the operator came with operator set 26."""
    x = scope.thin(node.inputs[0])
    return scope.add("BitCast", x, like=replace(x, dtype=op.dtype), to=number_of(op.dtype))


@emits(Copy, StopGradient, OwnGradient)
def same(scope: Scope, op: object, node: Node) -> Value:
    """The first operand."""
    return scope.thin(node.inputs[0])


@emits(After)
def after(scope: Scope, op: After, node: Node) -> Value:
    """The last operand."""
    return scope.thin(node.inputs[-1])


@emits(RavelIndex)
def ravel_index(scope: Scope, op: RavelIndex, node: Node) -> Value:
    """Positions per axis as one number; negative ones count from the end."""
    number = scope.constant(0, INT64)
    for x, extent in zip(node.inputs, op.shape, strict=True):
        place, size = scope.thin(x).cast(INT64), scope.reshape(scope.size(extent), ())
        number = number * size + where(place < 0, place + size, place)
    return number
