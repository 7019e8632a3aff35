"""One-hot tensors through the whole pipeline: products with them are found, not computed."""

import numpy as np
import pytest

import graphc as gc
from graphc.graph import Graph, toposort
from graphc.passes import optimise

LABELS = np.array([[3, 0, 7], [-1, 4, 100]])


def product(labels: np.ndarray, w: np.ndarray) -> np.ndarray:
    """What a product with the one-hot rows is, infinities and nan included."""
    with np.errstate(invalid="ignore"):
        return (labels[..., None] == np.arange(len(w))).astype(w.dtype) @ w


def kinds(result: gc.Tensor) -> set[str]:
    """The kinds of operations that passes leave."""
    inputs = tuple(n for n in toposort([result.node]) if n.op.label)
    return {n.op.kind for n in optimise(Graph(inputs, (result.node,))).nodes}


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_product_with_one_hot_rows_takes_rows(kind, dtype, rng):
    labels = LABELS.astype(kind)
    w = (rng.normal(size=(5, 4)) * 9).astype(dtype)
    i, x = gc.input("i", labels.shape, kind), gc.input("w", w.shape, dtype)
    y = gc.one_hot(i, 5, dtype) @ x
    assert "contract" not in kinds(y)
    np.testing.assert_array_equal(gc.compile([i, x], y)(labels, w), product(labels, w))


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_reaches_what_the_product_would_make_nan(number, rng):
    w = rng.normal(size=(5, 4)).astype("float32")
    w[3, 1] = w[0, 2] = w[4, 2] = number
    i, x = gc.input("i", LABELS.shape, "int64"), gc.input("w", w.shape)
    found = gc.compile([i, x], gc.one_hot(i, 5) @ x)(LABELS, w)
    np.testing.assert_array_equal(found, product(LABELS, w))


def test_a_counter_from_a_table_and_rows_made_flat(rng):
    w = rng.normal(size=(5, 4)).astype("float32")
    i, x = gc.input("i", LABELS.shape, "int32"), gc.input("w", w.shape)
    hot = (i[..., None] == np.arange(5, dtype="int32")[None, None]).astype("float32")
    y = hot.reshape(-1, 5) @ x
    assert "contract" not in kinds(y)
    found = gc.compile([i, x], y)(LABELS.astype("int32"), w)
    np.testing.assert_array_equal(found, product(LABELS, w).reshape(-1, 4))


def test_gradients_go_to_the_rows_and_come_from_them(rng):
    w, g = rng.normal(size=(5, 4)), rng.normal(size=(2, 3, 4))
    i, x = gc.input("i", LABELS.shape, "int64"), gc.input("w", w.shape, "float64")
    loss = gc.sum((gc.one_hot(i, 5, "float64") @ x) ** 2 * g)
    (slope,) = gc.compile([i, x], gc.grad(loss, [x]))(LABELS, w)
    hot = (LABELS[..., None] == np.arange(5)).astype(float)
    np.testing.assert_allclose(slope, np.einsum("abk,abn->kn", hot, 2 * (hot @ w) * g))


def test_the_gradient_of_a_sum_by_classes_takes_rows(rng):
    x, g = gc.input("x", (6, 4)), rng.normal(size=(5, 4)).astype("float32")
    labels = np.array([0, 3, 4, 3, 9, -2])
    i = gc.input("i", (6,), "int64")
    (slope,) = gc.grad(gc.sum((gc.one_hot(i, 5).T @ x) * g), [x])
    assert "contract" not in kinds(slope)
    found = gc.compile([i, x], slope)(labels, np.ones((6, 4), "float32"))
    np.testing.assert_array_equal(found, product(labels, g))


def test_a_product_with_other_rows_stays_one():
    i, x = gc.input("i", (6,), "int64"), gc.input("w", (5, 4))
    assert "contract" in kinds(gc.one_hot(i, 5) * 2 @ x)
    assert "contract" in kinds((i[:, None] <= gc.arange(5)).astype("float32") @ x)
    assert "contract" in kinds((i[:, None] == gc.arange(1, 6)).astype("float32") @ x)
