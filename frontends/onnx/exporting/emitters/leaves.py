"""Leaves: parameters and constants as initialisers, counters as ranges.

Comes in: nodes without operands. Goes out: values. Inputs are not here: a model declares them
(`graphc.frontends.onnx.exporting.model`).
"""

from __future__ import annotations

from graphc.dims import Dim
from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits, lacking
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.leaves import Constant, Iota, Parameter, Table


@emits(Parameter)
def parameter(scope: Scope, op: Parameter, node: Node) -> Value:
    """An initialiser with the parameter's name, holding its value of now."""
    if op.advances:
        raise lacking(
            node,
            "the state of a random generator counts on with every call, and ONNX models keep none",
            "export the model in evaluation mode, or draw from a state that is an input",
        )
    name = scope.file.parameters.get(node, op.label or "parameter")
    name = scope.file.initializer(op.storage.array, name)
    return Value(scope, name, node.dtype, node.shape)


@emits(Constant)
def constant(scope: Scope, op: Constant, node: Node) -> Value:
    """A number; a named size is computed from the shapes of inputs."""
    if isinstance(op.value, Dim):
        return scope.reshape(scope.size(op.value), ()).cast(op.dtype)
    return scope.constant(op.value, op.dtype)


@emits(Table)
def table(scope: Scope, op: Table, node: Node) -> Value:
    """An array."""
    name = scope.file.initializer(op.array, node.name or "table")
    return Value(scope, name, node.dtype, node.shape)


@emits(Iota)
def iota(scope: Scope, op: Iota, node: Node) -> Value:
    """One axis that counts; the others are left to broadcasting."""
    extent, wide = op.shape[op.axis], computing("Range", op.dtype)
    first, step = scope.constant(0, wide), scope.constant(1, wide)
    end = scope.reshape(scope.size(extent), ()).cast(wide)
    found = scope.make("Range", first, end, step, dtype=wide, shape=(extent,)).cast(op.dtype)
    return scope.reshape(found, (extent,) + (1,) * (len(op.shape) - op.axis - 1))
