"""Whether graphc has every operator that a model uses.

Comes in: a checked model. Goes out: nothing, or one error that names all that is lacking. A
separate step because who loads a model wants the whole list at once, before anything is translated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from graphc.errors import UserError
from graphc.frontends.onnx.reader import nodes_in
from graphc.frontends.onnx.surroundings import Surroundings, domain


def check_supported(model: onnx.ModelProto) -> None:
    """Raises `UserError` GC0505 that names every operator graphc lacks, how often, and where."""
    found = [node for node, around in _all_nodes(model) if not _is_supported(node, around)]
    if found:
        raise lacking(found)


def _all_nodes(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, Surroundings]]:
    """Every node, also in subgraphs and functions, with what is around it."""
    around = Surroundings.of(model)
    yield from ((node, around) for node in nodes_in(model.graph))
    for function in model.functions:
        inside = around.inside(function)
        yield from ((node, inside) for node in nodes_in(function))


def _is_supported(node: onnx.NodeProto, around: Surroundings) -> bool:
    if around.function(node) is not None or around.operator(node) is not None:
        return True
    schema = around.schema(node)
    if schema is None:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def lacking(nodes: Iterable[onnx.NodeProto]) -> UserError:
    """The error that names the operators of ``nodes``."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    for node in nodes:
        name = f"{domain(node) or 'ai.onnx'}:{node.op_type}"
        counts[name] += 1
        places.setdefault(name, node.name or ", ".join(node.output))
    texts = [f"{x} ({count} nodes, first {places[x]!r})" for x, count in sorted(counts.items())]
    return UserError(
        "GC0505",
        f"the model uses operators that graphc lacks: {'; '.join(texts)}",
        why="each operator is translated by a function of its own",
        fix="add one with graphc.frontends.onnx.operator, or export the model without it",
    )
