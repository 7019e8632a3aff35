"""Elementwise operators where ONNX's cases do not reach: older versions, gradients, bad options."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8"])
def test_integers_are_divided_as_in_c(dtype):
    a = np.array([7, 100, 6, 0], dtype)
    b = np.array([2, 7, 3, 5], dtype)
    if dtype.startswith("i"):
        a, b = np.concatenate([a, -a, a, -a]), np.concatenate([b, b, -b, -b])
    (y,) = run(f"{dtype}[n] a, {dtype}[n] b", "y = Div(a, b)", a, b)
    np.testing.assert_array_equal(y, np.trunc(a / b).astype(dtype))
    assert y.dtype == dtype


def test_a_power_has_the_type_of_its_base():
    x = np.array([2, 3, 10], np.int32)
    (y,) = run("int32[3] x, float[3] e", "y = Pow(x, e)", x, np.float32([0.5, 2, 1.9]))
    np.testing.assert_array_equal(y, np.int32([1, 9, 79]))
    (y,) = run("float[3] x, int64 e", "y = Pow(x, e)", x.astype(np.float32), np.int64(3))
    np.testing.assert_array_equal(y, np.float32([8, 27, 1000]))


def test_before_version_7_the_second_operand_stands_at_an_axis():
    x, w = np.zeros((2, 3, 4), np.float32), np.float32([1, 2, 3])
    body = "y = Add<axis=1, broadcast=1>(x, w)"
    (y,) = run("float[2,3,4] x, float[3] w", body, x, w, version=6)
    np.testing.assert_array_equal(y, x + w[:, None])
    (y,) = run("float[2,3,4] x, float[3] w", "y = PRelu(x, w)", x - 1, w, version=6)
    np.testing.assert_array_equal(y, x - w[:, None])
    with pytest.raises(UserError, match="GC0101"):
        run("float[2,3,4] x, float[3] w", "y = Add(x, w)", x, w)


def test_limits_are_attributes_before_version_11():
    x = np.float32([-2, 0, 3])
    body = "y = Clip<min = -1.0, max = 2.0>(x)"
    np.testing.assert_array_equal(run("float[3] x", body, x, version=6), [[-1, 0, 2]])
    np.testing.assert_array_equal(run("float[3] x", "y = Clip(x)", x, version=6), [x])


def test_activations_of_integers_are_cut_off():
    (y,) = run("int32[4] x", "y = Shrink<lambd=1.5, bias=0.5>(x)", np.int32([-3, -1, 1, 3]))
    np.testing.assert_array_equal(y, np.int32([-2, 0, 0, 2]))


def test_infinities_of_no_sign():
    body = "y = IsInf<detect_negative=0, detect_positive=0>(x)"
    np.testing.assert_array_equal(run("float[2] x", body, np.float32([np.inf, 1])), [[False] * 2])


def test_an_unknown_direction_is_refused():
    with pytest.raises(UserError, match=r"GC0505.*UP"):
        run("uint8[1] x", 'y = BitShift<direction="UP">(x, x)', np.uint8([1]))


@pytest.mark.parametrize(
    "call",
    [
        "Clip(x, low, high)",
        "Div(x, high)",
        "Elu<alpha=1.3>(x)",
        'Gelu<approximate="tanh">(x)',
        "HardSigmoid<alpha=0.3>(x)",
        "LeakyRelu<alpha=0.1>(x)",
        "Max(x, low)",
        "Mean(x, x, high)",
        "Mod<fmod=1>(x, high)",
        "PRelu(x, low)",
        "Selu<gamma=2.0>(x)",
        "Shrink<bias=0.2>(x)",
        "Swish<alpha=0.7>(x)",
        "ThresholdedRelu<alpha=0.4>(x)",
    ],
)
def test_gradients(call, rng):
    net = model("double[3,4] x, double low, double high", f"y = {call}", version=24)
    x, low, high = (
        gc.input("x", (3, 4), "float64"),
        gc.input("a", (), "float64"),
        gc.input("b", (), "float64"),
    )
    loss = net(x, low, high) * rng.normal(size=(3, 4))
    assert gc.check_grad(loss, x, {x: rng.normal(size=(3, 4)), low: -0.5, high: 0.75})
