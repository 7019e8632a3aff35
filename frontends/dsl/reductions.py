"""Functions that combine whole axes, under the names of the array API and NumPy.

Comes in: a tensor and axes (an int, several, or None for all). Goes out: a tensor without these
axes, or with size 1 there if ``keepdims``. All raise `UserError` GC0102, GC0104 at the user's line.
The softmax family is here too: it is made of reductions and keeps the shape.
"""

from __future__ import annotations

from graphc.frontends.dsl.elementwise import exp, isfinite, log, where
from graphc.frontends.dsl.manners import at_user_line, axes_of
from graphc.frontends.dsl.shaping import expand_dims
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, spread, tensor
from graphc.ops.copy import StopGradient


def sum(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The sum, in the dtype of ``x``; 0 for no elements. Numbers."""
    return tensor(x).sum(axis, keepdims=keepdims)


def prod(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The product, in the dtype of ``x``; 1 for no elements. Numbers.

    The gradient is right with zeros in ``x``, its own derivative where no element is 0.
    """
    return tensor(x).prod(axis, keepdims=keepdims)


def max(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The largest element; nan wins, ties share the gradient evenly. Numbers."""
    return tensor(x).max(axis, keepdims=keepdims)


def min(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The smallest element; nan wins, ties share the gradient evenly. Numbers."""
    return tensor(x).min(axis, keepdims=keepdims)


def any(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether some element is not zero, as bool."""
    return tensor(x).any(axis, keepdims=keepdims)


def all(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Whether every element is not zero, as bool."""
    return tensor(x).all(axis, keepdims=keepdims)


def mean(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The arithmetic mean. Floats."""
    return tensor(x).mean(axis, keepdims=keepdims)


def var(x: Value, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from the mean, over the count minus ``correction``. Floats."""
    return tensor(x).var(axis, correction=correction, keepdims=keepdims)


def std(x: Value, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`. Floats."""
    return tensor(x).std(axis, correction=correction, keepdims=keepdims)


def argmax(x: Value, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The int64 position of the first largest element; in the flattened tensor for None."""
    return tensor(x).argmax(axis, keepdims=keepdims)


def argmin(x: Value, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The int64 position of the first smallest element; in the flattened tensor for None."""
    return tensor(x).argmin(axis, keepdims=keepdims)


def stop_gradient(x: Value) -> Tensor:
    """``x``, through which no gradient flows."""
    return Tensor(StopGradient()(tensor(x).node))


# The softmax family -------------------------------------------------------------------------------
@at_user_line
def softmax(x: Value, axis: Axis = -1) -> Tensor:
    """exp(x) / sum(exp(x)) over ``axis``, without overflow. Floats, same shape."""
    value = tensor(x)
    weights = exp(value - spread(_peak(value, axis), value, axis))
    return weights / spread(weights.sum(axis), value, axis)


@at_user_line
def log_softmax(x: Value, axis: Axis = -1) -> Tensor:
    """log(softmax(x)) over ``axis``, without overflow or loss. Floats, same shape."""
    value = tensor(x)
    shifted = value - spread(_peak(value, axis), value, axis)
    return shifted - spread(log(exp(shifted).sum(axis)), value, axis)


@at_user_line
def logsumexp(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over ``axis``, without overflow; -inf for nothing but -inf. Floats."""
    value = tensor(x)
    peak = _peak(value, axis)
    peak = where(isfinite(peak), peak, 0)
    result = peak + log(exp(value - spread(peak, value, axis)).sum(axis))
    return expand_dims(result, axes_of(axis, value.ndim)) if keepdims else result


def _peak(x: Tensor, axis: Axis) -> Tensor:
    """The largest element; subtracting it changes no result, so it needs no gradient."""
    return stop_gradient(x.max(axis))
