"""Elementwise functions and operators agree with NumPy, broadcasting and dtypes included."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import graphc as gc
from running import assert_close, run

REAL, POSITIVE, UNIT, ABOVE_ONE = (-3, 3), (0.1, 3), (-0.9, 0.9), (1.1, 3)
UNARY = {
    "negative": REAL,
    "abs": REAL,
    "sign": REAL,
    "square": REAL,
    "sqrt": POSITIVE,
    "reciprocal": POSITIVE,
    "exp": REAL,
    "exp2": REAL,
    "expm1": REAL,
    "log": POSITIVE,
    "log2": POSITIVE,
    "log10": POSITIVE,
    "log1p": UNIT,
    "sin": REAL,
    "cos": REAL,
    "tan": UNIT,
    "asin": UNIT,
    "acos": UNIT,
    "atan": REAL,
    "sinh": REAL,
    "cosh": REAL,
    "tanh": REAL,
    "asinh": REAL,
    "acosh": ABOVE_ONE,
    "atanh": UNIT,
    "floor": REAL,
    "ceil": REAL,
    "trunc": REAL,
    "round": REAL,
    "isnan": REAL,
    "isinf": REAL,
    "isfinite": REAL,
}
BINARY = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "floor_divide",
    "remainder",
    "minimum",
    "maximum",
    "atan2",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
]
shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, min_side=0, max_dims=3, max_side=4)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_tensor(name, rng):
    x = rng.uniform(*UNARY[name], (3, 5)).astype(np.float32)
    assert_close(run(getattr(gc, name), x=x), getattr(np, name)(x), rtol=1e-4)


@given(st.sampled_from(BINARY), shapes, st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_functions_of_two_tensors_broadcast(name, pair, seed):
    rng = np.random.default_rng(seed)
    # whole numbers make ties; none is 0, which would divide
    a, b = (rng.choice([-3, -2, -1, 1, 2, 3], s).astype(np.float32) for s in pair.input_shapes)
    assert_close(run(getattr(gc, name), a=a, b=b), getattr(np, name)(a, b))


def test_operators_mean_what_numpy_means(rng):
    a, b = rng.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    n = rng.integers(0, 8, (3, 4))

    def everything(a, b, n):
        floats = [a + b, a - b, a * b, a / b, a // b, a % b, a**b, -a, +a, abs(-a)]
        weak = [1 + a, 1 - a, 2 * a, 2 / a, 2 // a, 3 % a, 2**a, a**2]
        compared = [a < b, a <= b, a > b, a >= b, a == b, a != b]
        integers = [n & 3, n | 8, n ^ 5, ~n, n << 2, n >> 1, 1 << n, 255 >> n, 3 & n, n // 3, n % 3]
        return [*floats, *weak, *compared, *integers]

    ours, numpys = run(everything, a=a, b=b, n=n), everything(a, b, n)
    assert len(ours) == len(numpys)
    for mine, theirs in zip(ours, numpys, strict=True):
        assert_close(mine, theirs)


def test_arrays_and_numpy_functions_meet_tensors_from_either_side(rng):
    x = rng.normal(size=(2, 3)).astype(np.float32)
    row = rng.normal(size=3).astype(np.float32)
    ours = run(lambda t: [row + t, t * row, np.exp(t), np.maximum(row, t), row @ t.T, 1 - t], x=x)
    for mine, theirs in zip(
        ours, [row + x, x * row, np.exp(x), np.maximum(row, x), row @ x.T, 1 - x], strict=True
    ):
        assert_close(mine, theirs)


@pytest.mark.parametrize(
    ("left", "right", "result"),
    [
        ("float32", "float64", "float64"),
        ("float16", "float32", "float32"),
        ("int8", "int32", "int32"),
        ("uint8", "int8", "int16"),
        ("uint8", "uint16", "uint16"),
    ],
)
def test_dtypes_promote(left, right, result):
    assert (gc.ones(2, left) + gc.ones(2, right)).dtype.name == result


@pytest.mark.parametrize(
    ("left", "right"), [("float32", "int64"), ("bool", "float32"), ("uint64", "int64")]
)
def test_dtypes_of_different_kinds_do_not_mix(left, right):
    with pytest.raises(gc.UserError, match="GC0102"):
        gc.ones(2, left) + gc.ones(2, right)


def test_numbers_and_float64_arrays_take_the_dtype_beside_them():
    x = gc.input("x", (3,))
    assert (x + 0.5).dtype == (x * 2).dtype == (x + np.float64(2)).dtype == x.dtype
    assert (x + np.linspace(0, 1, 3)).dtype.name == "float32"
    assert (x.astype("float64") + np.linspace(0, 1, 3)).dtype.name == "float64"
    assert (gc.arange(3) + 1).dtype.name == "int64"
    assert gc.where(x > 0, 1.0, 0.0).dtype.name == "float32"


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(gc.UserError, match="GC0102"):
        gc.ones(2, "uint8") + 300
    with pytest.raises(gc.UserError, match="GC0102"):
        gc.arange(3) + 0.5


@pytest.mark.parametrize("value", ["text", None, [[1], [1, 2]], object()])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(gc.UserError, match="GC0107"):
        gc.ones(2) + value


def test_special_values_pass_through():
    x = np.array([np.inf, -np.inf, np.nan, -0.0, 0.0], np.float32)
    with np.errstate(all="ignore"):
        for name in ("exp", "sign", "isnan", "isinf", "isfinite", "tanh", "floor"):
            assert_close(run(getattr(gc, name), x=x), getattr(np, name)(x))
        assert_close(run(lambda t: gc.maximum(t, 0), x=x), np.maximum(x, np.float32(0)))


def test_activations(rng):
    x = rng.normal(size=(4, 5)).astype(np.float32)
    with np.errstate(invalid="ignore"):
        rsqrt = 1 / np.sqrt(x)
    error = np.vectorize(math.erf)(x / np.sqrt(2))
    expected = {
        "relu": np.maximum(x, 0),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "softplus": np.log1p(np.exp(x)),
        "erf": np.vectorize(math.erf)(x),
        "silu": x / (1 + np.exp(-x)),
        "gelu": 0.5 * x * (1 + error),
        "elu": np.where(x > 0, x, np.expm1(x)),
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
        "rsqrt": rsqrt,
    }
    with np.errstate(invalid="ignore"):
        for name, value in expected.items():
            assert_close(run(getattr(gc, name), x=x), value.astype(np.float32), rtol=1e-4)
    assert_close(
        run(lambda t: gc.gelu(t, "tanh"), x=x), (0.5 * x * (1 + error)).astype("f"), atol=1e-3
    )


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_the_slope_of_elu(backend):
    """1 above 0, else alpha * exp(x), at 0 too; a large x must not make it nan."""
    x, alpha = np.float32([-np.inf, -2, -0.0, 0, 1, 200, np.nan]), 0.75
    t = gc.input("t", x.shape)
    (slope,) = gc.compile([t], gc.grad(gc.elu(t, alpha).sum(), [t]), backend=backend)(x)
    with np.errstate(over="ignore"):
        assert_close(slope, np.where(x > 0, 1, alpha * np.exp(x)).astype(np.float32))


def test_where_and_clip(rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    assert_close(run(lambda t: gc.where(t > 0, t, -1), x=x), np.where(x > 0, x, np.float32(-1)))
    assert_close(run(lambda t: gc.clip(t, -0.5, 0.5), x=x), np.clip(x, -0.5, 0.5))
    assert_close(run(lambda t: gc.clip(t, high=0.5), x=x), np.minimum(x, np.float32(0.5)))


def test_logic():
    a, b = np.array([True, True, False]), np.array([True, False, False])
    for name in ("logical_and", "logical_or", "logical_xor"):
        assert_close(run(getattr(gc, name), a=a, b=b), getattr(np, name)(a, b))
    assert_close(run(gc.logical_not, a=a), ~a)
    assert_close(run(lambda a, b: (a & b) | ~a, a=a, b=b), (a & b) | ~a)


@pytest.mark.parametrize(
    "make",
    [
        lambda: gc.input("x", (2,), "complex64"),
        lambda: gc.constant(np.array([1j])),
        lambda: gc.ones(3) * 1j,
    ],
)
def test_complex_numbers_are_refused_in_plain_words(make):
    with pytest.raises(gc.UserError, match="no complex numbers"):
        make()
