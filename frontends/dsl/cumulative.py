"""Running totals along an axis: sums, products, extremes, and logarithms of sums of exponentials.

Comes in: a tensor and an axis, all axes in one for None, as in NumPy. Goes out: a tensor of the
same shape (one axis for None) and dtype. With ``exclusive`` an element takes no part in its own
total, with ``reverse`` totals run from the end. All raise `UserError` GC0102 (bools), GC0104 (axes)
at the user's line.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.manners import align, at_user_line, axis_of
from graphc.frontends.dsl.padding import pad
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops.cumulative import Cumulative, Recurrence, previous


@at_user_line
def cumsum(
    x: Value, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """The sum of each element and all before it. Numbers."""
    return _cumulated("add", x, axis, exclusive, reverse)


@at_user_line
def cumprod(
    x: Value, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """The product of each element and all before it; its gradient is right at zeros. Numbers."""
    return _cumulated("multiply", x, axis, exclusive, reverse)


@at_user_line
def cummax(
    x: Value, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """The largest of each element and all before it; nan wins. Numbers.

    The gradient goes to the first place that holds it.
    """
    return _cumulated("maximum", x, axis, exclusive, reverse)


@at_user_line
def cummin(
    x: Value, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """The smallest of each element and all before it; nan wins. Numbers.

    The gradient goes to the first place that holds it.
    """
    return _cumulated("minimum", x, axis, exclusive, reverse)


@at_user_line
def logcumsumexp(
    x: Value, axis: int | None = None, *, exclusive: bool = False, reverse: bool = False
) -> Tensor:
    """log(cumsum(exp(x))), without overflow; -inf for nothing but -inf. Floats."""
    return _cumulated("logaddexp", x, axis, exclusive, reverse)


def _cumulated(function: str, x: Value, axis: int | None, exclusive: bool, reverse: bool) -> Tensor:
    value = tensor(x).flatten() if axis is None else tensor(x)
    op = Cumulative(ufunc=function, axis=axis_of(axis or 0, value.ndim), reverse=reverse)
    y = op(value.node)
    if exclusive:
        y = previous(y, op.axis, reverse=reverse, value=op.identity(y.dtype))
    return Tensor(y)


@at_user_line
def cumulative_sum(x: Value, *, axis: int | None = None, include_initial: bool = False) -> Tensor:
    """`cumsum` as the array API has it: ``axis`` may be left out for vectors only, and
    ``include_initial`` puts the sum of nothing, 0, in front.
    """
    return _started(cumsum(x, _only_axis("cumulative_sum", x, axis)), axis, include_initial, 0)


@at_user_line
def cumulative_prod(x: Value, *, axis: int | None = None, include_initial: bool = False) -> Tensor:
    """`cumprod` as the array API has it: ``axis`` may be left out for vectors only, and
    ``include_initial`` puts the product of nothing, 1, in front.
    """
    return _started(cumprod(x, _only_axis("cumulative_prod", x, axis)), axis, include_initial, 1)


def _only_axis(name: str, x: Value, axis: int | None) -> int:
    if axis is None and tensor(x).ndim != 1:
        raise UserError(
            "GC0104", f"{name} of {tensor(x).node.type} without an axis",
            fix="pass axis=, or use cumsum or cumprod, which flatten",
        )  # fmt: skip
    return axis or 0


def _started(y: Tensor, axis: int | None, include_initial: bool, first: int) -> Tensor:
    if not include_initial:
        return y
    place = axis_of(axis or 0, y.ndim)
    return pad(y, [(int(a == place), 0) for a in range(y.ndim)], value=first)


@at_user_line
def linear_recurrence(factor: Value, x: Value, axis: int = -1, *, reverse: bool = False) -> Tensor:
    """``y[k] = factor[k] * y[k - 1] + x[k]`` along ``axis``, from 0; backward in ``reverse``.

    Discounted sums, exponential averages, and linear recurrent layers. Floats; the operands
    broadcast, and the first factor is not looked at.
    """
    a, b = align("linear_recurrence", factor, x)
    return Tensor(Recurrence(axis=axis_of(axis, b.type.rank), reverse=reverse)(a, b))
