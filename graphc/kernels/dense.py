"""Dense accesses: which order of indices walks through a buffer element by element, and back.

Comes in: a row-major offset made of indices. Goes out: the indices, slowest first; and, for the
offset of another access, the values that they have there. A separate step because it turns "who
wrote what is read here?" into substitution, whatever reshapes and transpositions lie in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.expr import Buffer, Expr, Iter, Load, walk
from graphc.index import linear, stride
from graphc.kernels.trace import flatten, unflatten


def offset_of(access: Load) -> Expr:
    """The row-major offset of a load whose index has one part per axis."""
    return offset_in(access.buffer, access.index)


def offset_in(buffer: Buffer, index: Iterable[Expr]) -> Expr:
    """The row-major offset of an index of ``buffer``."""
    return flatten(index, buffer.shape)


def dense_order(offset: Expr, iters: Iterable[Iter], size: int) -> tuple[Iter, ...] | None:
    """``iters``, slowest first, if ``offset`` takes each value below ``size`` once while they run;
    None if it does not.
    """
    steps = [(stride(offset, i), i) for i in iters]
    known = [(step, i) for step, i in steps if step is not None]
    if len(known) < len(steps) or linear([(i, step) for step, i in known]) != offset:
        return None
    known.sort(key=lambda pair: pair[0])
    reach = 1
    for step, i in known:
        if step != reach:
            return None
        reach *= i.extent
    return tuple(i for _, i in reversed(known)) if reach == size else None


def solved(order: Sequence[Iter], offset: Expr) -> dict[Iter, Expr]:
    """The values that the indices of a dense access have at ``offset``."""
    return dict(zip(order, unflatten(offset, [i.extent for i in order]), strict=True))


def indices_in(expr: Expr) -> set[Iter]:
    """The indices that occur in an expression."""
    return {e for e in walk(expr) if isinstance(e, Iter)}
