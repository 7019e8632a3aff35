"""Named sizes as values: what a model computes from the shapes of its inputs.

Comes in: sizes such as ``2*n + 1``. Goes out: nodes that compute them when the model runs. A
separate step because names are all that graphc knows of such sizes, and ONNX has no names for
numbers, only shapes of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from graphc.dims import Dim, Quotient
from graphc.errors import UserError
from graphc.types import INT64

if TYPE_CHECKING:
    from graphc.frontends.onnx.exporting.scope import Scope, Value


def named_size(scope: Scope, size: Dim) -> Value:
    """The number that ``size`` stands for, as a list of one. Raises `UserError` GC0505 when no
    input has it in its shape.
    """
    terms: list[Value] = []
    for monomial, coefficient in size.terms:
        factors = [_atom(scope, atom) for atom in monomial]
        if coefficient != 1 or not factors:
            factors.append(scope.integers([coefficient]))
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        terms.append(product)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _atom(scope: Scope, atom: str | Quotient) -> Value:
    if isinstance(atom, Quotient):
        return scope.size(atom.dividend) // scope.integers([atom.divisor])
    for x, axis, size in _open_axes(scope):
        if size.linear is not None and size.linear[0] == atom:
            _, factor, shift = size.linear
            found = scope.make("Shape", x, dtype=INT64, shape=(1,), start=axis, end=axis + 1)
            found = found if shift == 0 else found - scope.integers([shift])
            return found if factor == 1 else found / scope.integers([factor])
    raise UserError(
        "GC0505",
        f"no input of the model says what {atom!r} is",
        why="ONNX takes sizes from the shapes of inputs",
        fix=f"give it a number: export(..., sizes={{{atom!r}: 8}})",
    )


def _open_axes(scope: Scope) -> Iterator[tuple[Value, int, Dim]]:
    """The axes of inputs whose sizes have names, those with plain names first."""
    found = [
        (scope.values[node], axis, size)
        for node in scope.values
        if node.op.is_input
        for axis, size in enumerate(node.shape)
        if isinstance(size, Dim)
    ]
    yield from sorted(found, key=lambda each: len(each[2].terms))
