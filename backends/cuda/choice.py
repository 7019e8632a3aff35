"""Which schedule a kernel gets: by how its accesses step through memory.

Comes in: a staged kernel. Goes out: "rows" where stages run along memory, "columns" where the outer
points lie side by side, "points" where neither adds up much. A separate step because it can be
printed before any loop exists.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.backends.cuda.stages import size
from graphc.expr import Expr, Iter, Load, Reduce, walk
from graphc.index import stride
from graphc.kernels.flat import offsets
from graphc.kernels.kernel import Kernel, Stage, Store

SHORT = 32
"""Stages with fewer points are for one thread."""

FEW = 4096
"""Points that are too few to be threads, whatever they read."""
LINE = 8
"""Neighbours that are worth an access of their own."""


def choice(kernel: Kernel) -> str:
    """The name of the schedule of a staged kernel."""
    if not is_regular(kernel) or kernel.points == 0:
        return "points"
    longest = max((s for s in kernel.stages if s.iters), key=lambda s: size(s.iters), default=None)
    if longest is None:
        return "points"
    inside = contiguous(longest, longest.iters)
    outside = contiguous(longest, kernel.iters)
    if inside > outside or (inside == outside == 0 and kernel.points < FEW):
        return "rows"
    return "columns" if outside and size(longest.iters) >= SHORT else "points"


def contiguous(stage: Stage, iters: Iterable[Iter]) -> float:
    """How many accesses of a stage are contiguous along the best of some indices."""
    kernel = Kernel((), (stage,))
    steps = [(x, o) for x, o in offsets(kernel) if x.buffer.scope in ("global", "scratch")]
    return max((_score(steps, i) for i in iters), default=0.0)


def _score(steps: Iterable[tuple[Store | Load, Expr]], along: Iter) -> float:
    found = sum(stride(offset, along) == 1 for _, offset in steps)
    return found * min(1.0, along.extent / LINE)


def best_along(kernel: Kernel) -> Iter:
    """The outer index along which most accesses of the longest stage are contiguous."""
    longest = max(kernel.stages, key=lambda s: (bool(s.iters), size(s.iters)))
    return max(kernel.iters, key=lambda i: contiguous(longest, [i]))


def is_regular(kernel: Kernel) -> bool:
    """Whether stages add up into single numbers only, keep rows in the order of their own points,
    and leave no reduction inside.
    """
    places = {s.buffer: s.index[0] for s in kernel.stores if s.buffer.scope == "row"}
    values = [s.value for s in kernel.stores]
    return (
        all(_is_plain(stage, s) for stage in kernel.stages for s in stage.stores)
        and all(places.get(x.buffer, x.index[0]) == x.index[0] for x in kernel.loads)
        and not any(isinstance(e, Reduce) for e in walk(*values))
    )


def _is_plain(stage: Stage, store: Store) -> bool:
    if store.buffer.scope == "row" and not store.buffer.shape:
        return bool(store.combine) == bool(stage.iters)
    inside = bool(stage.iters) or store.buffer.scope != "row"
    return inside and not store.combine
