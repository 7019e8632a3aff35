"""Scores of attention: which kernels compute them again, that the meaning stays, and what is left
alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import graphc as gc
from attention_graphs import FEATURES, PLACES, arrays, attention, graph, trained
from execute import interpreted, outcome, run_loops
from graphc import nn
from graphc.frontends.dsl.autocast import autocast
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Graph
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.kernels.scores import without_scores
from graphc.passes import prepare
from graphc.show.program import fusion_text, kernel_hulls, program_text
from graphc.stages import WITHOUT_SCORES, Stages

pytestmark = pytest.mark.sweep

TOLERANCE = {"float32": 1e-5, "float64": 1e-14, "bfloat16": 0.1}


def program(made: Graph, memory: int | None = None) -> Program:
    return Stages(made, {}, WITHOUT_SCORES, memory=memory).program


def check(made: Graph, dtype: str = "float32", memory: int | None = None) -> Program:
    """The kernels mean what the graph does."""
    found, given = program(made, memory), arrays(made)
    results = outcome(made, lambda given: run_loops(found, given), given)
    for got, wanted in zip(results, interpreted(made, given), strict=True):
        wide = (np.asarray(x, np.float64) for x in (got, wanted))
        np.testing.assert_allclose(*wide, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    return found


def matrices(found: Program, size: int) -> list[tuple[int, ...]]:
    """The temporaries of at least so many elements."""
    return [b.shape for b in found.plan.offsets if np.prod(b.shape) >= size]


MASK = (2, 1, PLACES, PLACES)
CASES = {
    "plain": {},
    "double": {"dtype": "float64"},
    "narrow": {"dtype": "bfloat16"},
    "causal": {"is_causal": True},
    "added mask": {"mask": (MASK[2:], "float32")},
    "added and causal": {"mask": (MASK[2:], "bfloat16"), "is_causal": True, "dtype": "bfloat16"},
    "mask of bools": {"mask": (MASK, "bool")},
    "padding": {"mask": ((2, 1, 1, PLACES), "bool")},
    "one sequence": {"queries": (1, 1, PLACES, FEATURES)},
    "odd": {"queries": (1, 11, 5)},
    "three axes": {"queries": (3, PLACES, FEATURES)},
    "two axes": {"queries": (PLACES, FEATURES)},
    "across": {"keys": (2, 2, 13, FEATURES), "values": (2, 2, 13, 6)},
    "fewer keys": {"queries": (2, 2, 13, FEATURES), "keys": (2, 2, 7, FEATURES)},
    "given scale": {"scale": 0.3},
    "shared heads": {"keys": (2, 1, PLACES, FEATURES), "enable_gqa": True},
    "grouped heads": {
        "queries": (1, 4, PLACES, FEATURES),
        "keys": (1, 2, PLACES, FEATURES),
        "enable_gqa": True,
    },
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_forward_in_one_kernel(case):
    inputs, result = attention(**case)
    found = check(graph(inputs, [result]), case.get("dtype", "float32"))
    products = [k for k in found.kernels if any(s.iters for s in k.stages)]
    assert len(products) == 1
    assert not matrices(found, scores_of(inputs))


OFTEN = ("plain", "narrow", "causal", "added mask", "across", "grouped heads", "three axes")
"""Their gradients are checked every time, those of the other cases by the slow tests."""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[] if name in OFTEN else [pytest.mark.slow])
        for name, case in CASES.items()
    ],
)
def test_gradient_without_any_matrix_of_scores(case):
    inputs, results = trained(*attention(**case))
    found = check(graph(inputs, results), case.get("dtype", "float32"))
    assert sum(any(s.iters for s in k.stages) for k in found.kernels) >= 3
    assert scores_of(inputs) not in [np.prod(b.shape) for b in found.plan.offsets]
    assert not matrices(found, 1 + max(np.prod(x.shape) for x in inputs))


def scores_of(inputs: Sequence[Tensor]) -> int:
    """How many scores queries and keys make."""
    queries, keys = (x.shape for x in inputs[:2])
    return int(np.prod(queries[:-1])) * keys[-2]


def test_autocast():
    q, k, v = (gc.input(name, (2, PLACES, FEATURES)) for name in "qkv")
    with autocast("bfloat16"):
        result = nn.scaled_dot_product_attention(q, k, v, is_causal=True)
    inputs, results = trained([q, k, v], result.astype("float32"))
    found = check(graph(inputs, results), "bfloat16")
    assert not matrices(found, scores_of(inputs))


def test_text_names_and_provenance():
    inputs, results = trained(*attention())
    made = prepare(graph(inputs, results))
    found, before = lower(made, recomputing=True), lower(made)
    text, nodes = program_text(found), [n for k in found.kernels for n in k.nodes]
    assert text.count("maximum(") == 1
    assert len(nodes) == len(set(nodes)) == len(kernel_hulls(found))
    names = (sorted(n.op.name for k in made.kernels for n in k.nodes) for made in (found, before))
    assert next(names) == next(names)
    assert all(b in found.owners for k in found.kernels for b in (*k.read, *k.written))
    stored = {found.owners[b] for k in found.kernels for b in k.written}
    assert {r.producer for r in found.refusals} <= stored
    assert len(fusion_text(found)) < len(fusion_text(before))


def lower_plainly(made: Graph) -> Program:
    return Stages(made, {}, "program").program


def test_numbers_of_rows_are_kept_for_the_gradient_only():
    inputs, result = attention()
    alone, both = (program(graph(*x)) for x in ((inputs, [result]), trained(inputs, result)))
    rows = (2, 2, PLACES)
    assert [b.shape for b in alone.plan.offsets].count(rows) == 0
    assert [b.shape for b in both.plan.offsets].count(rows) == 3


def test_keys_and_values_in_one_walk_and_no_copy():
    *_, scaled, rows, sums, queries, keys = program(graph(*trained(*attention()))).kernels
    assert [len(k.stages) for k in (queries, keys)] == [1, 2]
    assert "copy" in [n.op.name for n in keys.nodes]
    assert rows.stages[-1].iters
    assert (scaled.points, sums.points) == (4 * PLACES * FEATURES, 4 * PLACES)


def test_two_layers():
    inputs, first = attention((1, 1, PLACES, FEATURES))
    more, _ = attention((1, 1, PLACES, FEATURES))
    second = nn.scaled_dot_product_attention(first, *more[1:])
    made = graph(*trained([*inputs, *more[1:]], second))
    found = check(made)
    assert not matrices(found, PLACES * PLACES)


WEIGHTS = {
    "softmax over queries": lambda s: gc.softmax(s, axis=-2),
    "turned": lambda s: gc.softmax(s).mT,
    "capped": lambda s: gc.softmax(gc.tanh(s) * 5),
    "squared": lambda s: gc.softmax(s) ** 2,
    "shares": lambda s: s / gc.abs(s).sum(-1, keepdims=True),
    "above the least": lambda s: s - s.min(-1, keepdims=True),
    "of the greatest": lambda s: s * s.max(-1, keepdims=True),
}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_other_weights(weights):
    q, k, v = (gc.input(name, (2, PLACES, FEATURES)) for name in "qkv")
    result = weights(q @ k.mT) @ v
    made = graph(*trained([q, k, v], result))
    found = check(made)
    assert found.plan.total_bytes < lower_plainly(made).plan.total_bytes


def test_one_tensor_for_all():
    x = gc.input("x", (PLACES, 2, 3, FEATURES))
    turned = gc.swapaxes(x, 0, 2)
    made = graph(*trained([x], gc.softmax(turned @ turned.mT) @ turned))
    assert not matrices(check(made), 6 * PLACES * PLACES)


def test_several_products_of_the_same_weights():
    (q, k, v), _ = attention((2, PLACES, FEATURES))
    weights = weights_of(q, k)
    made = graph([q, k, v], [weights @ v, weights @ k])
    assert not matrices(check(made), 2 * PLACES * PLACES)


def test_rounded_numbers_of_rows_are_kept_exactly():
    """What is stored of a row in 16 bits is kept in 32 for those who compute its scores again."""
    made = graph(*trained(*attention(dtype="bfloat16", is_causal=True)))
    stored = [b for k in program(made).kernels for b in k.written if b.shape == (2, 2, PLACES)]
    assert [b.type.dtype.name for b in stored] == ["float32", "float32", "bfloat16"]


def test_a_layer_writes_gradients_side_by_side():
    layer = nn.MultiHeadAttention(8, 2, batch_first=True, rng=0)
    x = gc.input("x", (2, PLACES, 8))
    y, _ = layer(x, x, x)
    weights = [layer.in_proj_weight, layer.out_proj.weight]
    made = graph([x], [y, *gc.grad((y * y).sum(), weights)])
    found = check(made)
    assert not matrices(found, 4 * PLACES * PLACES + 1) or PLACES < 24
    assert (2, 2, PLACES, PLACES) not in [b.shape for b in found.plan.offsets]
    assert any(len(k.stages) == 2 and all(s.iters for s in k.stages) for k in found.kernels)


# What is left alone -------------------------------------------------------------------------------
def weights_of(q: Tensor, k: Tensor) -> Tensor:
    return gc.softmax(q @ k.mT)


def test_weights_that_are_a_result_are_stored():
    (q, k, v), _ = attention((2, PLACES, FEATURES))
    weights = weights_of(q, k)
    made = graph([q, k, v], [weights @ v, weights])
    assert len(check(made).kernels) == len(lower_plainly(made).kernels)


@pytest.mark.parametrize("shape", [(2, PLACES, FEATURES), (1, PLACES, FEATURES)])
def test_weights_that_are_a_result_and_the_gradient(shape):
    (q, k, v), _ = attention(shape)
    weights = weights_of(q, k)
    inputs, results = trained([q, k, v], weights @ v)
    made = graph(inputs, [*results, weights])
    found, before = check(made), lower_plainly(made)
    size = shape[0] * PLACES * PLACES
    assert len(matrices(found, size)) <= len(matrices(before, size))
    assert program_text(found).count("exp(") == 1


def test_averaged_weights_are_read_from_memory():
    (q, k, v), _ = attention()
    weights = weights_of(q, k)
    made = graph([q, k, v], [weights @ v, weights.mean(1)])
    assert len(check(made).kernels) == len(lower_plainly(made).kernels)


def test_the_gradient_of_a_bias_for_all_sequences_reads_scores():
    """Along the sequences both factors change: no tile of scores shares them."""
    (q, k, v), _ = attention()
    bias = gc.input("bias", (2, PLACES, PLACES))
    result = gc.softmax(q @ k.mT + bias) @ v
    weight = gc.input("weight", result.shape)
    gradients = gc.grad((result * weight).sum(), [q, k, v, bias])
    inputs = [q, k, v, bias, weight]
    found = check(graph(inputs, [result, *gradients]))
    assert matrices(found, 4 * PLACES * PLACES)
    assert not matrices(program(graph(inputs[:-1], [result])), 4 * PLACES * PLACES)


def unchanged(made: Graph) -> bool:
    before, after = lower_plainly(made), program(made)
    return program_text(before) == program_text(after)


def test_a_chain_of_products_stays():
    x, w, u = gc.input("x", (1000, 16)), gc.input("w", (16, 64)), gc.input("u", (64, 16))
    assert unchanged(graph([x, w, u], [gc.relu(x @ w) @ u]))
    inputs, results = trained([x, w, u], gc.relu(x @ w) @ u)
    assert unchanged(graph(inputs, results))


def test_a_layer_norm_between_products_stays():
    x, w, u = gc.input("x", (1000, 16)), gc.input("w", (16, 64)), gc.input("u", (64, 16))
    norm = nn.LayerNorm(64)
    assert unchanged(graph([x, w, u], [norm(x @ w) @ u]))


@pytest.mark.parametrize(
    ("queries", "keys"),
    [((2, 1, 64), (2, 40, 64)), ((2, 40, 300), (2, 400, 300)), ((2, 8, 16), (2, 8, 16))],
    ids=["one query", "long sums", "short sequences"],
)
def test_what_does_not_pay(queries, keys):
    inputs, result = attention(queries, keys)
    assert unchanged(graph(inputs, [result]))


def test_wide_values_stay():
    inputs, result = attention((2, 300, 8), (2, 300, 8), (2, 300, 264))
    assert unchanged(graph(inputs, [result]))


def test_only_backends_that_ask():
    inputs, result = attention()
    made = graph(inputs, [result])
    assert len(lower(made).kernels) > len(lower(made, recomputing=True).kernels)


def test_operands_that_change_in_between():
    """A parameter that is written between the scores and their reader: they are not made anew."""
    k = gc.param(np.ones((PLACES, FEATURES), np.float32), name="k")
    inputs, results = trained(*attention((PLACES, FEATURES)))
    q, _, v, weight = inputs
    result = nn.scaled_dot_product_attention(q, k, v)
    (gradient,) = gc.grad((result * weight).sum(), [k])
    updates = ((k.node, (k - gradient).node),)
    made = Graph((q.node, v.node, weight.node), (result.node,), updates)
    check(made)
    del results


def test_little_memory():
    made = graph(*trained(*attention((1, 2, 16, 4))))
    small = program(made).plan.arena_bytes
    assert small < lower(made, saving=True).plan.arena_bytes
    check(made, memory=small)


def test_nothing_to_dissolve():
    inputs, result = attention((2, 4, 16))
    kernels = lower(graph(inputs, [result])).kernels
    assert without_scores(kernels, set()).kernels == list(kernels)
