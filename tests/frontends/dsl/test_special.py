"""The gamma function's relatives, against Python's own lgamma and known values."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc as gc

EULER = 0.5772156649015328606
POINTS = np.concatenate(
    [np.linspace(0.01, 30, 1001), 10.0 ** np.arange(-300, 300, 9), -np.linspace(0.003, 50.1, 901)]
)


def values(function, array, backend="llvm"):
    x = gc.input("x", array.shape, array.dtype)
    return gc.compile(x, function(x), backend=backend)(array)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_lgamma_is_pythons(backend):
    wanted = np.array([math.lgamma(x) for x in POINTS])
    found = values(gc.lgamma, POINTS, backend)
    assert np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1)) < 2e-14


def test_narrower_floats_are_rounded_from_float64():
    wanted = np.array([math.lgamma(np.float32(x)) for x in POINTS[:1001]], np.float32)
    found = values(gc.lgamma, POINTS[:1001].astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=3e-7, atol=1e-14)


def test_known_values_of_digamma():
    known = {
        1.0: -EULER,
        2.0: 1 - EULER,
        10.0: sum(1 / k for k in range(1, 10)) - EULER,
        0.5: -EULER - 2 * math.log(2),
        0.25: -EULER - math.pi / 2 - 3 * math.log(2),
        -0.5: 2 - EULER - 2 * math.log(2),
        1e6: math.log(1e6) - 0.5e-6 - 1e-12 / 12,
    }
    found = values(gc.digamma, np.array([*known]))
    np.testing.assert_allclose(found, [*known.values()], rtol=2e-14, atol=2e-14)


def test_one_is_the_derivative_of_the_other():
    x = gc.input("x", POINTS.shape, "float64")
    (slope,) = gc.grad(gc.lgamma(x).sum(), [x])
    first, second = gc.compile(x, [slope, gc.digamma(x)])(POINTS)
    np.testing.assert_allclose(first, second, rtol=1e-12, atol=1e-12)


def test_trigamma_at_known_points():
    points = np.array([1.0, 0.5, 2.0, -0.5])
    x = gc.input("x", (4,), "float64")
    (slope,) = gc.grad(gc.digamma(x).sum(), [x])
    square = math.pi**2
    wanted = [square / 6, square / 2, square / 6 - 1, square / 2 + 4]
    np.testing.assert_allclose(gc.compile(x, slope)(points), wanted, rtol=1e-13)
    assert gc.check_grad(slope.sum(), x, {x: np.array([0.3, 1.7, 12.0, -2.3])})


def test_ends_and_poles():
    inf, nan = math.inf, math.nan
    points = np.array([0.0, -0.0, -1.0, -7.0, inf, -inf, nan])
    np.testing.assert_array_equal(values(gc.lgamma, points), [inf] * 6 + [nan])
    np.testing.assert_array_equal(values(gc.digamma, points), [-inf, inf, nan, nan, inf, nan, nan])


def test_only_floats_and_empty_ones_too():
    assert values(gc.lgamma, np.zeros((0, 3))).shape == (0, 3)
    assert values(gc.digamma, np.zeros((2, 0), np.float32)).dtype == np.float32
