"""Statistics along axes: without nan, weighted, of differences, between variables.

Comes in: a tensor and axes (an int, several, or None for all). Goes out: a tensor, as from the
reductions (`graphc.frontends.dsl.reductions`) that these are made of. All raise `UserError` GC0102,
GC0104 at the user's line.
"""

from __future__ import annotations

import math

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import isnan, sqrt, where
from graphc.frontends.dsl.layout import diag
from graphc.frontends.dsl.manners import as_node, at_user_line, axis_of
from graphc.frontends.dsl.shaping import broadcast_to, concatenate, expand_dims
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, matmul, spread, tensor


@at_user_line
def count_nonzero(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """How many elements are not zero, as int64."""
    value = tensor(x)
    found = value if value.dtype == "bool" else value != 0
    return found.astype("int64").sum(axis, keepdims=keepdims)


@at_user_line
def ptp(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The largest less the smallest element. Numbers."""
    value = tensor(x)
    return value.max(axis, keepdims=keepdims) - value.min(axis, keepdims=keepdims)


# Without nan --------------------------------------------------------------------------------------
@at_user_line
def nansum(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The sum of the elements that are not nan; 0 for none."""
    return _without_nan(x, 0).sum(axis, keepdims=keepdims)


@at_user_line
def nanprod(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The product of the elements that are not nan; 1 for none."""
    return _without_nan(x, 1).prod(axis, keepdims=keepdims)


@at_user_line
def nanmax(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The largest element that is not nan; nan for none."""
    found = _without_nan(x, -math.inf).max(axis, keepdims=keepdims)
    return _or_nan(found, x, axis, keepdims)


@at_user_line
def nanmin(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The smallest element that is not nan; nan for none."""
    found = _without_nan(x, math.inf).min(axis, keepdims=keepdims)
    return _or_nan(found, x, axis, keepdims)


@at_user_line
def nanmean(x: Value, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """The mean of the elements that are not nan; nan for none."""
    return _moment(x, axis, keepdims, 0)


@at_user_line
def nanvar(x: Value, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
    """The mean squared distance from `nanmean` of the elements that are not nan; divides by their
    count less ``correction``.
    """
    value = tensor(x)
    distance = value - spread(nanmean(value, axis), value, axis)
    return _moment(distance * distance, axis, keepdims, correction)


@at_user_line
def nanstd(x: Value, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of `nanvar`."""
    return sqrt(nanvar(x, axis, correction=correction, keepdims=keepdims))


def _without_nan(x: Value, stand_in: float) -> Tensor:
    value = tensor(x)
    return where(isnan(value), stand_in, value) if value.dtype.is_float else value


def _or_nan(found: Tensor, x: Value, axis: Axis, keepdims: bool) -> Tensor:
    value = tensor(x)
    if not value.dtype.is_float:
        return found
    return where(isnan(value).all(axis, keepdims=keepdims), math.nan, found)


def _moment(x: Value, axis: Axis, keepdims: bool, correction: int) -> Tensor:
    """The sum of what is not nan, over how many there are less ``correction``; by way of float32
    for narrow floats, which cannot count far.
    """
    value = tensor(x)
    wide = value.astype(value.dtype.computing)
    count = (~isnan(wide)).astype(wide.dtype).sum(axis, keepdims=keepdims) - correction
    some = count > 0
    mean = nansum(wide, axis, keepdims=keepdims) / where(some, count, 1)
    return where(some, mean, math.nan).astype(value.dtype)


# Weights and variables ----------------------------------------------------------------------------
@at_user_line
def average(
    x: Value, axis: Axis = None, *, weights: Value | None = None, keepdims: bool = False
) -> Tensor:
    """The mean with ``weights``, of the shape of ``x`` or one for each place of one axis. Floats.

    nan where the weights add up to 0.
    """
    value = tensor(x)
    if weights is None:
        return value.mean(axis, keepdims=keepdims)
    share = _weights(value, axis, Tensor(as_node(weights, value.dtype)))
    total = share.sum(axis, keepdims=keepdims)
    return (value * share).sum(axis, keepdims=keepdims) / total


def _weights(x: Tensor, axis: Axis, weights: Tensor) -> Tensor:
    if weights.shape == x.shape:
        return weights
    if not isinstance(axis, int) or weights.ndim != 1:
        raise UserError(
            "GC0101", f"average of {x.node.type} with weights {weights.node.type}",
            why="there is a weight for each element, or for each place of one axis",
            fix="pass axis= as an int, or weights of the shape of the tensor",
        )  # fmt: skip
    behind = tuple(range(1, x.ndim - axis_of(axis, x.ndim)))
    return broadcast_to(expand_dims(weights, behind) if behind else weights, x.shape)


@at_user_line
def cov(x: Value, *, correction: int = 1) -> Tensor:
    """The covariance matrix [n, n] of n variables, the rows of ``x`` [n, observations]; divides by
    the number of observations less ``correction``. Floats.
    """
    value = _variables("cov", x)
    distance = value - spread(value.mean(1), value, 1)
    count = Tensor(as_node(value.shape[1] - correction, value.dtype))
    return matmul(distance, distance.T) / count


@at_user_line
def corrcoef(x: Value) -> Tensor:
    """The correlation matrix [n, n] of n variables, the rows of ``x`` [n, observations]. Floats."""
    covariance = cov(_variables("corrcoef", x))
    deviation = sqrt(diag(covariance))
    return covariance / expand_dims(deviation, 0) / expand_dims(deviation, 1)


def _variables(name: str, x: Value) -> Tensor:
    value = tensor(x)
    if value.ndim != 2:
        raise UserError("GC0103", f"{name} of {value.node.type}", fix="pass [n, observations]")
    return value


# Neighbours ---------------------------------------------------------------------------------------
@at_user_line
def diff(
    x: Value,
    n: int = 1,
    axis: int = -1,
    *,
    prepend: Value | None = None,
    append: Value | None = None,
) -> Tensor:
    """Each element less the one before it, ``n`` times; ``prepend`` and ``append`` are put to the
    ends first: numbers, or tensors that fit there. Numbers.
    """
    value = tensor(x)
    place = axis_of(axis, value.ndim)
    if n < 0:
        raise UserError("GC0104", f"diff: {n} times", fix="use n of at least 0")
    ends = [_end(value, prepend, place), value, _end(value, append, place)]
    value = concatenate([e for e in ends if e is not None], place)
    front = (slice(None),) * place
    for _ in range(n):
        value = value[(*front, slice(1, None))] - value[(*front, slice(None, -1))]
    return value


def _end(x: Tensor, end: Value | None, axis: int) -> Value | None:
    if end is None or tensor(end).ndim:
        return end
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return broadcast_to(Tensor(as_node(end, x.dtype)), one)


@at_user_line
def trapezoid(y: Value, x: Value | None = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The integral of samples ``y`` along ``axis`` by the trapezoidal rule, over places ``x`` (a
    vector, or of the shape of y), or at distances ``dx``. Floats.
    """
    value = tensor(y)
    place = axis_of(axis, value.ndim)
    front = (slice(None),) * place
    pairs = value[(*front, slice(1, None))] + value[(*front, slice(None, -1))]
    if x is None:
        return pairs.sum(place) * (dx / 2)
    places = Tensor(as_node(x, value.dtype))
    steps = diff(places, axis=place if places.ndim > 1 else 0)
    if places.shape not in (value.shape, (value.shape[place],)):
        raise UserError("GC0101", f"trapezoid of {value.node.type} over places {places.node.type}")
    if places.ndim == 1:
        steps = steps.reshape((steps.shape[0], *(1,) * (value.ndim - 1 - place)))
    return (pairs * steps).sum(place) * 0.5
