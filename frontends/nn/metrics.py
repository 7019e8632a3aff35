"""Metrics: how good a model is, in numbers that people read and nobody differentiates.

Comes in: predictions and what is true. Goes out: one number, or a table. A separate file because a
metric is chosen for readers, a loss for its gradient. `precision`, `recall` and `f1` take a table
of counts, a tensor or an array, so that they hold for one batch in the graph as well as for the
sum of many tables outside of it: the mean of the batches' own values would be another number.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange, one_hot
from graphc.frontends.dsl.elementwise import exp, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.reductions import any as any_of
from graphc.frontends.dsl.shaping import expand_dims, tensordot
from graphc.frontends.dsl.tensor import Tensor, Value, spread, tensor
from graphc.frontends.nn.losses.classification import check_labels, cross_entropy
from graphc.frontends.nn.losses.reduction import beside, same_shape

Counts = Any
"""A `Tensor` or a NumPy array ``[classes, classes]``: row = true class, column = predicted one."""
Average = Literal["macro", "micro"] | None


@at_user_line
def accuracy(scores: Value, labels: Value, top: int = 1) -> Tensor:
    """The share of rows ``[..., classes]`` whose label ``[...]`` is among the ``top`` best scores.

    Of equal scores the first counts as the better one. Raises `UserError` GC0101, GC0102, GC0104.
    """
    values, truth = tensor(scores), tensor(labels)
    check_labels(values, truth)
    if top < 1:
        raise UserError("GC0104", f"accuracy with top={top}", fix="use 1 or more")
    hits = values.argmax(-1) == truth if top == 1 else _rank(values, truth) < top
    return hits.astype("float32").mean()


def _rank(scores: Tensor, labels: Tensor) -> Tensor:
    """How many scores of each row are better than that of its label; all, if there is none."""
    classes = scores.shape[-1]
    right = one_hot(labels, classes, "bool")
    own = spread(where(right, scores, 0).sum(-1), scores, -1)
    before = arange(classes) < expand_dims(labels.astype("int64"), -1)
    better = (scores > own) | ((scores == own) & before)
    absent = ~expand_dims(any_of(right, -1), -1)
    return (better | absent).astype("int64").sum(-1)


@at_user_line
def confusion_matrix(predictions: Value, labels: Value, classes: int) -> Tensor:
    """How often class ``row`` was taken for class ``column``: int64 ``[classes, classes]``.

    Integers of one shape; what lies outside the classes is left out. Raises `UserError` GC0101,
    GC0102.
    """
    found, truth = tensor(predictions), tensor(labels)
    if found.shape != truth.shape:
        raise UserError(
            "GC0101",
            f"predictions {found.node.type} for labels {truth.node.type}",
            why="every example has one of each",
            fix="pass classes, e.g. scores.argmax(-1)",
        )
    rows, columns = (one_hot(x.reshape(-1), classes, "int64") for x in (truth, found))
    return tensordot(rows, columns, ((0,), (0,)))


def precision(counts: Counts, average: Average = "macro") -> Any:
    """Of the examples taken for a class, the share that belongs to it: float64.

    ``counts`` is a `confusion_matrix`, or a sum of them. None gives the number of each class, 0
    where nothing was taken for it; "macro" the mean over the classes that occur at all, "micro" the
    number of all examples together. Raises `UserError` GC0104.
    """
    table = counts.astype("float64")
    return _averaged(_diagonal(table), table.sum(0), table, average)


def recall(counts: Counts, average: Average = "macro") -> Any:
    """Of the examples of a class, the share that was found; see `precision`."""
    table = counts.astype("float64")
    return _averaged(_diagonal(table), table.sum(1), table, average)


def f1(counts: Counts, average: Average = "macro") -> Any:
    """The harmonic mean of precision and recall (van Rijsbergen 1979); see `precision`."""
    table = counts.astype("float64")
    return _averaged(2 * _diagonal(table), table.sum(0) + table.sum(1), table, average)


def _averaged(hits: Any, all_of: Any, table: Any, average: Average) -> Any:
    if average is None:
        return _share(hits, all_of)
    if average == "micro":
        return _share(hits.sum(), all_of.sum())
    if average == "macro":
        occurs = (table.sum(0) + table.sum(1) > 0).astype("float64")
        return _share(_share(hits, all_of).sum(), occurs.sum())
    raise UserError("GC0104", f"unknown average {average!r}", fix="use 'macro', 'micro' or None")


def _diagonal(table: Any) -> Any:
    return (table * np.eye(table.shape[0])).sum(0)


def _share(part: Any, whole: Any) -> Any:
    """``part / whole``, and 0 of nothing."""
    nothing = (whole == 0).astype("float64")
    return part / (whole + nothing)


@at_user_line
def perplexity(
    logits: Value, labels: Value, axis: int = -1, *, ignore_index: int | None = None
) -> Tensor:
    """exp(mean cross entropy): among how many equally likely classes the model seems to choose.

    Of many batches it is exp of the mean loss, not the mean of their perplexities.
    """
    return exp(cross_entropy(logits, labels, axis, ignore_index=ignore_index))


@at_user_line
def r2(predictions: Value, targets: Value) -> Tensor:
    """The share of the targets' variance that is explained: 1 is perfect, 0 as good as their mean.

    1 - sum((t - p)**2) / sum((t - mean(t))**2) over the first axis, mean over all others. Constant
    targets give 1 when predicted exactly, else 0. Raises `UserError` GC0101.
    """
    p = tensor(predictions)
    t = beside(targets, p)
    rest = same_shape(p, t - p)
    lost, total = (rest * rest).sum(0), ((t - t.mean(0, keepdims=True)) ** 2).sum(0)
    constant = total == 0
    exact = (lost == 0).astype(p.dtype)
    return where(constant, exact, 1 - lost / where(constant, 1, total)).mean()
