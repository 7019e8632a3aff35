"""Kernels whose accesses are by one row-major offset each, with as few indices as that allows.

Comes in: a kernel as it was fused. Goes out: an equal kernel that is easier to schedule. A separate
step because every backend's schedule begins here: in a flat kernel an access has one stride per
index, and indices that step through memory together are one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from graphc.expr import (
    Affine,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Substitution,
    substitute,
    walk,
)
from graphc.index import bounds, flat_index, is_index, stride
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import INT64

Rewrite = Callable[[Expr], Expr | None]


def map_kernel(kernel: Kernel, rewrite: Rewrite) -> Kernel:
    """The kernel with every index and value rewritten; shared expressions stay shared."""
    change = Substitution(rewrite)
    stages = tuple(
        Stage(
            stage.iters,
            tuple(
                replace(s, index=tuple(map(change, s.index)), value=change(s.value))
                for s in stage.stores
            ),
        )
        for stage in kernel.stages
    )
    return replace(kernel, stages=stages)


def flatten(kernel: Kernel) -> Kernel:
    """Every access by one row-major offset."""

    def flat(e: Expr) -> Expr | None:
        if not isinstance(e, Load):
            return None
        return Load(e.buffer, (substitute(flat_index(e.buffer, e.index), flat),))

    kernel = map_kernel(kernel, flat)
    stages = tuple(
        Stage(
            stage.iters,
            tuple(replace(s, index=(flat_index(s.buffer, s.index),)) for s in stage.stores),
        )
        for stage in kernel.stages
    )
    return replace(kernel, stages=stages)


@dataclass(frozen=True, eq=False)
class View(Buffer):
    """A buffer seen from its element ``start`` on: offsets count from there."""

    base: Buffer | None = None
    start: int = 0


def rebased(kernel: Kernel) -> Kernel:
    """The kernel with what all offsets into a buffer have in common moved into a `View`.

    Kernels that differ only in where they begin, as the time steps of an unrolled network do, then
    have one text and are compiled once.
    """
    least: dict[Buffer, int] = {}
    for access, offset in offsets(kernel):
        low, _ = bounds(offset) or (0, 0)
        least[access.buffer] = min(least.get(access.buffer, low), low)
    views = {
        b: View(b.type, b.scope, b, start)
        for b, start in least.items()
        if start > 0 and b.scope == "global"
    }
    if not views:
        return kernel

    def seen(e: Expr) -> Expr | None:
        if not isinstance(e, Load) or e.buffer not in views:
            return None
        view = views[e.buffer]
        return Load(view, (substitute(e.index[0], seen) - view.start,))

    kernel = map_kernel(kernel, seen)
    stages = tuple(
        replace(stage, stores=tuple(_store_seen(s, views) for s in stage.stores))
        for stage in kernel.stages
    )
    return replace(kernel, stages=stages)


def _store_seen(store: Store, views: Mapping[Buffer, View]) -> Store:
    if store.buffer not in views:
        return store
    view = views[store.buffer]
    return replace(store, buffer=view, index=(store.index[0] - view.start,))


def offsets(kernel: Kernel) -> list[tuple[Store | Load, Expr]]:
    """Every access of memory and its offset; the kernel is flat."""
    found: list[tuple[Store | Load, Expr]] = [
        (s, s.index[0]) for s in kernel.stores if s.buffer.shape or s.buffer.scope == "global"
    ]
    return found + [(x, x.index[0]) for x in kernel.loads]


def collapse(kernel: Kernel) -> Kernel:
    """Neighbouring indices that always step through memory together become one."""
    done = False
    while not done:
        done = True
        used = {offset for _, offset in offsets(kernel)}.union(_bare_indices(kernel))
        for sequence in (kernel.iters, *(s.iters for s in kernel.stages)):
            pairs = (p for p in pairwise(sequence) if _move_together(used, *p))
            pair = next(pairs, None)
            if pair is not None:
                kernel, done = _merged(kernel, *pair), False
                break
    return kernel


def _move_together(used: Iterable[Expr], slow: Iter, fast: Iter) -> bool:
    for offset in used:
        a, b = stride(offset, slow), stride(offset, fast)
        if a is None or b is None or a != b * fast.extent:
            return False
    return True


def _bare_indices(kernel: Kernel) -> list[Expr]:
    """Indices used as numbers, in values and conditions, outside any offset."""
    found: list[Expr] = [s.value for s in kernel.stores]
    for e in walk(*found):
        if not isinstance(e, Load | Affine):
            found += e.children
    return [e for e in found if is_index(e)]


def _merged(kernel: Kernel, slow: Iter, fast: Iter) -> Kernel:
    both = Iter(slow.extent * fast.extent)
    new: Mapping[Expr, Expr] = {slow: Lit(0, INT64), fast: both}
    kernel = map_kernel(kernel, lambda e: new.get(e) if isinstance(e, Iter) else None)

    def merged(iters: tuple[Iter, ...]) -> tuple[Iter, ...]:
        return tuple(both if i is fast else i for i in iters if i is not slow)

    stages = tuple(Stage(merged(s.iters), s.stores) for s in kernel.stages)
    return Kernel(merged(kernel.iters), stages, kernel.nodes)
