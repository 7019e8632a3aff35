"""Which steps of a walk are for nothing: those in which every place is hidden from every row.

Comes in: a walk (`attention`). Goes out: the comparison of a row's index with a place's index
without which nothing is left of it, as in causal attention; the value that hidden places have for a
running maximum. A separate step because it is a question of values, not of loops.

Where the comparison fails, a fold must come to its identity and a weight to zero. A running maximum
may come to a number so low that nothing is left of ``exp(low - m)`` once anything is seen; sums so
far then begin as if one place had been hidden. So a row that sees nothing has the maximum ``low``,
as it should, and its sum is 1 instead of the number of places, by which zeros are divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.cuda.attention import Scores, Walk
from graphc.expr import (
    Affine,
    Apply,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Select,
    Substitution,
    walk,
)
from graphc.index import is_index, stride
from graphc.loops.nest import identity
from graphc.types import BOOL

GREATER = {"greater": 1, "greater_equal": 1, "less": -1, "less_equal": -1}
"""Comparisons, and the sign with which the left side must be large."""
LOW = -6e4
"""Numbers that are as good as -inf for a maximum: the least float of 16 bits is one."""


def comparisons(values: Sequence[Expr], indices: Sequence[Iter]) -> list[Apply]:
    """Comparisons of these indices, and of nothing else, that values are made of."""
    found = (e for e in walk(*values) if isinstance(e, Apply) and e.function in GREATER)
    return [e for e in dict.fromkeys(found) if all(_is_sum(x, indices) for x in e.args)]


def _is_sum(x: Expr, indices: Sequence[Iter]) -> bool:
    """Whether an index is a sum of multiples of other ones."""
    return is_index(x) and all(isinstance(e, Affine | Lit) or e in indices for e in walk(x))


def hidden(value: Expr, comparison: Apply) -> Expr:
    """A value where a comparison fails."""
    return _Without(comparison)(value)


class _Without(Substitution):
    """Takes a comparison for false, and leaves out what follows from it."""

    def __init__(self, comparison: Apply) -> None:
        super().__init__(lambda e: Lit(False, BOOL) if e == comparison else None)

    def _exchanged(self, part: Expr) -> Expr:
        made = super()._exchanged(part)
        match made:
            case Select(Lit(value), chosen, other):
                return chosen if value else other
            case Apply("where", (Lit(value), chosen, other)):
                return chosen if value else other
            case Apply("logical_and", args) if any(_is_false(x) for x in args):
                return Lit(False, BOOL)
            case Apply("multiply" | "divide", (Lit(0), _)) | Apply("multiply", (_, Lit(0))):
                return Lit(0.0, made.dtype) if made.dtype.is_float else made
            case Apply("cast", (Lit(0),)) if made.dtype.is_float:
                return Lit(0.0, made.dtype)
        return made


def _is_false(e: Expr) -> bool:
    return isinstance(e, Lit) and e.dtype == BOOL and not e.value


def _is_zero(value: Expr) -> bool:
    return isinstance(value, Lit) and value.value == 0


# Walks --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Hidden:
    """A walk has nothing to find where ``comparison`` fails; ``starts`` are the numbers that its
    folds then begin with, those of sums in one lane of a row.
    """

    comparison: Apply
    starts: Mapping[Buffer, Lit]

    def is_seen(self, ends: Mapping[Iter, tuple[Expr, Expr]]) -> Expr:
        """Whether the comparison holds anywhere between the first and the last value of indices:
        each is at the end at which the one side is largest compared with the other.
        """
        comparison = self.comparison
        corner: dict[Expr, Expr] = {}
        for i, (first, last) in ends.items():
            left, right = (stride(x, i) or 0 for x in comparison.args)
            corner[i] = last if GREATER[comparison.function] * (left - right) > 0 else first
        change = Substitution(lambda e: corner.get(e) if isinstance(e, Iter) else None)
        return Apply(comparison.function, tuple(map(change, comparison.args)), BOOL)


def hiding(walk_: Walk, scores: Scores) -> Hidden | None:
    """What hides places in a walk."""
    for comparison in comparisons(walk_.values, (scores.walked, *scores.rows)):
        starts = _starts(walk_, comparison)
        weights = (hidden(m.weight, comparison) for m in walk_.mixes)
        if starts is not None and all(map(_is_zero, weights)):
            return Hidden(comparison, starts)
    return None


def _starts(walk_: Walk, comparison: Apply) -> dict[Buffer, Lit] | None:
    """What folds begin with; None where hidden places count."""
    found: dict[Buffer, Lit] = {}
    lows: list[Expr] = []
    for fold in walk_.folds:
        value = hidden(fold.value, comparison)
        if value == identity(fold.function, value.dtype):
            continue
        if fold.function == "maximum" and isinstance(value, Lit) and value.value <= LOW:
            found[fold.number] = value
            lows.append(value)
        elif fold.function == "add" and fold.scaled and _is_shifted(value, lows):
            found[fold.number] = Lit(1.0, value.dtype)
        elif fold.function != "add" or not _is_zero(value):
            return None
    return found


def _is_shifted(value: Expr, lows: Sequence[Expr]) -> bool:
    """Whether a value is ``exp(low - m)``."""
    match value:
        case Apply("exp", (Apply("subtract", (low, Load())),)):
            return low in lows
    return False
