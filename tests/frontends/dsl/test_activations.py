"""Activations have the values of their formulas, and at corners the slopes that PyTorch gives."""

import math

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run

each = pytest.mark.parametrize
X = np.array([-1000, -7, -3, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 3, 4.5, 6, 8, 1000], np.float64)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(*ends):
    """1 between the ends, 0 at and beyond them."""
    return ((ends[0] < X) & (ends[1] > X)).astype(float)


with np.errstate(all="ignore"):
    BELOW = np.minimum(X, 0)
    CASES = {
        # name: the function, its values, its slopes
        "hard_tanh": (gc.hard_tanh, np.clip(X, -1, 1), step(-1, 1)),
        "hard_tanh between": (
            lambda t: gc.hard_tanh(t, -3, 0.5), np.clip(X, -3, 0.5), step(-3, 0.5)
        ),
        "relu6": (gc.relu6, np.clip(X, 0, 6), step(0, 6)),
        "hard_sigmoid": (gc.hard_sigmoid, np.clip(X / 6 + 0.5, 0, 1), step(-3, 3) / 6),
        "hard_swish": (
            gc.hard_swish, X * np.clip(X / 6 + 0.5, 0, 1),
            np.where(X >= 3, 1, (X / 3 + 0.5) * step(-3, 3)),
        ),
        "threshold": (
            lambda t: gc.threshold(t, 0.5, -2), np.where(X > 0.5, X, -2), step(0.5, math.inf)
        ),
        "hard_shrink": (gc.hard_shrink, np.where(abs(X) > 0.5, X, 0), 1.0 * (abs(X) > 0.5)),
        "soft_shrink": (
            gc.soft_shrink, np.sign(X) * np.maximum(abs(X) - 0.5, 0), 1.0 * (abs(X) > 0.5)
        ),
        "tanh_shrink": (gc.tanh_shrink, X - np.tanh(X), np.tanh(X) ** 2),
        "softsign": (gc.softsign, X / (1 + abs(X)), 1 / (1 + abs(X)) ** 2),
        "log_sigmoid": (gc.log_sigmoid, -np.logaddexp(0, -X), sigmoid(-X)),
        "selu": (
            gc.selu, SCALE * np.where(X > 0, X, ALPHA * np.expm1(BELOW)),
            SCALE * np.where(X > 0, 1, ALPHA * np.exp(BELOW)),
        ),
        "celu": (gc.celu, np.where(X > 0, X, np.expm1(BELOW)), np.exp(BELOW)),
        "celu 2": (
            lambda t: gc.celu(t, 2.0), np.where(X > 0, X, 2 * np.expm1(BELOW / 2)),
            np.exp(BELOW / 2),
        ),
        "mish": (
            gc.mish, X * np.tanh(np.logaddexp(0, X)),
            np.tanh(np.logaddexp(0, X))
            + X * (1 - np.tanh(np.logaddexp(0, X)) ** 2) * sigmoid(X),
        ),
        "prelu": (lambda t: gc.prelu(t, 0.25), np.where(X > 0, X, X / 4), np.where(X > 0, 1, 0.25)),
    }  # fmt: skip


@each("name", CASES)
@each("backend", ["numpy", "llvm"])
def test_values_and_slopes(name, backend):
    function, values, slopes = CASES[name]
    t = gc.input("t", X.shape, "float64")
    y = function(t)
    found, slope = gc.compile([t], [y, *gc.grad(y.sum(), [t])], backend=backend)(X)
    assert_close(found, values, rtol=1e-12, atol=1e-12)
    assert_close(slope, slopes, rtol=1e-12, atol=1e-12)


@each("name", CASES)
def test_nan_stays(name):
    assert np.isnan(run(CASES[name][0], x=np.float32([math.nan]))).all()


@each("dtype", ["float16", "float32"])
@each("name", CASES)
def test_dtypes_stay(name, dtype):
    x = X[2:12].astype(dtype)
    found = run(CASES[name][0], x=x)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, CASES[name][1][2:12], rtol=4e-3, atol=4e-3)


def test_a_slope_for_each_channel(rng):
    x, weight = rng.normal(size=(2, 3, 4)).astype("f"), np.float32([0.1, 0.2, 0.3])
    wanted = np.where(x > 0, x, weight[:, None] * x)
    assert_close(run(gc.prelu, x=x, weight=weight), wanted)
    assert_close(run(gc.prelu, x=x[..., 0], weight=weight), wanted[..., 0])
    assert_close(run(gc.prelu, x=x[0, 0], weight=weight[:1]), wanted[0, 0])
    t, w = gc.input("t", (2, 3, 4)), gc.input("w", (3,))
    assert gc.check_grad(gc.sin(gc.prelu(t, w)).sum(), [t, w], {t: x, w: weight})


def test_gated_halves(rng):
    x = rng.normal(size=(4, 6)).astype("f")
    assert_close(run(gc.glu, x=x), x[:, :3] * sigmoid(x[:, 3:]))
    assert_close(run(lambda t: gc.glu(t, 0), x=x), x[:2] * sigmoid(x[2:]))
    t = gc.input("t", (4, 6))
    assert gc.check_grad(gc.glu(t).sum(), t, {t: x})
    with pytest.raises(gc.UserError, match="GC0101"):
        gc.glu(gc.zeros((2, 3)))
    with pytest.raises(gc.UserError, match="GC0102"):
        gc.mish(gc.arange(3))


def test_softmin(rng):
    x = rng.normal(size=(3, 5)).astype("f")
    assert_close(run(lambda t: gc.softmin(t, 0), x=x), np.exp(-x) / np.exp(-x).sum(0))
