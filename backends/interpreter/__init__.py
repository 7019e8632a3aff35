"""The NumPy interpreter: walks the graph and evaluates each op, the oracle of every other backend.

Comes in: a graph with static sizes. Goes out: an executable that calls `Op.eval` node by node and
forgets a value after its last reader. A separate backend because its speed does not matter and its
clarity does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc import precision
from graphc.dlpack import HOST, Place
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node, call_results, describe, toposort
from graphc.ops.library import Fill, Track, loop_in_python
from graphc.results import Result, arrived
from graphc.types import dtype

TAKES = "graph"
PASSES = ()


class Interpreter:
    """A graph ready to run on NumPy arrays; keeps no state beside the parameters' storage."""

    TEXTS = ("numpy",)
    HAS_MEMORY = False

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order = toposort(graph.roots)
        self.dead_after = _last_uses(self.order, graph.roots)
        self.twins = call_results(self.order)
        self.calls = _bound_calls(self.order)

    def attempt(self, *arrays: Array) -> None:
        """Leaves every call to `run`."""

    attempt_later = attempt

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Evaluate; ``arrays`` follow ``graph.inputs``. Returns the outputs and applies the
        updates.
        """
        values = dict(zip(self.graph.inputs, arrays, strict=True))
        for node, dead in zip(self.order, self.dead_after, strict=True):
            if node not in values:
                values.update(self._evaluated(node, [values[x] for x in node.inputs]))
            for x in dead:
                del values[x]
        outputs = [np.array(values[y], order="C") for y in self.graph.outputs]
        new = [(t, np.array(values[v])) for t, v in self.graph.updates]
        for target, value in new:
            target.op.storage.array[...] = value
        return outputs

    def later(self, arrays: Sequence[Array]) -> list[Result]:
        """`run`: the results are there."""
        return arrived(self.run(arrays))

    def loop(self, reads: Sequence[Track], writes: Sequence[Track]) -> None:
        """`run` for each step of tracks that stand for the inputs and the outputs."""
        loop_in_python(self.run, reads, writes)

    def _evaluated(self, node: Node, arrays: Sequence[Array]) -> dict[Node, Array]:
        """The value of a node, or of all results of a call that are there."""
        if node not in self.calls:
            return {node: evaluate(node, arrays)}
        twins = self.twins[node]
        return dict(zip(twins, _called(self.calls[node], twins, arrays), strict=True))

    def source(self, level: str, kernel: int | None = None) -> str:
        """The steps in execution order, one a line."""
        place = {node: k for k, node in enumerate(self.order)}
        return "\n".join(
            f"t{k} = {node.op}({', '.join(f't{place[x]}' for x in node.inputs)})"
            for k, node in enumerate(self.order)
        )

    def profile(self, arrays: Sequence[Array], repeats: int = 10) -> list[float]:
        """The interpreter has no kernels to time."""
        raise UserError("GC0104", "the numpy backend has no kernels", fix="use backend='llvm'")


def evaluate(node: Node, arrays: Sequence[Array]) -> Array:
    """The value of one node; run-time faults name the node's line."""
    if node.op.storage is not None:
        return np.asarray(node.op.storage.array)
    if node.op.kind == "call":
        return _called(_bound_calls([node])[node], [node], arrays)[0]
    try:
        return precision.evaluate(node, arrays)
    except UserError as error:
        raise error.located(str(node.site)) from None


def _bound_calls(order: Iterable[Node]) -> dict[Node, Fill]:
    """What computes the calls, whose bodies are made ready, those of several results once."""
    made: dict[Any, Fill] = {}
    found: dict[Node, Fill] = {}
    for node in order:
        if node.op.kind == "call":
            family = node.op.family
            if family not in made:
                made[family] = family.bound([build(body) for body in family.bodies])
            found[node] = made[family]
    return found


def _called(fill: Fill, twins: Sequence[Node], arrays: Sequence[Array]) -> list[Array]:
    """Those results of a call that ``twins`` are."""
    node = twins[0]
    places: list[Array | None] = [None] * len(node.op.results(*(x.type for x in node.inputs)))
    for twin in twins:
        places[twin.op.result] = np.empty(twin.type.static_shape, twin.dtype.numpy)
    try:
        fill(arrays, places)
    except UserError as error:
        raise error.located(str(node.site)) from None
    return [np.asarray(places[twin.op.result]) for twin in twins]


def find_nan(graph: Graph, arrays: Sequence[Array]) -> None:
    """Evaluate ``graph`` and raise `UserError` GC0307 at the first node that makes a nan out of
    none.
    """
    values = dict(zip(graph.inputs, arrays, strict=True))
    for node in (*graph.inputs, *toposort(graph.roots)):
        if node not in values:
            values[node] = evaluate(node, [values[x] for x in node.inputs])
        if _has_nan(values[node]) and not any(_has_nan(values[x]) for x in node.inputs):
            raise _born(node)


def _has_nan(array: Array) -> bool:
    return dtype(array.dtype).is_float and bool(np.isnan(array).any())


def _born(node: Node) -> UserError:
    name = node.name or node.op.name
    if not node.inputs:
        return UserError(
            "GC0307", f"{name} holds a nan from the start", fix="look at its array"
        ).located(str(node.site), [describe(node)])
    return UserError(
        "GC0307",
        f"{node.op.name} makes a nan in {name}, and no operand has one",
        why="0/0, inf-inf, 0*inf and logarithms or roots of negative numbers are no numbers",
        fix="bound the operand, or use a function that is stable there",
    ).located(str(node.site), [describe(x) for x in node.inputs])


def _last_uses(order: Sequence[Node], roots: Sequence[Node]) -> list[list[Node]]:
    """For each step the nodes whose value nobody reads later."""
    kept = set(roots)
    dead: list[list[Node]] = []
    for node in reversed(order):
        now = [x for x in dict.fromkeys(node.inputs) if x not in kept]
        kept.update(now)
        dead.append(now)
    return dead[::-1]


def place() -> Place:
    """The memory of the host."""
    return HOST


def build(graph: Graph) -> Interpreter:
    """The executable of a graph with static sizes."""
    return Interpreter(graph)
