"""Losses of classes against NumPy's formulas, against values that PyTorch gave, and gradients."""

import math

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run

X = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75], [-2.0, 1.0, 0.0], [0.1, 0.2, 0.3]])
Y = np.array([2, 0, 1, 1])
W = np.array([0.5, 2.0, 1.25])
P = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2]])


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def losses(loss, *arrays, **options):
    """The three reductions of a loss."""
    names = [f"x{k}" for k in range(len(arrays))]
    return [
        run(
            lambda *xs, how=how: loss(*xs, reduction=how, **options),
            **dict(zip(names, arrays, strict=True)),
        )
        for how in ("none", "sum", "mean")
    ]


def check(loss, *arrays, rows, shares=None, **options):
    """The loss of every row, its sum, and its mean over ``shares``."""
    none, total, mean = losses(loss, *arrays, **options)
    assert_close(none, rows, rtol=1e-12, atol=1e-14)
    assert_close(total, rows.sum(), rtol=1e-12)
    count = rows.size if shares is None else shares.sum()
    assert_close(mean, rows.sum() / count, rtol=1e-12)


def slopes_agree(loss, *arrays, wrt=(0,), **options):
    """Whether the gradients agree with differences, at a weighted sum of the rows."""
    inputs = [gc.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    rows = loss(*inputs, reduction="none", **options)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, rows.shape)
    result = gc.check_grad(
        (rows * weights).sum(), [inputs[k] for k in wrt], dict(zip(inputs, arrays, strict=True))
    )
    assert result, str(result)
    return result


# Cross entropy ------------------------------------------------------------------------------------
SMOOTHING = [0.0, 0.1]


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("weight", [None, W])
@pytest.mark.parametrize("ignored", [None, 1, -100])
def test_cross_entropy(smoothing, weight, ignored):
    labels = np.where(Y == 0, -100, Y) if ignored == -100 else Y
    counts = np.ones(4) if ignored is None else (labels != ignored) * 1.0
    safe = np.where(labels == -100, 0, labels)
    w = np.ones(3) if weight is None else weight
    logs = log_softmax(X)
    right = -w[safe] * logs[np.arange(4), safe]
    rows = counts * ((1 - smoothing) * right - smoothing * (w * logs).mean(-1))
    options = dict(weight=weight, ignore_index=ignored, label_smoothing=smoothing)
    check(nn.cross_entropy, X, labels, rows=rows, shares=counts * w[safe], **options)
    slopes_agree(nn.cross_entropy, X, labels, **options)
    if not smoothing:
        options = dict(weight=weight, ignore_index=ignored)
        check(nn.nll, logs, labels, rows=rows, shares=counts * w[safe], **options)


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("weight", [None, W])
def test_cross_entropy_of_probabilities(smoothing, weight):
    w = np.ones(3) if weight is None else weight
    truth = (1 - smoothing) * P + smoothing / 3
    rows = -(w * truth * log_softmax(X)).sum(-1)
    options = dict(weight=weight, label_smoothing=smoothing)
    check(nn.cross_entropy, X, P, rows=rows, **options)
    slopes_agree(nn.cross_entropy, X, P, wrt=(0, 1), **options)
    ours = run(lambda x, p: nn.cross_entropy(x, p, 0, **options), x=X.T, p=P.T)
    assert_close(ours, rows.mean(), rtol=1e-12)


def test_classes_may_lie_along_any_axis(rng):
    images, labels = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    options = dict(weight=W, ignore_index=2, label_smoothing=0.2)
    logs = log_softmax(np.moveaxis(images, 1, -1))
    counts = (labels != 2) * 1.0
    picked = np.take_along_axis(logs * W, labels[..., None], -1)[..., 0]
    rows = -counts * (0.8 * picked + 0.2 * (logs * W).mean(-1))
    expected = rows.sum() / (counts * W[labels]).sum()
    for axis in (1, -3):
        ours = run(lambda x, y, a=axis: nn.cross_entropy(x, y, a, **options), x=images, y=labels)
        assert_close(ours, expected, rtol=1e-12)
    ours = run(
        lambda x, y: nn.nll(gc.log_softmax(x, 1), y, 1, **options_of_nll()), x=images, y=labels
    )
    assert_close(ours, -(counts * picked).sum() / (counts * W[labels]).sum(), rtol=1e-12)


def options_of_nll():
    return dict(weight=W, ignore_index=2)


def test_named_sizes_and_no_rows():
    x, y = gc.input("x", ("n", "classes")), gc.input("y", ("n",), "int64")
    loss = nn.cross_entropy(x, y, reduction="sum", weight=2.0, label_smoothing=0.1)
    f = gc.compile([x, y], loss, backend="numpy")
    logs = log_softmax(X)
    expected = -2 * (0.9 * logs[np.arange(4), Y] + 0.1 * logs.mean(-1)).sum()
    assert_close(f(X.astype("f"), Y), np.float32(expected), rtol=1e-5)
    assert f(np.zeros((0, 3), "f"), np.zeros(0, np.int64)) == 0


def test_nothing_but_ignored_rows_has_no_mean():
    ours = run(lambda x, y: nn.cross_entropy(x, y, ignore_index=1), x=X, y=np.ones(4, np.int64))
    assert np.isnan(ours)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.cross_entropy(gc.zeros((3, 4)), gc.zeros((3, 4)), ignore_index=0), "GC0104"),
        (lambda: nn.cross_entropy(gc.zeros((3, 4)), gc.zeros((3, 5))), "GC0101"),
        (lambda: nn.cross_entropy(gc.zeros((3, 4)), gc.zeros(3, "int64"), weight=W), "GC0101"),
        (lambda: nn.nll(gc.zeros((3, 4)), gc.zeros((3, 4))), "GC0102"),
        (lambda: nn.kl_div(gc.zeros(3), gc.zeros(4)), "GC0101"),
        (lambda: nn.kl_div(gc.zeros(3), gc.zeros(3), "most"), "GC0104"),
        (lambda: nn.multi_margin(gc.zeros((3, 4)), gc.zeros(3, "int64"), power=3), "GC0104"),
        (lambda: nn.hinge(gc.zeros((3, 1)), gc.zeros(3)), "GC0101"),
        (lambda: nn.soft_margin(gc.zeros((3, 1)), gc.zeros(3)), "GC0101"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()


# Divergence ---------------------------------------------------------------------------------------
def test_kl_div():
    logs = log_softmax(X)
    rows = np.where(P > 0, P * np.log(np.where(P > 0, P, 1)), 0) - P * logs
    check(nn.kl_div, logs, P, rows=rows)
    ours = run(lambda x, t: nn.kl_div(x, t, "batchmean"), x=logs, t=P)
    assert_close(ours, rows.sum() / 4, rtol=1e-12)
    soft = np.log(0.9 * P + 0.1 / 3)
    check(nn.kl_div, logs, soft, rows=np.exp(soft) * (soft - logs), log_target=True)
    slopes_agree(nn.kl_div, logs, np.exp(soft), wrt=(0, 1))
    slopes_agree(nn.kl_div, logs, soft, wrt=(0, 1), log_target=True)


def test_kl_div_has_a_finite_slope_at_zero():
    ours = run(lambda x, t: gc.grad(nn.kl_div(x, t), [x, t]), x=log_softmax(X), t=P)
    assert np.isfinite(ours[0]).all()
    assert np.isfinite(ours[1]).all()


# Yes or no ----------------------------------------------------------------------------------------
T = np.array([[1.0, 0.0, 1.0], [0.25, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 1.0]])


def test_binary_cross_entropy():
    p = 1 / (1 + np.exp(-X))
    rows = -(T * np.log(p) + (1 - T) * np.log(1 - p))
    scale = np.array([[1.0], [2.0], [0.5], [0.0]])
    check(nn.binary_cross_entropy, p, T, rows=rows * scale, weight=scale)
    check(nn.binary_cross_entropy_with_logits, X, T, rows=rows * W, weight=W)
    rows = -(W * T * np.log(p) + (1 - T) * np.log(1 - p))
    check(nn.binary_cross_entropy_with_logits, X, T, rows=rows, pos_weight=W)
    slopes_agree(nn.binary_cross_entropy_with_logits, X, T, wrt=(0, 1), pos_weight=W, weight=scale)
    far = run(
        lambda x, t: nn.binary_cross_entropy_with_logits(x, t, "none", pos_weight=3.0),
        x=np.float32([200, -200, 200]),
        t=np.float32([1, 1, 0]),
    )
    assert_close(far, np.float32([0, 600, 200]))


def test_margins():
    signs = np.where(T > 0.5, 1.0, -1.0)
    check(nn.hinge, X, signs, rows=np.maximum(0, 1 - signs * X))
    check(nn.hinge, X, signs, rows=np.maximum(0, 1 - signs * X) ** 2, squared=True)
    check(nn.soft_margin, X, signs, rows=np.log1p(np.exp(-signs * X)))
    whole = run(lambda x, t: nn.hinge(x, t), x=X, t=signs.astype(np.int64))
    assert_close(whole, np.maximum(0, 1 - signs * X).mean(), rtol=1e-12)
    slopes_agree(nn.hinge, X + 0.01, signs, squared=True)
    slopes_agree(nn.soft_margin, X, signs)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("weight", [None, W])
def test_multi_margin(power, weight):
    own = X[np.arange(4), Y]
    short = np.maximum(0, 0.7 - own[:, None] + X) ** power
    short[np.arange(4), Y] = 0
    rows = short.sum(-1) / 3 * (1 if weight is None else weight[Y])
    options = dict(power=power, margin=0.7, weight=weight)
    check(nn.multi_margin, X, Y, rows=rows, **options)
    slopes_agree(nn.multi_margin, X, Y, **options)


def test_perplexity_counts_the_choices():
    even = run(lambda x, y: nn.metrics.perplexity(x, y), x=np.zeros((4, 3)), y=Y)
    assert_close(even, np.float64(3), rtol=1e-12)
    rows = -log_softmax(X)[np.arange(4), Y]
    ours = run(lambda x, y: nn.metrics.perplexity(x, y, ignore_index=1), x=X, y=Y)
    assert_close(ours, np.float64(math.exp(rows[:2].mean())), rtol=1e-12)
