"""From a graph to an ONNX file: `export`.

Comes in: tensors, a graph, or a compiled function. Goes out: a file that other programs read. The
parts: `model` (a whole model), `graphs` (one operation after another), `emitters` (one operation),
`functions` (scalar functions), `definition` (what has no emitter), `scope` (the nodes that are
written, and their names).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import EncodeError

from graphc.compile import Executable
from graphc.errors import UserError
from graphc.files import replacing
from graphc.frontends.dsl.function import graph_of, inputs_of
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.frontends.nn.module import Module
from graphc.frontends.onnx.exporting.model import model_of
from graphc.frontends.onnx.model import Model
from graphc.graph import Graph, Node, specialise


@at_user_line
def export(
    what: Any,
    path: str | Path | None = None,
    *,
    inputs: Iterable[Tensor] | None = None,
    outputs: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None,
    name: str = "main",
) -> onnx.ModelProto:
    """Write ``what`` as an ONNX model to ``path``, checked; it is whole or not there.

    ``what`` is a compiled function, a `Graph`, a module that is called with ``inputs``, or tensors,
    also nested; gradients are tensors like any. ``inputs`` lists the inputs of tensors in order
    (default: all, as they were made), and ``outputs`` names the results (default: their names in
    the program, or the keys of a dict). Parameters become initialisers with their values of now,
    under the names of ``named_state`` for a module, else their own. A model that `load` read brings
    its inputs and the names of its outputs along. Named sizes stay open, under their names, unless
    ``sizes`` gives them numbers. The model is returned, too; without a path nothing is written.

    Raises `UserError`: GC0505 for what ONNX cannot say (updates of parameters, random states that
    count on, decompositions of matrices), GC0302 (names), GC0301 (inputs), GC0501 (the file cannot
    be written, or is larger than the format's 2 GiB).
    """
    parameters: dict[Node, str] = {}
    if isinstance(what, Model):
        inputs, outputs = inputs or what.symbolic_inputs({}), outputs or what.outputs
    if isinstance(what, Module):
        parameters = {x.node: label for label, x in what.named_state().items()}
        inputs = [*(inputs or ())]
        what = what(*inputs)
    graph = specialise(_graph(what, inputs), sizes or {})
    model = model_of(graph, _names(what, outputs, graph), parameters, name)
    if path is not None:
        _write(model, path)
    return model


def _graph(what: Any, inputs: Iterable[Tensor] | None) -> Graph:
    if isinstance(what, Executable):
        return what.graph
    if isinstance(what, Graph):
        return what
    tensors = [tensor(y) for y in flatten(what)[0]]
    return graph_of(inputs_of(tensors) if inputs is None else inputs, tensors, {})


def _names(what: Any, outputs: Sequence[str], graph: Graph) -> Sequence[str]:
    if not outputs and isinstance(what, dict) and len(what) == len(graph.outputs):
        outputs = [str(key) for key in what]
    free = {*outputs} - {x.name for x in graph.inputs}
    if outputs and not len(free) == len(outputs) == len(graph.outputs):
        raise UserError(
            "GC0302",
            f"{len(graph.outputs)} results cannot be called {', '.join(outputs)}",
            why="each result has a name of its own, which no input has",
            fix="outputs=['scores', 'loss']",
        )
    return outputs


def _write(model: onnx.ModelProto, path: str | Path) -> None:
    try:
        content = model.SerializeToString()
        with replacing(path) as file:
            file.write(content)
    except (OSError, EncodeError, ValueError) as error:
        raise UserError("GC0501", f"{path} cannot be written: {error}") from error
