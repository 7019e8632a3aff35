"""One kernel over many arrays of different lengths: each block has a part of one of them.

Comes in: a kernel with one value for each element of its arrays, and how long the arrays are. Goes
out: one phase, and the table that tells its blocks where their parts are. A separate step from
`points` because there the loops know every array, while here they read from memory where it is, and
how much of it there is.

The table has a row for each block and not for each array: its addresses are those of the block's
own part, so nothing is searched or added up, and indices are short however long an array is. It
takes less than a hundredth of the memory of large arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.points import RESIDENT, THREADS, Spread, neighbours, placed, threads_for
from graphc.expr import Buffer, Expr, Iter, Lit, Load, apply
from graphc.graph import Array
from graphc.index import linear
from graphc.kernels.flat import map_kernel, offsets
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Locate, Statement
from graphc.loops.nest import Nest
from graphc.types import INT64, TensorType

TURNS = 4
"""Accesses of a thread where there are more than enough: its block finds its part only once."""

LONGEST = TURNS * THREADS * WIDEST
"""Elements of a part, at most."""


@dataclass(frozen=True, eq=False)
class Parts:
    """How the points of a ``kernel`` are shared, whose ``arrays`` stand for others of these
    ``sizes``: a part for each block, those of one size behind those of another, and within a part
    as ``spread`` says.
    """

    kernel: Kernel
    arrays: tuple[Buffer, ...]
    sizes: tuple[int, ...]
    spread: Spread

    @property
    def length(self) -> int:
        """Elements of a whole part; the last one of an array may have fewer."""
        return self.spread.lanes * self.spread.turns * self.spread.threads

    @cached_property
    def table(self) -> Buffer:
        """For each block the addresses of its parts of all arrays, and how many elements it has."""
        blocks = sum(-(-size // self.length) for size in self.sizes)
        return Buffer(TensorType(INT64, (blocks, len(self.arrays) + 1)))

    def rows(self, starts: Iterable[Sequence[int]]) -> Array:
        """What is in the table; for each size the addresses where its arrays start."""
        moving = _moving(self.kernel)
        steps = np.array([b.type.dtype.bytes * (b in moving) for b in self.arrays], np.int64)
        found = []
        for size, addresses in zip(self.sizes, starts, strict=True):
            first = np.arange(0, size, self.length, dtype=np.int64)[:, None]
            counts = np.minimum(size - first, self.length)
            found.append(np.concatenate([np.array(addresses, np.int64) + first * steps, counts], 1))
        return np.concatenate(found)

    def __str__(self) -> str:
        return f"{len(self.sizes)} kernels in one launch, {self.spread}"


def parts_of(
    kernel: Kernel, arrays: tuple[Buffer, ...], sizes: Sequence[int], limits: Limits
) -> Parts:
    """Wide accesses, several of them for each thread where there is enough to do, smaller blocks
    where there would not be one for each multiprocessor.
    """
    lanes = lanes_of(_moving(kernel))
    units = sum(-(-size // lanes) for size in sizes)
    turns = TURNS if units >= TURNS * RESIDENT * limits.multiprocessors else 1
    spread = Spread(kernel.iters, lanes, turns, threads_for(units, limits))
    return Parts(kernel, arrays, tuple(sizes), spread)


def lanes_of(moving: Iterable[Buffer]) -> int:
    """Neighbours of one access, if these arrays follow the index: as many as fit 16 bytes of the
    widest type.
    """
    return WIDEST // max(b.type.dtype.bytes for b in moving)


def _moving(kernel: Kernel) -> set[Buffer]:
    """The arrays that follow the kernel's index; of the others one element is read."""
    return {x.buffer for x, offset in offsets(kernel) if offset is kernel.iters[0]}


def in_parts(parts: Parts) -> tuple[Statement, ...]:
    """The phase: each block finds its parts in the table, its threads run through them."""
    block, thread = Iter(parts.table.shape[0]), Iter(parts.spread.threads)
    turn, builder = Iter(parts.spread.turns), Nest()
    builder.open(block, "block")
    *addresses, entry = (
        Load(parts.table, (block, Lit(k, INT64))) for k in range(parts.table.shape[1])
    )
    for array, address in zip(parts.arrays, addresses, strict=True):
        builder.append(Locate(array, address))
    count = builder.define(entry, builder.depth_now)
    kernel = _with_numbers(builder, parts.kernel)
    builder.open(thread, "thread")
    number: Expr = thread
    if turn.extent > 1:
        builder.open(turn, "serial")
        number = linear([(turn, thread.extent), (thread, 1)])
    _write(builder, kernel, parts.spread, number, count)
    return builder.close_all()


def _with_numbers(builder: Nest, kernel: Kernel) -> Kernel:
    """The kernel with what does not move along an array read before its loops begin."""
    numbers: Mapping[Expr, Expr] = {
        x: builder.define(x, builder.depth_now)
        for x in dict.fromkeys(kernel.loads)
        if isinstance(x.index[0], Lit)
    }
    return map_kernel(kernel, lambda e: numbers.get(e) if isinstance(e, Load) else None)


def _write(builder: Nest, kernel: Kernel, how: Spread, number: Expr, count: Expr) -> None:
    """The neighbours of access ``number``, those of them below ``count``."""
    (index,), lane, after = kernel.iters, Iter(how.lanes), Iter(how.lanes)
    first = linear([(number, how.lanes)])

    def rest() -> None:
        if how.lanes == 1:
            return
        place = linear([(number, how.lanes), (after, 1)])
        builder.open(after, "unroll")
        element = partial(builder.stage, placed(kernel, {index: place}).stages[0])
        builder.branch(apply("less", place, count), element, lambda: None)
        builder.close()

    whole = partial(neighbours, builder, kernel, how, number, lane)
    builder.branch(apply("less_equal", first + how.lanes, count), whole, rest)
