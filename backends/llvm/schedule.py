"""The order of a kernel's loops on a CPU: which index fills the lanes, which one the threads share.

Comes in: a kernel. Goes out: loops, each top-level statement of which is one phase: threads share
the iterations of a "parallel" or "vector" loop, anything else runs on one thread. A separate step
because the choice is made from the kernel's access pattern alone and can be printed before any code
exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from graphc.backends.llvm.ahead import fetched_ahead
from graphc.backends.llvm.edges import without_edges
from graphc.backends.llvm.interchange import interchanged
from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.partials import across, in_blocks
from graphc.backends.llvm.streaming import streamed
from graphc.backends.llvm.strided import STEPS
from graphc.backends.llvm.tile_loops import tiled
from graphc.expr import (
    Buffer,
    Expr,
    Iter,
    Load,
    Reduce,
    walk,
)
from graphc.index import stride
from graphc.kernels.flat import View, collapse, flatten, offsets, rebased
from graphc.kernels.kernel import Kernel, Store
from graphc.loops.ir import Statement
from graphc.loops.nest import nest


def schedule(
    kernel: Kernel, machine: Machine, uses: Mapping[Buffer, int] | None = None, tile: str = ""
) -> tuple[Statement, ...]:
    """The phases of ``kernel`` for ``machine``, stores past the caches marked (`streamed`); a
    contraction by the ``tile`` of this name (`choice`), if it is given.
    """
    return fetched_ahead(streamed(_phases(kernel, machine, uses, tile), machine))


def _phases(
    kernel: Kernel, machine: Machine, uses: Mapping[Buffer, int] | None, tile: str
) -> tuple[Statement, ...]:
    """The phases of ``kernel`` for ``machine``: register tiles for contractions, lanes and rows for
    the rest. ``uses`` are the kernels that one copy of an operand serves (`panels`).
    """
    kernel = rebased(collapse(flatten(kernel)))
    tiles = tiled(kernel, machine, served(kernel, uses or {}), tile)
    if tiles is not None:
        return tiles
    pair = transposed(kernel)
    if pair is not None:
        rest = [i for i in kernel.iters if i not in pair]
        return nest(kernel, [*rest, *pair], dict.fromkeys(pair, "vector"))
    parts = interchanged(kernel)
    if parts:
        return tuple(s for p in parts for s in nest(p.kernel, None, {p.lane: "vector"}))
    lanes = vector_index(kernel)
    if across(kernel):
        return in_blocks(kernel, lanes)
    return tuple(s for part in without_edges(kernel, lanes) for s in _in_lanes(*part))


def _in_lanes(kernel: Kernel, lanes: Iter | None) -> tuple[Statement, ...]:
    """The loops of a kernel with ``lanes`` innermost."""
    outer = [i for i in kernel.iters if i is not lanes]
    if lanes in kernel.iters:
        outer.append(lanes)
    kinds = {} if lanes is None else {lanes: "vector"}
    return nest(kernel, outer, kinds)


def served(kernel: Kernel, uses: Mapping[Buffer, int]) -> dict[Buffer, int]:
    """How many kernels one copy of each operand serves, by the buffers that a flat kernel names."""
    return {b: uses.get(b.base or b if isinstance(b, View) else b, 1) for b in kernel.read}


# The lanes ----------------------------------------------------------------------------------------
def vector_index(kernel: Kernel) -> Iter | None:
    """The index whose neighbours lie next to each other in memory most often; None when every
    choice gathers.
    """
    candidates = [*reversed([i for s in kernel.stages for i in s.iters]), *reversed(kernel.iters)]
    candidates += reversed(list(_reduced(kernel)))
    if any(s.buffer.scope == "row" and s.buffer.shape for s in kernel.stores):
        candidates = [i for i in candidates if i not in kernel.iters]  # one row at a time
    scatters = {s.index[0] for s in kernel.stores if s.combine and s.buffer.scope == "global"}
    best, best_score = None, 0.0
    for iterator in dict.fromkeys(candidates):
        if any(stride(place, iterator) != 1 for place in scatters) or iterator.extent == 1:
            continue
        score = _score(kernel, iterator)
        if score > best_score:
            best, best_score = iterator, score
    return best


def transposed(kernel: Kernel) -> tuple[Iter, Iter] | None:
    """The indices along which a plain copy is contiguous in its target and in its source.

    None when the kernel is no copy, or when one index serves both.
    """
    stores = list(kernel.stores)
    if len(stores) != 1 or kernel.stages[0].iters or stores[0].combine:
        return None
    (store,) = stores
    if not isinstance(store.value, Load) or _reads_data(store.value.index[0]):
        return None
    target, source = store.index[0], store.value.index[0]
    along = {i: (stride(target, i), stride(source, i)) for i in kernel.iters if i.extent >= 4}
    if any(None in steps for steps in along.values()):
        return None
    writes = [i for i, (to, at) in along.items() if to == 1 and at not in (0, 1)]
    reads = [i for i, (to, at) in along.items() if at == 1 and to not in (0, 1)]
    return (writes[0], reads[0]) if writes and reads else None


def _reads_data(index: Expr) -> bool:
    return any(isinstance(e, Load) for e in walk(index))


def _reduced(kernel: Kernel) -> Iterable[Iter]:
    for store in kernel.stores:
        for e in walk(store.value):
            if isinstance(e, Reduce):
                yield from e.iters


def _elements(offset: Expr) -> int:
    """How many elements an access touches, at most: of loops that do not move it there is one."""
    return math.prod(max(e.extent, 1) for e in walk(offset) if isinstance(e, Iter))


def _score(kernel: Kernel, iterator: Iter) -> float:
    """How many accesses are contiguous along ``iterator``, less those that are not; short loops
    count less, and so does what outer loops touch.
    """
    total = 0.0
    touched = [(access, offset, _elements(offset)) for access, offset in offsets(kernel)]
    most = max((elements for _, _, elements in touched), default=1)
    for access, offset, elements in touched:
        step = stride(offset, iterator)
        weight = (2.0 if isinstance(access, Store) else 1.0) * elements / most
        if step == 1:
            total += weight
        elif step is None:
            total -= weight
        elif step and step not in STEPS:
            total -= 1.5 * weight
    return total * min(1.0, iterator.extent / 8) ** 2
