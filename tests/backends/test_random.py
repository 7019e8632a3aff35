"""Random graphs: native code gives the interpreter's numbers, with and without passes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from execute import interpreted, native, outcome
from graphc.compile import build
from graphc.graph import Graph
from graphc.passes import PIPELINE, optimise, split_reductions
from random_graphs import Drawn, gradient_graph, graphs

pytestmark = pytest.mark.sweep

SUBSETS = [s for n in range(len(PIPELINE) + 1) for s in combinations(PIPELINE, n)]


@given(graphs())
@settings(max_examples=150)
def test_without_passes(drawn: Drawn):
    arrays = drawn.arrays()
    drawn.check(native(drawn.graph, arrays), interpreted(drawn.graph, arrays))


@given(graphs(steps=30, state=True))
@settings(max_examples=50)
def test_updates(drawn: Drawn):
    drawn.check(native(drawn.graph), interpreted(drawn.graph))


@given(graphs(exact=False))
@settings(max_examples=60)
def test_with_all_passes(drawn: Drawn):
    arrays = drawn.arrays()
    found = outcome(drawn.graph, build(drawn.graph, "llvm", {}).runner.run, arrays)
    drawn.check(found, interpreted(drawn.graph, arrays))


@given(graphs(exact=False), st.sampled_from(SUBSETS))
@settings(max_examples=150)
def test_every_subset_of_the_passes(drawn: Drawn, passes):
    arrays = drawn.arrays()
    wanted = interpreted(drawn.graph, arrays)
    changed = optimise(drawn.graph, passes)
    drawn.check(_by_target(drawn.graph, changed, arrays), wanted)
    drawn.check(_by_target(drawn.graph, split_reductions(changed), arrays), wanted)


def _by_target(graph: Graph, changed: Graph, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The outcome of a changed graph in the roots of ``graph``: it may lack useless updates."""
    found = interpreted(changed, arrays)
    count = len(graph.outputs)
    new = {t.op.storage: v for (t, _), v in zip(changed.updates, found[count:], strict=True)}
    storages = (t.op.storage for t, _ in graph.updates)
    return [*found[:count], *(new.get(s, s.array) for s in storages)]


@given(graphs(steps=12, wide=True))
@settings(max_examples=60)
def test_gradients(drawn: Drawn):
    """The gradients of a sum of squares of all float outputs, by all float leaves."""
    graph = gradient_graph(drawn)
    assume(graph is not None)
    assert graph is not None
    arrays = drawn.arrays()
    for ours, wanted in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        np.testing.assert_allclose(ours / scale, wanted / scale, rtol=1e-9, atol=1e-9)
