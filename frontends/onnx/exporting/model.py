"""From a graph to an ONNX model, checked.

Comes in: a `Graph`. Goes out: an `onnx.ModelProto` that ONNX's own checker accepts. A separate step
because here stands what belongs to a model and to no operation: names, inputs, weights, versions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import onnx
from onnx import helper

from graphc.errors import CompilerBug, UserError
from graphc.frontends.onnx.exporting import emitters
from graphc.frontends.onnx.exporting.graphs import write
from graphc.frontends.onnx.exporting.scope import File, Scope, Value, uses
from graphc.graph import Graph, Node
from graphc.show.names import is_gradient, variables

__all__ = ["emitters", "model_of"]


def model_of(
    graph: Graph,
    outputs: Sequence[str] = (),
    parameters: Mapping[Node, str] | None = None,
    name: str = "main",
) -> onnx.ModelProto:
    """The model of ``graph``; ``outputs`` names its results, ``parameters`` some of its leaves.

    Raises `UserError` GC0505 for what ONNX cannot say.
    """
    _check_updates(graph)
    file = File(parameters or {})
    scope = Scope(file)
    given = {x: _declared(scope, x) for x in graph.inputs}
    for wanted in outputs:
        file.fresh(wanted)
    results = write(scope, graph, given)
    proto = scope.graph(name, list(given.values()), results)
    _rename(proto, _user_names(file, scope, graph, outputs, proto))
    needed = {used for node in proto.node for used in uses(node)}
    proto.initializer.extend(x for n, x in file.initializers.items() if n in needed)
    opset = helper.make_opsetid("", file.operator_set)
    made = helper.make_model(
        proto,
        opset_imports=[opset],
        ir_version=helper.find_min_ir_version_for([opset]),
        producer_name="graphc",
        producer_version=version("graphc"),
    )
    return _checked(made)


def _check_updates(graph: Graph) -> None:
    if graph.updates:
        names = ", ".join(target.name for target, _ in graph.updates)
        raise UserError(
            "GC0505",
            f"the graph updates {names}",
            why="an ONNX model keeps nothing from one run to the next",
            fix="export the outputs alone, new values too if you need them: "
            "onnx.export([loss, *new_values], path)",
        )


def _declared(scope: Scope, node: Node) -> Value:
    return Value(scope, scope.file.fresh(node.name), node.dtype, node.shape)


def _user_names(
    file: File, scope: Scope, graph: Graph, outputs: Sequence[str], proto: onnx.GraphProto
) -> dict[str, str]:
    """New names for results, and for values that the user's program gave a name."""
    made = {name for node in proto.node for name in node.output}
    names = variables(graph.nodes)
    found = {info.name: name for info, name in zip(proto.output, outputs, strict=False)}
    for info, y in list(zip(proto.output, graph.outputs, strict=True))[len(found) :]:
        found[info.name] = file.fresh(names.get(y) or _kind(y))
    for node, name in names.items():
        value = scope.values.get(node)
        if value is not None and value.name in made and value.name not in found:
            found[value.name] = file.fresh(name)
    return found


def _kind(node: Node) -> str:
    """The name of a result that has none in the program."""
    return "gradient" if is_gradient(node) else node.op.label or "output"


def _rename(proto: onnx.GraphProto, names: dict[str, str]) -> None:
    """Give values other names, in subgraphs too."""
    graphs = [proto]
    while graphs:
        graph = graphs.pop()
        for node in graph.node:
            _exchange(node.input, names)
            _exchange(node.output, names)
            graphs.extend(a.g for a in node.attribute if a.HasField("g"))
        for info in graph.output:
            info.name = names.get(info.name, info.name)


def _exchange(texts: Any, names: dict[str, str]) -> None:
    texts[:] = [names.get(text, text) for text in texts]


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model. Raises `CompilerBug` when ONNX's checker rejects it, `UserError` GC0501 for one
    that no file can hold.
    """
    if model.ByteSize() > onnx.checker.MAXIMUM_PROTOBUF:
        raise UserError("GC0501", "the model is larger than 2 GiB, which no ONNX file may be")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise CompilerBug(f"the exported model is not valid: {error}") from error
    return model
