"""Optimisers and derivatives as nodes of a model."""

import numpy as np
import pytest

from graphc.errors import UserError
from onnx_text import run_everywhere

X, G, V = (np.array(a, np.float32) for a in ([1, -2], [0.5, 0.25], [0.1, 0.2]))
STEP = np.float32(0.1), np.array(3)
INPUTS = "float r, int64 t, float[2] x, float[2] g, float[2] v"


@pytest.mark.parametrize("mode", ["standard", "nesterov"])
@pytest.mark.parametrize("count", [0, 3])
def test_momentum(mode, count):
    body = f"""y, w = ai.onnx.preview.training.Momentum<alpha=0.9, beta=0.5,
      norm_coefficient=0.01, mode="{mode}">(r, t, x, g, v)"""
    arrays = np.float32(0.1), np.array(count), X, G, V
    y, w = run_everywhere(INPUTS, body, *arrays, outputs="y w")
    slope = 0.01 * X + G
    new = 0.9 * V + (0.5 if count else 1) * slope
    np.testing.assert_allclose(w, new, rtol=1e-6)
    change = new if mode == "standard" else slope + 0.9 * new
    np.testing.assert_allclose(y, X - 0.1 * change, rtol=1e-6)


def test_adam_of_two_tensors_equals_that_of_each():
    one = "float[2] x, float[2] g, float[2] v, float[2] h"
    body = "y, w, u = ai.onnx.preview.training.Adam<epsilon=0.001>(r, t, x, g, v, h)"
    first = run_everywhere(f"float r, int64 t, {one}", body, *STEP, X, G, V, V, outputs="y w u")
    names = [f"{name}{k}" for name in "xgvh" for k in range(2)]
    results = [f"{name}{k}" for name in "ywu" for k in range(2)]
    body = f"""{", ".join(results)} = ai.onnx.preview.training.Adam<epsilon=0.001>
      (r, t, {", ".join(names)})"""
    inputs = "float r, int64 t, " + ", ".join(f"float[2] {name}" for name in names)
    arrays = [a for pair in ((X, G), (G, X), (V, V), (V, G)) for a in pair]
    both = run_everywhere(inputs, body, *STEP, *arrays, outputs=" ".join(results))
    for a, b in zip(first, both[::2], strict=True):
        np.testing.assert_array_equal(a, b)


GRADIENT = """c = Mul(a, a) y = Mul(c, b)
  z = ai.onnx.preview.training.Gradient<xs=["a"], zs=["b"], y="y">(INPUTS)"""
PAIR = "float[2] a, float[2] b"


def test_the_derivative_of_a_tensor_by_name():
    _, z = run_everywhere(PAIR, GRADIENT.replace("INPUTS", "a, b"), X, G, outputs="y z")
    np.testing.assert_allclose(z, 2 * X * G)


def test_the_derivative_at_other_values_is_refused():
    with pytest.raises(UserError, match="GC0505"):
        run_everywhere(PAIR, GRADIENT.replace("INPUTS", "c, b"), X, G, outputs="y z")
