"""Guards: conditions under which a read stays inside a tensor, left out where they always hold.

Comes in: index expressions. Goes out: a value, selected where its guards hold. A separate file
because padding, windows and concatenation read outside their inputs in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

from graphc.expr import Apply, Bounded, Expr, Lit, Select
from graphc.index import bounds
from graphc.types import BOOL, Scalar

NEVER = Lit(False, BOOL)


def within(place: Expr, extent: int) -> tuple[Expr, ...]:
    """What must hold for ``0 <= place < extent``."""
    reach = bounds(place)
    low, high = reach if reach is not None else (-1, extent)
    if reach is not None and (high < 0 or low >= extent):
        return (NEVER,)
    return (*([place >= 0] if low < 0 else []), *([place < extent] if high >= extent else []))


def divisible(place: Expr, step: int) -> tuple[Expr, ...]:
    """What must hold for ``place`` to be a multiple of ``step``."""
    rest = place % step
    if isinstance(rest, Lit):
        return () if rest.value == 0 else (NEVER,)
    return (Apply("equal", (rest, Lit(0, rest.dtype)), BOOL),)


def guarded(conditions: Iterable[Expr], value: Expr, other: Scalar) -> Expr:
    """``value`` where all conditions hold, else the number ``other``; reads only where they do."""
    needed = tuple(conditions)
    if NEVER in needed:
        return Lit(other, value.dtype)
    if not needed:
        return value
    return Select(reduce(all_of, needed), value, Lit(other, value.dtype))


def all_of(left: Expr, right: Expr) -> Expr:
    """Both conditions."""
    return Apply("logical_and", (left, right), BOOL)


def promised(places: Iterable[Expr], extents: Iterable[int]) -> tuple[Expr, ...]:
    """Indices that guards keep inside their extents, so that the index algebra may rely on it."""
    pairs = zip(places, extents, strict=True)
    return tuple(Bounded(i, n) if within(i, n) else i for i, n in pairs)
