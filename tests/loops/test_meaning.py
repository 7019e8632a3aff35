"""Kernels as loops, run by the plain-Python meaning of loops: the interpreter's numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings

from execute import interpreted, looped
from graphc.graph import Graph
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.ir import Loop, Statement, statements
from graphc.loops.nest import nest
from kernels.models import GRAPHS
from random_graphs import Drawn, graphs
from samples import DISTINCT, Sample

pytestmark = pytest.mark.sweep

STRUCTURAL = [s for s in DISTINCT if any(len(v.shape) > 1 for v in s.values)]
STRUCTURAL = [s for s in STRUCTURAL if not s.name.startswith(("cast", "bitcast"))]
STRUCTURAL = [s for s in STRUCTURAL if "2x3" not in s.name]  # scalar functions of the table


def backwards(kernel: Kernel) -> tuple[Statement, ...]:
    return nest(kernel, kernel.iters[::-1])


def shuffled(kernel: Kernel) -> tuple[Statement, ...]:
    """The outer loops in a random order; random is fixed by the kernel's size."""
    return nest(kernel, random.Random(kernel.points).sample(kernel.iters, len(kernel.iters)))


@given(graphs(steps=12))
@settings(max_examples=60)
def test_random_graphs(drawn: Drawn):
    arrays = drawn.arrays()
    wanted = interpreted(drawn.graph, arrays)
    for schedule in (nest, backwards, shuffled):
        drawn.check(looped(drawn.graph, arrays, schedule), wanted)


@pytest.mark.parametrize("sample", STRUCTURAL, ids=str)
def test_samples_in_another_order(sample: Sample):
    inputs, arrays = sample.inputs(), sample.draw()
    graph = Graph(tuple(inputs), (sample.build(*inputs),))
    # 2e-2: NumPy adds up halves in more bits than their expressions do
    error = 2e-2 if "half" in sample.name else sample.tolerance
    (found,), (wanted,) = looped(graph, arrays, backwards), interpreted(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


@pytest.mark.parametrize("name", GRAPHS)
def test_models(name: str, rng: np.random.Generator):
    graph = GRAPHS[name]()
    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in graph.inputs]
    for found, wanted in zip(looped(graph, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@given(graphs(steps=12))
@settings(max_examples=40)
def test_only_scatters_are_serial(drawn: Drawn):
    """Outer loops may be shared by threads unless iterations add to the same place."""
    for kernel in lower(drawn.graph).kernels:
        adds = any(s.combine and s.buffer.scope == "global" for s in kernel.stores)
        outer = [s for s in statements(nest(kernel)) if isinstance(s, Loop)][: len(kernel.iters)]
        assert {loop.kind for loop in outer} <= {"serial" if adds else "parallel"}
