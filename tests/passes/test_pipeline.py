"""The pipeline as a whole: meaning kept under every choice of passes, sizes, provenance."""

import time
from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from graphc.dims import Dim
from graphc.grad import gradients
from graphc.graph import Graph
from graphc.ops.contraction import matmul
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import Parameter, Storage
from graphc.ops.movement import broadcast_to
from graphc.ops.random import RandomBits
from graphc.ops.reduction import sum_over
from graphc.passes import (
    FAST_MATH,
    PIPELINE,
    Ledger,
    assume_finite,
    drop_dead,
    optimise,
    share_equal,
    simplify,
    split_reductions,
)
from graphc.scalars import tanh
from graphc.site import scope
from graphc.types import FLOAT32, TensorType
from passes.graphs import arrays, graphs
from rewrite.values import leaf, run

SUBSETS = [s for n in range(len(PIPELINE) + 1) for s in combinations(PIPELINE, n)]


def parameter(name, *shape):
    kind = TensorType(FLOAT32, shape)
    return Parameter(name, kind, Storage(np.full(shape, 0.1), FLOAT32))()


def mlp() -> Graph:
    """Two layers, mean squared error, one step of gradient descent."""
    x, t = leaf("x", (5, 4)), leaf("t", (5, 2))
    with scope("mlp"):
        w, v = parameter("w", 4, 3), parameter("v", 3, 2)
        b = parameter("b", 3)
        hidden = tanh(matmul(x, w) + broadcast_to(b, (5, 3)))
        error = matmul(hidden, v) - t
        loss = sum_over(error * error, (0, 1)) / 10
    parts = gradients(loss, [w, v, b])
    updates = tuple((p, p - g * 0.1) for p, g in zip((w, v, b), parts, strict=True))
    return Graph((x, t), (loss,), updates)


@given(graphs(), st.sampled_from(SUBSETS), st.integers(0, 9))
def test_every_choice_of_passes_keeps_the_meaning(graph, passes, seed):
    values = arrays(np.random.default_rng(seed))
    wanted = run(graph, *values)
    assume(all(np.all(np.abs(w) < 1e6) for w in wanted))
    found = run(optimise(graph, passes), *values)
    for w, f in zip(wanted, found, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-6, atol=1e-6)  # casts to float32 are inside


@given(graphs(), st.permutations(PIPELINE))
def test_optimising_twice_and_in_any_order_keeps_the_meaning(graph, passes):
    values = arrays(np.random.default_rng(0))
    wanted = run(graph, *values)
    assume(all(np.all(np.abs(w) < 1e6) for w in wanted))
    once = optimise(graph, passes)
    for w, f in zip(wanted, run(optimise(once), *values), strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-6, atol=1e-6)


@given(graphs())
def test_a_simplified_graph_has_nothing_left_to_simplify(graph):
    ledger = Ledger()
    once = simplify(graph)
    again = simplify(once, ledger)
    assert not ledger.records
    assert again.nodes == once.nodes


@given(graphs())
def test_every_node_keeps_an_origin_and_every_application_is_recorded(graph):
    ledger = Ledger()
    result = optimise(graph, ledger=ledger)
    old = set(graph.nodes)
    made = {n.site.made_by for n in result if n not in old} - {""}
    assert made <= {r.rule for r in ledger}
    assert [r.step for r in ledger] == list(range(1, len(ledger) + 1))
    assert all(n.site.code for n in result)


def test_the_mlp_step_shrinks_to_a_known_size():
    """Golden counts: a change here is a change of the optimiser, and should be looked at."""
    sizes = {}
    graph = mlp()
    result = optimise(graph, watch=lambda name, g: sizes.setdefault(name, len(g)))
    assert (len(graph), sizes) == (
        42,
        {"cse": 38, "fold": 38, "simplify": 37, "stabilise": 37, "dce": 37},
    )
    kinds = [n.op.kind for n in result]
    assert kinds.count("contract") == 5
    assert kinds.count("reduce") == 2


def test_the_mlp_step_keeps_its_meaning(rng):
    values = [rng.normal(size=s).astype(np.float32) for s in ((5, 4), (5, 2))]
    for wanted, found in zip(run(mlp(), *values), run(optimise(mlp()), *values), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_gradient_nodes_point_at_forward_nodes_of_the_new_graph():
    result = optimise(mlp())
    nodes = set(result.nodes)
    served = [n.site.gradient_of for n in result if n.site.gradient_of is not None]
    assert served
    assert sum(node in nodes for node in served) >= len(served) // 2
    assert any(n.site.scope == ("mlp",) for n in result)


def test_unused_inputs_stay_and_useless_updates_go():
    x, unused, w, v = leaf("x", (3,)), leaf("u", (2,)), parameter("w", 3), parameter("v", 3)
    graph = Graph((unused, x), (x * 1,), ((w, w * 1.0), (v, v + x)))
    ledger = Ledger()
    result = optimise(graph, ledger=ledger)
    assert result.inputs == (unused, x)
    assert result.outputs == (x,)
    assert [target for target, _ in result.updates] == [v]
    assert [r.rule for r in ledger] == [
        "number in its dtype",
        "equal nodes are one",
        "equal nodes are one",
        "multiply by one",
        "multiply by one",
        "update that changes nothing",
    ]
    assert drop_dead(result) is result


def test_equal_random_numbers_are_shared_and_others_are_not():
    state = leaf("state", (4,), "uint32")
    bits = [RandomBits((5,), stream, 0)(state) for stream in (0, 0, 1)]
    same, again, other = share_equal(Graph((state,), tuple(bits))).outputs
    assert same is again
    assert same is not other


def test_fast_math_is_asked_for():
    assert all(r.unsafe == "nan" for r in FAST_MATH)
    assert not any(r.unsafe == "nan" for step in PIPELINE for r in step.rules)
    x = leaf("x", (3,))
    graph = Graph((x,), (x * 0, x - x, x / x))
    assert len(optimise(graph)) > len(assume_finite(graph))
    assert [o.op.kind for o in assume_finite(graph).outputs] == ["free"] * 3
    assert np.isnan(run(optimise(graph), np.array([np.inf, 1, 2], "f"))[0][0])


def test_symbolic_sizes_are_simplified_too():
    x = leaf("x", (Dim.named("n"), 3))
    result = simplify(Graph((x,), ((x * 1 + 0) * 2.0 * 4.0,)))
    assert [n.op.name for n in result][-1] == "multiply"
    assert len(result) == 4


def test_split_reductions_gives_parallel_work(rng):
    x = leaf("x", (512, 300))
    result = split_reductions(Graph((x,), (sum_over(x, (0, 1)),)))
    assert [n.shape for n in result] == [(512, 300), (512,), ()]
    value = rng.normal(size=(512, 300)).astype("f")
    np.testing.assert_allclose(run(result, value)[0], value.sum(dtype="f8"), rtol=1e-4)


@pytest.mark.slow
def test_a_hundred_thousand_nodes():
    """Deep graphs neither recurse nor take long."""
    x = leaf("x", (4,))
    y = x
    with scope("chain"):
        for _ in range(10_000):
            y = tanh((y * 1.01 + x) * 0.5) - full_like(0, y)
    graph = Graph((x,), (y,))
    start = time.perf_counter()
    assert len(graph) > 100_000
    result = optimise(graph)
    assert len(result) == 40_005
    assert time.perf_counter() - start < 20
