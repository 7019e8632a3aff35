"""Reductions and their kin: how axes are named in every version, ties, and whole numbers."""

import numpy as np
import pytest

from onnx_text import run

CUBE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
TYPED = "float[2,3,4] x"


@pytest.mark.parametrize("version", [7, 11, 13])
def test_axes_are_attributes_in_older_versions(version):
    (y,) = run(TYPED, "y = ReduceMean<axes=[0,-1], keepdims=0>(x)", CUBE, version=version)
    np.testing.assert_allclose(y, CUBE.mean((0, 2)))


def test_no_axes_are_all_or_none():
    none = "a = Constant<value = int64[0] {}>()"
    (y,) = run(TYPED, f"{none} y = ReduceSumSquare<noop_with_empty_axes=1>(x, a)", CUBE)
    np.testing.assert_array_equal(y, CUBE**2)
    (y,) = run(TYPED, f"{none} y = ReduceSumSquare<keepdims=0>(x, a)", CUBE)
    np.testing.assert_array_equal(y, (CUBE**2).sum())
    (y,) = run(TYPED, "y = ReduceSum(x)", CUBE)
    np.testing.assert_array_equal(y, CUBE.sum(keepdims=True))


def test_a_mean_of_whole_numbers_is_cut_off():
    (y,) = run("int32[3] x", "y = ReduceMean<keepdims=0>(x)", np.int32([1, 2, 5]))
    assert y == 2
    assert y.dtype == np.int32


@pytest.mark.parametrize(("last", "place"), [(0, 1), (1, 3)])
def test_the_last_of_equal_elements_may_be_asked_for(last, place):
    x = np.float32([[0, 5, 1, 5], [0, 5, 1, 5]])
    body = f"y = ArgMax<axis=-1, keepdims=0, select_last_index={last}>(x)"
    np.testing.assert_array_equal(run("float[n,4] x", body, x), [[place] * 2])


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_was_of_matrices_before_version_13(name):
    (new,) = run("float[2,12] x", f"y = {name}(x)", CUBE.reshape(2, 12))
    (old,) = run(TYPED, f"y = {name}(x)", CUBE, version=12)
    np.testing.assert_array_equal(old, new.reshape(CUBE.shape))
    (same,) = run(TYPED, f"y = {name}<axis=-2>(x)", CUBE, version=12)
    np.testing.assert_array_equal(same, old)


def test_topk_had_an_attribute():
    values, places = run(TYPED, "y, z = TopK<k=2, axis=1>(x)", CUBE, version=9, outputs="y z")
    np.testing.assert_array_equal(values, CUBE[:, :0:-1])
    np.testing.assert_array_equal(places, np.broadcast_to([[2], [1]], (2, 2, 4)))


def test_a_vector_of_zeros_stays():
    x = np.float32([[0, 0], [3, 4]])
    np.testing.assert_allclose(
        run("float[2,2] x", "y = LpNormalization(x)", x), [[[0, 0], [0.6, 0.8]]]
    )
