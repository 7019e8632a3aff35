"""Normalisation in old and new operator sets."""

import numpy as np
import onnx
import pytest

import graphc as gc
from graphc.frontends.onnx import load
from onnx_text import model, run, run_everywhere

STATISTICS = "float[4,3,5] x, float[3] s, float[3] b, float[3] m, float[3] v"


def statistics(rng):
    x = rng.normal(size=(4, 3, 5)).astype("f") * 2 + 1
    return x, *(rng.uniform(0.5, 1.5, size=3).astype("f") for _ in range(4))


def over(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def along(values):
    return values[:, None]


def test_batches_in_training_before_set_14(rng):
    x, s, b, m, v = statistics(rng)
    body = "y, rm, rv, cm, cv = BatchNormalization<momentum=0.7>(x, s, b, m, v)"
    found = run_everywhere(STATISTICS, body, x, s, b, m, v, version=9, outputs="y rm rv cm cv")
    mean, var = x.mean((0, 2)), x.var((0, 2))
    wanted = [over(x, (0, 2)) * along(s) + along(b), 0.7 * m + 0.3 * mean, 0.7 * v + 0.3 * var]
    for one, other in zip(found, [*wanted, mean, var], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", [7, 9, 14, 15])
def test_batches_by_given_statistics(version, rng):
    x, s, b, m, v = statistics(rng)
    (y,) = run_everywhere(
        STATISTICS, "y = BatchNormalization(x, s, b, m, v)", x, s, b, m, v, version=version
    )
    wanted = (x - along(m)) / np.sqrt(along(v) + 1e-5) * along(s) + along(b)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_batches_element_by_element(rng):
    x = rng.normal(size=(4, 3, 5)).astype("f")
    s, b, m, v = (rng.uniform(0.5, 1.5, size=(3, 5)).astype("f") for _ in range(4))
    inputs = STATISTICS.replace("float[3]", "float[3,5]")
    body = "y = BatchNormalization<spatial=0>(x, s, b, m, v)"
    (y,) = run(inputs, body, x, s, b, m, v, version=7)
    np.testing.assert_allclose(y, (x - m) / np.sqrt(v + 1e-5) * s + b, rtol=1e-4, atol=1e-5)


def test_groups_of_channels(rng):
    x = rng.normal(size=(2, 6, 3)).astype("f")
    s, b = (rng.normal(size=6).astype("f") for _ in range(2))
    inputs, body = "float[2,6,3] x, float[6] s, float[6] b", "y = GroupNormalization<num_groups=2>"
    (y,) = run_everywhere(inputs, f"{body}(x, s, b)", x, s, b, version=21)
    wanted = over(x.reshape(2, 2, 9), 2).reshape(x.shape) * along(s) + along(b)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_statistics_are_no_narrower_than_the_input(rng):
    x = rng.normal(size=(3, 4)) + 1000
    body = "y, m, i = LayerNormalization(x, s)"
    y, mean, _ = run("double[3,4] x, double[4] s", body, x, np.ones(4), outputs="y m i")
    np.testing.assert_allclose(y, over(x, -1), rtol=1e-9)
    assert mean.dtype == np.float32


@pytest.mark.parametrize(("size", "before"), [(3, 1), (4, 1), (1, 0), (6, 2)])
def test_neighbouring_channels(size, before, rng):
    x = rng.normal(size=(2, 5, 3)).astype("f")
    body = f"y = LRN<size={size}, alpha=0.5, beta=0.6, bias=2.0>(x)"
    (y,) = run_everywhere("float[2,5,3] x", body, x)
    for channel in range(5):
        near = x[:, max(channel - before, 0) : channel - before + size]
        total = (near.astype("d") ** 2).sum(1)
        wanted = x[:, channel] / (2 + 0.5 / size * total) ** 0.6
        np.testing.assert_allclose(y[:, channel], wanted, rtol=1e-5)


def test_what_is_equal_everywhere_has_a_finite_gradient():
    normalised = model("float[2,3,4,4] x", "y = MeanVarianceNormalization(x)")
    x = gc.input("x", (2, 3, 4, 4))
    slope = gc.compile([x], gc.grad((normalised(x) ** 2).sum(), [x]), backend="numpy")
    assert np.isfinite(slope(np.ones((2, 3, 4, 4), np.float32))).all()


def test_running_statistics_are_state_but_not_trained():
    """A step along the gradient of a variance near 0 would make it negative."""
    x, arrays = gc.input("x", (4, 3)), {n: np.ones(3, np.float32) for n in "sbmv"}
    nodes = [onnx.helper.make_node("BatchNormalization", ["x", *arrays], ["y"])]
    types = [onnx.helper.make_tensor_value_info(n, 1, ["n", 3]) for n in "xy"]
    weights = [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "g", types[:1], types[1:], weights)
    opset = [onnx.helper.make_opsetid("", 15)]
    model = load(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8))
    assert list(model.named_parameters()) == ["s", "b"]
    assert list(model.named_state()) == ["s", "b", "m", "v"]
    assert not model.proto.graph.initializer, "weights are held once"
    assert gc.check_grad(model(x).sum(), model.parameters(), {x: np.ones((4, 3))})
