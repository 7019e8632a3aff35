"""Losses of classes: weights, ignored labels, and the logarithms beside them."""

import numpy as np
import pytest

import graphc as gc
from onnx_text import model, run_everywhere

INPUTS = "float[4,3,2] x, int64[4,2] t, float[3] w"


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_weights_and_ignored_labels(reduction, rng):
    x = rng.normal(size=(4, 3, 2)).astype("f")
    labels = np.array([[0, 1], [2, -1], [1, -1], [0, 2]])
    weight = np.float32([1, 2, 0.5])
    body = f'y, l = SoftmaxCrossEntropyLoss<reduction="{reduction}", ignore_index=-1>(x, t, w)'
    y, logs = run_everywhere(INPUTS, body, x, labels, weight, outputs="y l")
    wanted = x - np.log(np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(logs, wanted, rtol=1e-5, atol=1e-6)
    share = np.where(labels < 0, 0, weight[labels])
    picked = np.take_along_axis(wanted, labels[:, None] % 3, 1)[:, 0]
    each = -picked * share
    total = {"none": each, "sum": each.sum(), "mean": each.sum() / share.sum()}[reduction]
    np.testing.assert_allclose(y, total, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("operator", ["SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"])
def test_gradients(operator, rng):
    x, t, w = gc.input("x", (4, 3, 2)), gc.input("t", (4, 2), "int64"), gc.input("w", (3,))
    loss = model(INPUTS, f"y = {operator}<ignore_index=1>(x, t, w)")(x, t, w)
    values = {x: rng.normal(size=(4, 3, 2)), t: rng.integers(0, 3, (4, 2)), w: np.ones(3) + 0.5}
    report = gc.check_grad(loss, [x, w], values)
    assert report, report
