"""Pooling: where the largest elements stand in the whole tensor, and back to there."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import model, run, run_everywhere

POOLED = "y, i = MaxPool<kernel_shape=[2,2], strides=[2,1], storage_order={}>(x)"


@pytest.mark.parametrize("order", [0, 1])
def test_places_count_through_the_whole_tensor(order, rng):
    x = rng.permutation(2 * 3 * 4 * 5).astype("f").reshape(2, 3, 4, 5)
    y, places = run_everywhere("float[2,3,4,5] x", POOLED.format(order), x, outputs="y i")
    flat = (x if order == 0 else x.swapaxes(2, 3)).reshape(-1)
    np.testing.assert_array_equal(flat[places], y)


def test_unpooling_puts_elements_back(rng):
    x = rng.permutation(2 * 3 * 4 * 6).astype("f").reshape(2, 3, 4, 6) + 1
    body = (
        "p, i = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)"
        "y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(p, i)"
    )
    p, y = run_everywhere("float[2,3,4,6] x", body, x, outputs="p y")
    assert np.count_nonzero(y) == p.size
    np.testing.assert_array_equal(y[y > 0], x[y > 0])


def test_a_larger_result_of_unpooling_has_zeros_behind():
    x = np.float32([[[[1, 2], [3, 4]]]])
    body = "y = MaxUnpool<kernel_shape=[2,2], strides=[2,2]>(x, i, s)"
    inputs = "float[1,1,2,2] x, int64[1,1,2,2] i, int64[4] s"
    places, shape = np.array([[[[5, 7], [13, 15]]]]), np.array([1, 1, 5, 6])
    (y,) = run_everywhere(inputs, body, x, places, shape)
    wanted = np.zeros((1, 1, 5, 6), np.float32)
    wanted[0, 0, [1, 1, 3, 3], [1, 3, 1, 3]] = [1, 2, 3, 4]
    np.testing.assert_array_equal(y, wanted)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_norms_of_windows_and_channels(p, rng):
    x = rng.normal(size=(2, 3, 6)).astype("f")
    body = f"y = LpPool<kernel_shape=[3], strides=[3], p={p}>(x) z = GlobalLpPool<p={p}>(x)"
    y, z = run_everywhere("float[2,3,6] x", body, x, outputs="y z")
    powers = np.abs(x.astype("d")) ** p
    np.testing.assert_allclose(y, powers.reshape(2, 3, 2, 3).sum(3) ** (1 / p), rtol=1e-5)
    np.testing.assert_allclose(z, powers.sum(2, keepdims=True) ** (1 / p), rtol=1e-5)


def test_named_sizes_stay():
    body = "y, i = MaxPool<kernel_shape=[3], pads=[1,1]>(x) z = GlobalAveragePool(x)"
    pooled = model("float[N,2,L] x", body, "y i z")
    found = pooled(*pooled.symbolic_inputs({}))
    assert [str(t.node.type) for t in found] == ["f32[N,2,L]", "i64[N,2,L]", "f32[N,2,1]"]


def test_windows_of_the_wrong_rank():
    with pytest.raises(UserError, match="GC0103"):
        run("float[1,1,4,4] x", "y = MaxPool<kernel_shape=[2]>(x)", np.zeros((1, 1, 4, 4), "f"))
