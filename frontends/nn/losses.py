"""Losses and metrics: one number that says how far predictions are from the truth.

Comes in: predictions and targets. Goes out: a scalar, or one number per example with
``reduction="none"``. A separate file because these are what `gc.grad` starts from.
"""

from __future__ import annotations

from typing import Literal

from graphc.errors import UserError
from graphc.frontends.dsl.creation import one_hot
from graphc.frontends.dsl.elementwise import log, maximum, softplus, where
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.reductions import log_softmax
from graphc.frontends.dsl.shaping import moveaxis
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.site import scope

Reduction = Literal["mean", "sum", "none"]


@at_user_line
@scope("mse")
def mse(predictions: Value, targets: Value, reduction: Reduction = "mean") -> Tensor:
    """The mean squared difference of floats; targets may broadcast to the predictions' shape.

    Raises `UserError` GC0101, also where both would have to broadcast.
    """
    difference = _same_shape(predictions, tensor(predictions) - targets)
    return _reduced(difference * difference, reduction)


def _same_shape(predictions: Value, loss: Tensor) -> Tensor:
    """``loss``, unless it has grown: [n, 1] beside [n] makes [n, n], and a wrong mean of it."""
    wanted = tensor(predictions)
    if loss.shape != wanted.shape:
        raise UserError(
            "GC0101",
            f"predictions {wanted.node.type} and targets meet in {loss.node.type}",
            why="every prediction has one target",
            fix="give both the same shape, e.g. predictions.reshape(-1) or targets[:, None]",
        )
    return loss


@at_user_line
@scope("cross_entropy")
def cross_entropy(
    logits: Value, labels: Value, axis: int = -1, reduction: Reduction = "mean"
) -> Tensor:
    """``-log(softmax(logits))`` at the right class: floats ``[..., classes]``, integers ``[...]``.

    The classes lie along ``axis`` of ``logits``; a label outside them counts 0. Written as a
    comparison with a counter, so that neither direction needs a gather or a scatter: both fuse
    (Goodfellow et al., Deep Learning, section 6.2.2). Raises `UserError` GC0101, GC0102.
    """
    scores, truth = tensor(logits), tensor(labels)
    scores = moveaxis(scores, axis, -1) if axis_of(axis, scores.ndim) != scores.ndim - 1 else scores
    _check_labels(scores, truth)
    right = one_hot(truth, scores.shape[-1], "bool")
    return _reduced(-where(right, log_softmax(scores), 0).sum(-1), reduction)


def _check_labels(scores: Tensor, labels: Tensor) -> None:
    if not labels.dtype.is_integer:
        raise UserError(
            "GC0102",
            f"labels are {labels.dtype.name}",
            why="a label is the number of the right class",
            fix="pass integers, or declare the input with dtype 'int64'",
        )
    if labels.shape != scores.shape[:-1]:
        raise UserError(
            "GC0101",
            f"labels {labels.node.type} for scores {scores.node.type}",
            why="there is one label for each row of scores",
            fix="labels have the shape of the scores without the axis of classes",
        )


@at_user_line
@scope("binary_cross_entropy")
def binary_cross_entropy(
    probabilities: Value, targets: Value, reduction: Reduction = "mean"
) -> Tensor:
    """``-(t * log(p) + (1-t) * log(1-p))`` for p and t in [0, 1].

    Logarithms are taken of at least 1e-37, so that loss and gradient stay finite. With logits in
    hand use `binary_cross_entropy_with_logits`, which loses nothing.
    """
    p, t = tensor(probabilities), tensor(targets)
    yes, no = (log(maximum(q, 1e-37)) for q in (p, 1 - p))
    return _reduced(_same_shape(p, -(t * yes + (1 - t) * no)), reduction)


@at_user_line
@scope("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    logits: Value, targets: Value, reduction: Reduction = "mean"
) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(logits)``, as ``softplus(x) - x*t``, without overflow."""
    x, t = tensor(logits), tensor(targets)
    return _reduced(_same_shape(x, softplus(x) - x * t), reduction)


@at_user_line
def accuracy(scores: Value, labels: Value) -> Tensor:
    """The share of rows whose largest score is at the label: ``[..., classes]`` and ``[...]``."""
    truth = tensor(labels)
    _check_labels(tensor(scores), truth)
    return (tensor(scores).argmax(-1) == truth).astype("float32").mean()


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction not in ("mean", "sum", "none"):
        raise UserError(
            "GC0104", f"unknown reduction {reduction!r}", fix="use 'mean', 'sum' or 'none'"
        )
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()
