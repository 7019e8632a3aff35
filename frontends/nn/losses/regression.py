"""Losses of numbers: how far a prediction is from its target.

Comes in: predictions and targets, floats that broadcast to the predictions' shape. Goes out: a
scalar, or one number per prediction with ``reduction="none"``. All raise `UserError` GC0101 for
targets of another shape, GC0104 for options. Formulas and defaults are PyTorch's.
"""

from __future__ import annotations

import math

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import abs, exp, log, maximum, minimum, where
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.losses.reduction import Reduction, beside, reduced, same_shape
from graphc.site import scope


@at_user_line
@scope("mse")
def mse(predictions: Value, targets: Value, reduction: Reduction = "mean") -> Tensor:
    """The mean squared difference of floats; targets may broadcast to the predictions' shape.

    Raises `UserError` GC0101, also where both would have to broadcast.
    """
    difference = _difference(predictions, targets)
    return reduced(difference * difference, reduction)


@at_user_line
@scope("mae")
def mae(predictions: Value, targets: Value, reduction: Reduction = "mean") -> Tensor:
    """The mean absolute difference, also called L1 loss; slope 0 where both are equal."""
    return reduced(abs(_difference(predictions, targets)), reduction)


@at_user_line
@scope("huber")
def huber(
    predictions: Value, targets: Value, reduction: Reduction = "mean", *, delta: float = 1.0
) -> Tensor:
    """d*d/2 for differences d up to ``delta``, then delta*(abs(d) - delta/2) (Huber 1964)."""
    _positive("delta", delta)
    return reduced(_huber(_difference(predictions, targets), delta), reduction)


@at_user_line
@scope("smooth_l1")
def smooth_l1(
    predictions: Value, targets: Value, reduction: Reduction = "mean", *, beta: float = 1.0
) -> Tensor:
    """`huber` with delta ``beta``, divided by it: slope 1 far away (Girshick 2015); `mae` for 0."""
    difference = _difference(predictions, targets)
    if beta == 0:
        return reduced(abs(difference), reduction)
    _positive("beta", beta)
    return reduced(_huber(difference, beta) / beta, reduction)


@at_user_line
@scope("gaussian_nll")
def gaussian_nll(
    means: Value,
    targets: Value,
    variances: Value,
    reduction: Reduction = "mean",
    *,
    full: bool = False,
    epsilon: float = 1e-6,
) -> Tensor:
    """-log of the normal density (Nix and Weigend 1994); variances count as at least ``epsilon``.

    (log(v) + (mean - target)**2 / v) / 2, and log(2 pi)/2 more with ``full``.
    """
    variance = maximum(beside(variances, tensor(means)), epsilon)
    difference = _difference(means, targets)
    loss = 0.5 * (log(variance) + difference * difference / variance)
    loss = loss + 0.5 * math.log(2 * math.pi) if full else loss
    return reduced(same_shape(means, loss), reduction)


@at_user_line
@scope("poisson_nll")
def poisson_nll(
    predictions: Value,
    targets: Value,
    reduction: Reduction = "mean",
    *,
    log_input: bool = True,
    full: bool = False,
    epsilon: float = 1e-8,
) -> Tensor:
    """-log of the Poisson probability of counts, without log(target!) unless ``full``.

    exp(x) - target*x of logarithms x of rates; with ``log_input=False`` predictions are the rates
    r: r - target*log(r + epsilon). ``full`` adds Stirling's approximation of log(target!) above 1.
    """
    x = tensor(predictions)
    t = beside(targets, x)
    loss = same_shape(x, exp(x) - t * x if log_input else x - t * log(x + epsilon))
    return reduced(loss + _stirling(t) if full else loss, reduction)


def _stirling(t: Tensor) -> Tensor:
    above = t > 1
    safe = where(above, t, 1)
    return where(above, safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe), 0)


def _huber(difference: Tensor, delta: float) -> Tensor:
    # one formula for both sides: no branch, and no inf * 0 in the gradient far away
    size = abs(difference)
    near = minimum(size, delta)
    return near * (size - 0.5 * near)


def _difference(predictions: Value, targets: Value) -> Tensor:
    return same_shape(predictions, tensor(predictions) - targets)


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise UserError("GC0104", f"{name}={value}", fix=f"use a {name} above 0")
