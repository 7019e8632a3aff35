"""Losses of classes: how little a model believes in what is true.

Comes in: scores or probabilities of classes, and labels: numbers of classes, or probabilities. Goes
out: a scalar, or one number per example with ``reduction="none"``. All raise `UserError` GC0101
(shapes), GC0102 (dtypes), GC0104 (options). Formulas and defaults are PyTorch's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphc.errors import UserError
from graphc.frontends.dsl.creation import one_hot
from graphc.frontends.dsl.elementwise import exp, log, maximum, relu, softplus, square, where
from graphc.frontends.dsl.manners import at_user_line, axis_of
from graphc.frontends.dsl.reductions import log_softmax
from graphc.frontends.dsl.shaping import expand_dims, moveaxis
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.losses.reduction import Reduction, beside, reduced, same_shape, weighed
from graphc.site import scope


# One class of several -----------------------------------------------------------------------------
@at_user_line
@scope("cross_entropy")
def cross_entropy(
    logits: Value,
    labels: Value,
    axis: int = -1,
    reduction: Reduction = "mean",
    *,
    weight: Value | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-log(softmax(logits))`` at the right class: floats ``[..., classes]``, integers ``[...]``.

    The classes lie along ``axis`` of ``logits``; a label outside them counts 0. ``labels`` may also
    be probabilities: floats of the shape of the logits. ``weight`` [classes] multiplies the loss of
    each class; examples labelled ``ignore_index`` do not count, nor in the mean, which is over the
    weights of the labels. ``label_smoothing`` gives that share of each label to all classes alike
    (Szegedy et al. 2016, section 7). Labels are compared with a counter, so that neither direction
    needs a gather or a scatter: both fuse (Goodfellow et al., Deep Learning, section 6.2.2). Raises
    `UserError` GC0101, GC0102, and GC0104 for ``ignore_index`` with probabilities.
    """
    scores, truth = _classes_last(tensor(logits), axis), tensor(labels)
    choice = _Choice(weight, ignore_index, label_smoothing)
    if truth.dtype.is_float and truth.ndim == scores.ndim:
        truth = _classes_last(beside(labels, scores), axis)
        return _of_probabilities(scores, truth, choice, reduction)
    check_labels(scores, truth)
    return _of_labels(log_softmax(scores), truth, choice, reduction)


@at_user_line
@scope("nll")
def nll(
    log_probabilities: Value,
    labels: Value,
    axis: int = -1,
    reduction: Reduction = "mean",
    *,
    weight: Value | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Negative log-likelihood: `cross_entropy` of what is the logarithm of a softmax already."""
    logs, truth = _classes_last(tensor(log_probabilities), axis), tensor(labels)
    check_labels(logs, truth)
    return _of_labels(logs, truth, _Choice(weight, ignore_index), reduction)


@dataclass(frozen=True)
class _Choice:
    """Which classes and examples count how much; 0 smoothing leaves labels as they are."""

    weight: Value | None
    ignored: int | None
    smoothing: float = 0.0


def _of_labels(logs: Tensor, labels: Tensor, choice: _Choice, reduction: str) -> Tensor:
    right = one_hot(labels, logs.shape[-1], "bool")
    counted = None if choice.ignored is None else labels != choice.ignored
    right = right if counted is None else right & expand_dims(counted, -1)
    weight = None if choice.weight is None else beside(choice.weight, logs)
    logs = weighed(logs, weight)
    loss = -where(right, logs, 0).sum(-1)
    if choice.smoothing:
        everywhere = -logs.mean(-1)
        everywhere = everywhere if counted is None else where(counted, everywhere, 0)
        loss = (1 - choice.smoothing) * loss + choice.smoothing * everywhere
    return reduced(loss, reduction, _shares(right, counted, weight, logs))


def _shares(
    right: Tensor, counted: Tensor | None, weight: Tensor | None, logs: Tensor
) -> Tensor | None:
    """What each example counts in the mean; None where all count 1."""
    if weight is not None:
        return where(right, weight, 0).sum(-1)
    return None if counted is None else counted.astype(logs.dtype)


def _of_probabilities(scores: Tensor, truth: Tensor, choice: _Choice, reduction: str) -> Tensor:
    if choice.ignored is not None:
        raise UserError(
            "GC0104",
            "ignore_index with probabilities",
            why="it is the number of a class, and these labels are no numbers of classes",
            fix="give the rows that shall not count probabilities of 0",
        )
    same_shape(scores, truth)
    weight = None if choice.weight is None else beside(choice.weight, scores)
    if choice.smoothing:
        uniform = choice.smoothing / beside(scores.shape[-1], scores)
        truth = (1 - choice.smoothing) * truth + uniform
    return reduced(-(truth * weighed(log_softmax(scores), weight)).sum(-1), reduction)


def _classes_last(x: Tensor, axis: int) -> Tensor:
    return moveaxis(x, axis, -1) if axis_of(axis, x.ndim) != x.ndim - 1 else x


def check_labels(scores: Tensor, labels: Tensor) -> None:
    """Raises `UserError` GC0101, GC0102 unless there is one integer for each row of scores."""
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
@scope("kl_div")
def kl_div(
    log_predictions: Value,
    targets: Value,
    reduction: Literal["mean", "sum", "none", "batchmean"] = "mean",
    *,
    log_target: bool = False,
) -> Tensor:
    """t * (log(t) - x) for logarithms x of probabilities (Kullback and Leibler 1951), 0 for t = 0.

    With ``log_target`` the targets are logarithms too. The divergence of distributions is the sum
    over their axis: "batchmean" divides the sum of all by the size of the first axis, "mean" by the
    number of elements.
    """
    x = tensor(log_predictions)
    t = beside(targets, x)
    if log_target:
        loss = exp(t) * (t - x)
    else:
        some = t > 0
        loss = where(some, t * log(where(some, t, 1)), 0) - t * x
    loss = same_shape(x, loss)
    if reduction == "batchmean":
        return loss.sum() / beside(loss.shape[0] if loss.ndim else 1, loss)
    return reduced(loss, reduction)


# Yes or no ----------------------------------------------------------------------------------------
@at_user_line
@scope("binary_cross_entropy")
def binary_cross_entropy(
    probabilities: Value,
    targets: Value,
    reduction: Reduction = "mean",
    *,
    weight: Value | None = None,
) -> Tensor:
    """``-(t * log(p) + (1-t) * log(1-p))`` for p and t in [0, 1], times ``weight``.

    Logarithms are taken of at least 1e-37, so that loss and gradient stay finite. With logits in
    hand use `binary_cross_entropy_with_logits`, which loses nothing.
    """
    p, t = tensor(probabilities), tensor(targets)
    yes, no = (log(maximum(q, 1e-37)) for q in (p, 1 - p))
    return reduced(weighed(same_shape(p, -(t * yes + (1 - t) * no)), weight), reduction)


@at_user_line
@scope("binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(
    logits: Value,
    targets: Value,
    reduction: Reduction = "mean",
    *,
    weight: Value | None = None,
    pos_weight: Value | None = None,
) -> Tensor:
    """`binary_cross_entropy` of ``sigmoid(logits)``, as ``softplus(x) - x*t``, without overflow.

    ``pos_weight`` multiplies the part of t alone, e.g. [classes] of unequal frequency.
    """
    x, t = tensor(logits), tensor(targets)
    if pos_weight is None:
        loss = softplus(x) - x * t
    else:
        loss = (1 - t) * softplus(x) + beside(pos_weight, x) * t * softplus(-x)
    return reduced(weighed(same_shape(x, loss), weight), reduction)


@at_user_line
@scope("hinge")
def hinge(
    scores: Value, targets: Value, reduction: Reduction = "mean", *, squared: bool = False
) -> Tensor:
    """max(0, 1 - t*x) for targets t of -1 and 1 (Cortes and Vapnik 1995), perhaps ``squared``."""
    x = tensor(scores)
    loss = relu(same_shape(x, 1 - beside(targets, x) * x))
    return reduced(square(loss) if squared else loss, reduction)


@at_user_line
@scope("soft_margin")
def soft_margin(scores: Value, targets: Value, reduction: Reduction = "mean") -> Tensor:
    """log(1 + exp(-t*x)) for targets t of -1 and 1: logistic regression."""
    x = tensor(scores)
    return reduced(same_shape(x, softplus(-beside(targets, x) * x)), reduction)


@at_user_line
@scope("multi_margin")
def multi_margin(
    scores: Value,
    labels: Value,
    reduction: Reduction = "mean",
    *,
    power: Literal[1, 2] = 1,
    margin: float = 1.0,
    weight: Value | None = None,
) -> Tensor:
    """The hinge loss of several classes (Crammer and Singer 2001, summed over the wrong classes).

    ``max(0, margin - x[right] + x[wrong])**power`` summed over the wrong ones, divided by the
    number of classes: scores ``[..., classes]``, labels ``[...]``. ``weight`` [classes] is looked
    up at the label.
    """
    x, truth = tensor(scores), tensor(labels)
    check_labels(x, truth)
    if power not in (1, 2):
        raise UserError("GC0104", f"power={power}", fix="use 1 or 2")
    right = one_hot(truth, x.shape[-1], "bool")
    own = where(right, x, 0).sum(-1, keepdims=True)
    short = relu(margin - own + x)
    lost = where(right, 0, short if power == 1 else square(short)).mean(-1)
    if weight is None:
        return reduced(lost, reduction)
    return reduced(lost * where(right, beside(weight, x), 0).sum(-1), reduction)
