"""What libraries compute: orders, running totals, determinants.

Comes in: calls on whole arrays. Goes out: values. ONNX has an operator for some of them, and a loop
(Scan) for all that go along an axis; decompositions of matrices it cannot say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc import scalars
from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.cumulative import Cumulative, Recurrence
from graphc.ops.linalg import Determinant
from graphc.ops.sorting import ArgSort, SearchSorted
from graphc.scalars import SCALARS
from graphc.types import BOOL, DTYPES, INT64

Results = dict[int, Value]
Step = Callable[[Value, list[Value]], Value]
"""The next state, given the state and the elements of this step."""


@emits(ArgSort)
def arg_sort(scope: Scope, op: ArgSort, operands: Sequence[Node], wanted: Sequence[int]) -> Results:
    """TopK of all elements: of equal ones the first comes first, as here."""
    x = scope.full(operands[0])
    x = x.cast(DTYPES["uint8"]) if x.dtype == BOOL else x.cast(computing("TopK", x.dtype))
    _, places = scope.several(
        "TopK",
        [x, scope.size(x.shape[op.axis])],
        [(x.dtype, x.shape), (INT64, x.shape)],
        axis=op.axis,
        largest=int(op.descending),
    )
    return {0: places}


@emits(SearchSorted)
def search_sorted(
    scope: Scope, op: SearchSorted, operands: Sequence[Node], wanted: Sequence[int]
) -> Results:
    """How many elements of the row come before each value."""
    x, values = map(scope.full, operands)
    row = scope.reshape(x, (*x.shape[:-1], 1, x.shape[-1]))
    column = scope.reshape(values, (*values.shape, 1))
    before = row <= column if op.right else row < column
    return {0: scope.reduce("add", before.cast(INT64), (-1,))}


@emits(Cumulative)
def cumulative(
    scope: Scope, op: Cumulative, operands: Sequence[Node], wanted: Sequence[int]
) -> Results:
    """CumSum, or a loop along the axis."""
    x = scope.full(operands[0])
    if op.ufunc == "add":
        wide, axis = x.cast(computing("CumSum", x.dtype)), scope.constant(op.axis, INT64)
        found = scope.add("CumSum", wide, axis, like=wide, reverse=int(op.reverse))
        return {0: found.cast(x.dtype)}
    start = scope.constant(op.identity(x.dtype), x.dtype)
    function = _logaddexp if op.ufunc == "logaddexp" else SCALARS[op.ufunc]
    step: Step = lambda state, elements: function(state, *elements)  # noqa: E731
    return {0: _along(scope, [x], op.axis, start, step, reverse=op.reverse)}


def _logaddexp(a: Value, b: Value) -> Value:
    """log(exp a + exp b); where both are infinite, their difference is no number."""
    least, most = scalars.minimum(a, b), scalars.maximum(a, b)
    apart = most + scalars.log1p(scalars.exp(least - most))
    found: Value = scalars.where(scalars.equal(a, b), a + math.log(2), apart)
    return found


@emits(Recurrence)
def recurrence(
    scope: Scope, op: Recurrence, operands: Sequence[Node], wanted: Sequence[int]
) -> Results:
    """A loop along the axis, from 0."""
    a, b = map(scope.full, operands)
    start = scope.constant(0, b.dtype)
    step: Step = lambda state, each: each[0] * state + each[1]  # noqa: E731
    return {0: _along(scope, [a, b], op.axis, start, step, reverse=op.reverse)}


def _along(
    scope: Scope, xs: Sequence[Value], axis: int, start: Value, step: Step, *, reverse: bool
) -> Value:
    """The states after each step of a Scan along ``axis``, in the place of its elements."""
    slice_shape = (*xs[0].shape[:axis], *xs[0].shape[axis + 1 :])
    inner = scope.inner()
    state, *elements = (
        Value(inner, scope.file.fresh(name), xs[0].dtype, slice_shape)
        for name in ("state", *("element" for _ in xs))
    )
    after = step(state, elements)
    body = inner.graph("step", [state, *elements], [after, after])
    first = scope.stretched(start, slice_shape) if slice_shape else start
    _, found = scope.several(
        "Scan",
        [first, *xs],
        [(after.dtype, slice_shape), (after.dtype, xs[0].shape)],
        body=body,
        num_scan_inputs=len(xs),
        scan_input_axes=[axis] * len(xs),
        scan_output_axes=[axis],
        scan_input_directions=[int(reverse)] * len(xs),
        scan_output_directions=[int(reverse)],
    )
    return found


@emits(Determinant)
def determinant(
    scope: Scope, op: Determinant, operands: Sequence[Node], wanted: Sequence[int]
) -> Results:
    """The sign of Det, and the logarithm of its size: where that is above what floats hold, both
    are lost.
    """
    x = scope.full(operands[0])
    found = scope.add("Det", x, like=replace(x, shape=x.shape[:-2]))
    return {0: scalars.sign(found), 1: scalars.log(abs(found))}
