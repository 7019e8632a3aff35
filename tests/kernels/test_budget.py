"""Programs within a budget of memory: what is computed again changes no bit of the results."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.kernels.budget import RULE
from graphc.kernels.lower import lower

ROWS, WIDTH = 64, 16
ONE = 4 * ROWS * WIDTH
"""The bytes of the result of one layer."""


def deep(layers: int, **options):
    """A chain of dense layers with its gradients, one of them read late."""
    rng = np.random.default_rng(0)
    x = gc.input("x", (ROWS, WIDTH))
    weights = [gc.param(rng.normal(size=(WIDTH, WIDTH)) / 4, f"w{k}") for k in range(layers)]
    h = x
    for w in weights:
        h = gc.tanh(h @ w)
    return gc.compile(x, gc.value_and_grad((h * h).mean(), weights), **options)


def residual(**options):
    """Three blocks of convolutions with batch normalisation."""
    x = gc.input("x", (2, 3, 8, 8))
    layers = [(nn.Conv2d(c, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4)) for c in (3, 4, 4)]
    h, parameters = x, []
    for conv, norm in layers:
        y = gc.relu(norm(conv(h)))
        h = y + h if h is not x else y
        parameters += [conv.weight, norm.weight, norm.bias]
    return gc.compile(x, gc.value_and_grad((h**2).mean(), parameters), **options)


def flat(results):
    loss, slopes = results
    return [loss, *slopes]


def test_the_order_of_kernels_alone_saves_memory():
    graph = deep(12).stages["prepared"]
    before, after = lower(graph).plan, lower(graph, saving=True).plan
    assert after.arena_bytes < 0.65 * before.arena_bytes


@pytest.mark.parametrize("kept", [12, 9, 7])
def test_a_deep_network_in_little_memory(kept, rng):
    plain, tight = deep(12), deep(12, memory=kept * ONE)
    assert tight.program.plan.arena_bytes <= kept * ONE < plain.program.plan.arena_bytes
    array = np.float32(rng.normal(size=(ROWS, WIDTH)))
    for a, b in zip(flat(plain(array)), flat(tight(array)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_convolutions_and_batch_normalisation(rng):
    plain = residual()
    limit = int(0.8 * plain.program.plan.arena_bytes)
    tight = residual(memory=limit)
    assert tight.program.plan.arena_bytes <= limit
    array = np.float32(rng.normal(size=(2, 3, 8, 8)))
    for a, b in zip(flat(plain(array)), flat(tight(array)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_ledger_names_what_is_computed_again():
    tight = deep(12, memory=8 * ONE)
    found = [r for r in tight.ledger if r.stage == "memory"]
    assert found
    assert {(r.rule, r.before.op.name) for r in found} == {(RULE, "tanh")}
    assert "test_budget.py" in str(tight.ledger)
    assert not [r for r in deep(12).ledger if r.stage == "memory"]


def test_it_is_recalled_from_the_cache_of_its_own_budget():
    plain, *tight = (
        deep(6, **options) for options in ({}, {"memory": 5 * ONE}, {"memory": 5 * ONE})
    )
    sizes = [f.compiled.runner.image.arena_bytes for f in (plain, *tight)]
    assert sizes[0] > sizes[1] == sizes[2]


def test_updates_are_made_of_old_values(rng):
    """Values that are computed again read parameters, which must not be written before."""

    def trained(**options):
        w = [gc.param(np.eye(WIDTH) * 0.9, f"w{k}") for k in range(6)]
        x = gc.input("x", (ROWS, WIDTH))
        h = x
        for each in w:
            h = gc.sin(h @ each)
        loss = (h * h).mean()
        slopes = gc.grad(loss, w)
        updates = {p: p - 0.5 * g for p, g in zip(w, slopes, strict=True)}
        return gc.compile(x, loss, updates, **options), w

    array = np.float32(rng.normal(size=(ROWS, WIDTH)))
    (plain, first), (tight, second) = trained(), trained(memory=5 * ONE)
    for _ in range(3):
        assert plain(array) == tight(array)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(gc.value(a), gc.value(b))


def test_too_little_memory_says_what_is_the_least():
    with pytest.raises(gc.UserError, match=r"GC0104: temporaries take [\d,]+ bytes at least") as e:
        deep(12, memory=ONE)
    least = int(str(e.value).split("memory=")[1].split(",")[0])
    assert deep(12, memory=least).program.plan.arena_bytes <= least
    with pytest.raises(gc.UserError, match="GC0104: the numpy backend plans no memory"):
        deep(2, memory=1 << 20, backend="numpy")


def test_jit_has_a_budget_too(rng):
    w = gc.param(rng.normal(size=(WIDTH, WIDTH)) / 4, "w")

    def chain(x):
        h = x
        for _ in range(8):
            h = gc.tanh(h @ w)
        return gc.grad((h * h).mean(), w)[0]

    array = np.float32(rng.normal(size=(ROWS, WIDTH)))
    plain, tight = gc.jit(chain), gc.jit(chain, memory=9 * ONE)
    np.testing.assert_allclose(plain(array), tight(array), rtol=1e-4, atol=1e-6)
    (version,) = tight.versions.values()
    assert version.program.plan.arena_bytes <= 9 * ONE
