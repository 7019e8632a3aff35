"""Compositions of scalar functions agree with NumPy at plain and special values."""

import math

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run

each = pytest.mark.parametrize
INF, NAN = math.inf, math.nan
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.5, -2.5, 1e30, -1e30, 1e-30, INF, -INF, NAN]


def pairs(dtype):
    """Every special value beside every other."""
    with np.errstate(over="ignore"):
        a, b = np.meshgrid(SPECIAL, SPECIAL)
        return a.astype(dtype), b.astype(dtype)


def slopes(function, *arrays):
    """The gradients of the sum of ``function``."""
    inputs = [gc.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    outputs = gc.grad(function(*inputs).sum(), inputs)
    return gc.compile(inputs, outputs, backend="numpy")(*arrays)


@each("name", ["logaddexp", "logaddexp2", "hypot", "copysign", "fmod", "heaviside", "fmax", "fmin"])
@each("dtype", ["float32", "float64", "float16"])
def test_functions_of_two_numbers(name, dtype):
    a, b = pairs(dtype)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(a, b)
    ours = run(getattr(gc, name), a=a, b=b)
    tolerance = {"float16": 4e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
    assert_close(ours, wanted, rtol=tolerance, atol=tolerance)
    if name in ("copysign", "fmod"):
        numbers = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(ours)[numbers], np.signbit(wanted)[numbers])


@each("name", ["cbrt", "signbit", "sinc", "deg2rad", "radians", "rad2deg", "degrees", "isposinf",
               "isneginf"])  # fmt: skip
@each("dtype", ["float32", "float64", "float16"])
def test_functions_of_one_number(name, dtype):
    with np.errstate(over="ignore"):
        x = np.array([v for v in SPECIAL if name != "sinc" or abs(v) < 1e3], dtype)
    with np.errstate(all="ignore"):
        wanted = getattr(np, name)(x)
    tolerance = {"float16": 2e-3, "float32": 1e-6, "float64": 1e-14}[dtype]
    assert_close(run(getattr(gc, name), x=x), wanted, rtol=tolerance, atol=tolerance)


@each("backend", ["numpy", "llvm"])
@each("dtype", ["float32", "float64"])
def test_cube_roots_to_the_last_places(backend, dtype):
    x = np.concatenate([np.geomspace(1e-30, 1e30, 999), [8, 27, -64, 0.001]]).astype(dtype)
    t = gc.input("t", x.shape, dtype)
    found = gc.compile([t], gc.cbrt(t), backend=backend)(x)
    assert_close(found, np.cbrt(x), rtol=2 * np.finfo(dtype).eps, atol=0)


def test_remainders_of_integers():
    a, b = (x.astype("int32") for x in np.meshgrid([-(2**31), -7, -1, 0, 5, 8], [-3, -1, 2, 7]))
    assert_close(run(gc.fmod, a=a, b=b), np.fmod(a, b))
    a, b = a.astype("uint8"), np.abs(b).astype("uint8")
    assert_close(run(gc.fmod, a=a, b=b), np.fmod(a, b))
    assert_close(run(gc.signbit, a=np.int8([-1, 0, 1])), np.array([True, False, False]))


def test_fractions_and_logits():
    x = np.float32([2.5, -2.75, 0, 3])
    assert_close(run(gc.frac, x=x), np.float32([0.5, -0.75, 0, 0]))
    x = np.float32([0, 0.5, 1, 0.9])
    assert_close(run(gc.logit, x=x), np.float32([-INF, 0, INF, 2.1972246]))


def test_x_log_y():
    x, y = np.float32([0, 0, 0, 2, 0, 0, NAN]), np.float32([0, 3, NAN, 3, INF, -1, 2])
    assert_close(run(gc.xlogy, x=x, y=y), np.float32([0, 0, NAN, 2 * math.log(3), 0, 0, NAN]))
    by_x, by_y = slopes(gc.xlogy, x[[0, 1, 3]], y[[0, 1, 3]])
    assert_close(by_x, np.float32([0, math.log(3), math.log(3)]))
    assert_close(by_y, np.float32([0, 0, 2 / 3]))


def test_numbers_for_nan_and_infinities():
    for dtype in ("float16", "float32", "float64"):
        x = np.array([1, NAN, INF, -INF], dtype)
        assert_close(run(gc.nan_to_num, x=x), np.nan_to_num(x))
        ours = run(lambda t: gc.nan_to_num(t, 7.0, posinf=8.0, neginf=9.0), x=x)
        assert_close(ours, np.array([1, 7, 8, 9], dtype))
    assert_close(run(gc.nan_to_num, x=np.array([1, 2])), np.array([1, 2]))
    (slope,) = slopes(gc.nan_to_num, np.float32([1, NAN, INF]))
    assert_close(slope, np.float32([1, 0, 0]))


@each("equal_nan", [False, True])
def test_closeness(equal_nan):
    a, b = pairs("float64")
    b = np.where(np.abs(b) < 10, b * (1 + 9e-6), b)
    with np.errstate(all="ignore"):
        wanted = np.isclose(a, b, equal_nan=equal_nan)
    assert_close(run(lambda x, y: gc.isclose(x, y, equal_nan=equal_nan), x=a, y=b), wanted)
    assert not run(gc.allclose, x=a, y=b)
    assert run(gc.allclose, x=a[:, 2], y=a[:, 2])


def test_slopes(rng):
    a, b = gc.input("a", (7,), "float64"), gc.input("b", (7,), "float64")
    x = np.array([0.5, -1.5, 2, 0.7, -0.3, 40, -9])
    y = np.array([0.4, 1.25, 2, -0.9, 0.31, -40, 3])
    for function in (gc.logaddexp, gc.logaddexp2, gc.hypot, gc.fmod, gc.copysign):
        if function is gc.fmod:
            x, y = x + 0.01, y  # away from whole multiples
        total = function(a, b)
        assert gc.check_grad(total.sum(), [a, b], {a: x, b: y}), function
        first = gc.grad((total * total).sum(), [a])[0]
        assert gc.check_grad(first.sum(), [a, b], {a: x, b: y}, atol=1e-5), function
    for function in (gc.cbrt, gc.sinc, gc.frac):
        first = gc.grad(gc.sin(function(a)).sum(), [a])[0]
        assert gc.check_grad(first.sum(), a, {a: x + 0.01}, atol=1e-5), function


def test_slopes_where_the_plain_formula_has_none():
    zero = np.zeros(1)
    for found in slopes(gc.hypot, zero, zero):
        assert_close(found, zero)
    assert_close(slopes(gc.cbrt, zero)[0], zero)
    for found in slopes(gc.logaddexp, zero, zero):
        assert_close(found, zero + 0.5)
    for found in slopes(gc.logaddexp, zero - INF, zero):
        assert not np.isnan(found).any()
    t = gc.input("t", (1,), "float64")
    second = gc.grad(gc.grad(gc.sinc(t).sum(), [t])[0].sum(), [t])[0]
    assert_close(gc.compile([t], second, backend="numpy")(zero), zero - math.pi**2 / 3)


@each(
    ("build", "code"),
    [
        (lambda: gc.logaddexp(gc.ones(2), gc.ones(3)), "GC0101"),
        (lambda: gc.hypot(gc.ones(2, "int32"), 1), "GC0102"),
        (lambda: gc.isclose(gc.arange(3), gc.arange(3)), "GC0102"),
        (lambda: gc.isposinf(gc.arange(3)), "GC0102"),
        (lambda: gc.cbrt(gc.arange(3)), "GC0102"),
    ],
)
def test_wrong_operands(build, code):
    with pytest.raises(gc.UserError, match=code):
        build()
