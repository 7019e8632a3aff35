"""Orders: sort, argsort, topk, searchsorted, median, quantile.

Comes in: tensors and an axis. Goes out: sorted values, or int64 positions. Equal elements keep
their order, nan counts as larger than every number. Values are taken at the positions found, so
their gradient goes to where they came from. All raise `UserError` GC0104 at the user's line.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.manners import align, at_user_line, axis_of
from graphc.frontends.dsl.shaping import take_along_axis
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops.sorting import ArgSort, SearchSorted


@at_user_line
def argsort(x: Value, axis: int = -1, *, descending: bool = False) -> Tensor:
    """The int64 positions along ``axis`` of the elements in order; ties keep theirs."""
    value = tensor(x)
    op = ArgSort(axis=axis_of(axis, value.ndim), descending=descending)
    return Tensor(op(value.node))


@at_user_line
def sort(x: Value, axis: int = -1, *, descending: bool = False) -> Tensor:
    """The elements along ``axis`` in ascending or ``descending`` order."""
    return take_along_axis(x, argsort(x, axis, descending=descending), axis)


@at_user_line
def topk(x: Value, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Tensor, Tensor]:
    """The ``k`` largest (or smallest) elements along ``axis``, best first, and their positions."""
    value = tensor(x)
    place = axis_of(axis, value.ndim)
    extent = value.shape[place]
    if isinstance(extent, int) and not 0 <= k <= extent:
        raise UserError("GC0104", f"topk: {k} of {extent} elements", fix="use a smaller k")
    order = argsort(value, place, descending=largest)
    positions = order[(*(slice(None),) * place, slice(0, k))]
    return take_along_axis(value, positions, place), positions


@at_user_line
def searchsorted(x: Value, values: Value, *, side: str = "left") -> Tensor:
    """Where in the ascending ``x`` [..., n] each of ``values`` [..., k] would be inserted: before
    equal elements for side "left", after them for "right". int64.
    """
    if side not in ("left", "right"):
        raise UserError("GC0104", f"searchsorted: side {side!r}", fix="use 'left' or 'right'")
    dtype = align("searchsorted", tensor(x)[..., :1], tensor(values)[..., :1])[0].dtype
    return Tensor(
        SearchSorted(right=side == "right")(
            tensor(x).astype(dtype).node, tensor(values).astype(dtype).node
        )
    )
