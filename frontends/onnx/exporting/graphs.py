"""From a graph to the nodes of a scope, one operation after another.

Comes in: a `Graph` and values for its inputs. Goes out: values for its outputs. A separate step
because the bodies of loops and branches are written in the same way as the model's own graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.errors import UserError
from graphc.frontends.onnx.exporting.definition import by_definition
from graphc.frontends.onnx.exporting.registry import emitter, lacking
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Graph, Node, call_results, describe, toposort


def write(scope: Scope, graph: Graph, given: Mapping[Node, Value]) -> list[Value]:
    """Add the nodes of ``graph``, whose inputs are ``given``. Raises `UserError` GC0505, at the
    line of the operation, for what ONNX cannot say.
    """
    scope.values.update(given)
    order = toposort(graph.roots, given)
    calls = call_results(order)
    for node in order:
        if node not in scope.values:
            scope.file.path = node.site.scope
            try:
                scope.values.update(_written(scope, node, calls.get(node, [])))
            except UserError as error:
                raise error.located(str(node.site), [describe(x) for x in node.inputs]) from None
    return [scope.full(y) for y in graph.outputs]


def _written(scope: Scope, node: Node, results: Sequence[Node]) -> dict[Node, Value]:
    """What ``node`` is written as, and all results of the call that it is one of.

    What has no elements needs no computing, and not every runtime can.
    """
    if 0 in node.shape:
        return {node: scope.stretched(scope.constant(0, node.dtype), node.shape)}
    found = emitter(node)
    if node.op.kind == "call":
        if found is None:
            raise lacking(node, "its operators have no such function", "run that part in graphc")
        some = [y for y in results if 0 not in y.shape]
        values = found(scope, node.op, node.inputs, sorted({y.op.result for y in some}))
        return {y: values[y.op.result] for y in some}
    return {node: found(scope, node.op, node) if found is not None else by_definition(scope, node)}
