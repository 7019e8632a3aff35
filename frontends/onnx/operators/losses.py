"""Losses of classes, by scores or by their logarithms.

Comes in: scores ``[n, classes, ...]`` and labels ``[n, ...]``. Goes out: losses. A separate file as
ONNX has the classes along axis 1 and can give the logarithms of the softmax too.
"""

from __future__ import annotations

from typing import Any

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import losses
from graphc.frontends.onnx.registry import operator


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: Any = "mean",
) -> Tensor:
    """``-x`` at the right class, x being logarithms of probabilities."""
    return losses.nll(x, labels, 1, reduction, weight=weight, ignore_index=ignore_index)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    x: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int | None = None,
    reduction: Any = "mean",
) -> tuple[Tensor, Tensor]:
    """`negative_log_likelihood` of the logarithm of the softmax of x, and that logarithm."""
    logs = gc.log_softmax(x, 1)
    loss = losses.nll(logs, labels, 1, reduction, weight=weight, ignore_index=ignore_index)
    return loss, logs
