"""Gathers, scatters and segments against one update after another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from running import assert_close, run

UPDATES = {
    "set": lambda old, new: new,
    "add": lambda old, new: old + new,
    "multiply": lambda old, new: old * new,
    "max": np.maximum,
    "min": np.minimum,
}
each_update = pytest.mark.parametrize("reduction", sorted(UPDATES))


def shapes(data, rank, low=0, high=4):
    return tuple(data.draw(st.integers(low, high)) for _ in range(rank))


@pytest.mark.parametrize("mode", ["raise", "wrap", "clip"])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_modes_of_take(mode, dtype, rng):
    x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    places = np.array([[0, -1], [3, 2]] if mode == "raise" else [[7, -9], [4, 2]], dtype)
    ours = run(lambda t, i: gc.take(t, i, 1, mode), x=x, i=places)
    assert_close(ours, np.take(x, places, 1, mode=mode))


def test_take_with_a_mode_of_a_named_size():
    x = gc.input("x", ("n",))
    both = gc.compile([x], [gc.take(x, [5], mode="wrap"), gc.take(x, [5], mode="clip")])
    for n in (2, 3):
        a = np.arange(n, dtype=np.float32)
        assert_close(both(a)[0], a[[5 % n]])
        assert_close(both(a)[1], a[[-1]])


@each_update
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_put(reduction, axis, rng):
    x = rng.normal(size=(3, 4, 5)).astype(np.float32)
    places = np.array([[0, 2], [-1, 0]])
    values = rng.normal(size=np.take(x, places, axis).shape).astype(np.float32)
    expected = x.copy() if axis is not None else x.ravel().copy()
    for k in np.ndindex(places.shape):
        there = (slice(None),) * ((axis or 0) % 3) + (places[k],)
        new = values[(slice(None),) * ((axis or 0) % 3) + k]
        expected[there] = UPDATES[reduction](expected[there], new)
    ours = run(lambda t, i, v: gc.put(t, i, v, axis, reduction=reduction), x=x, i=places, v=values)
    assert_close(ours, expected.reshape(x.shape))
    if reduction == "add" and axis is not None:
        assert_close(
            run(lambda t, i, v: gc.index_add(t, i, v, axis), x=x, i=places, v=values), ours
        )


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_gather_and_scatter_of_tuples(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    shape = shapes(data, 3, low=1)
    depth = data.draw(st.integers(1, 3))
    many = shapes(data, data.draw(st.integers(0, 2)), high=3)
    places = np.stack([rng.integers(-n, n, many) for n in shape[:depth]], -1)
    x = rng.normal(size=shape).astype(np.float32)
    updates = rng.normal(size=(*many, *shape[depth:])).astype(np.float32)
    read = np.zeros_like(updates)
    for k in np.ndindex(many):
        read[k] = x[tuple(places[k])]
    assert_close(run(lambda t, i: gc.gather_nd(t, i), x=x, i=places), read)
    for reduction, function in UPDATES.items():
        expected = x.copy()
        for k in np.ndindex(many):
            there = tuple(places[k])
            expected[there] = function(expected[there], updates[k])
        ours = run(
            lambda t, i, u, r=reduction: gc.scatter_nd(t, i, u, reduction=r),
            x=x, i=places, u=updates,
        )  # fmt: skip
        assert_close(ours, expected)


def test_gather_nd_with_batch_axes(rng):
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    places = np.stack([rng.integers(0, n, (2, 3, 6)) for n in (4, 5)], -1)
    for batch in (1, 2):
        used = places[..., :1] if batch == 1 else places
        expected = np.zeros(used.shape[:-1] + x.shape[batch + used.shape[-1] :], np.float32)
        for k in np.ndindex(used.shape[:-1]):
            expected[k] = x[(*k[:batch], *(used[k] % 3))]
        ours = run(lambda t, i, b=batch: gc.gather_nd(t, i % 3, b), x=x, i=used)
        assert_close(ours, expected)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_gather_and_scatter_along_an_axis(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    shape = shapes(data, data.draw(st.integers(1, 3)), low=1)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    at = axis % len(shape)
    small = tuple(data.draw(st.integers(0, 5 if a == at else n)) for a, n in enumerate(shape))
    x = rng.normal(size=shape).astype(np.float32)
    places = rng.integers(-shape[at], shape[at], small)
    updates = rng.normal(size=small).astype(np.float32)
    read = np.zeros(small, np.float32)
    expected = {name: x.copy() for name in UPDATES}
    for k in np.ndindex(small):
        there = (*k[:at], places[k], *k[at + 1 :])
        read[k] = x[there]
        for name, function in UPDATES.items():
            expected[name][there] = function(expected[name][there], updates[k])
    assert_close(run(lambda t, i: gc.gather(t, i, axis), x=x, i=places), read)
    for name, wanted in expected.items():
        ours = run(
            lambda t, i, u, r=name: gc.scatter(t, i, u, axis, reduction=r),
            x=x, i=places, u=updates,
        )  # fmt: skip
        assert_close(ours, wanted)


@each_update
def test_gradients_of_scatters(reduction, rng):
    x, u = gc.input("x", (3, 4)), gc.input("u", (3, 2))
    v = gc.input("v", (3, 4))
    places, pairs = rng.integers(0, 4, (3, 2)), np.array([[0], [2], [2]])
    y = gc.scatter(x, places, u, 1, reduction=reduction)
    z = gc.scatter_nd(y, pairs, v, reduction=reduction)
    loss = (z * rng.normal(size=(3, 4))).sum() + gc.gather_nd(z, [[0, 1], [0, 1]]).sum()
    values = {t: rng.normal(size=t.shape) for t in (x, u, v)}
    report = gc.check_grad(loss, [x, u, v], values)
    assert report, report


def test_segments(rng):
    x = rng.normal(size=(7, 2)).astype(np.float32)
    ids = np.array([3, 0, 3, 3, 1, 0, 1])
    functions = {
        gc.segment_sum: (np.sum, 0),
        gc.segment_prod: (np.prod, 1),
        gc.segment_max: (np.max, -np.inf),
        gc.segment_min: (np.min, np.inf),
    }
    for function, (numpys, nothing) in functions.items():
        rows = [numpys(x[ids == k], axis=0) if k in ids else [nothing] * 2 for k in range(5)]
        assert_close(run(lambda t, i, f=function: f(t, i, 5), x=x, i=ids), np.float32(rows))
        t = gc.input("t", (7, 2))
        loss = (function(t, ids, 4)[ids] * rng.normal(size=(7, 2))).sum()
        report = gc.check_grad(loss, t, {t: x})
        assert report, report
    whole = np.arange(7, dtype=np.int16)
    least = np.iinfo(np.int16).min
    largest = run(lambda t, i: gc.segment_max(t, i, 5), x=whole, i=ids)
    assert_close(largest, np.int16([5, 6, least, 3, least]))


def test_bincount(rng):
    x = rng.integers(0, 6, (4, 5))
    weights = rng.normal(size=(4, 5)).astype(np.float32)
    assert_close(run(lambda t: gc.bincount(t, 8), x=x), np.bincount(x.ravel(), minlength=8))
    ours = run(lambda t, w: gc.bincount(t, 8, w), x=x, w=weights)
    assert_close(ours, np.bincount(x.ravel(), weights.ravel(), 8).astype(np.float32))
    assert_close(run(lambda t: gc.bincount(t, 3), x=np.zeros(0, np.uint8)), np.zeros(3, np.int64))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_numbers_out_of_bounds(backend):
    x, i = gc.input("x", (2, 3)), gc.input("i", (2,), "int64")
    programs = {
        -1: [gc.segment_sum(x, i, 3), gc.bincount(i, 3)],
        3: [gc.segment_max(x, i, 3), gc.bincount(i, 3), gc.put(x, i, 1, axis=1)],
        2: [gc.gather_nd(x, i), gc.scatter_nd(x, i[None], 1, reduction="max")],
    }
    for wrong, outputs in programs.items():
        for output in outputs:
            program = gc.compile([x, i], output, backend=backend)
            with pytest.raises(gc.UserError, match="GC0306"):
                program(np.zeros((2, 3), np.float32), np.array([wrong, 0]))


def test_nan_wins():
    x, i = np.float32([1, np.nan, 3]), np.array([0, 1, 2, 2])
    values = np.float32([np.nan, 5, 4, np.nan])
    for reduction in ("max", "min"):
        ours = run(lambda t, v, r=reduction: gc.put(t, i, v, reduction=r), x=x, v=values)
        assert np.isnan(ours).all()


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x: gc.put(x, [0], 1, 0, reduction="mean"), "GC0104"),
        (lambda x: gc.put(x, [0.5], 1), "GC0102"),
        (lambda x: gc.put(x, [0], gc.zeros(2), 1), "GC0101"),
        (lambda x: gc.take(x, [0], 0, "around"), "GC0104"),
        (lambda x: gc.gather_nd(x, np.zeros((2, 4), int)), "GC0103"),
        (lambda x: gc.gather_nd(x, np.zeros((5, 1), int), 1), "GC0101"),
        (lambda x: gc.scatter_nd(x, np.zeros((2, 0), int), 1), "GC0103"),
        (lambda x: gc.scatter(x, np.zeros((3,), int), 1), "GC0103"),
        (lambda x: gc.scatter(x, np.zeros((4, 4), int), 1), "GC0101"),
        (lambda x: gc.gather(x, np.zeros((4, 4), int)), "GC0101"),
        (lambda x: gc.scatter(x, np.zeros((1, 1), int), 1, axis=2), "GC0104"),
        (lambda x: gc.segment_sum(x, [0.5, 1, 2], 2), "GC0102"),
        (lambda x: gc.segment_sum(x, [[0, 1, 2]], 2), "GC0103"),
        (lambda x: gc.segment_sum(x, [0, 1], 2), "GC0101"),
        (lambda x: gc.bincount(x, 2), "GC0102"),
    ],
)
def test_wrong_calls_are_reported_at_the_users_line(program, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        program(gc.input("x", (3, 4)))
    assert "test_scatter.py" in caught.value.where
