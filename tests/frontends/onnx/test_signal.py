"""Fourier transforms of all lengths against NumPy, their gradients, spectrograms, windows."""

import numpy as np
import pytest

import graphc as gc
from graphc.frontends.onnx.operators.signal import Complex, transform
from onnx_text import model, run_everywhere

RNG = np.random.default_rng(0)


def joined(pairs):
    return pairs[..., 0] + 1j * pairs[..., 1]


@pytest.mark.parametrize("length", [1, 2, 3, 64, 65, 67, 96, 97 * 2, 360, 1024])
@pytest.mark.parametrize("sign", [-1, 1])
def test_transforms_of_any_length(length, sign):
    data = RNG.normal(size=(2, length, 2))
    x = gc.input("x", data.shape, "float64")
    found = gc.compile([x], transform(Complex.of(x), sign).pairs, backend="numpy")(data)
    wanted = np.fft.fft(joined(data)) if sign < 0 else np.fft.ifft(joined(data)) * length
    np.testing.assert_allclose(joined(found), wanted, rtol=1e-12, atol=1e-11)


def test_float32_is_as_good_as_it_can_be():
    data = RNG.normal(size=(1, 1000, 1)).astype(np.float32)
    (y,) = run_everywhere("float[1,1000,1] x", "y = DFT(x)", data, version=20)
    wanted = np.fft.fft(data[..., 0])
    assert np.abs(joined(y) - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("length", [6, 9, 10, 13])
def test_signals_are_cut_or_filled(length):
    data = RNG.normal(size=(2, 10, 3, 2)).astype(np.float32)
    body = f"n = Constant<value = int64 {{{length}}}>() y = DFT<axis=1>(x, n)"
    (y,) = run_everywhere("float[2,10,3,2] x", body, data, version=17)
    np.testing.assert_allclose(joined(y), np.fft.fft(joined(data), length, axis=1), atol=1e-4)


@pytest.mark.parametrize("length", [7, 8, 12])
def test_half_of_the_frequencies_of_a_real_signal(length):
    data = RNG.normal(size=(2, length, 1)).astype(np.float32)
    body = """n = Constant<value_int = LENGTH>()
      a = Constant<value = int64 {1}>()
      h = DFT<onesided=1>(x, n, a)
      y = DFT<onesided=1, inverse=1>(h, n, a)"""
    inputs, text = f"float[2,{length},1] x", body.replace("LENGTH", str(length))
    half, back = run_everywhere(inputs, text, data, version=20, outputs="h y")
    np.testing.assert_allclose(joined(half), np.fft.rfft(data[..., 0]), atol=1e-4)
    np.testing.assert_allclose(back, data, atol=1e-5)


def test_gradients_of_transforms():
    x = gc.input("x", (2, 6, 2), "float64")
    y = model("double[2,6,2] x", "y = DFT<inverse=1>(x)", version=20)(x)
    assert gc.check_grad(y, [x], {x: RNG.normal(size=(2, 6, 2))})


def test_spectrograms_and_their_gradients():
    data = RNG.normal(size=(2, 50, 1)).astype(np.float32)
    window = np.hanning(16).astype(np.float32)
    body = "s = Constant<value = int64 {6}>() y = STFT(x, s, w)"
    (y,) = run_everywhere("float[2,50,1] x, float[16] w", body, data, window, version=17)
    frames = np.lib.stride_tricks.sliding_window_view(data[..., 0], 16, axis=1)[:, ::6]
    np.testing.assert_allclose(joined(y), np.fft.rfft(frames * window), atol=1e-4)


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows_are_expanded(name):
    body = f"n = Constant<value = int64 {{8}}>() y = {name}<periodic=0>(n)"
    (y,) = run_everywhere("float z", body, np.float32(0), version=17)
    assert y.shape == (8,)
    np.testing.assert_allclose(y, y[::-1], atol=1e-6)


def test_triangles_of_pitch():
    body = """b = Constant<value = int64 {8}>() n = Constant<value = int64 {64}>()
      r = Constant<value = int64 {8000}>() l = Constant<value = float {0}>()
      h = Constant<value = float {4000}>() y = MelWeightMatrix<output_datatype=11>(b, n, r, l, h)"""
    (y,) = run_everywhere("float z", body, np.float32(0), version=17)
    assert y.shape == (33, 8)
    assert y.dtype == np.float64
    assert (y.max(0) == 1).all()
    assert (np.diff(y.argmax(0)) > 0).all()
