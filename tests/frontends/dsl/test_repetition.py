"""Copies, rolls, borders and layouts agree with NumPy; their slopes count the copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphc as gc
from running import assert_close, run

each = pytest.mark.parametrize
MODES = ["constant", "edge", "reflect", "symmetric", "wrap"]


@pytest.fixture
def cube(rng):
    return rng.normal(size=(2, 3, 4)).astype(np.float32)


def check_like_numpy(functions, x):
    """Functions of (the module, an array) give the same in graphc and NumPy."""
    for number, function in enumerate(functions):
        wanted = function(np, x)
        found = run(lambda t, f=function: f(gc, t), x=x)
        several = isinstance(wanted, tuple | list)
        assert not several or len(found) == len(wanted), number
        pairs = zip(found, wanted, strict=True) if several else [(found, wanted)]
        for ours, numpys in pairs:
            assert_close(ours, numpys)


def test_copies(cube):
    functions = [
        lambda m, t: m.tile(t, 2),
        lambda m, t: m.tile(t, (2, 1, 3)),
        lambda m, t: m.tile(t, (2, 3, 1, 2)),
        lambda m, t: m.tile(t[0, 0], (2, 2)),
        lambda m, t: m.tile(t[0, 0, 0], 3),
        lambda m, t: m.tile(t, (2, 0, 1)),
        lambda m, t: m.tile(t, ()),
        lambda m, t: m.repeat(t, 2),
        lambda m, t: m.repeat(t, 3, -1),
        lambda m, t: m.repeat(t, 0, 1),
        lambda m, t: m.repeat(t, [2, 0, 3], 1),
        lambda m, t: m.repeat(t, np.array([4]), 0),
        lambda m, t: m.repeat(t[:, :0], 2, 1),
        lambda m, t: m.broadcast_arrays(t[:1], t[0, :, :1]),
        lambda m, t: m.meshgrid(t[0, 0], t[0, :, 0]),
        lambda m, t: m.meshgrid(t[0, 0], t[0, :, 0], t[:, 0, 0], indexing="ij"),
        lambda m, t: m.meshgrid(t[0, 0], t[0, :, 0], t[:, 0, 0]),
        lambda m, t: m.meshgrid(t[0, 0]),
    ]
    check_like_numpy(functions, cube)


def test_rolls_and_turns(cube):
    functions = [
        lambda m, t: m.roll(t, 1),
        lambda m, t: m.roll(t, -7),
        lambda m, t: m.roll(t, 2, 1),
        lambda m, t: m.roll(t, -1, -1),
        lambda m, t: m.roll(t, 9, 2),
        lambda m, t: m.roll(t, 0, 0),
        lambda m, t: m.roll(t, (1, -2), (0, 2)),
        lambda m, t: m.roll(t, 1, (0, 1)),
        lambda m, t: m.roll(t[:0], 1, 0),
        *(lambda m, t, k=k: m.rot90(t, k) for k in range(-1, 5)),
        lambda m, t: m.rot90(t, 1, (1, 2)),
        lambda m, t: m.rot90(t, 3, (2, 0)),
        lambda m, t: m.fliplr(t),
        lambda m, t: m.flipud(t),
    ]
    check_like_numpy(functions, cube)


def test_layouts(cube):
    functions = [
        lambda m, t: m.ravel(t),
        lambda m, t: m.hstack([t, t[:, :1]]),
        lambda m, t: m.hstack([t[0, 0], t[1, 0, :2]]),
        lambda m, t: m.vstack([t, t[:1]]),
        lambda m, t: m.vstack([t[0, 0], t[1, 0]]),
        lambda m, t: m.dstack([t, t[..., :1]]),
        lambda m, t: m.dstack([t[0], t[1]]),
        lambda m, t: m.dstack([t[0, 0], t[1, 1]]),
        lambda m, t: m.column_stack([t[0, 0], t[0, :2].T]),
        lambda m, t: m.diag(t[0, 0]),
        lambda m, t: m.diag(t[0, 0], 2),
        lambda m, t: m.diag(t[0, 0], -3),
        lambda m, t: m.diag(t[0]),
        lambda m, t: m.diag(t[0], 1),
        lambda m, t: m.diag(t[0], -2),
        lambda m, t: m.diagflat(t[0], 1),
    ]
    check_like_numpy(functions, cube)
    for axes in (1, 2, 3):
        name = f"atleast_{axes}d"
        for part in (cube, cube[0], cube[0, 0], cube[0, 0, 0]):
            assert_close(run(getattr(gc, name), x=part), getattr(np, name)(part))
        both = run(lambda t, n=name: getattr(gc, n)(t, t[0]), x=cube)
        for ours, numpys in zip(both, getattr(np, name)(cube, cube[0]), strict=True):
            assert_close(ours, numpys)


def test_taking_apart_and_joining_axes(cube):
    for axis in (0, 1, -1):
        parts = run(lambda t, a=axis: list(gc.unstack(t, a)), x=cube)
        for ours, numpys in zip(parts, np.moveaxis(cube, axis, 0), strict=True):
            assert_close(ours, numpys)
    assert_close(run(lambda t: gc.flatten(t, 1), x=cube), cube.reshape(2, 12))
    assert_close(run(lambda t: gc.flatten(t, 0, 1), x=cube), cube.reshape(6, 4))
    assert_close(run(lambda t: gc.flatten(t), x=cube), cube.reshape(24))
    embedded = run(lambda t: gc.diag_embed(t, 1), x=cube)
    assert_close(embedded[1, 2], np.diag(cube[1, 2], 1))
    flags = np.array([True, False, True])
    assert_close(run(lambda t: gc.diag(t, -1), x=flags), np.diag(flags, -1))


def test_regular_numbers():
    assert_close(run(gc.logspace(0, 3, 7)), np.logspace(0, 3, 7, dtype=np.float32))
    assert_close(run(gc.logspace(-1, 1, 5, base=2)), np.logspace(-1, 1, 5, base=2, dtype="f"))
    assert_close(run(gc.geomspace(1, 1000, 4)), np.float32([1, 10, 100, 1000]))
    assert_close(run(gc.geomspace(-8, -1, 4, "float64")), np.float64([-8, -4, -2, -1]))
    for ours, numpys in zip(run(list(gc.indices((2, 3)))), np.indices((2, 3)), strict=True):
        assert_close(ours, numpys)
    assert_close(run(gc.tri(3)), np.tri(3, dtype=np.float32))
    assert_close(run(gc.tri(2, 4, 1, "int32")), np.tri(2, 4, 1, dtype="int32"))
    x = np.array([-2, 0, 1, 3], np.float32)
    assert_close(run(gc.vander, x=x), np.vander(x).astype("f"))
    powers = run(lambda t: gc.vander(t, 3, increasing=True), x=x)
    assert_close(powers, np.vander(x, 3, increasing=True).astype("f"))
    t = gc.input("t", (4,), "float64")
    assert gc.check_grad(gc.sin(gc.vander(t)).sum(), t, {t: x})


# Borders ------------------------------------------------------------------------------------------
@given(
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.tuples(*[st.tuples(st.integers(0, 9), st.integers(0, 9))] * 2),
)
@settings(max_examples=60, deadline=None)
def test_borders_of_any_width(mode, shape, width):
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert_close(run(lambda t: gc.pad(t, width, mode), x=x), np.pad(x, width, mode))


@each("mode", MODES[1:])
@each("backend", ["numpy", "llvm"])
def test_the_slope_of_a_border_goes_where_it_came_from(mode, backend):
    width = [(5, 2), (0, 7)]
    t = gc.input("t", (3, 4))
    y = gc.pad(t, width, mode)
    weights = np.random.default_rng(1).integers(-4, 5, (10, 11)).astype(np.float32)
    (g,) = gc.compile([t], gc.grad((y * weights).sum(), [t]), backend=backend)(np.ones((3, 4), "f"))
    source = np.pad(np.arange(12).reshape(3, 4), width, mode)
    assert_close(g, np.bincount(source.ravel(), weights.ravel(), 12).reshape(3, 4).astype("f"))


@each("mode", MODES)
def test_borders_of_nothing(mode):
    empty = np.zeros((0, 3), np.float32)
    assert run(lambda t: gc.pad(t, [(0, 0), (1, 1)], mode), x=empty).shape == (0, 5)
    assert_close(run(lambda t: gc.pad(t, 0, mode), x=np.float32(3)), np.float32(3))
    assert_close(run(lambda t: gc.pad(t, 0, mode), x=np.ones(3, "f")), np.ones(3, "f"))
    if mode != "constant":
        with pytest.raises(gc.UserError, match="GC0104"):
            gc.pad(gc.zeros((0, 3)), 1, mode)


# Slopes, named sizes, wrong operands --------------------------------------------------------------
def test_slopes(rng):
    t = gc.input("t", (2, 3), "float64")
    x = rng.normal(size=(2, 3))
    for build in (
        lambda: gc.tile(t, (2, 2)),
        lambda: gc.repeat(t, 3, 1),
        lambda: gc.repeat(t, [1, 0, 2], 1),
        lambda: gc.roll(t, 1, 1),
        lambda: gc.rot90(t),
        lambda: gc.diag(t[0], 1),
        lambda: gc.hstack([t, t]),
        lambda: gc.meshgrid(t[0], t[:, 0])[1],
    ):
        y = build()
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        assert gc.check_grad((gc.sin(y) * weights).sum(), t, {t: x})


def test_named_sizes():
    x = gc.input("x", ("n", 3))
    outputs = [
        gc.tile(x, (2, 1)), gc.repeat(x, 2, 0), gc.roll(x, 1, 0), gc.rot90(x), gc.vstack([x, x]),
        gc.flatten(x),
    ]  # fmt: skip
    value = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = gc.compile([x], outputs, backend="numpy")(value)
    wanted = [
        np.tile(value, (2, 1)), np.repeat(value, 2, 0), np.roll(value, 1, 0), np.rot90(value),
        np.vstack([value, value]), value.ravel(),
    ]  # fmt: skip
    for ours, numpys in zip(found, wanted, strict=True):
        assert_close(ours, numpys)


@each(
    ("build", "code"),
    [
        (lambda t: gc.tile(t, -1), "GC0104"),
        (lambda t: gc.repeat(t, -1), "GC0104"),
        (lambda t: gc.repeat(t, [1, 2], 1), "GC0101"),
        (lambda t: gc.repeat(t, t, 1), "GC0106"),
        (lambda t: gc.roll(t, 1, 2), "GC0104"),
        (lambda t: gc.roll(t, (1, 2), (0, 1, 1)), "GC0104"),
        (lambda t: gc.rot90(t, 1, (0, 0)), "GC0104"),
        (lambda t: gc.rot90(t, 1, (0,)), "GC0104"),
        (lambda t: gc.broadcast_arrays(t, t.T), "GC0101"),
        (lambda t: gc.meshgrid(t), "GC0103"),
        (lambda t: gc.meshgrid(t[0], indexing="yx"), "GC0104"),
        (lambda t: gc.unstack(t, 2), "GC0104"),
        (lambda t: gc.flatten(t, 1, 0), "GC0104"),
        (lambda t: gc.diag(t[None]), "GC0103"),
        (lambda t: gc.vander(t), "GC0103"),
        (lambda t: gc.logspace(0, 1, base=-1), "GC0104"),
        (lambda t: gc.geomspace(-1, 1), "GC0104"),
        (lambda t: gc.pad(t, 1, "circular"), "GC0104"),
        (lambda t: gc.pad(t, -1, "wrap"), "GC0104"),
        (lambda t: gc.pad(t, [(1, 1)] * 3), "GC0103"),
    ],
)
def test_wrong_operands(build, code):
    with pytest.raises(gc.UserError, match=code):
        build(gc.input("t", (2, 3)))
