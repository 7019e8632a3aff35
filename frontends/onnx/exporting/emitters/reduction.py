"""Reductions, and positions of extremes.

Comes in: nodes that fold axes of one operand. Goes out: values.
"""

from __future__ import annotations

from dataclasses import replace

from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.reduction import ArgExtreme, Fold
from graphc.scalars import identity_of
from graphc.types import BOOL, DTYPES, INT64


@emits(Fold)
def fold(scope: Scope, op: Fold, node: Node) -> Value:
    """A reduction; of no elements it is the identity, which is not left to the operator."""
    x = scope.full(node.inputs[0])
    if any(x.shape[a] == 0 for a in op.axes):
        number = scope.constant(identity_of(op.function, x.dtype), x.dtype)
        return scope.stretched(number, node.shape) if node.shape else number
    return scope.reduce(op.function.name, x, op.axes) if op.axes else x


@emits(ArgExtreme)
def arg_extreme(scope: Scope, op: ArgExtreme, node: Node) -> Value:
    """The first place of the largest or smallest element."""
    operator = "ArgMax" if op.largest else "ArgMin"
    x = scope.full(node.inputs[0])
    x = x.cast(DTYPES["uint8"]) if x.dtype == BOOL else x.cast(computing(operator, x.dtype))
    like = replace(x, dtype=INT64, shape=node.shape)
    return scope.add(operator, x, like=like, axis=op.axis, keepdims=0)
