"""Loops and branches, whose bodies are graphs in both languages.

Comes in: calls with graphs as attributes. Goes out: values. Operands that do not change from step
to step are not passed to an ONNX body: it sees them where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from graphc.control import Cond, Scan, While
from graphc.dims import Size
from graphc.frontends.onnx.exporting.graphs import write
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Graph, Node
from graphc.types import BOOL, INT64, DType

Results = dict[int, Value]


@emits(Cond)
def cond(scope: Scope, op: Cond, operands: Sequence[Node], wanted: Sequence[int]) -> Results:
    """If."""
    predicate, *values = map(scope.full, operands)
    bodies = []
    for name, graph in (("then", op.then), ("other", op.other)):
        inner = scope.inner()
        outputs = write(inner, graph, dict(zip(graph.inputs, values, strict=True)))
        bodies.append(inner.graph(name, [], [outputs[k] for k in wanted]))
    found = scope.several(
        "If",
        [predicate],
        [_type(op.then.outputs[k]) for k in wanted],
        then_branch=bodies[0],
        else_branch=bodies[1],
    )
    return dict(zip(wanted, found, strict=True))


@emits(While)
def while_loop(scope: Scope, op: While, operands: Sequence[Node], wanted: Sequence[int]) -> Results:
    """Loop without a limit; the condition is computed before it and at the end of each step."""
    values = [*map(scope.full, operands)]
    constants = values[op.carries :]

    def holds(where: Scope, carried: Iterable[Value]) -> Value:
        (verdict,) = write(where, op.condition, _given(op.condition, [*carried, *constants]))
        return verdict

    inner = scope.inner()
    number, goes_on = (_fresh(inner, n, t) for n, t in (("step", INT64), ("goes_on", BOOL)))
    carried = [_entering(inner, x) for x in op.body.inputs[: op.carries]]
    after = write(inner, op.body, _given(op.body, [*carried, *constants]))
    body = inner.graph("body", [number, goes_on, *carried], [holds(inner, after), *after])
    start = values[: op.carries]
    found = scope.several(
        "Loop",
        [None, holds(scope, start), *start],
        [_type(y) for y in op.body.outputs],
        body=body,
    )
    return dict(enumerate(found))


@emits(Scan)
def scan(scope: Scope, op: Scan, operands: Sequence[Node], wanted: Sequence[int]) -> Results:
    """Scan. What a carry was at the beginning of each step is one more result of the step."""
    values, body, first = [*map(scope.full, operands)], op.body, op.carries + op.sequences
    if op.length == 0:  # which runtimes do not take
        shapes = op.results(*(x.type for x in operands))[op.carries :]
        empty = [scope.constant(np.zeros(t.static_shape), t.dtype) for t in shapes]
        return dict(enumerate([*values[: op.carries], *empty]))
    inner = scope.inner()
    entering = [_entering(inner, x) for x in body.inputs[:first]]
    outputs = write(inner, body, _given(body, [*entering, *values[first:]]))
    kept = [k for k in wanted if k >= len(outputs)]
    before = [entering[k - len(outputs)] for k in kept]
    counter = [] if op.sequences else [_fresh(inner, "step", INT64)]
    stacked = [*outputs[op.carries :], *before]
    types = [
        *((y.dtype, y.shape) for y in outputs[: op.carries]),
        *((y.dtype, (op.length, *y.shape)) for y in stacked),
    ]
    inputs, direction = values[:first], int(op.reverse)
    count = len(counter) + op.sequences
    found = scope.several(
        "Scan",
        [*inputs, *(_steps(scope, op) for _ in counter)],
        types,
        body=inner.graph("step", [*entering, *counter], [*outputs, *before]),
        num_scan_inputs=count,
        scan_input_directions=[direction] * count,
        scan_output_directions=[direction] * len(stacked),
    )
    return dict(zip([*range(len(outputs)), *kept], found, strict=True))


def _steps(scope: Scope, op: Scan) -> Value:
    """What a Scan without sequences runs along: their numbers."""
    end = scope.reshape(scope.size(op.length), ())
    ends = (scope.constant(0, INT64), end, scope.constant(1, INT64))
    return scope.make("Range", *ends, dtype=INT64, shape=(op.length,))


def _given(graph: Graph, values: Sequence[Value]) -> Mapping[Node, Value]:
    return dict(zip(graph.inputs, values, strict=True))


def _type(node: Node) -> tuple[DType, tuple[Size, ...]]:
    return node.dtype, node.shape


def _entering(inner: Scope, node: Node) -> Value:
    """An input of a body."""
    name = inner.file.fresh(node.name or "given")
    return Value(inner, name, node.dtype, node.shape)


def _fresh(inner: Scope, name: str, dtype: DType) -> Value:
    return Value(inner, inner.file.fresh(name), dtype, ())
