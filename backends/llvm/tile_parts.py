"""An index in parts, and an operand copied into the order of the parts.

Comes in: an extent and the size of a part; an operand. Goes out: loops over whole parts and the
rest; the copy into panels. Apart from the tiles (`tile_loops`) because a copy has no sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from graphc.backends.llvm.tile import STREAMS
from graphc.expr import Buffer, Expr, Iter, Lit, Load, apply, substitute
from graphc.loops.ir import Put, Statement
from graphc.loops.nest import Nest
from graphc.types import INT64

Place = dict[Expr, Expr]
"""What stands for indices of the kernel at one place of a tile."""


@dataclass(frozen=True)
class Part:
    """Equal parts of an index, or the rest: the number of the part, where it begins, its size."""

    number: Expr
    start: Expr
    size: int


@dataclass(frozen=True)
class Parts:
    """An extent cut into ``count`` parts of ``size`` and a rest, counted by ``block``."""

    extent: int
    size: int
    block: Iter

    @property
    def count(self) -> int:
        """Whole parts."""
        return self.extent // self.size

    @property
    def kinds(self) -> list[Part]:
        """The whole ones, then the rest, where there are any."""
        number: Expr = self.block if self.block.extent > 1 else Lit(0, INT64)
        rest = Part(
            Lit(self.count, INT64), constant(self.count * self.size), self.extent % self.size
        )
        whole = Part(number, number * self.size, self.size)
        return [part for part, some in ((whole, self.count), (rest, rest.size)) if some]


def parts(extent: int, size: int) -> Parts:
    """``extent`` in parts of ``size``."""
    size = min(size, extent)
    return Parts(extent, size, Iter(-(-extent // size)))


def constant(value: int) -> Expr:
    """A constant index."""
    return Lit(value, INT64)


def each(nest: Nest, cut: Sequence[Parts], write: Callable[..., None], *chosen: Part) -> None:
    """Call ``write`` with every combination of whole parts and rests, each in its branch."""
    if not cut:
        write(*chosen)
        return
    branches = [partial(each, nest, cut[1:], write, *chosen, part) for part in cut[0].kinds]
    if len(branches) == 1:
        branches[0]()
    else:
        nest.branch(apply("less", cut[0].block, cut[0].count), *branches)


def open_shared(nest: Nest, iters: Iterable[Iter], *cut: Parts) -> None:
    """Loops that threads share: over indices, and over parts where there are several."""
    for iterator in (*iters, *(p.block for p in cut if p.block.extent > 1)):
        nest.open(iterator, "parallel")


@dataclass(frozen=True)
class Panels:
    """An operand copied into the order in which tiles read it: for each of its ``outer`` indices
    and each part of ``index``, all inner indices, the places of the part side by side.
    """

    load: Load
    index: Iter
    cut: Parts
    outer: tuple[Iter, ...]
    inner: tuple[Iter, ...]
    turned: Iter | None

    @property
    def size(self) -> int:
        """Elements, the rest of ``index`` filled up to a whole part."""
        loops = (*self.outer, self.cut.block, *self.inner)
        return math.prod(i.extent for i in loops) * self.cut.size

    def offset(self, part: Part, place: Expr) -> Expr:
        """Where the ``place`` of a part lies at the current outer and inner indices."""
        offset: Expr = constant(0)
        for iterator in self.outer:
            offset = offset * iterator.extent + iterator
        offset = offset * self.cut.block.extent + part.number
        for iterator in self.inner:
            offset = offset * iterator.extent + iterator
        return offset * self.cut.size + place

    def copy(self, buffer: Buffer, begin: int) -> tuple[Statement, ...]:
        """The phase that fills the panels, which begin at an element of ``buffer``.

        Parts lie far apart in memory, often in one set of every cache, and a narrow part has less
        than a line in each row: so it takes a few rows before the next part begins.
        """
        nest = Nest()
        *far, near = [i for i in self.inner if i is not self.turned] or [Iter(1)]
        deep = parts(near.extent, STREAMS if self.turned is None else 1)
        open_shared(nest, (*self.outer, *far), deep, self.cut)
        each(nest, [deep, self.cut], partial(self.fill, nest, buffer, begin, near))
        return nest.close_all()

    def fill(
        self, nest: Nest, buffer: Buffer, begin: int, near: Iter, deep: Part, part: Part
    ) -> None:
        """Copy one part at a few neighbouring values of the inner index ``near``."""
        step, lane, depth = Iter(deep.size), Iter(part.size), nest.depth_now
        if step.extent > 1:
            nest.open(step, "serial")
        nest.open(lane, "vector")
        if self.turned is not None:  # two vector loops are a transposing copy
            nest.open(self.turned, "vector")
        now: Place = {near: deep.start + step if step.extent > 1 else deep.start}
        value = placed(self.load, {**now, self.index: part.start + lane})
        target = placed(self.offset(part, lane) + begin, now)
        nest.append(Put(buffer, (target,), value))
        nest.close(nest.depth_now - depth)


def placed(e: Expr, place: Place) -> Expr:
    """An expression with indices replaced."""
    return substitute(e, lambda part: place.get(part) if isinstance(part, Iter) else None)
