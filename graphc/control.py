"""Loops and branches whose bodies are graphs.

Comes in: nodes, and graphs that say what a step or a branch does. Goes out: one of the results.
Each body is compiled once, however many steps are made, and is run by the backend (`LibraryCall`).
The gradient of a scan is a scan in the other direction, that of a branch is a branch; both have
bodies made by `graphc.grad`, so they can be differentiated again.

A step is computed again in the backward pass, from the carries that the forward pass kept
(Griewank and Walther, Evaluating Derivatives, ch. 12): nothing else of it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graphc.dims import Size, evaluate
from graphc.errors import UserError
from graphc.grad import pullback
from graphc.graph import Array, Graph, Node, toposort
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import new_input
from graphc.ops.library import LibraryCall, Run
from graphc.types import TensorType

Cotangents = Sequence[Node | None]


@dataclass(frozen=True, kw_only=True)
class Scan(LibraryCall):
    """``carries, ys[t] = body(carries, xs[t], constants)`` for t = 0, 1, ... or backward.

    Operands and inputs of the body: ``carries`` start values, ``sequences`` tensors [length, ...]
    (of which the body sees one element), and constants. Results: the last carries, the stacked
    further outputs of the body, and of each carry what it was at the beginning of each step.
    """

    body: Graph = field(repr=False)
    carries: int
    sequences: int
    length: Size
    reverse: bool = False

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,)

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        new = [y.type for y in self.body.outputs]
        for k, (old, carried) in enumerate(zip(types, new[: self.carries], strict=False)):
            if old != carried:
                raise UserError(
                    "GC0101", f"scan: carry {k} begins as {old}, and a step makes {carried} of it",
                    why="every step gets what the step before it gave",
                    fix="cast or reshape the start value, or what the step returns",
                )  # fmt: skip
        for x in types[self.carries : self.carries + self.sequences]:
            if x.rank < 1 or x.shape[0] != self.length:
                raise UserError("GC0101", f"scan: a sequence {x} for {self.length} steps")
        stacked = [t.with_shape((self.length, *t.shape)) for t in new[self.carries :]]
        kept = [t.with_shape((self.length, *t.shape)) for t in types[: self.carries]]
        return (*new[: self.carries], *stacked, *kept)

    def bound(self, runs: Sequence[Run]) -> Callable[..., tuple[Array, ...]]:
        (step,) = runs
        types = [y.type for y in self.body.outputs]

        def call(*arrays: Array) -> tuple[Array, ...]:
            first = self.carries + self.sequences
            carried, constants = list(arrays[: self.carries]), arrays[first:]
            sequences = arrays[self.carries : first]
            length = evaluate(self.length, {})
            ys = [_stack(length, t) for t in types[self.carries :]]
            kept = [_stack(length, t) for t in types[: self.carries]]
            steps = range(length)
            for t in reversed(steps) if self.reverse else steps:
                for stack, value in zip(kept, carried, strict=True):
                    stack[t] = value
                found = step([*carried, *(x[t, ...] for x in sequences), *constants])
                carried = [*found[: self.carries]]
                for stack, value in zip(ys, found[self.carries :], strict=True):
                    stack[t] = value
            return (*carried, *ys, *kept)

        return call

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        parts, outputs = _Parts.of(self, gs, xs), len(self.body.outputs)
        back = Scan(
            body=_reverse_body(self, parts, xs),
            carries=len(parts.carried) + len(parts.constants),
            sequences=len(parts.streams) + self.carries + self.sequences,
            length=self.length,
            reverse=not self.reverse,
        )
        results = back.each(
            *(_or_zero(gs[k], xs[k]) for k in parts.carried),
            *(full_like(0.0, xs[k]) for k in parts.constants),
            *(g for g in (gs[k] for k in parts.streams) if g is not None),
            *(replace(self, result=outputs + k)(*xs) for k in range(self.carries)),
            *xs[self.carries :],
        )
        order = (*parts.carried, *parts.constants, *parts.elements)
        by_operand = dict(zip(order, results, strict=False))
        return [by_operand.get(k) for k in range(len(xs))]


@dataclass(frozen=True)
class _Parts:
    """What a gradient flows through: operands of a scan by their numbers, floats only, and results
    that are stacks and have a cotangent.
    """

    carried: list[int]
    elements: list[int]
    constants: list[int]
    streams: list[int]

    @staticmethod
    def of(scan: Scan, gs: Cotangents, xs: Sequence[Node]) -> _Parts:
        first = scan.carries + scan.sequences
        floats = [k for k, x in enumerate(xs) if x.dtype.is_float]
        return _Parts(
            [k for k in floats if k < scan.carries],
            [k for k in floats if scan.carries <= k < first],
            [k for k in floats if k >= first],
            [k for k in range(scan.carries, len(gs)) if gs[k] is not None],
        )


def _reverse_body(scan: Scan, parts: _Parts, xs: Sequence[Node]) -> Graph:
    """One step back: from the cotangents of a step's results to those of what it was given; those
    of constants are added up.
    """
    body, outputs = scan.body, len(scan.body.outputs)
    slopes = {k: new_input("slope", body.outputs[k].type) for k in parts.carried}
    sums = {k: new_input("sum", xs[k].type) for k in parts.constants}
    flows = {k: new_input("flow", _stream_type(scan, k)) for k in parts.streams}
    seeds = {**slopes, **{k: flow for k, flow in flows.items() if k < outputs}}
    found = _pulled_back(body, seeds, [*parts.carried, *parts.elements, *parts.constants])
    for k in parts.carried:
        if (kept := outputs + k) in flows:
            found[k] = found[k] + flows[kept]
    results = (
        *(found[k] for k in parts.carried),
        *(sums[k] + found[k] for k in parts.constants),
        *(found[k] for k in parts.elements),
    )
    return Graph((*slopes.values(), *sums.values(), *flows.values(), *body.inputs), results)


def _stream_type(scan: Scan, k: int) -> TensorType:
    """What one step sees of the cotangent of result ``k``, a stack."""
    outputs = scan.body.outputs
    return outputs[k].type if k < len(outputs) else scan.body.inputs[k - len(outputs)].type


def _stack(length: int, type_: TensorType) -> Array:
    return np.empty((length, *type_.static_shape), type_.dtype.numpy)


@dataclass(frozen=True, kw_only=True)
class Cond(LibraryCall):
    """``then(*operands)`` where the first operand, a single bool, is true, else ``other(...)``.

    Only the branch that is taken is computed; both have results of the same types.
    """

    then: Graph = field(repr=False)
    other: Graph = field(repr=False)

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.then, self.other

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        predicate = types[0]
        if predicate.dtype.kind != "bool" or predicate.shape:
            raise UserError(
                "GC0102", f"cond: a condition {predicate}", why="one bool decides for the whole",
                fix="reduce it with .any() or .all(), or choose by element with gc.where",
            )  # fmt: skip
        found, others = ([y.type for y in branch.outputs] for branch in self.bodies)
        if found != others:
            raise UserError(
                "GC0101",
                f"cond: one branch gives {', '.join(map(str, found))}, "
                f"the other {', '.join(map(str, others))}",
            )
        return tuple(found)

    def bound(self, runs: Sequence[Run]) -> Callable[..., tuple[Array, ...]]:
        def call(predicate: Array, *operands: Array) -> tuple[Array, ...]:
            return tuple(runs[0 if predicate else 1](list(operands)))

        return call

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        predicate, *xs = xs
        known = [k for k, g in enumerate(gs) if g is not None]
        floats = [k for k, x in enumerate(xs) if x.dtype.is_float]
        then, other = (_branch_back(branch, known, floats) for branch in self.bodies)
        given = [g for g in gs if g is not None]
        results = Cond(then=then, other=other).each(predicate, *given, *xs)
        by_operand = dict(zip(floats, results, strict=True))
        return [None, *(by_operand.get(k) for k in range(len(xs)))]


def _branch_back(branch: Graph, known: Sequence[int], floats: Sequence[int]) -> Graph:
    seeds = {k: new_input("slope", branch.outputs[k].type) for k in known}
    found = _pulled_back(branch, seeds, floats)
    return Graph((*seeds.values(), *branch.inputs), tuple(found[k] for k in floats))


@dataclass(frozen=True, kw_only=True)
class While(LibraryCall):
    """``carries = body(carries, constants)`` as long as ``condition(carries, constants)``.

    Operands: the start values of ``carries`` tensors, then constants. How often it runs is known at
    run time only, so nothing is kept for a gradient.
    """

    condition: Graph = field(repr=False)
    body: Graph = field(repr=False)
    carries: int

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.condition, self.body

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        new = tuple(y.type for y in self.body.outputs)
        if new != types[: self.carries]:
            raise UserError(
                "GC0101",
                f"while_loop: it begins with {', '.join(map(str, types[: self.carries]))} and a "
                f"step gives {', '.join(map(str, new))}",
                fix="cast or reshape the start values, or what the step returns",
            )
        (verdict,) = self.condition.outputs
        if verdict.dtype.kind != "bool" or verdict.shape:
            raise UserError("GC0102", f"while_loop: a condition {verdict.type}, not one bool")
        return new

    def bound(self, runs: Sequence[Run]) -> Callable[..., tuple[Array, ...]]:
        goes_on, step = runs

        def call(*arrays: Array) -> tuple[Array, ...]:
            carried, constants = list(arrays[: self.carries]), arrays[self.carries :]
            while goes_on([*carried, *constants])[0]:
                carried = [*step([*carried, *constants])]
            return tuple(carried)

        return call

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        raise UserError(
            "GC0201",
            "while_loop has no gradient",
            why="how many steps to go back is not known before it runs",
            fix="use gc.scan with a fixed number of steps, and gc.where to stop changing",
        )


# Bodies -------------------------------------------------------------------------------------------
def _or_zero(g: Node | None, x: Node) -> Node:
    return full_like(0.0, x) if g is None else g


def _pulled_back(body: Graph, seeds: dict[int, Node], wanted: Iterable[int]) -> dict[int, Node]:
    """For each ``wanted`` input of a body the cotangent that ``seeds`` of its outputs give."""
    places = list(wanted)
    pairs = [(body.outputs[n], seed) for n, seed in seeds.items() if seed.dtype.is_float]
    inputs = [body.inputs[k] for k in places]
    found = pullback([y for y, _ in pairs], [seed for _, seed in pairs], inputs)
    return {k: _or_zero(g, x) for k, g, x in zip(places, found, inputs, strict=True)}


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
