"""Running totals agree with NumPy and with values that PyTorch gave, and have the right slopes."""

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run

NUMPYS = {
    "cumsum": np.add.accumulate,
    "cumprod": np.multiply.accumulate,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
    "logcumsumexp": np.logaddexp.accumulate,
}
NOTHING = {"cumsum": 0, "cumprod": 1, "cummax": -np.inf, "cummin": np.inf, "logcumsumexp": -np.inf}
each = pytest.mark.parametrize


def slope(function, x, backend="numpy"):
    """The gradient of the sum of ``function`` weighted by 1, 2, 3, ..."""
    t = gc.input("t", x.shape, x.dtype)
    y = function(t)
    weights = np.arange(1, y.size + 1, dtype=x.dtype).reshape(y.shape)
    (g,) = gc.compile([t], gc.grad((y * weights).sum(), [t]), backend=backend)(x)
    return g


@each("name", NUMPYS)
@each("axis", [0, 1, -1, -3])
@each("dtype", ["float32", "float64"])
def test_totals_along_an_axis(rng, name, axis, dtype):
    x = rng.normal(size=(3, 4, 5)).astype(dtype)
    function, numpys = getattr(gc, name), NUMPYS[name]
    assert_close(run(lambda t: function(t, axis), x=x), numpys(x, axis))
    backward = np.flip(numpys(np.flip(x, axis), axis), axis)
    assert_close(run(lambda t: function(t, axis, reverse=True), x=x), backward)


@each("name", NUMPYS)
def test_totals_without_the_element_itself(rng, name):
    x = rng.normal(size=(3, 4)).astype("float32")
    function, total = getattr(gc, name), NUMPYS[name](x, 1)
    before = np.concatenate([np.full((3, 1), NOTHING[name], "float32"), total[:, :-1]], 1)
    assert_close(run(lambda t: function(t, 1, exclusive=True), x=x), before)
    after = run(lambda t: function(t, 1, exclusive=True, reverse=True), x=x)
    flipped = run(lambda t: gc.flip(function(gc.flip(t, 1), 1, exclusive=True), 1), x=x)
    assert_close(after, flipped)


@each("name", ["cumsum", "cumprod", "cummax", "cummin"])
@each("dtype", ["int8", "int64", "uint16", "float16"])
def test_totals_keep_the_dtype(name, dtype):
    x = np.array([[3, 1, 2], [5, 2, 9]], dtype)
    expected = NUMPYS[name](x, 1, dtype=dtype)
    assert_close(run(lambda t: getattr(gc, name)(t, 1), x=x), expected)
    first = run(lambda t: getattr(gc, name)(t, 1, exclusive=True), x=x)[:, 0]
    floating = np.dtype(dtype).kind == "f"
    ends = {} if floating else {-np.inf: np.iinfo(dtype).min, np.inf: np.iinfo(dtype).max}
    nothing = ends.get(NOTHING[name], NOTHING[name])
    assert_close(first, np.full(2, nothing, dtype))


def test_without_an_axis_all_axes_are_one():
    x = np.arange(6, dtype="float32").reshape(2, 3)
    assert_close(run(lambda t: gc.cumsum(t), x=x), np.cumsum(x))
    assert_close(run(lambda t: gc.cumprod(t), x=x), np.cumprod(x))


@each("name", NUMPYS)
@each("shape", [(0,), (0, 3), (3, 0)])
def test_totals_of_nothing(name, shape):
    x = np.zeros(shape, "float32")
    assert run(lambda t: getattr(gc, name)(t, 0), x=x).shape == shape
    assert slope(lambda t: getattr(gc, name)(t, 0, exclusive=True), x).shape == shape


def test_the_totals_of_the_array_api():
    x = np.array([[1, 2, 3], [4, 5, 6]], "float32")
    for name, numpys in (("cumulative_sum", np.cumsum), ("cumulative_prod", np.cumprod)):
        function = getattr(gc, name)
        plain, started, vector = run(
            lambda t, f=function: [
                f(t, axis=-1), f(t, axis=1, include_initial=True), f(t[0], include_initial=True)
            ],
            x=x,
        )  # fmt: skip
        first = np.full((2, 1), name == "cumulative_prod", "float32")
        assert_close(plain, numpys(x, 1))
        assert_close(started, np.concatenate([first, numpys(x, 1)], 1))
        assert_close(vector, np.concatenate([first[0], numpys(x[0])]))
        with pytest.raises(gc.UserError, match="GC0104"):
            function(gc.zeros((2, 3)))


@each("backend", ["numpy", "llvm"])
def test_the_slope_of_a_product_with_zeros(backend):
    """Values that PyTorch gave for no zero, one, two, and one at an end."""
    x = np.array([[2, 3, 4, 5], [2, 0, 4, 5], [2, 0, 0, 5], [0, 3, 4, 0]], "float64")
    expected = np.array([
        [1 + 2 * 3 + 3 * 12 + 4 * 60, 2 * 2 + 3 * 8 + 4 * 40, 3 * 6 + 4 * 30, 4 * 24],
        [1, 2 * 2 + 3 * 8 + 4 * 40, 0, 0],
        [1, 2 * 2, 0, 0],
        [1 + 2 * 3 + 3 * 12, 0, 0, 0],
    ], "float64")  # fmt: skip
    weights = np.tile(np.arange(1.0, 5), (4, 1))
    t = gc.input("t", x.shape, "float64")
    loss = (gc.cumprod(t, 1) * weights).sum()
    (found,) = gc.compile([t], gc.grad(loss, [t]), backend=backend)(x)
    assert_close(found, expected)


@each("name", NUMPYS)
@each("exclusive", [False, True])
@each("reverse", [False, True])
def test_slopes_and_their_slopes(rng, name, exclusive, reverse):
    t = gc.input("t", (2, 5), "float64")
    y = getattr(gc, name)(t[:, 1:], 1, exclusive=exclusive, reverse=reverse)
    x = rng.normal(size=(2, 5))
    x[0, 2] = 0
    inner = y[:, :-1] if reverse else y[:, 1:]  # what is infinite is left out
    y = inner if exclusive else y
    loss = (gc.sin(y) * np.cos(np.arange(y.size)).reshape(y.shape)).sum()
    assert gc.check_grad(loss, t, {t: x})
    (g,) = gc.grad(loss, [t])
    assert gc.check_grad((g * g).sum(), t, {t: x})


@each("backend", ["numpy", "llvm"])
def test_extremes_send_the_slope_to_the_first_of_equals(backend):
    x = np.array([1, 3, 2, 3, 4, 4], "float32")
    assert_close(slope(gc.cummax, x, backend), np.float32([1, 2 + 3 + 4, 0, 0, 5 + 6, 0]))
    back = slope(lambda t: gc.cummax(t, 0, reverse=True), x, backend)
    assert_close(back, np.float32([0, 0, 0, 0, 0, 1 + 2 + 3 + 4 + 5 + 6]))
    x = np.array([np.nan, 1, np.nan, 0], "float32")
    assert_close(slope(gc.cummax, x, backend), np.float32([10, 0, 0, 0]))
    x = np.array([1, np.nan, 5, np.nan], "float32")
    assert_close(slope(gc.cummin, x, backend), np.float32([1, 9, 0, 0]))
    assert_close(slope(gc.cummax, np.full(3, -np.inf, "float32"), backend), np.float32([6, 0, 0]))


def test_logarithms_of_sums_far_apart():
    """Where exp alone would overflow or vanish; the slopes are softmaxes added up."""
    x = np.array([-1000.0, -1000, 0, 1000, 1000, 900], "float64")
    with np.errstate(all="ignore"):
        expected = np.logaddexp.accumulate(x)
    assert_close(run(lambda t: gc.logcumsumexp(t, 0), x=x), expected)
    shares = [np.exp(x[: k + 1] - expected[k]) for k in range(6)]
    wanted = sum(np.pad((k + 1) * s, (0, 5 - k)) for k, s in enumerate(shares))
    assert_close(slope(gc.logcumsumexp, x), wanted)


def test_logarithms_of_sums_that_begin_with_nothing():
    x = np.array([-np.inf, -np.inf, 0, -np.inf, 1], "float32")
    assert_close(run(lambda t: gc.logcumsumexp(t, 0), x=x), np.logaddexp.accumulate(x))
    share = 1 / (1 + np.exp(-1))
    wanted = np.float32([0, 0, 3 + 4 + 5 * (1 - share), 0, 5 * share])
    assert_close(slope(gc.logcumsumexp, x), wanted)


def test_half_precision_is_added_up_in_float32():
    x = np.full(4096, 0.1, "float16")
    exact = np.cumsum(x.astype("float32"))
    assert_close(run(lambda t: gc.cumsum(t, 0), x=x), exact.astype("float16"))


@each("backend", ["numpy", "llvm"])
def test_a_recurrence_is_what_it_says(rng, backend):
    factor, x = rng.uniform(-1, 1, (2, 3, 7)).astype("float32")
    a, b = gc.input("a", (3, 7)), gc.input("b", (3, 7))
    outputs = [gc.linear_recurrence(a, b), gc.linear_recurrence(a, b, 0, reverse=True)]
    forward, backward = gc.compile([a, b], outputs, backend=backend)(factor, x)
    y = np.zeros(3, "float32")
    for k in range(7):
        y = factor[:, k] * y + x[:, k]
        assert_close(forward[:, k], y)
    y = np.zeros(7, "float32")
    for k in (2, 1, 0):
        y = factor[k] * y + x[k]
        assert_close(backward[k], y)


def test_a_recurrence_with_one_factor(rng):
    x = rng.normal(size=(4, 6))
    t, f = gc.input("t", (4, 6), "float64"), gc.input("f", (), "float64")
    y = gc.linear_recurrence(f, t)
    assert gc.check_grad(gc.sin(y).sum(), [t, f], {t: x, f: np.array(0.9)})
    half = run(lambda t: gc.linear_recurrence(0.5, t), x=np.ones(3, "float32"))
    assert_close(half, np.float32([1, 1.5, 1.75]))


def test_named_sizes():
    x = gc.input("x", ("batch", "time"))
    total = gc.compile([x], gc.cumsum(x, 1, exclusive=True), backend="numpy")
    assert_close(total(np.ones((2, 4), "float32")), np.float32([[0, 1, 2, 3]] * 2))


@each(
    ("build", "code"),
    [
        (lambda: gc.cumsum(gc.ones(3, "bool"), 0), "GC0102"),
        (lambda: gc.logcumsumexp(gc.ones(3, "int32"), 0), "GC0102"),
        (lambda: gc.cumprod(gc.ones((2, 3)), 2), "GC0104"),
        (lambda: gc.cummax(gc.ones(()), 0), "GC0104"),
        (lambda: gc.linear_recurrence(gc.ones(3), gc.ones(2)), "GC0101"),
        (lambda: gc.linear_recurrence(gc.ones(3, "int32"), gc.ones(3, "int32")), "GC0101"),
    ],
)
def test_wrong_operands(build, code):
    with pytest.raises(gc.UserError, match=code):
        build()
