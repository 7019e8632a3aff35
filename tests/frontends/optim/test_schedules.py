"""Learning rates as functions of the step, against their formulas in Python."""

import math
from itertools import pairwise

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from running import assert_close, run

schedules = optim.schedules

K = np.arange(60.0)


def values(schedule, steps=K):
    return run(schedule, k=np.asarray(steps))


def half_wave(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def restarts(k, period, growth):
    while k >= period:
        k, period = k - period, period * growth
    return half_wave(0.3, 0.01, k / period)


def one_cycle(k, peak, steps, rising, three_phase, between):
    start, top = peak / 25, rising * steps - 1
    corners = [(0, start), (top, peak)]
    corners += [(2 * top, start)] if three_phase else []
    corners += [(steps - 1, start / 1e4)]
    for (a, low), (b, high) in pairwise(corners):
        if k <= b or b == steps - 1:
            return between(low, high, min((k - a) / (b - a), 1))
    raise AssertionError


def line(start, end, share):
    return start + (end - start) * share


CASES = {
    "constant": (schedules.constant(0.3), lambda k: 0.3),
    "linear": (schedules.linear(0.3, 0.1, 50), lambda k: line(0.3, 0.1, min(k / 50, 1))),
    "inverse time": (schedules.inverse_time(0.3, 0.5, 10), lambda k: 0.3 / (1 + 0.5 * k / 10)),
    "exponential": (schedules.exponential(0.3, 0.9, 7), lambda k: 0.3 * 0.9 ** (k / 7)),
    "staircase": (schedules.staircase(0.3, 0.5, 7), lambda k: 0.3 * 0.5 ** (k // 7)),
    "multi step": (
        schedules.multi_step(0.3, 0.1, [5, 20, 21]),
        lambda k: 0.3 * 0.1 ** sum(k >= m for m in (5, 20, 21)),
    ),
    "no steps": (schedules.multi_step(0.3, 0.1, []), lambda k: 0.3),
    "polynomial": (
        schedules.polynomial(0.3, 50, 2, 0.01),
        lambda k: 0.01 + 0.29 * (1 - min(k, 50) / 50) ** 2,
    ),
    "cosine": (schedules.cosine(0.3, 50, 0.01), lambda k: half_wave(0.3, 0.01, min(k, 50) / 50)),
    "restarts": (schedules.cosine_restarts(0.3, 7, 1, 0.01), lambda k: restarts(k, 7, 1)),
    "growing": (schedules.cosine_restarts(0.3, 7, 2, 0.01), lambda k: restarts(k, 7, 2)),
    "tripling": (schedules.cosine_restarts(0.3, 1, 3, 0.01), lambda k: restarts(k, 1, 3)),
    "one cycle": (
        schedules.one_cycle(0.3, 50),
        lambda k: one_cycle(k, 0.3, 50, 0.3, False, half_wave),
    ),
    "three phases": (
        schedules.one_cycle(0.3, 50, 0.4, anneal="linear", three_phase=True),
        lambda k: one_cycle(k, 0.3, 50, 0.4, True, line),
    ),
    "warm-up": (
        schedules.warm_up(schedules.staircase(0.3, 0.5, 7), 10, 0.2),
        lambda k: 0.3 * (0.2 + 0.8 * k / 10) if k < 10 else 0.3 * 0.5 ** ((k - 10) // 7),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_schedules(name):
    ours, formula = CASES[name]
    assert_close(values(ours), [formula(k) for k in K], rtol=1e-12, atol=1e-15)
    assert values(ours, 3.0).shape == ()


def test_restarts_hit_every_boundary():
    growth, starts = 3, [0, 1, 4, 13, 40, 121, 364, 1093, 3280, 9841, 29524]
    found = values(schedules.cosine_restarts(1.0, 1, growth), np.float64(starts))
    assert_close(found, np.ones(len(starts)), rtol=1e-12)


def test_a_compiled_step_follows_its_schedule():
    p = gc.param(np.zeros(2), name="p", dtype="float64")
    optimiser = optim.SGD(schedules.staircase(1.0, 0.5, 2))
    step = gc.compile([], [], optimiser.updates(p.sum(), [p]), backend="numpy")
    path = []
    for _ in range(5):
        step()
        path.append(gc.value(p)[0])
    assert_close(np.array(path), [-1, -2, -2.5, -3, -3.25])
    assert list(optimiser.named_state()) == ["count"]


def test_a_parameter_may_scale_a_schedule():
    rate = gc.param(1.0, name="rate", trainable=False)
    p = gc.param(0.0, name="p")
    optimiser = optim.Adam(schedules.warm_up(schedules.constant(rate), 2, 0.5))
    step = gc.compile([], [], optimiser.updates(p * 1, [p]), backend="numpy")
    step()
    assert_close(gc.value(p), np.float32(-0.5))
    gc.assign(rate, 0.1)
    step()
    step()
    assert_close(gc.value(p), np.float32(-0.5 - 0.075 - 0.1), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: schedules.cosine(0.1, 0),
        lambda: schedules.staircase(0.1, 0.5, 0),
        lambda: schedules.cosine_restarts(0.1, 5, 0),
        lambda: schedules.one_cycle(0.1, 1),
        lambda: schedules.one_cycle(0.1, 50, rising=1.0),
        lambda: schedules.one_cycle(0.1, 50, rising=0.5, three_phase=True),
        lambda: schedules.one_cycle(0.1, 50, anneal="square"),
        lambda: schedules.warm_up(schedules.constant(0.1), 0),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(gc.UserError, match="GC0104"):
        wrong()
