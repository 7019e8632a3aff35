"""Initialisers: their variance, their structure, and the seed of the default generator."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn

init = nn.init
SHAPE = (200, 50, 3, 3)
FAN_IN, FAN_OUT = 450, 1800


@pytest.mark.parametrize(
    ("make", "variance"),
    [
        (init.fan_in_uniform, 1 / (3 * FAN_IN)),
        (init.glorot_uniform, 2 / (FAN_IN + FAN_OUT)),
        (init.glorot_normal, 2 / (FAN_IN + FAN_OUT)),
        (init.he_uniform, 2 / FAN_IN),
        (init.he_normal, 2 / FAN_IN),
        (init.lecun_uniform, 1 / FAN_IN),
        (init.lecun_normal, 1 / FAN_IN),
        (init.uniform(0.3), 0.03),
        (init.normal(0.3), 0.09),
        # the variance of a standard normal between -2 and 2
        (init.truncated_normal(0.3), 0.09 * 0.7737),
        (init.constant(2), 0),
        (init.zeros, 0),
        (init.ones, 0),
    ],
)
def test_variance(make, variance):
    weights = make(np.random.default_rng(0), SHAPE)
    assert weights.dtype == np.float32
    assert weights.shape == SHAPE
    assert weights.var() == pytest.approx(variance, rel=0.03)


def test_constants_and_cutoff():
    rng = np.random.default_rng(0)
    assert (init.zeros(rng, (2, 3)) == 0).all()
    assert (init.ones(rng, (2, 3)) == 1).all()
    draws = init.truncated_normal(0.5, 1.0)(rng, (1000,))
    assert 0.49 < np.abs(draws).max() <= 0.5


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (5, 5), (6, 2, 3), (3, 2, 3), (0, 3)])
def test_orthogonal(shape):
    w = init.orthogonal(2.0)(np.random.default_rng(0), shape)
    assert w.shape == shape
    assert w.dtype == np.float32
    matrix = w.reshape(shape[0], int(np.prod(shape[1:])))
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)


def test_orthogonal_matrices_turn_and_reflect_equally_often():
    rng = np.random.default_rng(0)
    signs = [np.linalg.det(init.orthogonal()(rng, (3, 3))) > 0 for _ in range(400)]
    assert 0.4 < np.mean(signs) < 0.6


def test_identity_keeps_features_and_dirac_keeps_channels():
    rng = np.random.default_rng(0)
    assert (init.identity(rng, (2, 3)) == np.eye(2, 3)).all()
    x = rng.normal(size=(2, 4, 5, 6)).astype(np.float32)
    layer = nn.Conv2d(4, 6, 3, padding=1, bias=False, initialiser=init.dirac())
    y = gc.compile([], layer(gc.constant(x)), backend="numpy")()
    np.testing.assert_array_equal(y[:, :4], x)
    assert not y[:, 4:].any()
    grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False, initialiser=init.dirac(2))
    y = gc.compile([], grouped(gc.constant(x)), backend="numpy")()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("make", "shape", "code"),
    [
        (init.orthogonal(), (3,), "GC0103"),
        (init.identity, (3, 3, 3), "GC0103"),
        (init.dirac(), (3, 3), "GC0103"),
        (init.dirac(2), (3, 3, 3), "GC0104"),
    ],
)
def test_wrong_shapes(make, shape, code):
    with pytest.raises(gc.UserError, match=code):
        make(np.random.default_rng(0), shape)


def test_wrong_cutoff():
    with pytest.raises(gc.UserError, match="GC0104"):
        init.truncated_normal(1.0, 0.0)


def test_the_default_generator_repeats_after_seed():
    def weights():
        nn.seed(5)
        return [gc.value(nn.Linear(3, 3).weight) for _ in range(2)]

    first, second = weights(), weights()
    assert (first[0] == second[0]).all()
    assert (first[0] != first[1]).any()
