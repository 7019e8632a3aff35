"""Activations as layers: each is the function of its name, with its options."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


LAYERS = [
    (nn.ReLU(), lambda x: np.maximum(x, 0)),
    (nn.ReLU6(), lambda x: np.clip(x, 0, 6)),
    (nn.Tanh(), np.tanh),
    (nn.Sigmoid(), sigmoid),
    (nn.LogSigmoid(), lambda x: np.log(sigmoid(x))),
    (nn.SiLU(), lambda x: x * sigmoid(x)),
    (nn.Mish(), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    (
        nn.SELU(),
        lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    ),
    (nn.Softsign(), lambda x: x / (1 + np.abs(x))),
    (nn.Hardsigmoid(), lambda x: np.clip(x + 3, 0, 6) / 6),
    (nn.Hardswish(), lambda x: x * np.clip(x + 3, 0, 6) / 6),
    (nn.Tanhshrink(), lambda x: x - np.tanh(x)),
    (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
    (nn.CELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x / 2))),
    (nn.Hardtanh(-2, 0.5), lambda x: np.clip(x, -2, 0.5)),
    (nn.Threshold(0.5, 20), lambda x: np.where(x > 0.5, x, 20)),
    (nn.Hardshrink(0.7), lambda x: np.where(np.abs(x) > 0.7, x, 0)),
    (nn.Softshrink(0.7), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.7, 0)),
    (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
    (nn.Softplus(3), lambda x: np.log1p(np.exp(3 * x)) / 3),
    (nn.Softmax(0), lambda x: np.exp(x) / np.exp(x).sum(0)),
    (nn.LogSoftmax(), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    (nn.Softmin(), lambda x: np.exp(-x) / np.exp(-x).sum(-1, keepdims=True)),
    (nn.GLU(), lambda x: x[:, :3] * sigmoid(x[:, 3:])),
    (nn.PReLU(), lambda x: np.where(x > 0, x, 0.25 * x)),
    (nn.PReLU(6, 0.5), lambda x: np.where(x > 0, x, 0.5 * x)),
]


@pytest.mark.parametrize(("layer", "formula"), LAYERS, ids=lambda x: type(x).__name__)
def test_formula_and_gradient(layer, formula, rng):
    x = rng.normal(size=(5, 6)) * 3
    assert_close(run(layer, x=x), formula(x))
    check_gradients(layer, rng, x)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate, rng):
    x = rng.normal(size=(3, 4)).astype(np.float32)
    expected = run(lambda x: gc.gelu(x, approximate), x=x)
    assert_close(run(nn.GELU(approximate), x=x), expected)


def test_prelu_learns_a_slope_per_channel(rng):
    layer = nn.PReLU(3)
    gc.assign(layer.weight, [0.1, 0.2, 0.3])
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    slopes = np.float32([0.1, 0.2, 0.3])[:, None]
    assert_close(run(layer, x=x), np.where(x > 0, x, slopes * x))
    assert list(layer.named_state()) == ["weight"]
