"""Losses of numbers and of embeddings against NumPy's formulas, and their gradients."""

import math

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run

RNG = np.random.default_rng(5)
A, B, C = RNG.normal(size=(3, 5, 4)) * 1.5
SIGNS = np.array([1.0, -1.0, -1.0, 1.0, -1.0])


def values(loss, *arrays, **options):
    """What the loss gives for every example, in all, and on the mean."""
    names = [f"x{k}" for k in range(len(arrays))]
    return [
        run(
            lambda *xs, how=how: loss(*xs, reduction=how, **options),
            **dict(zip(names, arrays, strict=True)),
        )
        for how in ("none", "sum", "mean")
    ]


def check(loss, *arrays, rows, **options):
    none, total, mean = values(loss, *arrays, **options)
    assert_close(none, rows, rtol=1e-12, atol=1e-14)
    assert_close(total, rows.sum(), rtol=1e-12)
    assert_close(mean, rows.mean(), rtol=1e-12)


def check_slopes(loss, *arrays, wrt, **options):
    inputs = [gc.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    rows = loss(*inputs, reduction="none", **options)
    weights = np.random.default_rng(0).uniform(0.5, 1.5, rows.shape)
    result = gc.check_grad(
        (rows * weights).sum(), [inputs[k] for k in wrt], dict(zip(inputs, arrays, strict=True))
    )
    assert result, str(result)


# Numbers ------------------------------------------------------------------------------------------
def huber(d, delta):
    size = np.abs(d)
    return np.where(size < delta, d * d / 2, delta * (size - delta / 2))


def test_differences():
    check(nn.mae, A, B, rows=np.abs(A - B))
    check(nn.mse, A, B, rows=(A - B) ** 2)
    for size in (0.5, 1.0, 3.0):
        check(nn.huber, A, B, rows=huber(A - B, size), delta=size)
        check(nn.smooth_l1, A, B, rows=huber(A - B, size) / size, beta=size)
        check_slopes(nn.huber, A, B, wrt=(0, 1), delta=size)
    check(nn.smooth_l1, A, B, rows=np.abs(A - B), beta=0.0)
    check_slopes(nn.mae, A, B, wrt=(0, 1))


def test_slopes_at_the_corners():
    ours = run(
        lambda x: gc.grad(nn.huber(x, 0.0, "sum"), x)[0],
        x=np.array([0, 1, -1, 2, np.inf, -np.inf]),
    )
    assert_close(ours, np.array([0, 1, -1, 1, 1, -1.0]))
    assert_close(
        run(lambda x: gc.grad(nn.mae(x, 0.0, "sum"), x)[0], x=np.array([0, 2.0])),
        np.array([0, 1.0]),
    )


def test_likelihoods():
    v = np.exp(C)
    rows = (np.log(v) + (A - B) ** 2 / v) / 2
    check(nn.gaussian_nll, A, B, v, rows=rows)
    check(nn.gaussian_nll, A, B, v, rows=rows + math.log(2 * math.pi) / 2, full=True)
    narrow = np.full((5, 1), 1e-9)
    floor = (math.log(1e-3) + (A - B) ** 2 / 1e-3) / 2
    check(nn.gaussian_nll, A, B, narrow, rows=floor, epsilon=1e-3)
    check_slopes(nn.gaussian_nll, A, B, v, wrt=(0, 1, 2))
    counts = np.floor(np.abs(B) * 3)
    check(nn.poisson_nll, A, counts, rows=np.exp(A) - counts * A)
    check(nn.poisson_nll, v, counts, rows=v - counts * np.log(v + 1e-8), log_input=False)
    safe = np.where(counts > 1, counts, 1)
    more = safe * np.log(safe) - safe + 0.5 * np.log(2 * np.pi * safe)
    rows = np.exp(A) - counts * A + np.where(counts > 1, more, 0)
    check(nn.poisson_nll, A, counts, rows=rows, full=True)
    check_slopes(nn.poisson_nll, A, counts + 0.5, wrt=(0, 1), full=True)


@pytest.mark.parametrize("loss", [nn.mae, nn.huber, nn.smooth_l1, nn.poisson_nll])
def test_targets_may_not_blow_up_the_predictions(loss):
    scores, targets = gc.input("scores", ("n", 1)), gc.input("targets", ("n",))
    with pytest.raises(gc.UserError, match="GC0101"):
        loss(scores, targets)
    assert loss(scores[:, 0], targets).shape == ()
    assert loss(scores, 0.5, reduction="none").shape == scores.shape


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: nn.huber(x, x, delta=0.0),
        lambda x: nn.smooth_l1(x, x, beta=-1.0),
        lambda x: nn.mae(x, x, "most"),
        lambda x: nn.triplet_margin(x, x, x, p=0.5),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(gc.UserError, match="GC0104"):
        wrong(gc.input("x", (3, 2)))


# Embeddings ---------------------------------------------------------------------------------------
def distance(a, b, p=2.0):
    return np.linalg.norm(a - b + 1e-6, p, -1)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("swap", [False, True])
def test_triplet_margin(p, swap):
    far = distance(A, C, p)
    far = np.minimum(far, distance(B, C, p)) if swap else far
    rows = np.maximum(0, distance(A, B, p) - far + 0.5)
    assert 0 in rows
    check(nn.triplet_margin, A, B, C, rows=rows, p=p, swap=swap, margin=0.5)
    check_slopes(nn.triplet_margin, A, B, C, wrt=(0, 1, 2), p=p, swap=swap, margin=0.5)


def test_equal_embeddings_have_finite_slopes():
    a = A.astype("f")
    slopes = run(lambda a, b: gc.grad(nn.triplet_margin(a, b, b), [a, b]), a=a, b=a)
    assert np.isfinite(slopes[0]).all()
    slopes = run(lambda a, b: gc.grad(nn.cosine_embedding(a, b, 1.0 * SIGNS), [a, b]), a=0 * a, b=a)
    assert np.isfinite(slopes[0]).all()


def test_pairs():
    d, same = distance(A, B), (SIGNS > 0) * 1.0
    rows = same * d**2 / 2 + (1 - same) * np.maximum(0, 2.5 - d) ** 2 / 2
    check(nn.contrastive, A, B, same, rows=rows, margin=2.5)
    check(nn.contrastive, A, B, same > 0, rows=rows, margin=2.5)
    check_slopes(nn.contrastive, A, B, same, wrt=(0, 1), margin=2.5)
    cosine = (A * B).sum(-1) / np.linalg.norm(A, axis=-1) / np.linalg.norm(B, axis=-1)
    rows = np.where(SIGNS == 1, 1 - cosine, np.maximum(0, cosine + 0.5))
    none, _, _ = values(nn.cosine_embedding, A, B, SIGNS, margin=-0.5)
    assert_close(none, rows, rtol=1e-9)
    check_slopes(nn.cosine_embedding, A, B, SIGNS, wrt=(0, 1), margin=-0.5)
    rows = np.where(SIGNS == 1, d, np.maximum(0, 2.5 - d))
    check(nn.hinge_embedding, d, SIGNS, rows=rows, margin=2.5)
    rows = np.maximum(0, -SIGNS[:, None] * (A - B) + 0.5)
    check(nn.margin_ranking, A, B, SIGNS[:, None] * np.ones(4), rows=rows, margin=0.5)
    check_slopes(nn.margin_ranking, A, B, SIGNS[:, None], wrt=(0, 1), margin=0.5)


def test_no_examples():
    empty = np.zeros((0, 4))
    for loss in (nn.triplet_margin, lambda a, b, c, **how: nn.huber(a, b, **how)):
        total = run(lambda a, b, c, f=loss: f(a, b, c, reduction="sum"), a=empty, b=empty, c=empty)
        assert total == 0
