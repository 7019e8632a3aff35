"""CTC against the sum over all alignments, one by one."""

import itertools

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from running import assert_close, run

TIMES, CLASSES = 5, 3
LABELS = np.array([[1, 2], [1, 1], [2, 0], [0, 0], [2, 1], [1, 1]])
COUNTS = np.array([2, 2, 1, 0, 2, 2])
LENGTHS = np.array([5, 5, 4, 3, 2, 2])  # the last one is too short for two equal labels


def log_probabilities(seed=0):
    x = np.random.default_rng(seed).normal(size=(TIMES, len(LABELS), CLASSES))
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def read(path, blank):
    merged = [c for c, before in zip(path, (None, *path), strict=False) if c != before]
    return [c for c in merged if c != blank]


def by_hand(logs, labels, blank=0):
    """-log of the summed probability of all paths that read as ``labels``."""
    paths = itertools.product(range(CLASSES), repeat=len(logs))
    fitting = (p for p in paths if read(p, blank) == list(labels))
    with np.errstate(divide="ignore"):
        return -np.log(sum(np.exp(sum(logs[t, c] for t, c in enumerate(p))) for p in fitting))


def ctc(logs, **options):
    return run(
        lambda x, y, n, k: nn.ctc(x, y, n, k, **options), x=logs, y=LABELS, n=LENGTHS, k=COUNTS
    )


def rows(logs):
    each = zip(range(len(LABELS)), LENGTHS, LABELS, COUNTS, strict=True)
    return np.array([by_hand(logs[:n, i], y[:k]) for i, n, y, k in each])


def test_ctc_sums_over_all_alignments():
    logs = log_probabilities()
    expected = rows(logs)
    assert np.isinf(expected[-1])
    assert_close(ctc(logs, reduction="none"), expected, rtol=1e-10)
    finite = np.where(np.isinf(expected), 0, expected)
    assert_close(ctc(logs, reduction="none", zero_infinity=True), finite, rtol=1e-10)
    mean = (finite / np.maximum(COUNTS, 1)).mean()
    assert_close(ctc(logs, zero_infinity=True), mean, rtol=1e-10)


def test_the_blank_may_be_any_class():
    logs = log_probabilities(1)
    labels = np.array([[0, 1], [0, 0]])
    ours = run(
        lambda x, y: nn.ctc(x, y, np.array([5, 5]), np.array([2, 2]), "none", blank=2),
        x=logs[:, :2],
        y=labels,
    )
    assert_close(ours, [by_hand(logs[:, k], labels[k], blank=2) for k in range(2)], rtol=1e-10)


def test_the_gradient_of_ctc():
    logs = log_probabilities(2)
    x = gc.input("x", logs.shape, "float64")
    loss = nn.ctc(x, LABELS, LENGTHS, COUNTS, zero_infinity=True)
    result = gc.check_grad(loss, x, {x: logs})
    assert result, str(result)


def test_unlikely_sequences_stay_finite():
    logs = np.full((TIMES, 1, CLASSES), -300.0, np.float32)
    loss = run(
        lambda x: gc.value_and_grad(
            nn.ctc(x, np.array([[1, 2]]), np.array([5]), np.array([2]), "sum"), x
        ),
        x=logs,
    )
    assert loss[0] == pytest.approx(1500, rel=0.01)
    assert np.isfinite(loss[1][0]).all()


@pytest.mark.parametrize(
    ("shapes", "dtype", "code"),
    [
        (((5, 3), (3, 2), (3,), (3,)), "int64", "GC0103"),
        (((5, 3, 4), (3,), (3,), (3,)), "int64", "GC0103"),
        (((5, 3, 4), (3, 2), (3,), (3,)), "float32", "GC0102"),
        (((5, 3, 4), (2, 2), (3,), (3,)), "int64", "GC0101"),
        (((5, 3, 4), (3, 2), (3, 1), (3,)), "int64", "GC0101"),
        (((5, 3, 4), (3, 2), (3,), ()), "int64", "GC0101"),
    ],
)
def test_wrong_calls(shapes, dtype, code):
    scores = gc.zeros(shapes[0])
    with pytest.raises(gc.UserError, match=code):
        nn.ctc(scores, *(gc.zeros(shape, dtype) for shape in shapes[1:]))
