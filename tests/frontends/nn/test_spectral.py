"""Weights divided by their largest singular value."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def largest(weight, axis=0):
    rows = np.moveaxis(weight, axis, 0)
    return np.linalg.svd(rows.reshape(len(rows), -1), compute_uv=False)[0]


LAYERS = [
    (lambda: nn.Linear(5, 3, rng=1), (2, 5), 0),
    (lambda: nn.Conv2d(2, 4, 3, rng=1), (1, 2, 4, 5), 0),
    (lambda: nn.ConvTranspose1d(2, 4, 3, rng=1), (1, 2, 4), 1),
]


@pytest.mark.parametrize(("make", "shape", "axis"), LAYERS)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_weight_has_norm_1(make, shape, axis, mode, rng):
    layer = make()
    weight, bias = gc.value(layer.weight), gc.value(layer.bias)
    plain = make()
    gc.assign(plain.weight, weight / largest(weight, axis))
    gc.assign(plain.bias, bias)
    assert nn.spectral_norm(layer, dim=axis, iterations=30, rng=0) is layer
    for _ in range(2):  # 15 steps come before the first use
        layer.train()
        x = rng.normal(size=shape).astype(np.float32)
        step = gc.compile([], [layer.weight.sum()], dict(zip(*moved(layer, x), strict=True)))
        step()
    getattr(layer, mode)()
    assert_close(run(layer, x=x), run(plain, x=x), rtol=1e-4, atol=1e-5)
    assert set(layer.named_state()) == {"weight_orig", "weight_u", "weight_v", "bias"}
    assert set(layer.named_parameters()) == {"weight_orig", "bias"}


def moved(layer, x):
    """The vectors and their next values, after a call of the layer."""
    layer(gc.constant(x))
    updates = layer.updates()
    assert [p.name for p in updates] == ["weight_u", "weight_v"]
    return list(updates), list(updates.values())


def test_one_step_of_the_power_iteration(rng):
    layer = nn.spectral_norm(nn.Linear(5, 3, rng=0), rng=0)
    weight, u = gc.value(layer.weight_orig), np.float32([1, 2, 3]) / np.sqrt(14, dtype=np.float32)
    gc.assign(layer.weight_u, u)
    x = rng.normal(size=(2, 5)).astype(np.float32)
    v = u @ weight
    v /= np.linalg.norm(v)
    new = weight @ v
    sigma = np.linalg.norm(new)
    parameters, updates = moved(layer, x)
    found = gc.compile([], [layer.weight, *updates], dict(zip(parameters, updates, strict=True)))()
    assert_close(found[0], weight / sigma)
    assert_close(found[1], new / sigma)
    assert_close(found[2], v)
    assert_close(gc.value(layer.weight_u), new / sigma)


def test_gradients_take_the_vectors_as_given(rng):
    layer = nn.spectral_norm(nn.Linear(4, 3, rng=0), rng=0).eval()
    check_gradients(layer, rng, rng.normal(size=(2, 4)))


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda: nn.spectral_norm(nn.Linear(2, 3), "wait"), "GC0107"),
        (lambda: nn.spectral_norm(nn.Linear(2, 3), "bias"), "GC0107"),
        (lambda: nn.spectral_norm(nn.Linear(2, 3), dim=2), "GC0104"),
        (lambda: nn.spectral_norm(nn.Linear(2, 3), iterations=0), "GC0104"),
    ],
)
def test_wrong_calls(wrong, code):
    with pytest.raises(gc.UserError, match=code):
        wrong()
