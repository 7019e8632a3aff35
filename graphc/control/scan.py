"""Loops of a fixed number of steps, and their gradients.

A step is computed again in the backward pass, from the carries that the forward pass kept
(Griewank and Walther, Evaluating Derivatives, ch. 12), but for products and what libraries computed
there: these are stacked (`with_products`), as they are dear to compute and take less memory than
all that is made of them. `gc.checkpoint` around a step makes it compute them again, too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from graphc.control.bodies import (
    DEAR,
    Cotangents,
    exchange_axes,
    exchanged,
    of_stacks,
    or_zero,
    pulled_back,
    unstacked,
    with_products,
)
from graphc.control.lean import leaner
from graphc.dims import Size, evaluate
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import new_input
from graphc.ops.library import Fill, LibraryCall, Places, Run, Track, put
from graphc.types import TensorType


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

    def bound(self, runs: Sequence[Run]) -> Fill:
        (body,) = runs

        def fill(operands: Sequence[Array], places: Places) -> None:
            length = evaluate(self.length, {})
            if not length:
                return put(places[: self.carries], operands)
            reads, writes = self._tracks(operands, places, length)
            body.loop(*([x.part(0, length - 1) for x in xs] for xs in (reads, writes)))
            before, after = ([x.part(length - 1, length) for x in xs] for xs in (reads, writes))
            body.loop(before, [*map(_of_one, self._lasts(places)), *after[self.carries :]])

        return fill

    def _tracks(
        self, operands: Sequence[Array], places: Places, length: int
    ) -> tuple[list[Track], list[Track]]:
        """What each step reads and writes. A carry goes from its value at the beginning of a step
        to that of the next one: in a stack of all of them, or, if nobody wants it, of two.
        """
        order = np.arange(length)[:: -1 if self.reverse else 1]
        first, outputs = self.carries + self.sequences, len(self.body.outputs)
        rooms = []
        for start, kept in zip(operands, places[outputs:], strict=False):
            if kept is None:
                rooms.append(Track(np.empty((2, *start.shape), start.dtype), np.arange(length) % 2))
            else:
                rooms.append(Track(kept, order))
            rooms[-1].stack[rooms[-1].order[0]] = start
        reads = [
            *rooms,
            *(Track(x, order) for x in operands[self.carries : first]),
            *(Track(x[np.newaxis], np.zeros_like(order)) for x in operands[first:]),
        ]
        stacks = zip(places[self.carries : outputs], self.body.outputs[self.carries :], strict=True)
        writes = [
            *(Track(room.stack, np.roll(room.order, -1)) for room in rooms),
            *(
                _unread(y.type, order) if stack is None else Track(stack, order)
                for stack, y in stacks
            ),
        ]
        return reads, writes

    def _lasts(self, places: Places) -> list[Array]:
        """Where the carries go in the end."""
        carried = zip(places, self.body.outputs[: self.carries], strict=False)
        return [_empty(y.type) if place is None else place for place, y in carried]

    def lean(self, wanted: Collection[int], xs: Sequence[Node]) -> Mapping[int, Node] | None:
        return leaner(self, wanted, xs)

    def joint_batch(self, *xs: Node) -> tuple[Node, ...]:
        """One loop for all elements. What is the same for all of them stays so, but for carries."""
        first, size = self.carries + self.sequences, xs[0].shape[0]
        given, types = unstacked(xs)
        for k in range(self.carries):
            given[k], types[k] = xs[k], xs[k].type
        for k in range(self.carries, first):
            if k in types:
                types[k] = types[k].drop((1,))
                given[k] = exchange_axes(xs[k])
        (body,) = of_stacks([self.body], types, size)
        results = replace(self, body=body, result=0).each(*given)
        return (*results[: self.carries], *map(exchange_axes, results[self.carries :]))

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        parts, outputs = _Parts.of(self, gs, xs), len(self.body.outputs)
        carries = len(parts.carried) + len(parts.constants)
        streams = len(parts.streams) + len(parts.products) + self.carries + self.sequences
        back = Scan(
            body=with_products(_reverse_body(self, parts, xs), carries + streams),
            carries=carries,
            sequences=streams,
            length=self.length,
            reverse=not self.reverse,
        )
        results = back.each(
            *(or_zero(gs[k], xs[k]) for k in parts.carried),
            *(full_like(0.0, xs[k]) for k in parts.constants),
            *(g for g in (gs[k] for k in parts.streams) if g is not None),
            *(replace(self, result=k)(*xs) for k in parts.products.values()),
            *(replace(self, result=outputs + k)(*xs) for k in range(self.carries)),
            *xs[self.carries :],
        )
        order = (*parts.carried, *parts.constants, *parts.elements)
        by_operand = dict(zip(order, results, strict=False))
        return [by_operand.get(k) for k in range(len(xs))]


@dataclass(frozen=True)
class _Parts:
    """What a gradient flows through: operands of a scan by their numbers, floats only, and results
    that are stacks and have a cotangent. The ``products`` in the body that are among its results
    are there already.
    """

    carried: list[int]
    elements: list[int]
    constants: list[int]
    streams: list[int]
    products: dict[Node, int]

    @staticmethod
    def of(scan: Scan, gs: Cotangents, xs: Sequence[Node]) -> _Parts:
        first = scan.carries + scan.sequences
        floats = [k for k, x in enumerate(xs) if x.dtype.is_float]
        return _Parts(
            [k for k in floats if k < scan.carries],
            [k for k in floats if scan.carries <= k < first],
            [k for k in floats if k >= first],
            [k for k in range(scan.carries, len(gs)) if gs[k] is not None],
            {
                y: k
                for k, y in enumerate(scan.body.outputs)
                if k >= scan.carries and y.op.kind in DEAR
            },
        )


def _reverse_body(scan: Scan, parts: _Parts, xs: Sequence[Node]) -> Graph:
    """One step back: from the cotangents of a step's results to those of what it was given; those
    of constants are added up.
    """
    body, outputs = scan.body, len(scan.body.outputs)
    slopes = {k: new_input("slope", body.outputs[k].type) for k in parts.carried}
    sums = {k: new_input("sum", xs[k].type) for k in parts.constants}
    flows = {k: new_input("flow", _stream_type(scan, k)) for k in parts.streams}
    known = {y: new_input("product", y.type) for y in parts.products}
    seeds = {**slopes, **{k: flow for k, flow in flows.items() if k < outputs}}
    found = pulled_back(body, seeds, [*parts.carried, *parts.elements, *parts.constants])
    for k in parts.carried:
        if (kept := outputs + k) in flows:
            found[k] = found[k] + flows[kept]
    results = (
        *(found[k] for k in parts.carried),
        *(sums[k] + found[k] for k in parts.constants),
        *(found[k] for k in parts.elements),
    )
    inputs = (*slopes.values(), *sums.values(), *flows.values(), *known.values(), *body.inputs)
    return Graph(inputs, tuple(exchanged(results, known)))


def _stream_type(scan: Scan, k: int) -> TensorType:
    """What one step sees of the cotangent of result ``k``, a stack."""
    outputs = scan.body.outputs
    return outputs[k].type if k < len(outputs) else scan.body.inputs[k - len(outputs)].type


def _of_one(array: Array) -> Track:
    """What one step reads or writes."""
    return Track(array[np.newaxis], np.zeros(1, np.intp))


def _unread(type_: TensorType, order: Array) -> Track:
    """Where results go that nobody reads."""
    return Track(_empty(type_)[np.newaxis], np.zeros_like(order))


def _empty(type_: TensorType) -> Array:
    return np.empty(type_.static_shape, type_.dtype.numpy)
