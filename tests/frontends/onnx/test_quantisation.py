"""Quantised numbers: limits, axes, blocks, exact sums, and networks of them."""

import numpy as np
import pytest

from onnx_text import run, run_everywhere

RNG = np.random.default_rng(0)


def integers(dtype, *shape):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_values_are_rounded_to_even_and_kept_within_limits(dtype):
    x = np.array([-1e9, -2.5, -1.5, 0.5, 1.5, 1e9], np.float32)
    zero = np.array(3, dtype)
    body = "y = QuantizeLinear(x, s, z)"
    (y,) = run_everywhere(f"float[6] x, float s, {dtype} z", body, x, np.float32(1), zero)
    limits = np.iinfo(dtype)
    assert y.tolist() == [limits.min, *(max(k, limits.min) for k in (1, 1, 3, 5)), limits.max]


@pytest.mark.parametrize("axis", [0, -2, 1])
def test_scales_along_an_axis_there_and_back(axis):
    x = RNG.normal(size=(3, 4, 2)).astype(np.float32)
    scale = RNG.uniform(0.01, 0.02, x.shape[axis]).astype(np.float32)
    zero = integers("int8", x.shape[axis])
    inputs = f"float[3,4,2] x, float[{scale.size}] s, int8[{scale.size}] z"
    body = f"q = QuantizeLinear<axis={axis}>(x, s, z) y = DequantizeLinear<axis={axis}>(q, s, z)"
    (y,) = run_everywhere(inputs, body, x, scale, zero)
    shape = [-1 if k == axis % 3 else 1 for k in range(3)]
    s, z = scale.reshape(shape), zero.reshape(shape).astype(np.float32)
    np.testing.assert_allclose(y, (np.clip(np.round(x / s) + z, -128, 127) - z) * s, rtol=1e-6)


def test_scales_of_blocks_of_which_the_last_is_smaller():
    x = RNG.normal(size=(5, 2)).astype(np.float32)
    scale = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)
    body = "y = QuantizeLinear<axis=0, block_size=2, output_dtype=3>(x, s)"
    (y,) = run_everywhere("float[5,2] x, float[3,2] s", body, x, scale, version=21)
    assert y.dtype == np.int8
    np.testing.assert_array_equal(y, np.round(x / np.repeat(scale, 2, 0)[:5]))


def test_the_precision_of_the_division_is_chosen():
    x, scale = np.array([1.0], np.float32), np.array(0.1, np.float16)
    for attribute, wide in (("", 10), (", precision=1", 10)):
        body = f"y = QuantizeLinear<output_dtype=2{attribute}>(x, s)"
        assert run("float[1] x, float16 s", body, x, scale, version=23) == [wide]


def test_products_of_integers_are_exact():
    a, b = integers("uint8", 2, 3, 300), integers("int8", 300, 5)
    rows, columns = integers("uint8", 3), integers("int8", 5)
    inputs = "uint8[2,3,300] a, int8[300,5] b, uint8[3] r, int8[5] c"
    (y,) = run_everywhere(inputs, "y = MatMulInteger(a, b, r, c)", a, b, rows, columns)
    wide = [x.astype(np.int64) for x in (a, b, rows, columns)]
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, (wide[0] - wide[2][:, None]) @ (wide[1] - wide[3]))


def test_a_quantised_convolution_equals_the_real_one():
    x, w = integers("uint8", 1, 2, 5, 5), integers("int8", 3, 2, 3, 3)
    scales = np.array([0.01, 0.02, 0.03], np.float32)
    zeros, bias = np.zeros(3, np.int8), np.array([100, -50, 7], np.int32)
    inputs = """uint8[1,2,5,5] x, float xs, uint8 xz, int8[3,2,3,3] w, float[3] ws, int8[3] wz,
        float ys, uint8 yz, int32[3] b"""
    body = "y = QLinearConv<pads=[1,1,1,1], strides=[2,2]>(x, xs, xz, w, ws, wz, ys, yz, b)"
    out = np.float32(0.5), np.uint8(128)
    (y,) = run_everywhere(
        inputs, body, x, np.float32(0.1), np.uint8(100), w, scales, zeros, *out, bias
    )
    real = (
        "float[1,2,5,5] x, float[3,2,3,3] w, float[3] b",
        (
            (x.astype(np.float32) - 100) * np.float32(0.1),
            w * scales[:, None, None, None],
            (bias * np.float32(0.1) * scales).astype(np.float32),
        ),
    )
    (wanted,) = run(real[0], "y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w, b)", *real[1])
    assert np.abs(y - np.clip(np.round(wanted / 0.5) + 128, 0, 255)).max() <= 1
