"""Edges apart: the lanes of a padded operation where every guard holds, and the few where not.

Comes in: a kernel and the index that fills its lanes. Goes out: one kernel for the middle, without
the guards that always hold there, and one for each edge. A separate step because a guard that
differs from lane to lane turns every load into a masked one, though at the edges of an image only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from graphc.expr import Apply, Expr, Iter, Lit, Reduce, Select, Substitution, walk
from graphc.index import affine, bounds, is_index, linear, stride
from graphc.kernels.kernel import Kernel, Stage
from graphc.types import BOOL

MIDDLE = 16
"""Elements that must lie between the edges; fewer are not worth a loop of their own."""
TRUE, FALSE = Lit(True, BOOL), Lit(False, BOOL)


def without_edges(kernel: Kernel, lane: Iter | None) -> list[tuple[Kernel, Iter | None]]:
    """The parts of a kernel and the index that fills the lanes of each: none for an edge."""
    whole = [(kernel, lane)]
    if lane is None or lane not in kernel.iters or any(s.combine for s in kernel.stores):
        return whole
    low, high = _middle(kernel, lane)
    if high - low < MIDDLE or (low, high) == (0, lane.extent):
        return whole
    ends = ((low, high), (0, low), (high, lane.extent))
    return [
        (_part(kernel, lane, piece, start), piece if start == low else None)
        for start, stop in ends
        if (piece := Iter(stop - start)).extent
    ]


def _middle(kernel: Kernel, lane: Iter) -> tuple[int, int]:
    """The range of ``lane`` in which all guards that it moves hold, whatever the other indices."""
    low, high = 0, lane.extent
    for condition in _guards(kernel):
        place, limit = condition.args
        step = stride(place, lane) or 0
        rest = bounds(linear([(place, 1), (lane, -step)]))
        if step <= 0 or rest is None or not isinstance(limit, Lit):
            continue
        if condition.function == "greater_equal":
            low = max(low, -((rest[0] - int(limit.value)) // step))
        else:
            high = min(high, (int(limit.value) - 1 - rest[1]) // step + 1)
    return low, high


def _guards(kernel: Kernel) -> Iterator[Apply]:
    """Comparisons of an index with a number in the conditions of sums, which ask again for each
    product; a copy asks once, and an edge of its own costs it more.
    """
    sums = (e.body for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduce))
    choices = (e for e in walk(*sums) if isinstance(e, Select))
    for e in walk(*(choice.condition for choice in choices)):
        if _is_guard(e):
            yield e  # type: ignore[misc]


def _is_guard(e: Expr) -> bool:
    known = isinstance(e, Apply) and e.function in ("greater_equal", "less")
    return known and all(map(is_index, e.args))  # type: ignore[attr-defined]


def _part(kernel: Kernel, lane: Iter, piece: Iter, start: int) -> Kernel:
    """The kernel for ``piece.extent`` values of ``lane`` from ``start`` on."""
    new: Mapping[Expr, Expr] = {lane: linear([(piece, 1)], start)}

    def moved(e: Expr) -> Expr | None:
        return new.get(e) if isinstance(e, Iter) else None

    def settled(e: Expr) -> Expr | None:
        if not isinstance(e, Select):
            return None
        condition = _decided(e.condition)
        if condition in (TRUE, FALSE):
            return settle(e.chosen if condition == TRUE else e.other)
        return Select(condition, settle(e.chosen), settle(e.other))

    move, settle = Substitution(moved), Substitution(settled)
    stages = tuple(
        Stage(
            stage.iters,
            tuple(
                replace(s, index=tuple(map(move, s.index)), value=settle(move(s.value)))
                for s in stage.stores
            ),
        )
        for stage in kernel.stages
    )
    iters = tuple(piece if i is lane else i for i in kernel.iters)
    return replace(kernel, iters=iters, stages=stages)


def _decided(condition: Expr) -> Expr:
    """A condition without the guards that always hold."""
    if isinstance(condition, Apply) and condition.function == "logical_and":
        parts = [_decided(part) for part in condition.args]
        kept = [part for part in parts if part != TRUE]
        if FALSE in kept:
            return FALSE
        return replace(condition, args=tuple(kept)) if len(kept) == 2 else [*kept, TRUE][0]
    if not _is_guard(condition):
        return condition
    place, limit = condition.args  # type: ignore[attr-defined]
    reach, number = bounds(place), affine(limit).constant
    if reach is None or not isinstance(limit, Lit):
        return condition
    above = condition.function == "greater_equal"  # type: ignore[attr-defined]
    ends = [(end >= number) if above else (end < number) for end in reach]
    return TRUE if all(ends) else condition if any(ends) else FALSE
