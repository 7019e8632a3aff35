"""Loss scaling: the same steps as without, none where gradients are not finite."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from running import assert_close


def stepper(optimiser, start, to=None):
    """A step on the loss ``(x * w).sum()``, whose gradient is the array given."""
    w, x = gc.param(start), gc.input("x", (3,))
    rows = w[None, :]
    if to is None:
        loss = (rows @ x).sum()
    else:
        with nn.autocast(to):
            loss = (rows @ x).sum()
    return w, gc.compile([x], loss, optimiser.updates(loss, [w]))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("make", [lambda: optim.SGD(0.5, momentum=0.9), lambda: optim.Adam(0.1)])
def test_steps_are_those_without_a_scale(make, dynamic, rng):
    start, batches = rng.normal(size=3), rng.normal(size=(5, 3)).astype(np.float32)
    plain, plainly = stepper(make(), start)
    scaled, scaledly = stepper(optim.LossScaler(make(), dynamic=dynamic), start)
    for batch in batches:
        plainly(batch)
        scaledly(batch)
        assert_close(gc.value(scaled), gc.value(plain), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_step_that_is_not_finite_changes_the_scale_alone(bad):
    adam = optim.Adam(0.1)
    scaler = optim.LossScaler(adam, 1024.0, backoff=0.25)
    w, step = stepper(scaler, np.ones(3))
    step(np.ones(3, np.float32))
    before, known = gc.value(w), {n: gc.value(p) for n, p in adam.named_state().items()}
    step(np.array([1, bad, 1], np.float32))
    assert_close(gc.value(w), before, rtol=0, atol=0)
    for name, value in known.items():
        assert_close(gc.value(adam.named_state()[name]), value, rtol=0, atol=0)
    assert gc.value(scaler.scale) == 256
    assert gc.value(scaler.named_state()["count"]) == 0


def test_the_scale_grows_after_enough_finite_steps_in_a_row():
    scaler = optim.LossScaler(optim.SGD(0.1), 8.0, growth=4.0, interval=3)
    _, step = stepper(scaler, np.ones(3))
    good, seen = np.ones(3, np.float32), []
    for batch in (good, good, good * np.nan, good, good, good, good):
        step(batch)
        seen.append(float(gc.value(scaler.scale)))
    assert seen == [8, 8, 4, 4, 4, 16, 16]


def test_the_scale_stays_finite():
    scaler = optim.LossScaler(optim.SGD(0.1), 2.0**127, interval=1)
    _, step = stepper(scaler, np.ones(3))
    step(np.zeros(3, np.float32))
    assert gc.value(scaler.scale) == 2.0**127


def test_a_static_scale_stays():
    scaler = optim.LossScaler(optim.SGD(0.1), 8.0, dynamic=False)
    w, step = stepper(scaler, np.ones(3))
    step(np.full(3, np.nan, np.float32))
    assert gc.value(scaler.scale) == 8
    assert_close(gc.value(w), np.ones(3, np.float32))


def test_gradients_too_small_for_float16_arrive():
    """1e-9 is 0 in float16, and 6.5e-5 after the default scale."""
    tiny = np.full(3, 1e-9, np.float32)
    for scaled in (False, True):
        optimiser = optim.SGD(1e8)
        w = gc.param(np.zeros(3), dtype="float32")
        x, weight = gc.input("x", (3,)), gc.input("weight", ())
        with nn.autocast("float16"):
            loss = (w[None, :] @ x).sum() * weight
        chosen = optim.LossScaler(optimiser) if scaled else optimiser
        gc.compile([x, weight], loss, chosen.updates(loss, [w]))(np.ones(3, np.float32), tiny[0])
        assert_close(gc.value(w), -tiny * 1e8 if scaled else tiny * 0, rtol=1e-3)


def test_the_state_is_saved_by_name():
    scaler = optim.LossScaler(optim.Adam())
    stepper(scaler, np.ones(3))
    assert {"scale", "count", "optimiser.count"} <= set(scaler.named_state())


@pytest.mark.parametrize(
    "options", [{"scale": 0.0}, {"growth": 1.0}, {"backoff": 1.0}, {"interval": 0}]
)
def test_wrong_options(options):
    with pytest.raises(gc.UserError, match="GC0104"):
        optim.LossScaler(optim.SGD(0.1), **options)
