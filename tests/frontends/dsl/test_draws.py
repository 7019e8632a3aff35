"""Draws of classes and of orders: their frequencies, and what they refuse."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

import graphc as gc

MANY = 60_000


def drawn(make, backend="llvm", calls=1):
    """What ``calls`` calls of a program with a generator return."""
    program = gc.compile([], make(gc.random.Generator(5)), backend=backend)
    found = [program() for _ in range(calls)]
    return found if calls > 1 else found[0]


def test_classes_have_the_probabilities_of_softmax():
    logits = np.array([[0.0, 1.0, -np.inf, 2.0], [3.0, 3.0, 3.0, -9.0]])
    found = drawn(lambda r: r.categorical(gc.constant(logits), (MANY,)))
    assert found.shape == (MANY, 2)
    assert found.dtype == np.int64
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for row, each in enumerate(wanted):
        shares = np.bincount(found[:, row], minlength=4) / MANY
        np.testing.assert_allclose(shares, each, atol=5 * (0.25 / MANY) ** 0.5)
    assert not (found[:, 0] == 2).any()


def test_draws_are_the_same_on_both_backends_and_differ_between_calls():
    def make(r):
        return [r.gumbel((3, 4)), r.categorical(gc.zeros((5, 7))), r.permutation(9)]

    ours, numpys = (drawn(make, backend, calls=2) for backend in ("llvm", "numpy"))
    for a, b in zip(ours, numpys, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert not np.array_equal(ours[0][0], ours[1][0])
    assert not np.array_equal(ours[0][2], ours[1][2])


def test_gumbel_numbers():
    found = drawn(lambda r: r.gumbel((MANY,), "float64"))
    assert abs(found.mean() - 0.5772156649) < 5 * (np.pi**2 / 6 / MANY) ** 0.5
    assert abs(found.var() - np.pi**2 / 6) < 0.05
    assert np.isfinite(found).all()


def test_all_orders_are_equally_likely():
    orders = drawn(lambda r: gc.argsort(r.uniform((MANY, 3))))
    counts = Counter(map(tuple, orders.tolist()))
    assert set(counts) == set(permutations(range(3)))
    assert max(abs(n - MANY / 6) for n in counts.values()) < 5 * (MANY * 5 / 36) ** 0.5


def test_a_permutation_keeps_the_rows_of_a_tensor():
    rows = np.arange(30.0).reshape(10, 3)
    found = drawn(lambda r: r.permutation(gc.constant(rows)))
    np.testing.assert_array_equal(np.sort(found[:, 0]), rows[:, 0])
    np.testing.assert_array_equal(found - found[:, :1], rows - rows[:, :1])
    numbers = drawn(lambda r: r.permutation(100))
    np.testing.assert_array_equal(np.sort(numbers), np.arange(100))
    assert drawn(lambda r: r.permutation(0)).shape == (0,)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda r: r.categorical(1.0), "GC0103"),
        (lambda r: r.permutation(gc.constant(1.0)), "GC0103"),
        (lambda r: r.categorical(gc.zeros((3, 0))), "GC0104"),
    ],
)
def test_wrong_draws(make, code):
    with pytest.raises(gc.UserError, match=code) as caught:
        make(gc.random.Generator(1))
    assert "test_draws.py" in str(caught.value)
