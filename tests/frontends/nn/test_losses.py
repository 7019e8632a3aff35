"""Losses and metrics against NumPy, and their gradients."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run


def log_softmax(x):
    wide = x.astype(np.float64)
    wide = wide - wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def test_cross_entropy(rng):
    x = (rng.normal(size=(5, 4)) * 30).astype(np.float32)
    y = rng.integers(0, 4, 5)
    rows = -log_softmax(x)[np.arange(5), y]
    for reduction, expected in {"mean": rows.mean(), "sum": rows.sum(), "none": rows}.items():
        ours = run(lambda x, y, r=reduction: nn.cross_entropy(x, y, reduction=r), x=x, y=y)
        assert_close(ours, expected.astype(np.float32))
    images = np.moveaxis(rng.normal(size=(2, 3, 4)), -1, 1).astype(np.float32)
    labels = rng.integers(0, 4, (2, 3))
    picked = np.take_along_axis(log_softmax(np.moveaxis(images, 1, -1)), labels[..., None], -1)
    assert_close(
        run(lambda x, y: nn.cross_entropy(x, y, 1), x=images, y=labels), -picked.mean().astype("f")
    )


def test_the_gradient_of_cross_entropy_is_softmax_minus_one_hot(rng):
    x, y = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 4, 5)
    ours = run(lambda x, y: gc.grad(nn.cross_entropy(x, y), x)[0], x=x, y=y)
    assert_close(ours, ((np.exp(log_softmax(x)) - np.eye(4)[y]) / 5).astype("f"))


def test_cross_entropy_needs_no_scatter_backward(rng):
    x, y = gc.input("x", (5, 4)), gc.input("y", (5,), "int64")
    (dx,) = gc.grad(nn.cross_entropy(x, y), x)
    f = gc.compile([x, y], dx, backend="numpy")
    assert not {n.op.kind for n in f.graph} & {"scatter", "compute"}


def test_binary_cross_entropy(rng):
    x = rng.normal(size=(6,)).astype(np.float32)
    t = rng.integers(0, 2, 6).astype(np.float32)
    p = (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)
    expected = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert_close(run(nn.binary_cross_entropy, p=p, t=t), expected.astype("f"))
    assert_close(run(nn.binary_cross_entropy_with_logits, x=x, t=t), expected.astype("f"))
    hard = np.float32([0, 1, 1, 0])
    loss, slope = run(
        lambda p, t: gc.value_and_grad(nn.binary_cross_entropy(p, t), p),
        p=hard,
        t=np.float32([0, 1, 0, 1]),
    )
    assert np.isfinite(loss)
    assert np.isfinite(slope[0]).all()
    far = np.float32([200, -200])
    assert_close(
        run(nn.binary_cross_entropy_with_logits, x=far, t=np.float32([1, 1])), np.float32(100)
    )


def test_mse_and_accuracy(rng):
    a, b = rng.normal(size=(2, 4, 3)).astype(np.float32)
    assert_close(run(nn.mse, a=a, b=b), ((a - b) ** 2).mean())
    y = rng.integers(0, 3, 4)
    assert_close(run(nn.accuracy, a=a, y=y), (a.argmax(1) == y).mean().astype("f"))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.cross_entropy(gc.zeros((3, 4)), gc.zeros(3)), "GC0102"),
        (lambda: nn.cross_entropy(gc.zeros((3, 4)), gc.zeros((3, 1), "int64")), "GC0101"),
        (lambda: nn.mse(gc.zeros(3), gc.zeros(4)), "GC0101"),
        (lambda: nn.mse(gc.zeros(3), gc.zeros(3), "most"), "GC0104"),
        (lambda: nn.conv(gc.zeros((3, 4)), gc.zeros((3, 4))), "GC0103"),
        (lambda: nn.conv(gc.zeros((1, 3, 4)), gc.zeros((2, 2, 3))), "GC0101"),
        (lambda: nn.conv(gc.zeros((1, 3, 4)), gc.zeros((2, 3, 3)), stride=(1, 1)), "GC0103"),
        (lambda: nn.max_pool(gc.zeros((3, 4)), 2), "GC0103"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "GC0104"),
        (lambda: nn.LSTM(3, 4)(gc.zeros((2, 3))), "GC0103"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()


@pytest.mark.parametrize(
    "loss", [nn.mse, nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits]
)
def test_targets_may_not_blow_up_the_predictions(loss):
    scores, targets = gc.input("scores", ("n", 1)), gc.input("targets", ("n",))
    with pytest.raises(gc.UserError, match="GC0101"):
        loss(scores, targets)
    assert loss(scores[:, 0], targets).shape == ()
    assert loss(scores, 0.5, reduction="none").shape == scores.shape
