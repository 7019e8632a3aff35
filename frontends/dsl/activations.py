"""Activations that are made of other functions, beside those in `graphc.frontends.dsl.elementwise`.

Comes in: a float tensor. Goes out: a tensor of its shape (`glu`: half of one axis). All raise
`UserError` GC0102 at the user's line. Where a function has a corner, its slope there is that of the
flat side, as in PyTorch; what is not chosen stays finite, so that no slope is 0 * inf.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import (
    abs,
    elu,
    expm1,
    sigmoid,
    softplus,
    tanh,
    where,
)
from graphc.frontends.dsl.manners import at_user_line, axis_of, promoted
from graphc.frontends.dsl.reductions import softmax
from graphc.frontends.dsl.shaping import split
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, tensor


# With straight pieces -----------------------------------------------------------------------------
@at_user_line
def hard_tanh(x: Value, low: float = -1.0, high: float = 1.0) -> Tensor:
    """x kept between ``low`` and ``high``, where the slope is 0; `clip` shares it there."""
    value = tensor(x)
    return where(value <= low, low, where(value >= high, high, value))


def relu6(x: Value) -> Tensor:
    """x kept between 0 and 6 (Krizhevsky 2010)."""
    return hard_tanh(x, 0.0, 6.0)


def hard_sigmoid(x: Value) -> Tensor:
    """relu6(x + 3) / 6 (Howard et al. 2019), as in PyTorch."""
    return relu6(tensor(x) + 3) * (1 / 6)


def hard_swish(x: Value) -> Tensor:
    """x * hard_sigmoid(x) (Howard et al. 2019)."""
    value = tensor(x)
    return value * hard_sigmoid(value)


@at_user_line
def threshold(x: Value, limit: float, value: float) -> Tensor:
    """x above ``limit``, else ``value``."""
    operand = tensor(x)
    return where(operand <= limit, value, operand)


@at_user_line
def hard_shrink(x: Value, limit: float = 0.5) -> Tensor:
    """x further than ``limit`` from 0, else 0."""
    value = tensor(x)
    return where(abs(value) <= limit, 0, value)


@at_user_line
def soft_shrink(x: Value, limit: float = 0.5) -> Tensor:
    """x moved towards 0 by ``limit``, not beyond it (Beck and Teboulle 2009)."""
    value = tensor(x)
    return where(abs(value) <= limit, 0, where(value > 0, value - limit, value + limit))


@at_user_line
def prelu(x: Value, weight: Value) -> Tensor:
    """x above 0, else weight * x (He et al. 2015): one weight, or one for each place of axis 1."""
    value, slope = map(Tensor, promoted(x, weight))
    if slope.ndim == 1 and slope.shape[0] != 1 and value.ndim > 1:
        slope = slope.reshape((slope.shape[0], *(1,) * (value.ndim - 2)))
    return where(value > 0, value, slope * value)


# With exponentials --------------------------------------------------------------------------------
def selu(x: Value) -> Tensor:
    """A multiple of `elu` that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


@at_user_line
def celu(x: Value, alpha: float = 1.0) -> Tensor:
    """x above 0, else alpha * (exp(x / alpha) - 1) (Barron 2017); slope 1 at 0."""
    value = tensor(x)
    below = where(value > 0, 0, value)
    return where(value > 0, value, alpha * expm1(below * (1 / alpha)))


@at_user_line
def softsign(x: Value) -> Tensor:
    """x / (1 + abs(x))."""
    value = tensor(x)
    return value / (1 + abs(value))


@at_user_line
def log_sigmoid(x: Value) -> Tensor:
    """log(sigmoid(x)), without overflow or loss."""
    return -softplus(-tensor(x))


@at_user_line
def mish(x: Value) -> Tensor:
    """x * tanh(softplus(x)) (Misra 2019)."""
    value = tensor(x)
    return value * tanh(softplus(value))


@at_user_line
def tanh_shrink(x: Value) -> Tensor:
    """x - tanh(x)."""
    value = tensor(x)
    return value - tanh(value)


@at_user_line
def softmin(x: Value, axis: Axis = -1) -> Tensor:
    """softmax(-x) over ``axis``."""
    return softmax(-tensor(x), axis)


@at_user_line
def glu(x: Value, axis: int = -1) -> Tensor:
    """The first half of ``axis`` times the sigmoid of the second (Dauphin et al. 2016).

    Raises `UserError` GC0101 for an odd size.
    """
    value = tensor(x)
    size = value.shape[axis_of(axis, value.ndim)]
    if isinstance(size, int) and size % 2:
        raise UserError("GC0101", f"glu: axis {axis} of {value.node.type} has an odd size")
    first, gate = split(value, 2, axis)
    return first * sigmoid(gate)
