"""NumPy's advanced indexing, and updates of what an index selects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphc as gc
from running import assert_close, run

SHAPE = (3, 4, 5)
UPDATES = {
    "set": lambda old, new: new,
    "add": lambda old, new: old + new,
    "multiply": lambda old, new: old * new,
    "max": max,
    "min": min,
}


@st.composite
def keys(draw):
    """Index expressions of a cube: ints, slices, None, ``...`` and arrays that broadcast."""
    block = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))

    def item(extent):
        kind = draw(st.sampled_from(["slice", "int", "array", "array"]))
        if kind == "slice":
            return draw(st.slices(extent))
        if kind == "int":
            return draw(st.integers(-extent, extent - 1))
        shape = tuple(1 if draw(st.booleans()) and n else n for n in block)
        shape = shape[draw(st.integers(0, len(shape))) :] if 0 not in block else shape
        dtype = draw(st.sampled_from(["int64", "int32"]))
        return draw(hnp.arrays(dtype, shape, elements=st.integers(-extent, extent - 1)))

    front = draw(st.integers(0, 3))
    back = draw(st.integers(0, 3 - front))
    dots = [...] if front + back < 3 or draw(st.booleans()) else []
    items = [*map(item, SHAPE[:front]), *dots, *map(item, SHAPE[3 - back :])]
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    return tuple(items)


def cube():
    return np.arange(60, dtype=np.float32).reshape(SHAPE)


def updated(x, key, values, function):
    """``x`` after one update after another, in row-major order of the key's elements."""
    places = np.arange(x.size).reshape(x.shape)[key]
    flat = x.ravel().copy()
    everywhere = np.broadcast_to(values, places.shape).ravel()
    for place, value in zip(places.ravel(), everywhere, strict=True):
        flat[place] = function(flat[place], value)
    return flat.reshape(x.shape)


@given(keys())
@settings(max_examples=200, deadline=None)
def test_advanced_indexing(key):
    assert_close(run(lambda t: t[key], x=cube()), cube()[key])


@given(keys(), st.sampled_from(sorted(UPDATES)), st.integers(0, 9))
@settings(max_examples=200, deadline=None)
def test_updates(key, name, seed):
    x = cube()
    values = np.random.default_rng(seed).integers(-2, 70, x[key].shape).astype(np.float32)
    ours = run(lambda t, v: getattr(t.at[key], name)(v), x=x, v=values)
    assert_close(ours, updated(x, key, values, UPDATES[name]))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
@pytest.mark.parametrize("name", sorted(UPDATES))
def test_updates_on_every_backend(name, backend):
    rows = np.array([[2, 0, 2], [-1, 1, 0]])
    x, i = gc.input("x", SHAPE), gc.input("i", rows.shape, "int64")
    keys = [(i, slice(1, 4, 2)), (slice(None), i, [0, 1, 4]), (1, ..., slice(None, None, -2))]
    outputs = [getattr(x.at[key], name)(7) for key in keys]
    found = gc.compile([x, i], outputs, backend=backend)(cube(), rows)
    for key, ours in zip(keys, found, strict=True):
        there = tuple(rows if k is i else k for k in key)
        assert_close(ours, updated(cube(), there, np.float32(7), UPDATES[name]))


@pytest.mark.parametrize("name", sorted(UPDATES))
@pytest.mark.parametrize(
    "key",
    [
        (slice(1, None), 2),
        (slice(None, None, -2), None, slice(0, 4, 3)),
        ([0, 2, 2], slice(1, 3)),
        (slice(None), [[0, 1], [1, 3]], [2, 2]),
        ([0, 1, 0], slice(None), [2, 2, 2]),
    ],
    ids=str,
)
def test_gradients_of_updates(name, key, rng):
    x, v = gc.input("x", SHAPE), gc.input("v", cube()[key].shape)
    loss = (getattr(x.at[key], name)(v) * rng.normal(size=SHAPE)).sum()
    report = gc.check_grad(loss, [x, v], {x: rng.normal(size=SHAPE), v: rng.normal(size=v.shape)})
    assert report, report


def test_gradients_of_products_with_zeros(rng):
    """A factor of 0 has the product of the others as its slope."""
    x, v = gc.input("x", (4,)), gc.input("v", (6,))
    loss = (x.at[[0, 0, 1, 1, 2, 3]].multiply(v) * rng.normal(size=4)).sum()
    values = {x: np.array([2.0, 0, 0, 3]), v: np.array([0.0, 3, 0, 2, 5, 0])}
    report = gc.check_grad(loss, [x, v], values)
    assert report, report


def test_ties_share_the_gradient():
    x, v = gc.input("x", (2,)), gc.input("v", (3,))
    y = x.at[[0, 0, 1]].max(v)
    slopes = gc.compile([x, v], gc.grad(y.sum(), [x, v]), backend="numpy")
    of_x, of_v = slopes(np.float32([5, 1]), np.float32([5, 5, 2]))
    assert_close(of_x, np.float32([1 / 3, 0]))
    assert_close(of_v, np.float32([1 / 3, 1 / 3, 1]))


def test_the_last_of_several_values_stays_and_has_the_gradient():
    x, v = gc.input("x", (3,)), gc.input("v", (3,))
    y = x.at[[1, 1, 0]].set(v)
    run_both = gc.compile([x, v], [y, *gc.grad(y.sum(), [x, v])], backend="numpy")
    values, of_x, of_v = run_both(np.float32([7, 8, 9]), np.float32([1, 2, 3]))
    assert_close(values, np.float32([3, 2, 9]))
    assert_close(of_x, np.float32([0, 0, 1]))
    assert_close(of_v, np.float32([0, 1, 1]))


def test_updates_keep_dtypes_and_take_bools():
    flags = np.zeros((2, 3), bool)
    marked = run(lambda t: t.at[1, ::2].set(True), x=flags)
    assert_close(marked, np.array([[0, 0, 0], [1, 0, 1]], bool))
    assert_close(run(lambda t: t.at[[1, 1]].set(True), x=flags)[1], np.ones(3, bool))
    whole = np.arange(3, dtype=np.int8)
    assert_close(run(lambda t: t.at[-1].add(5), x=whole), np.int8([0, 1, 7]))
    assert_close(run(lambda t: t.at[[2, 2]].add(5), x=whole), np.int8([0, 1, 12]))
    empty = np.zeros((0, 2), np.float32)
    assert_close(run(lambda t: t.at[:].set(1.0), x=empty), empty)
    assert_close(run(lambda t: t.at[np.zeros(0, int)].set(1.0), x=empty), empty)


def test_updates_of_named_sizes():
    x, i = gc.input("x", ("n", 2)), gc.input("i", ("k",), "int64")
    double = gc.compile(
        [x, i], [x.at[1:].add(1), x.at[i].set(0), x.at[i, i].set(5)], backend="numpy"
    )
    for rows in (2, 4):
        a, places = np.ones((rows, 2), np.float32), np.array([0, 1, 0])[:rows]
        after, zero, five = double(a, places)
        assert_close(after, updated(a, slice(1, None), 1, UPDATES["add"]))
        assert_close(zero, updated(a, places, 0, UPDATES["set"]))
        assert_close(five, updated(a, (places, places), 5, UPDATES["set"]))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x: x[[0, 1], [0, 1, 2]], "GC0101"),
        (lambda x: x[True], "GC0104"),
        (lambda x: x[[0.5]], "GC0102"),
        (lambda x: x.at[0].set(gc.zeros((3,))), "GC0101"),
        (lambda x: x.at[0, 0, 0, 0].set(1), "GC0103"),
        (lambda x: x.at[9].set(1), "GC0104"),
        (lambda x: x.astype("int32").at[0].set(0.5), "GC0102"),
        (lambda x: x.at[0].set(gc.zeros((), "float64")), "GC0102"),
    ],
)
def test_wrong_indices_are_reported_at_the_users_line(program, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        program(gc.input("x", SHAPE))
    assert "test_indexing.py" in caught.value.where


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_positions_out_of_bounds(backend):
    """Each axis has its own bounds: a position must not run into the next row."""
    x, i = gc.input("x", SHAPE), gc.input("i", (2,), "int64")
    zero = np.zeros(2, np.int64)
    for y, wrong in (
        (x[i, i], 3),
        (x[:, i, i], -5),
        (x.at[i].set(1), 3),
        (x.at[0, i, i].add(1), 4),
    ):
        program = gc.compile([x, i], y, backend=backend)
        program(cube(), zero)
        with pytest.raises(gc.UserError, match="GC0306"):
            program(cube(), np.array([0, wrong]))
