"""Metrics against NumPy, for whole sets and sums of batches."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run

metrics = nn.metrics


def test_accuracy_among_the_best(rng):
    scores, labels = rng.integers(0, 4, (50, 7)).astype(np.float32), rng.integers(0, 7, 50)
    order = np.argsort(-scores, -1, kind="stable")  # of equal scores the first is the better one
    for top in (1, 2, 3, 7, 9):
        expected = (order[:, :top] == labels[:, None]).any(-1).mean().astype("f")
        ours = run(lambda x, y, k=top: nn.accuracy(x, y, k), x=scores, y=labels)
        assert_close(ours, expected)
    outside = run(lambda x, y: nn.accuracy(x, y, 7), x=scores, y=np.full(50, -1))
    assert outside == 0


def test_confusion(rng):
    found, truth = rng.integers(-1, 4, (2, 6, 5))
    expected = np.zeros((4, 4), np.int64)
    for f, t in zip(found.flat, truth.flat, strict=True):
        if f >= 0 and t >= 0:
            expected[t, f] += 1
    ours = run(lambda f, t: metrics.confusion_matrix(f, t, 4), f=found, t=truth)
    assert_close(ours, expected)


TABLE = np.array([[5, 2, 0, 0], [1, 3, 1, 0], [0, 0, 0, 0], [0, 2, 0, 0]])


def by_hand(table):
    """Precision, recall and F1 of each class."""
    rows = []
    for c in range(len(table)):
        hit, taken, there = table[c, c], table[:, c].sum(), table[c].sum()
        p, r = (hit / n if n else 0.0 for n in (taken, there))
        rows.append((p, r, 2 * p * r / (p + r) if p + r else 0.0))
    return np.array(rows).T


@pytest.mark.parametrize("place", [0, 1, 2])
def test_shares_of_a_table(place):
    metric = (metrics.precision, metrics.recall, metrics.f1)[place]
    expected = by_hand(TABLE)[place]
    assert_close(metric(TABLE, None), expected)
    assert_close(metric(TABLE), expected.sum() / 4)
    assert_close(metric(TABLE, "micro"), np.float64(8 / 14))
    ours = run(lambda t: [metric(t, None), metric(t), metric(t, "micro")], t=TABLE)
    assert_close(ours[0], expected)
    assert_close(ours[1], expected.sum() / 4)
    assert_close(ours[2], np.float64(8 / 14))
    smaller = TABLE[[0, 1, 3]][:, [0, 1, 3]]  # a class that never occurs counts nowhere
    padded = np.zeros((4, 4), int)
    padded[:3, :3] = smaller
    assert_close(metric(padded), metric(smaller))
    assert metric(np.zeros((3, 3), int)) == 0
    with pytest.raises(gc.UserError, match="GC0104"):
        metric(TABLE, "most")


def test_r2(rng):
    t = rng.normal(size=(9, 2))
    p = t + 0.3 * rng.normal(size=(9, 2))
    each = 1 - ((t - p) ** 2).sum(0) / ((t - t.mean(0)) ** 2).sum(0)
    assert_close(run(metrics.r2, p=p, t=t), each.mean(), rtol=1e-12)
    assert_close(run(metrics.r2, p=p[:, 0], t=t[:, 0]), each[0], rtol=1e-12)
    flat = np.ones(3)
    assert run(metrics.r2, p=flat, t=flat) == 1
    assert run(metrics.r2, p=2 * flat, t=flat) == 0


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda: nn.accuracy(gc.zeros((3, 4)), gc.zeros(3, "int64"), 0), "GC0104"),
        (lambda: metrics.confusion_matrix(gc.zeros(3, "int64"), gc.zeros(4, "int64"), 3), "GC0101"),
        (lambda: metrics.confusion_matrix(gc.zeros(3), gc.zeros(3), 3), "GC0102"),
        (lambda: metrics.r2(gc.zeros((3, 1)), gc.zeros(3)), "GC0101"),
    ],
)
def test_wrong_calls(program, code):
    with pytest.raises(gc.UserError, match=code):
        program()
