"""What is done with the graphs that loops and branches run.

Comes in: nodes that a user's function made. Goes out: the graph of them, and what it uses from
outside; and the gradient of such a graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphc.batch import batched
from graphc.dims import Size
from graphc.grad import pullback
from graphc.graph import Graph, Node, toposort
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import new_input
from graphc.ops.movement import transpose
from graphc.ops.reduction import repeated
from graphc.types import TensorType

Cotangents = Sequence[Node | None]

DEAR = ("contract", "call")
"""Kinds of operations that the backward pass of a loop does not compute again."""


def or_zero(g: Node | None, x: Node) -> Node:
    """The cotangent of ``x``, zeros where nothing flows."""
    return full_like(0.0, x) if g is None else g


def pulled_back(body: Graph, seeds: dict[int, Node], wanted: Iterable[int]) -> dict[int, Node]:
    """For each ``wanted`` input of a body the cotangent that ``seeds`` of its outputs give."""
    places = list(wanted)
    pairs = [(body.outputs[n], seed) for n, seed in seeds.items() if seed.dtype.is_float]
    inputs = [body.inputs[k] for k in places]
    found = pullback([y for y, _ in pairs], [seed for _, seed in pairs], inputs)
    return {k: or_zero(g, x) for k, g, x in zip(places, found, inputs, strict=True)}


def with_products(body: Graph, changing: int) -> Graph:
    """The body with everything dear as further results, that a gradient may need; what nobody reads
    of them is left out later. The first ``changing`` inputs differ from step to step.
    """
    moving = set(body.inputs[:changing])
    for node in body.nodes:
        if any(x in moving for x in node.inputs):
            moving.add(node)
    more = [n for n in body.nodes if n in moving and n.op.kind in DEAR and n not in body.outputs]
    return replace(body, outputs=(*body.outputs, *more)) if more else body


def exchanged(roots: Sequence[Node], known: Mapping[Node, Node]) -> list[Node]:
    """``roots`` with other nodes for those that are ``known``."""
    new = dict(known)
    for node in toposort(roots, known):
        inputs = tuple(new[x] for x in node.inputs)
        new[node] = node if inputs == node.inputs else replace(node, inputs=inputs)
    return [new[y] for y in roots]


def of_stacks(bodies: Sequence[Graph], places: Mapping[int, TensorType], size: Size) -> list[Graph]:
    """Bodies for stacks of ``size`` elements: of the inputs with these numbers, whose types are
    given, and of all outputs.
    """
    found = []
    for body in bodies:
        inputs = [
            new_input(x.name or "stack", places[k]) if k in places else x
            for k, x in enumerate(body.inputs)
        ]
        stacks = {body.inputs[k]: inputs[k] for k in places}
        found.append(Graph(tuple(inputs), tuple(batched(body.outputs, stacks, size))))
    return found


def exchange_axes(x: Node) -> Node:
    """With the first two axes in the other order."""
    return transpose(x, (1, 0, *range(2, x.type.rank)))


def unstacked(xs: Sequence[Node]) -> tuple[list[Node], dict[int, TensorType]]:
    """``xs``, those that repeat one element being that alone, and the types of the others."""
    single = [repeated(x) for x in xs]
    given = [x if one is None else one for x, one in zip(xs, single, strict=True)]
    return given, {k: x.type for k, x in enumerate(xs) if single[k] is None}


def closed(outputs: Sequence[Node], inputs: Sequence[Node]) -> tuple[Graph, list[Node]]:
    """The graph of ``outputs`` with ``inputs``, and the nodes outside that it uses: they are
    further inputs of the graph, in this order.

    What is made of constants alone stays inside.
    """
    order = toposort(outputs)
    inner, foreign = set(inputs), set[Node]()
    for node in order:
        if node in inner:
            continue
        if any(x in inner for x in node.inputs):
            inner.add(node)
        elif (
            node.op.is_input
            or node.op.storage is not None
            or any(x in foreign for x in node.inputs)
        ):
            foreign.add(node)
    return _with_inputs(order, outputs, inputs, inner, foreign)


def _with_inputs(
    order: Sequence[Node],
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    inner: set[Node],
    foreign: set[Node],
) -> tuple[Graph, list[Node]]:
    new: dict[Node, Any] = {x: x for x in inputs}
    outside: list[Node] = []

    def inside(x: Node) -> Node:
        if x in foreign and x not in new:
            new[x] = new_input(x.name or "outer", x.type)
            outside.append(x)
        found: Node = new.get(x, x)
        return found

    for node in order:
        if node in inner and node not in new:
            operands = tuple(map(inside, node.inputs))
            changed = operands != node.inputs
            new[node] = replace(node, inputs=operands) if changed else node
    results = tuple(map(inside, outputs))
    return Graph((*inputs, *(new[x] for x in outside)), results), outside
