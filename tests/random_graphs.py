"""Graphs built by chance over every kind of op, and how far executors may differ on each.

`graphs()` gives `Drawn`: a graph, and for every root the largest difference that rounding can
explain, so that a comparison needs no tolerance chosen by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from graphc.errors import UserError
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.ops.reduction import sum_over
from random_ops import STEPS, Builder, Manner, Value, numbers


@dataclass(frozen=True)
class Drawn:
    """A graph, and how far executors may differ in each of its roots."""

    graph: Graph
    errors: tuple[float, ...]

    def arrays(self, seed: int = 0) -> list[Array]:
        """Values for the inputs; equal for equal seeds."""
        rng = np.random.default_rng(seed)
        return [numbers(rng, x.type) for x in self.graph.inputs]

    def check(self, found: Sequence[Array], wanted: Sequence[Array]) -> None:
        """Every root agrees as far as rounding allows."""
        for ours, theirs, error in zip(found, wanted, self.errors, strict=True):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=error)


def build(seed: int, steps: int, manner: Manner) -> Drawn:
    """The graph of a seed; more steps add nodes and change none."""
    builder = Builder(seed, manner)
    leaves = [builder.leaf(f"x{k}") for k in range(2 + builder.upto(2))]
    for _ in range(steps):
        recent = builder.pool[-3:] if builder.upto(1) else builder.pool
        made = builder.one_of(STEPS)(builder, builder.one_of(recent))
        if made is not None and made.fits:
            builder.pool.append(made)
    pool = builder.pool
    read = {x for v in pool for x in v.node.inputs}
    outputs = [v for v in pool if v.node not in read][-3:]
    outputs += [builder.one_of(pool) for _ in range(builder.upto(2))]
    updates: list[tuple[Node, Value]] = []
    for target in leaves:
        fitting = [v for v in reversed(pool) if v.node.type == target.type]
        if target.op.storage is not None and builder.upto(3):
            updates.append((target, builder.one_of(fitting[:4])))
    inputs = tuple(x for x in leaves if x.op.is_input)
    chosen = tuple((t, v.node) for t, v in updates)
    errors = (*(v.error for v in outputs), *(v.error for _, v in updates))
    return Drawn(Graph(inputs, tuple(v.node for v in outputs), chosen), errors)


def graphs(steps: int = 20, **manner: bool) -> st.SearchStrategy[Drawn]:
    """Graphs with inputs, parameters and updates; ``manner`` as in `Manner`.

    A failure shrinks to the fewest steps; the choices of a step come from the seed, which spreads
    them more evenly than drawing each one.
    """
    seeds = st.integers(0, 1 << 40)
    return st.builds(build, seeds, st.integers(1, steps), st.just(Manner(**manner)))


def gradient_graph(drawn: Drawn) -> Graph | None:
    """The gradients of a sum of squares of all float outputs, by all float leaves; none where an op
    has no gradient.
    """
    outputs = [y for y in drawn.graph.outputs if y.dtype.is_float]
    leaves = [x for x in drawn.graph.nodes if x.op.kind == "leaf" and x.dtype.is_float]
    if not outputs or not leaves:
        return None
    loss: Node | None = None
    for y in outputs:
        part = sum_over(y * y, tuple(range(y.type.rank)))
        loss = part if loss is None else loss + part
    assert loss is not None
    try:
        found = [g for g in gradients(loss, leaves) if g is not None]
    except UserError as error:  # an op without a gradient is on the way
        if error.code != "GC0201":
            raise
        return None
    return Graph(drawn.graph.inputs, (loss, *found))
