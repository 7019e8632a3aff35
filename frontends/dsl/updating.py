"""What ``x.at[...]`` means: a tensor with other values at the places that a key selects.

Comes in: a node, a key, values. Goes out: a new node; nothing is changed in place, so gradients
flow to the values and to the rest of the node. A separate step because it is the inverse of
indexing: the same `Selection`, walked from its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.indexing import Cut, Picks, selection, slice_of, turned_back
from graphc.frontends.dsl.manners import at_user_line
from graphc.graph import Node
from graphc.ops import scatter
from graphc.ops.leaves import constant
from graphc.ops.movement import broadcast_to, inverse, reshape, transpose
from graphc.ops.reduction import broadcast_in, where
from graphc.scalars import SCALARS
from graphc.types import BOOL

Wrapped = TypeVar("Wrapped")


@dataclass(frozen=True)
class At(Generic[Wrapped]):
    """``x.at``: brackets after it name places of ``x``, as those of ``x[...]`` do."""

    node: Node
    wrap: Callable[[Node], Wrapped]

    def __getitem__(self, key: Any) -> Places[Wrapped]:
        return Places(self.node, self.wrap, key)


@dataclass(frozen=True)
class Places(Generic[Wrapped]):
    """``x.at[key]``: its methods give ``x`` with other values there.

    ``values`` broadcast to the shape of ``x[key]`` and have a dtype that does not widen that of
    ``x``. Of several values for one element `set` takes the last; the others combine all. Raise
    `UserError` GC0101, GC0102, GC0103, GC0104; at run time GC0306.
    """

    node: Node
    wrap: Callable[[Node], Wrapped]
    key: Any

    @at_user_line
    def set(self, values: Any) -> Wrapped:
        """``x`` with ``values`` there."""
        return self._changed(values, "set")

    @at_user_line
    def add(self, values: Any) -> Wrapped:
        """``x`` with ``values`` added there."""
        return self._changed(values, "add")

    @at_user_line
    def multiply(self, values: Any) -> Wrapped:
        """``x`` multiplied by ``values`` there."""
        return self._changed(values, "multiply")

    @at_user_line
    def max(self, values: Any) -> Wrapped:
        """``x``, or ``values`` where they are larger, there; a nan wins."""
        return self._changed(values, "max")

    @at_user_line
    def min(self, values: Any) -> Wrapped:
        """``x``, or ``values`` where they are smaller, there; a nan wins."""
        return self._changed(values, "min")

    def _changed(self, values: Any, reduction: str) -> Wrapped:
        return self.wrap(update_node(self.node, self.key, values, reduction))


def update_node(x: Node, key: Any, values: Any, reduction: str) -> Node:
    """``x`` after ``x[key] = values``, or after another reduction of `scatter.put`."""
    chosen = selection(x, key)
    new = broadcast_to(as_updates(x, values), chosen.shape)
    part = chosen.part
    if chosen.picks is not None:
        part = _put(chosen.picks, part, new, reduction)
    else:
        new = reshape(new, part.shape)
        function = scatter.REDUCTIONS.get(reduction)
        part = new if function is None else SCALARS[function](part, new)
    return _covered(x, chosen.cuts, part)


def as_updates(x: Node, values: Any) -> Node:
    """``values`` in the dtype of ``x``. Raises `UserError` GC0102 when theirs is wider."""
    found = manners.common_dtype([x, manners.raw(values)])
    if found != x.dtype:
        raise UserError(
            "GC0102",
            f"{found.name} values for places of a {x.dtype.name} tensor",
            why="an update keeps the dtype of the tensor",
            fix=f"cast the values with astype({x.dtype.name!r})",
        )
    return manners.as_node(values, x.dtype)


def _put(picks: Picks, part: Node, values: Node, reduction: str) -> Node:
    """``part`` with ``values`` at its ``picks``."""
    axis, merged = picks.axis, picks.merged
    taken = (*merged[:axis], *picks.indices.shape, *merged[axis + 1 :])
    wide = reshape(values, tuple(taken[a] for a in picks.turned))
    updates = transpose(wide, inverse(picks.turned))
    new = scatter.put(picks.lined(part), picks.indices, updates, axis, reduction)
    ordered = reshape(new, tuple(part.shape[a] for a in picks.order))
    return transpose(ordered, inverse(picks.order))


def _covered(x: Node, cuts: Sequence[Cut], part: Node) -> Node:
    """``x`` with what ``cuts`` cut out of it replaced by ``part``."""
    op, part = slice_of(x, cuts), turned_back(part, cuts)
    if op is None:
        return part
    inside = op.inside(broadcast_in(constant(True, BOOL), part.shape, ()), x.shape, False)
    return where(inside, op.inside(part, x.shape, False if x.dtype == BOOL else 0), x)
