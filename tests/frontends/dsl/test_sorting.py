"""Orders against NumPy: ties, nan, axes, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import graphc as gc
from graphc.errors import UserError

NUMBERS = st.floats(-4, 4, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0])
MATRICES = arrays.arrays(np.float32, arrays.array_shapes(min_dims=1, max_dims=3), elements=NUMBERS)


@given(MATRICES, st.data())
def test_sorted_as_numpy_does(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    given_ = gc.input("x", x.shape)
    f = gc.compile([given_], [gc.sort(given_, axis), gc.argsort(given_, axis)], backend="numpy")
    values, places = f(x)
    np.testing.assert_array_equal(values, np.sort(x, axis))
    np.testing.assert_array_equal(places, np.argsort(x, axis, kind="stable"))


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_descending_order_keeps_ties_in_order(backend):
    x = gc.input("x", (2, 6))
    f = gc.compile([x], list(gc.topk(x, 4)), backend=backend)
    array = np.array([[1, 3, 2, 3, 0, 3], [5, 5, np.nan, 1, 5, -np.inf]], np.float32)
    values, places = f(array)
    np.testing.assert_array_equal(places, [[1, 3, 5, 2], [2, 0, 1, 4]])
    np.testing.assert_array_equal(values, np.take_along_axis(array, places, 1))
    y = gc.topk(x, 2, largest=False)[1]
    (places,) = gc.compile([x], [y], backend=backend)(array)
    np.testing.assert_array_equal(places, [[4, 0], [5, 3]])


def test_gradients_go_to_where_elements_came_from(rng):
    x, w = gc.input("x", (3, 5), "float64"), rng.standard_normal((3, 5))
    (slope,) = gc.grad((gc.sort(x, 1) * w).sum(), [x])
    array = rng.standard_normal((3, 5))
    (found,) = gc.compile([x], [slope])(array)
    wanted = np.empty_like(array)
    np.put_along_axis(wanted, np.argsort(array, 1), w, 1)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side, rng):
    x, v = np.sort(rng.integers(0, 9, (2, 7)), 1), rng.integers(-1, 10, (2, 5))
    a, b = gc.input("a", (2, 7), "int64"), gc.input("b", (2, 5), "int64")
    (found,) = gc.compile([a, b], [gc.searchsorted(a, b, side=side)])(x, v)
    for k in range(2):
        np.testing.assert_array_equal(found[k], np.searchsorted(x[k], v[k], side))


def test_bad_input():
    x = gc.input("x", (3,))
    with pytest.raises(UserError, match=r"GC0104"):
        gc.sort(x, 1)
    with pytest.raises(UserError, match=r"GC0104.*topk: 4 of 3"):
        gc.topk(x, 4)
    with pytest.raises(UserError, match=r"GC0104.*side"):
        gc.searchsorted(x, x, side="middle")
