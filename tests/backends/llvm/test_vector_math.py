"""Accuracy of the vector mathematics: the stated bounds hold over the whole range of bit patterns.

The reference is one precision wider: float64 for float32, long double for float64.
"""

import math

import numpy as np
import pytest

from graphc.backends.llvm.machine import named

pytestmark = pytest.mark.sweep

FLOAT32 = {
    "exp": 1.1, "exp2": 1.5, "expm1": 2, "log": 1, "log2": 0.51, "log10": 0.51, "log1p": 0.51,
    "sqrt": 0.5, "rsqrt": 1.5, "sin": 1.6, "cos": 1.6, "tan": 2, "arcsin": 2.5, "arccos": 2,
    "arctan": 2, "sinh": 2.5, "cosh": 2, "tanh": 2.5, "arcsinh": 0.51, "arccosh": 0.51,
    "arctanh": 0.51, "sigmoid": 2.5, "softplus": 2, "erf": 1.2,
}  # fmt: skip
FLOAT64 = {
    "exp": 1.2, "exp2": 1.5, "expm1": 2.5, "log": 1, "log2": 2, "log10": 2, "log1p": 1.2,
    "sqrt": 0.51, "rsqrt": 1.6, "sinh": 3, "cosh": 2, "tanh": 3,
    "arcsinh": 2, "arccosh": 3, "arctanh": 2,
    "sigmoid": 2.5, "softplus": 2, "sin": 1, "cos": 1, "tan": 1, "arcsin": 1, "arccos": 1,
    "arctan": 1,
}  # fmt: skip
SPECIAL = [0.0, math.inf, math.nan, 1.0, 0.5, 2.0, 1e-45, 1.5e-38, 3e38, 1e-8, 30000.0]
EDGES = [88.72283, 88.7229, 87.33, 103.97, 104.1, 89.4159, 89.416, 0.92, 9.1]
EDGES64 = [709.78, 709.79, 710.47, 710.48, 745.1, 745.2, 5e-324, 1.7e308, 2.3e-308, 2.0**28]


def stable_sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, np.ones_like(x)) / (1 + small)


REFERENCE = {
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": stable_sigmoid,
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}


def samples32(rng):
    every = np.arange(0, 2**32, 20011, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = np.array([*SPECIAL, *EDGES], np.float32)
    dense = [
        rng.uniform(-20, 20, 50000),
        rng.uniform(-1.1, 1.1, 50000),
        1 + rng.normal(size=9000) / 1e3,
    ]
    return np.concatenate([every, edges, -edges, *(x.astype(np.float32) for x in dense)])


def samples64(rng):
    every = rng.integers(0, 2**64 - 1, 50000, dtype=np.uint64).view(np.float64)
    edges = np.array([*SPECIAL, *EDGES, *EDGES64])
    dense = [
        rng.uniform(-750, 720, 20000),
        rng.uniform(-20, 20, 30000),
        rng.uniform(-1.1, 1.1, 30000),
    ]
    return np.concatenate([every, edges, -edges, *dense, 1 + rng.normal(size=9000) / 1e3])


def errors(got, exact):
    """Errors in units in the last place; infinite where a special value is wrong."""
    expected = exact.astype(got.dtype)
    special = ~(np.isfinite(expected) & np.isfinite(got))
    unit = np.spacing(np.abs(expected)).astype(exact.dtype)
    gap = np.where(special, 0, np.abs(got.astype(exact.dtype) - exact) / unit)
    right = (got == expected) | (np.isnan(got) & np.isnan(expected))
    zeros = (expected == 0) & (got == 0) & (np.signbit(expected) != np.signbit(got))
    return np.where((special & ~right) | zeros, math.inf, gap)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "dtype"), [*((n, "float32") for n in FLOAT32), *((n, "float64") for n in FLOAT64)]
)
def test_error_is_within_the_stated_bound(tools, name, dtype, rng):
    x = samples32(rng) if dtype == "float32" else samples64(rng)
    bound, wide = (FLOAT32, np.float64) if dtype == "float32" else (FLOAT64, np.longdouble)
    exact = REFERENCE.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        reference = exact(x.astype(wide)).astype(wide)
        got = tools.scalar(name, dtype, 1, dtype)(x)
        error = errors(got, reference)
    worst = int(error.argmax())
    assert error[worst] <= bound[name], f"{name}({x[worst]!r}) = {got[worst]!r}"
    scalar = tools.scalar(name, dtype, 1, dtype, lanes=0)(x)
    np.testing.assert_array_equal(scalar, got)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", FLOAT32)
def test_bound_holds_without_fused_multiply_add(tools, name, rng):
    machine = named("x86-64")
    if machine.has_fma:
        pytest.skip("every machine of this architecture has it")
    x = samples32(rng)[::3]
    exact = REFERENCE.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        got = tools.scalar(name, "float32", 1, "float32", machine=machine)(x)
        error = errors(got, exact(x.astype(np.float64)))
    assert error.max() <= FLOAT32[name]


def pairs(rng):
    """Operands of a function of two: special values in all pairs, then magnitudes of every kind."""
    edges = np.array([*SPECIAL, 3.0, 1e9, 2.0**24, 2.0**24 + 2, 7.0], np.float32)
    edges = np.concatenate([edges, -edges])
    a, b = (grid.ravel() for grid in np.meshgrid(edges, edges))
    x = np.concatenate([np.exp(rng.uniform(-100, 88, 30000)), -np.round(rng.uniform(0, 9, 30000))])
    y = np.concatenate([rng.uniform(-3, 3, 30000), np.round(rng.uniform(-9, 9, 30000))])
    return np.concatenate([a, x, y]).astype(np.float32), np.concatenate([b, y, x]).astype(
        np.float32
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "bound"), [("power", 0.51), ("arctan2", 2)])
def test_functions_of_two(tools, name, bound, rng):
    x, y = pairs(rng)
    with np.errstate(all="ignore"):
        exact = getattr(np, name)(x.astype(np.longdouble), y.astype(np.longdouble))
        got = tools.scalar(name, "float32", 2, "float32")(x, y)
        error = errors(got, exact.astype(np.float64))
    worst = int(error.argmax())
    assert error[worst] <= bound, f"{name}({x[worst]!r}, {y[worst]!r}) = {got[worst]!r}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers_of_two_and_ten_are_exact(tools, dtype):
    whole = np.arange(-126, 127).astype(dtype)
    np.testing.assert_array_equal(tools.scalar("exp2", dtype, 1, dtype)(whole), np.exp2(whole))
    np.testing.assert_array_equal(tools.scalar("log2", dtype, 1, dtype)(np.exp2(whole)), whole)
    tens = np.arange(11).astype(dtype)
    np.testing.assert_array_equal(tools.scalar("log10", dtype, 1, dtype)(10**tens), tens)


def test_float64_erf_is_the_librarys(tools, rng):
    x = np.concatenate([rng.normal(size=1000) * 2, [0.0, -0.0, math.inf, -math.inf, math.nan]])
    got = tools.scalar("erf", "float64", 1, "float64", lanes=8)(x)
    np.testing.assert_array_max_ulp(got, REFERENCE["erf"](x), 2)


@pytest.mark.parametrize("lanes", [0, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("name", ["exp", "log2", "cos"])
def test_any_number_of_lanes_gives_the_same_bits(tools, name, lanes, rng):
    x = np.concatenate([rng.uniform(0.1, 80, 500), [1e6, 3e5]]).astype(np.float32)
    got = tools.scalar(name, "float32", 1, "float32", lanes=lanes)(x)
    np.testing.assert_array_equal(got, tools.scalar(name, "float32", 1, "float32", lanes=16)(x))


@pytest.mark.parametrize("pipeline", ["none", "short", "full"])
def test_optimising_changes_no_bit(tools, pipeline, rng):
    x = rng.uniform(-10, 10, 4096).astype(np.float32)
    for name in ("exp", "tanh", "sin", "softplus"):
        plain = tools.scalar(name, "float32", 1, "float32", pipeline="none")(x)
        got = tools.scalar(name, "float32", 1, "float32", pipeline=pipeline)(x)
        np.testing.assert_array_equal(got, plain)
