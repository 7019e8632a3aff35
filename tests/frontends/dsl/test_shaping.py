"""Indexing, reductions, movement, creation and products agree with NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphc as gc
from running import assert_close, run

SHAPE = (3, 4, 5)


@pytest.fixture
def cube(rng):
    return rng.normal(size=SHAPE).astype(np.float32)


@given(hnp.basic_indices(SHAPE, max_dims=5, allow_newaxis=True))
@settings(max_examples=60)
def test_basic_indexing(key):
    x = np.arange(60, dtype=np.float32).reshape(SHAPE)
    assert_close(run(lambda t: t[key], x=x), x[key])


def test_indexing_with_integer_tensors(cube):
    rows = np.array([[2, 0], [-1, 1]])
    assert_close(run(lambda t: t[rows], x=cube), cube[rows])
    assert_close(run(lambda t: t[:, rows, 1:3], x=cube), cube[:, rows, 1:3])
    assert_close(run(lambda t: t[None, ..., [4, 0]], x=cube), cube[None, ..., [4, 0]])
    assert_close(run(lambda t, i: t[:, i], x=cube, i=rows), cube[:, rows])


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ((0, 0, 0, 0), "GC0103"),
        ((..., ...), "GC0103"),
        (3, "GC0104"),
        ((slice(None), -5), "GC0104"),
        (slice(None, None, 0), "GC0104"),
        (slice(0.5), "GC0104"),
        ("a", "GC0104"),
        (np.array([True, False, True]), "GC0104"),
    ],
)
def test_wrong_indices(key, code):
    with pytest.raises(gc.UserError, match=code):
        gc.zeros(SHAPE)[key]


@given(
    st.sampled_from(["sum", "prod", "max", "min", "mean", "var", "std", "any", "all"]),
    st.none() | st.integers(-3, 2) | st.sampled_from([(0, 1), (0, -1), (-3, 1, 2), ()]),
    st.booleans(),
)
@settings(max_examples=60)
def test_reductions(name, axis, keepdims):
    x = np.random.default_rng(1).integers(-1, 2, SHAPE).astype(np.float32)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    assert_close(
        run(lambda t: getattr(gc, name)(t, axis, keepdims=keepdims), x=x), expected, atol=1e-5
    )
    assert_close(run(lambda t: getattr(t, name)(axis, keepdims=keepdims), x=x), expected, atol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_positions_of_extremes(cube, axis):
    for name in ("argmax", "argmin"):
        assert_close(
            run(lambda t, f=name: getattr(t, f)(axis), x=cube), getattr(np, name)(cube, axis)
        )
        kept = getattr(np, name)(cube, axis, keepdims=True)
        assert_close(run(lambda t, f=name: getattr(gc, f)(t, axis, keepdims=True), x=cube), kept)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_averages_of_float16_are_taken_in_float32(backend):
    """More elements than float16 can count (65504), and a sum and squares beyond its range."""
    x = gc.input("x", (300, 300), "float16")
    mean, var, std = gc.compile([x], [x.mean(), x.var(), x.std()], backend=backend)(
        np.tile(np.float16([200, 1000]), (300, 150))
    )
    assert_close(mean, np.float16(600))
    assert_close(var, np.float16(np.inf))  # 400**2, which float16 does not have
    assert_close(std, np.float16(400))


def test_variance_with_correction(cube):
    assert_close(run(lambda t: t.var(1, correction=1), x=cube), cube.var(1, ddof=1))


def test_softmax_family(cube):
    x = cube * 100
    wide = x.astype(np.float64)
    lse = np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1)) + wide.max(1)
    assert_close(run(lambda t: gc.logsumexp(t, 1), x=x), lse.astype("f"))
    assert_close(run(lambda t: gc.logsumexp(t, 1, keepdims=True), x=x), lse[:, None].astype("f"))
    assert_close(
        run(lambda t: gc.log_softmax(t, 1), x=x), (wide - lse[:, None]).astype("f"), atol=1e-4
    )
    assert_close(run(lambda t: gc.softmax(t, 1), x=x), np.exp(wide - lse[:, None]).astype("f"))
    nothing = np.full((2, 3), -np.inf, np.float32)
    assert np.isneginf(run(lambda t: gc.logsumexp(t, 1), x=nothing)).all()


def test_movement(cube):
    functions = [
        lambda m, t: m.reshape(t, (5, -1)),
        lambda m, t: m.expand_dims(t, (0, -1)),
        lambda m, t: m.squeeze(m.expand_dims(t, 1)),
        lambda m, t: m.squeeze(m.expand_dims(t, 1), 1),
        lambda m, t: m.permute_dims(t, (2, 0, 1)),
        lambda m, t: m.transpose(t),
        lambda m, t: m.moveaxis(t, 0, -1),
        lambda m, t: m.swapaxes(t, 0, 2),
        lambda m, t: m.flip(t, (0, 2)),
        lambda m, t: m.flip(t),
        lambda m, t: m.broadcast_to(t, (2, 3, 4, 5)),
        lambda m, t: m.concatenate([t, t[1:]], 0),
        lambda m, t: m.concat([t, t], axis=-1),
        lambda m, t: m.stack([t, t * 2], 1),
        lambda m, t: m.stack([t, t * 2], -1),
        lambda m, t: m.split(t, 2, 1)[1],
        lambda m, t: m.split(t, [1, 3], -1)[1],
        lambda m, t: m.pad(t, 1),
        lambda m, t: m.pad(t, (1, 2)),
        lambda m, t: m.pad(t, ((1, 0), (0, 2), (1, 1)), mode="reflect"),
        lambda m, t: m.pad(t, ((1, 0), (0, 2), (1, 1)), mode="edge"),
        lambda m, t: m.take(t, np.array([0, -1]), axis=1),
        lambda m, t: m.tril(t, -1),
        lambda m, t: m.triu(t, 1),
        lambda m, t: m.tensordot(t, t, 3),
        lambda m, t: m.tensordot(t, t, ((0, -1), (0, 2))),
        lambda m, t: m.outer(t[0, 0], t[0, 1]),
        lambda m, t: m.einsum("ijk,ilk->ijl", t, t),
    ]
    for function in functions:
        assert_close(run(lambda t, f=function: f(gc, t), x=cube), function(np, cube), atol=1e-5)


def test_methods(cube):
    assert_close(run(lambda t: t.reshape(2, 3, -1), x=cube), cube.reshape(2, 3, -1))
    assert_close(run(lambda t: t.flatten(), x=cube), cube.ravel())
    assert_close(run(lambda t: t[0].T, x=cube), cube[0].T)
    assert_close(run(lambda t: t.mT, x=cube), np.swapaxes(cube, 1, 2))
    assert_close(run(lambda t: t.transpose(1, 2, 0), x=cube), cube.transpose(1, 2, 0))
    assert_close(run(lambda t: t.astype("int32"), x=cube), cube.astype(np.int32))
    assert_close(
        run(lambda t: t.mean(0).astype("float64"), x=cube), cube.mean(0).astype(np.float64)
    )


def test_take_along_axis(cube):
    order = np.argsort(cube, 1)
    ours = run(lambda t, i: gc.take_along_axis(t, i, 1), x=cube, i=order)
    assert_close(ours, np.take_along_axis(cube, order, 1))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3,), (3,)),
        ((2, 3), (3,)),
        ((3,), (3, 4)),
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((5, 1, 2, 3), (6, 3, 4)),
        ((1, 2, 3), (1, 3, 4)),
        ((6, 1, 2, 3), (3,)),
        ((3,), (5, 3, 4)),
        ((0, 3), (3, 4)),
        ((2, 0), (0, 4)),
    ],
)
def test_matmul_broadcasts_like_numpy(left, right, rng):
    a, b = (rng.normal(size=s).astype(np.float32) for s in (left, right))
    assert_close(run(lambda a, b: a @ b, a=a, b=b), a @ b, atol=1e-5)


def test_creation():
    assert_close(run(gc.zeros((2, 3))), np.zeros((2, 3), "f"))
    assert_close(run(gc.ones(3, "int8")), np.ones(3, np.int8))
    assert_close(run(gc.full((2,), 7)), np.full(2, 7))
    assert_close(run(gc.ones_like(gc.zeros((2, 2), "int32"))), np.ones((2, 2), np.int32))
    assert_close(run(gc.arange(5)), np.arange(5))
    assert_close(run(gc.arange(7, 1, -2)), np.arange(7, 1, -2))
    assert_close(run(gc.arange(0, 1, 0.3)), np.arange(0, 1, 0.3).astype("f"))
    assert_close(run(gc.linspace(0, 1, 5)), np.linspace(0, 1, 5).astype("f"))
    assert_close(run(gc.eye(3, 4, 1)), np.eye(3, 4, 1, dtype="f"))
    assert_close(
        run(gc.one_hot(np.array([[1, 0], [2, 9]]), 3)), np.eye(10, 3, dtype="f")[[[1, 0], [2, 9]]]
    )


def test_named_sizes_flow_through():
    n = gc.dim("n")
    x = gc.input("x", ("n", 4))
    assert x.reshape(-1).shape == (4 * n,)
    assert x[1:].shape == (n - 1, 4)
    assert x[::2].shape == ((n + 1) // 2, 4)
    assert x[-1].shape == (4,)
    assert gc.concatenate([x, x]).shape == (2 * n, 4)
    assert gc.arange(n).shape == (n,)
    mean = gc.compile([x], [x.mean(0), x[::-1][0], x[:-1].sum()], backend="numpy")
    for rows in (2, 5):
        a = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
        for ours, numpys in zip(mean(a), [a.mean(0), a[-1], a[:-1].sum()], strict=True):
            assert_close(ours, numpys)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_named_sizes_cut_and_repeat(backend):
    n = gc.dim("n")
    x, table = gc.input("x", (2 * n, 4)), gc.input("table", (8, 4))
    parts = [
        *gc.split(x, 2), *gc.split(x, [n]), table[:n], table[1:-n], gc.tile(table[:1], (n, 1)),
        gc.repeat(table[0], n, 0),
    ]  # fmt: skip
    assert [p.shape[0] for p in parts] == [n, n, n, n, n, 7 - n, n, 4 * n]
    f = gc.compile([x, table], parts, backend=backend)
    for rows in (1, 3):
        a = np.arange(8 * rows, dtype=np.float32).reshape(-1, 4)
        t = np.arange(32, dtype=np.float32).reshape(8, 4)
        halves = np.split(a, 2)
        wanted = [
            *halves,
            *halves,
            t[:rows],
            t[1:-rows],
            np.tile(t[:1], (rows, 1)),
            t[0].repeat(rows),
        ]
        for found, numpys in zip(f(a, t), wanted, strict=True):
            assert_close(found, numpys)
    with pytest.raises(gc.UserError, match="GC0305"):
        gc.repeat(x[0], [n, 1, 1, 1], 0)
    with pytest.raises(gc.UserError, match="GC0101"):
        gc.split(x, 4)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: gc.zeros((2, 3)).reshape(4), "GC0101"),
        (lambda: gc.zeros((2, 3)).reshape(-1, -1), "GC0101"),
        (lambda: gc.zeros((2, 3)).reshape(4, -1), "GC0101"),
        (lambda: gc.zeros((2, 3)).sum(2), "GC0104"),
        (lambda: gc.zeros((2, 3)).sum((0, 0)), "GC0104"),
        (lambda: gc.zeros((2, 3)).sum("a"), "GC0104"),
        (lambda: gc.squeeze(gc.zeros((2, 3)), 0), "GC0101"),
        (lambda: gc.concatenate([gc.zeros((2, 3)), gc.zeros((2, 2))]), "GC0101"),
        (lambda: gc.concatenate([]), "GC0104"),
        (lambda: gc.split(gc.zeros(5), 2), "GC0101"),
        (lambda: gc.pad(gc.zeros((2, 3)), ((1, 1), (1, 1), (0, 0))), "GC0103"),
        (lambda: gc.take(gc.zeros((2, 3)), [0]), "GC0103"),
        (lambda: gc.take(gc.zeros(3), [0.5]), "GC0102"),
        (lambda: gc.zeros(3).T, "GC0103"),
        (lambda: gc.zeros(3).mT, "GC0103"),
        (lambda: gc.zeros((2, 3)) @ gc.zeros((2, 3)), "GC0101"),
        (lambda: gc.zeros((2, 1, 3)) @ gc.zeros((3, 3, 2)), "GC0101"),
        (lambda: gc.zeros(()) @ gc.zeros(3), "GC0103"),
        (lambda: gc.broadcast_to(gc.zeros(3), (2,)), "GC0101"),
        (lambda: gc.zeros(-1), "GC0104"),
        (lambda: gc.zeros(2, "complex64"), "GC0105"),
        (lambda: gc.arange(0, 1, 0), "GC0104"),
        (lambda: gc.tril(gc.zeros(3)), "GC0103"),
        (lambda: gc.one_hot(gc.zeros(3), 3), "GC0102"),
        (lambda: gc.exp(gc.arange(3)), "GC0102"),
        (lambda: gc.arange(3).mean(), "GC0102"),
        (lambda: gc.dim("no name"), "GC0104"),
        (lambda: gc.input("no name", ()), "GC0104"),
        (lambda: gc.tensordot(gc.zeros((2, 3)), gc.zeros((2, 3)), ((0,), (0, 1))), "GC0104"),
    ],
)
def test_wrong_calls_are_reported_at_the_users_line(program, code):
    with pytest.raises(gc.UserError) as caught:
        program()
    assert caught.value.code == code
    assert "test_shaping.py" in str(caught.value)
