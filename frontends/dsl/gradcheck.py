"""`check_grad`: symbolic gradients against central differences, in float64.

Comes in: a loss, the tensors to vary, values. Goes out: a `GradCheck` that names the worst element.
A separate step because differences of float32 numbers say little: the graph is first rebuilt in
float64, with the varied tensors as inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from graphc.compile import Executable
from graphc.errors import UserError
from graphc.frontends.dsl.leaves import is_input
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node, as_array, brief, retyped, toposort
from graphc.ops.elementwise import cast_to, full_like
from graphc.ops.leaves import Input, Table, new_input
from graphc.types import FLOAT64, DType


@dataclass(frozen=True)
class GradCheck:
    """The outcome: true when every element agrees; else the worst one is at ``name[index]``."""

    ok: bool
    error: float
    name: str
    index: tuple[int, ...]
    symbolic: float
    numeric: float

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        place = f"{self.name}[{', '.join(map(str, self.index))}]" if self.index else self.name
        said = "agree" if self.ok else "DIFFER"
        return (
            f"gradients {said}: worst at {place}: symbolic {self.symbolic:.9g}, "
            f"numeric {self.numeric:.9g}, error {self.error:.3g}"
        )


@at_user_line
def check_grad(
    loss: Tensor,
    wrt: Tensor | Iterable[Tensor],
    values: Mapping[Tensor, Any] | None = None,
    *,
    epsilon: float = 1e-5,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    backend: str = "numpy",
) -> GradCheck:
    """Compare `grad` with ``(f(x + epsilon) - f(x - epsilon)) / (2 * epsilon)`` everywhere.

    ``values`` gives an array for every input of the graph; parameters use their own unless they are
    listed too. A ``loss`` with a shape is summed. Everything runs in float64 on ``backend``.
    An element agrees when the difference is at most ``atol + rtol * abs(numeric)``. Raises
    `UserError` GC0201 (integers), GC0302 (an input without a value).
    """
    chosen = [tensor(x) for x in ([wrt] if isinstance(wrt, Tensor) else wrt)]
    arrays = _start(loss.node, [x.node for x in chosen], values or {})
    run, slope = _compiled(loss.sum().node, list(arrays), [x.node for x in chosen], backend)
    start = list(arrays.values())
    symbolic = slope(*start)
    results = [
        _compared(
            x.name or f"wrt[{k}]", symbolic[k], _differences(run, start, k, epsilon), rtol, atol
        )
        for k, x in enumerate(chosen)
    ]
    return min(results, key=lambda result: (result.ok, -result.error))


def _start(loss: Node, chosen: Sequence[Node], values: Mapping[Tensor, Any]) -> dict[Node, Array]:
    """The leaves that become inputs, the varied ones first, and where each starts."""
    given = {x.node: np.asarray(v) for x, v in values.items()}
    inputs = [n for n in toposort([loss]) if is_input(n) and n not in chosen]
    start: dict[Node, Array] = {}
    for node in (*chosen, *inputs):
        if node not in given and node.op.storage is None:
            raise UserError(
                "GC0302",
                f"no value for {brief(node)}",
                why="differences are taken at a point, so every input needs a number",
                fix="pass values={x: array}",
            )
        stored = node.op.storage.array if node.op.storage is not None else None
        wanted = FLOAT64 if node in chosen else node.dtype
        start[node] = as_array(given.get(node, stored), wanted)
    return start


def _compiled(
    loss: Node, leaves: Sequence[Node], chosen: Sequence[Node], backend: str
) -> tuple[Executable, Executable]:
    """Two functions of arrays for ``leaves``: the loss, and its gradients by ``chosen``."""
    varied = {x: Input(f"wrt{k}", x.type.with_dtype(FLOAT64), k)() for k, x in enumerate(chosen)}
    wide = _widened(loss, varied)
    found = gradients(wide, list(varied.values()))
    slopes = tuple(
        full_like(0, x) if g is None else g for g, x in zip(found, varied.values(), strict=True)
    )
    inputs = tuple(varied.get(node, node) for node in leaves)
    return Executable(Graph(inputs, (wide,)), backend), Executable(Graph(inputs, slopes), backend)


def _widened(loss: Node, varied: Mapping[Node, Node]) -> Node:
    """``loss`` with ``varied`` exchanged, and every float that depends on them in float64.

    What does not depend on them keeps its width. Random states are exchanged for their value now:
    the function whose differences are taken must be the same at every call.
    """
    order = toposort([loss])
    states = [node for node in order if getattr(node.op, "advances", False)]
    new = dict(varied) | {s: Table.of(s.op.storage.array, s.dtype)() for s in states}
    wide, bodies = set(varied), dict[Graph, Graph]()
    for node in order:
        if node in new or not any(x in new for x in node.inputs):
            continue
        inputs = tuple(new.get(x, x) for x in node.inputs)
        if any(x in wide for x in node.inputs):
            wide.add(node)
            new[node] = _wide(node, inputs, bodies)
        else:
            new[node] = retyped(node.op, inputs, node)
    return new.get(loss, loss)


def _wide(node: Node, inputs: Sequence[Node], bodies: dict[Graph, Graph]) -> Node:
    """The operation of ``node`` on float64 in place of narrower floats.

    ``bodies`` are those of loops and branches that are widened already: the results of one call
    share theirs.
    """
    new: dict[str, Any] = {}
    for name in (f.name for f in fields(node.op)):  # type: ignore[arg-type]
        value = getattr(node.op, name)
        if isinstance(value, DType) and value.is_float:
            new[name] = FLOAT64
        elif isinstance(value, Graph):
            if value not in bodies:
                bodies[value] = _wide_body(value, bodies)
            new[name] = bodies[value]
    cast = tuple(cast_to(x, FLOAT64) if x.dtype.is_float else x for x in inputs)
    return retyped(replace(node.op, **new), cast, node)  # type: ignore[type-var]


def _wide_body(body: Graph, bodies: dict[Graph, Graph]) -> Graph:
    """``body`` with every float in float64."""
    new: dict[Node, Node] = {}
    for node in body.nodes:
        inputs = [new[x] for x in node.inputs]
        if is_input(node):
            kind = node.type.with_dtype(FLOAT64) if node.dtype.is_float else node.type
            new[node] = new_input(node.name, kind)
        elif node.op.kind == "leaf":  # a constant array
            new[node] = cast_to(node, FLOAT64) if node.dtype.is_float else node
        else:
            new[node] = _wide(node, inputs, bodies)
    inputs, outputs = ([new[x] for x in nodes] for nodes in (body.inputs, body.outputs))
    return Graph(tuple(inputs), tuple(outputs))


def _differences(run: Executable, start: list[Array], place: int, epsilon: float) -> Array:
    """The central difference quotient for every element of argument ``place``."""
    slopes = np.empty_like(start[place])
    for index in np.ndindex(slopes.shape):
        ends = []
        for shift in (epsilon, -epsilon):
            moved = start[place].copy()
            moved[index] += shift
            ends.append(float(run(*start[:place], moved, *start[place + 1 :])[0]))
        slopes[index] = (ends[0] - ends[1]) / (2 * epsilon)
    return slopes


def _compared(name: str, symbolic: Array, numeric: Array, rtol: float, atol: float) -> GradCheck:
    error = np.abs(symbolic - numeric)
    excess = np.where(np.isnan(error), np.inf, error - rtol * np.abs(numeric))
    if not excess.size:
        return GradCheck(True, 0.0, name, (), 0.0, 0.0)
    worst = np.unravel_index(np.argmax(excess), excess.shape)
    index = tuple(int(i) for i in worst)
    found = float(symbolic[index]), float(numeric[index])
    return GradCheck(bool(excess[index] <= atol), float(error[index]), name, index, *found)
