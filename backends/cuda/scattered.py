"""Kernels that add to places which data decides, in an order that never changes.

Comes in: a kernel with a scatter. Goes out: one phase. Points that may meet in one element belong
to one thread, which takes them in order; so results are the same bits each time, whatever the order
of threads. Only indices that move the place for certain are shared by threads.
"""

from __future__ import annotations

import math

from graphc.backends.cuda.across import adds, parts
from graphc.backends.cuda.points import THREADS, guarded, unravelled
from graphc.expr import Iter
from graphc.index import linear
from graphc.kernels.flat import map_kernel
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Statement
from graphc.loops.nest import Nest


def scattered(kernel: Kernel) -> tuple[tuple[Statement, ...], ...]:
    """The phase of a kernel with a scatter."""
    if kernel.points == 0:
        return ()
    shared = [i for i in kernel.iters if all(parts(s, i) for s in kernel.stores if adds(s))]
    units = math.prod(i.extent for i in shared)
    threads = min(THREADS, -(-units // 32) * 32)
    block, thread = Iter(-(-units // threads)), Iter(threads)
    number = linear([(block, threads), (thread, 1)])
    places = unravelled(number, shared, 1, thread)
    placed = map_kernel(kernel, lambda e: places.get(e) if isinstance(e, Iter) else None)
    builder = Nest()
    builder.open(block, "block")
    builder.open(thread, "thread")

    def write() -> None:
        alone = [i for i in kernel.iters if i not in places]
        for iterator in alone:
            builder.open(iterator, "serial")
        for stage in placed.stages:
            builder.stage(stage)
        builder.close(len(alone))

    guarded(builder, number, units, units % threads != 0, write)
    return (builder.close_all(),)
