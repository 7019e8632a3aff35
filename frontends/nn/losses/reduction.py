"""What all losses share: one number out of many, and the check that targets fit.

Comes in: a tensor of losses, one per example. Goes out: their mean, their sum, or themselves. A
separate step because every loss ends with it, and a silent broadcast before it gives a wrong mean.
"""

from __future__ import annotations

from typing import Any, Literal

from graphc.errors import UserError
from graphc.frontends.dsl.leaves import constant
from graphc.frontends.dsl.tensor import Tensor, Value, tensor

Reduction = Literal["mean", "sum", "none"]


def reduced(loss: Tensor, reduction: str, shares: Tensor | None = None) -> Tensor:
    """``loss`` as ``reduction`` says; the mean is over the sum of ``shares`` where they are given.

    Raises `UserError` GC0104.
    """
    if reduction not in ("mean", "sum", "none"):
        raise UserError(
            "GC0104", f"unknown reduction {reduction!r}", fix="use 'mean', 'sum' or 'none'"
        )
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    return loss.mean() if shares is None else loss.sum() / shares.sum()


def same_shape(predictions: Value, loss: Tensor) -> Tensor:
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


def weighed(loss: Tensor, weight: Value | None) -> Tensor:
    """``loss`` times ``weight``, which may broadcast to its shape; as it is for None."""
    return loss if weight is None else same_shape(loss, loss * weight)


def beside(value: Any, like: Tensor) -> Tensor:
    """``value`` as a tensor in the dtype of ``like``; a float64 array loses nothing on the way."""
    return constant(value, like.dtype)
