"""Dropout layers: what is dropped, how often, and that means stay what they are."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, check_gradients, run


def test_dropout_is_new_at_every_call_and_off_in_eval():
    layer = nn.Dropout(0.25, seed=3)
    x = gc.input("x", (40, 50))
    f = gc.compile([x], layer(x), backend="numpy")
    a = np.ones((40, 50), np.float32)
    first, second = f(a), f(a)
    assert (first != second).any()
    assert set(np.unique(first)) == {np.float32(0), np.float32(4 / 3)}
    # three standard errors of a mean of 2000 coins
    assert abs((first == 0).mean() - 0.25) < 3 * (0.25 * 0.75 / 2000) ** 0.5
    assert_close(run(layer.eval(), x=a), a)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.Dropout1d, (20, 30, 4)),
        (nn.Dropout2d, (20, 30, 2, 3)),
        (nn.Dropout3d, (20, 30, 2, 1, 2)),
    ],
)
def test_whole_channels_are_dropped(kind, shape):
    layer = kind(0.25, seed=1)
    y = run(layer, x=np.ones(shape, np.float32)).reshape(20, 30, -1)
    assert (y == y[..., :1]).all()
    assert set(np.unique(y)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((y == 0).mean() - 0.25) < 3 * (0.25 * 0.75 / 600) ** 0.5
    assert not run(layer.eval(), x=np.ones(shape, np.float32)).std()


@pytest.mark.parametrize("kind", [nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_alpha_dropout_keeps_mean_and_variance(kind, rng):
    x = rng.normal(size=(300, 400)).astype(np.float32)
    layer = kind(0.2, seed=0)
    y = run(layer, x=x)
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.var() == pytest.approx(1, abs=0.02)
    floor = -1.7580993408473766
    scale = (0.8 * (1 + 0.2 * floor**2)) ** -0.5
    dropped = np.isclose(y, scale * floor - scale * 0.2 * floor)
    assert abs(dropped.mean() - 0.2) < 0.01
    assert_close(y[~dropped], (scale * x - scale * 0.2 * floor)[~dropped])
    assert_close(run(layer.eval(), x=x), x)


def test_channels_of_alpha_dropout():
    y = run(nn.FeatureAlphaDropout(0.5, seed=0), x=np.ones((5, 6, 7), np.float32))
    assert (y == y[..., :1]).all()
    assert len(np.unique(y)) == 2


def test_layers_without_a_seed_draw_masks_of_their_own():
    nn.seed(1)
    first, second = nn.Dropout(0.5), nn.Dropout(0.5)
    assert (gc.value(first.random.state) != gc.value(second.random.state)).any()
    nn.seed(1)
    assert (gc.value(nn.Dropout(0.5).random.state) == gc.value(first.random.state)).all()


def test_gradients(rng):
    check_gradients(nn.Dropout2d(0.5, seed=1), rng, rng.normal(size=(2, 3, 2, 2)))
    check_gradients(nn.AlphaDropout(0.5, seed=1), rng, rng.normal(size=(2, 3)))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.Dropout(1.0), "GC0104"),
        (lambda: nn.AlphaDropout(-0.1), "GC0104"),
        (lambda: nn.Dropout2d()(gc.zeros((2, 3, 4))), "GC0103"),
        (lambda: nn.Dropout1d().eval()(gc.zeros((2, 3))), "GC0103"),
        (lambda: nn.FeatureAlphaDropout()(gc.zeros(3)), "GC0103"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()
