"""What a program leaves to libraries: the calls of its graph, each with what computes it.

Comes in: a graph. Goes out: functions of whole arrays. A separate step because backends differ only
in where they keep these arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.graph import Graph
from graphc.identity import graph_identity
from graphc.kernels.kernel import Call
from graphc.ops.library import Fill, Run
from graphc.types import TensorType

Signature = tuple[Any, tuple[TensorType, ...]]
"""An operation, without the number of a result, and the types of its operands."""


def library_calls(graph: Graph) -> list[Signature]:
    """The distinct calls of a graph, in order."""
    calls = (n for n in graph.nodes if n.op.kind == "call")
    return [*dict.fromkeys((n.op.family, tuple(x.type for x in n.inputs)) for n in calls)]


def signature(call: Call) -> Signature:
    """What is called."""
    return call.op, tuple(x.type for x in call.operands)


@dataclass(frozen=True)
class Library:
    """The calls of a graph: what each computes, and of which types."""

    signatures: tuple[Signature, ...] = ()
    functions: tuple[Fill, ...] = ()


def library(graph: Graph, make: Callable[[Graph], Run]) -> Library:
    """The calls of a graph; ``make`` compiles the bodies that they run, equal ones once."""
    signatures, made = library_calls(graph), dict[tuple[str, tuple[int, ...]], Run]()

    def run(body: Graph) -> Run:
        key = graph_identity(body), tuple(id(p.op.storage) for p in body.parameters)
        if key not in made:
            made[key] = make(body)
        return made[key]

    functions = (op.bound([run(body) for body in op.bodies]) for op, _ in signatures)
    return Library(tuple(signatures), tuple(functions))


def call_text(call: Call) -> str:
    """The call in one line, its memory numbered as that of loops is."""
    operands = ", ".join(f"b{k}" for k in range(len(call.operands)))
    count = len(call.operands)
    names = []
    for result in call.results:
        names.append("_" if result is None else f"b{count}")
        count += result is not None
    return f"{', '.join(names)} = {call.op}({operands})"
