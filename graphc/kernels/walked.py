"""Whether sums of products that are computed again share their factors between many points.

Comes in: a kernel that computes a matrix again. Goes out: yes or no. A separate step because it is
asked of kernels as they are written: where their sums lie decides, not which buffers they read.

A tile of scores is cheap because a row of it takes one line of queries, a column one line of keys.
Where both change along a walk, each score takes two lines of its own: it had better been kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.expr import Expr, Iter, Reduce, walk
from graphc.kernels.dense import indices_in
from graphc.kernels.dissolve import factors
from graphc.kernels.kernel import Kernel, Stage


def shares_factors(kernel: Kernel) -> bool:
    """Whether in each walk, of a stage that folds or of a sum around other sums, one factor of the
    inner products moves, and the other one belongs to the points of the kernel.
    """
    return all(
        _is_shared(kernel, walked, total)
        for stage in kernel.stages
        for walked, total in _inner(stage)
    )


def _inner(stage: Stage) -> Iterator[tuple[Sequence[Iter], Reduce]]:
    """The inner products of a stage, each with the indices that it is walked along."""
    for store in stage.stores:
        if store.combine:
            yield from ((stage.iters, total) for total in _sums(store.value))
        else:
            for total in _outermost(store.value):
                yield from ((total.iters, inner) for inner in _sums(total.body))


def _sums(value: Expr) -> Iterator[Reduce]:
    return (e for e in walk(value) if isinstance(e, Reduce))


def _outermost(value: Expr) -> list[Reduce]:
    """The sums of a value that lie in no other one."""
    found = [*_sums(value)]
    inside = {id(inner) for total in found for inner in _sums(total.body)}
    return [total for total in found if id(total) not in inside]


def _is_shared(kernel: Kernel, walked: Sequence[Iter], total: Reduce) -> bool:
    pair = factors(total)
    if pair is None:
        return False
    first, second = map(indices_in, pair)
    if first.isdisjoint(walked):
        first, second = second, first
    own = (second - first).intersection(kernel.iters)
    return not first.isdisjoint(walked) and second.isdisjoint(walked) and bool(own)
