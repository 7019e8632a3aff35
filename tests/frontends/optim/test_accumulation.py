"""Gradients gathered over calls: the same steps as with the large batch."""

import pytest

import graphc as gc
from graphc import optim
from running import assert_close


def trained(optimiser, start, batches):
    w = gc.param(start, dtype="float64")
    x, y = gc.input("x", ("n", 3), "float64"), gc.input("y", ("n",), "float64")
    loss = ((gc.tanh(x @ w) - y) ** 2).mean()
    step = gc.compile([x, y], loss, optimiser.updates(loss, [w]))
    seen = []
    for batch in batches:
        step(*batch)
        seen.append(gc.value(w))
    return seen


@pytest.mark.parametrize("make", [lambda: optim.SGD(0.3, momentum=0.9), lambda: optim.Adam(0.1)])
def test_small_batches_step_as_a_large_one(make, rng):
    start = rng.normal(size=3)
    x, y = rng.normal(size=(24, 3)), rng.normal(size=24)
    large = trained(make(), start, [(x[k : k + 8], y[k : k + 8]) for k in (0, 8, 16)])
    gathered = optim.Accumulated(make(), every=4)
    small = trained(gathered, start, [(x[k : k + 2], y[k : k + 2]) for k in range(0, 24, 2)])
    for k in range(3):
        assert_close(small[4 * k + 3], large[k], rtol=1e-10, atol=1e-12)
        for early in range(4 * k, 4 * k + 3):
            assert_close(small[early], start if k == 0 else large[k - 1], rtol=1e-10, atol=1e-12)


def test_the_state_is_saved_by_name(rng):
    gathered = optim.Accumulated(optim.Adam(), every=2)
    trained(gathered, rng.normal(size=3), [(rng.normal(size=(2, 3)), rng.normal(size=2))] * 3)
    state = gathered.named_state()
    assert {"count", "sum.0", "optimiser.count"} <= set(state)
    assert gc.value(state["count"]) == 3
    assert gc.value(state["optimiser.count"]) == 1


def test_it_gathers_at_least_one():
    with pytest.raises(gc.UserError, match="GC0104"):
        optim.Accumulated(optim.SGD(), every=0)
