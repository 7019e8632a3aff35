"""A contraction as a product of matrices: whatever its indices are, rows, columns and depth.

Comes in: a contraction, numbers of rows, columns and inner steps. Goes out: the values of its
indices there. A separate step because a tile knows only matrices: that a convolution has three
indices for its columns and three to sum over is settled here (an implicit matrix product), and so
is the order in which each of them is counted, so that neighbours lie side by side in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphc.backends.cuda.points import unravelled
from graphc.expr import Expr, Iter, Lit, Load, Substitution, apply, walk
from graphc.index import linear, stride
from graphc.kernels.contraction import Contraction
from graphc.kernels.kernel import Kernel
from graphc.types import INT64

Places = Mapping[Iter, Expr]
RUN = 8
"""Neighbours in memory that are worth reading side by side."""


@dataclass(frozen=True)
class Matrices:
    """``first`` times ``second`` for each of ``batch``; indices of each kind, the slowest first.
    ``inner`` are those that are summed over, where neighbours that move together are one.
    """

    contraction: Contraction
    first: Expr
    second: Expr
    batch: tuple[Iter, ...]
    rows: tuple[Iter, ...]
    columns: tuple[Iter, ...]
    inner: tuple[Iter, ...]

    @property
    def kernel(self) -> Kernel:
        return self.contraction.kernel

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """How many matrices, rows, columns and inner steps."""
        return count(self.batch), count(self.rows), count(self.columns), count(self.inner)


def count(indices: Sequence[Iter]) -> int:
    """The size of a space."""
    return math.prod(i.extent for i in indices)


def matrices(c: Contraction) -> Matrices:
    """The contraction with its columns along the memory of the result."""
    rows, columns, first, second = c.rows, c.columns, c.first, c.second
    if any(_store_step(c, i) == 1 for i in rows):
        rows, columns, first, second = columns, rows, second, first

    def by_store(iterator: Iter) -> int:
        return -_store_step(c, iterator)

    batch = [i for i in c.kernel.iters if i not in rows and i not in columns]
    rows, columns = sorted(rows, key=lambda i: -reach(first, i)), sorted(columns, key=by_store)
    inner, (first, second) = merged(c.total.iters, (first, second))
    return Matrices(c, first, second, tuple(batch), tuple(rows), tuple(columns), inner)


def merged(
    inner: Sequence[Iter], factors: Sequence[Expr]
) -> tuple[tuple[Iter, ...], tuple[Expr, ...]]:
    """Indices that are summed over, and the factors, without indices of one value, and with
    neighbours as one index where they step through memory together.
    """
    zero: dict[Expr, Expr] = {i: Lit(0, INT64) for i in inner if i.extent == 1}
    found = [i for i in inner if i.extent > 1]
    factors = _renamed(factors, zero)
    place = 1
    while place < len(found):
        slow, fast = found[place - 1 : place + 1]
        if all(_together(factor, slow, fast) for factor in factors):
            both = Iter(slow.extent * fast.extent)
            factors = _renamed(factors, {slow: Lit(0, INT64), fast: both})
            found[place - 1 : place + 1] = [both]
        else:
            place += 1
    return tuple(found), tuple(factors)


def _renamed(factors: Sequence[Expr], new: Mapping[Expr, Expr]) -> tuple[Expr, ...]:
    change = Substitution(lambda e: new.get(e) if isinstance(e, Iter) else None)
    return tuple(change(factor) for factor in factors)


def _together(factor: Expr, slow: Iter, fast: Iter) -> bool:
    if not isinstance(factor, Load):
        return False
    a, b = (stride(factor.index[0], i) for i in (slow, fast))
    return a is not None and b is not None and a == b * fast.extent


def _store_step(c: Contraction, iterator: Iter) -> int:
    """How far the result goes."""
    return abs(stride(next(c.kernel.stores).index[0], iterator) or 0)


def reach(factor: Expr, iterator: Iter) -> int:
    """How far a factor goes in memory at most when the index steps by one."""
    loads = (e for e in walk(factor) if isinstance(e, Load))
    return max((abs(stride(x.index[0], iterator) or 0) for x in loads), default=0)


@dataclass(frozen=True)
class Depth:
    """The inner indices, walked in steps of ``size`` products.

    Where an index is a multiple of the size, every step goes along that index alone: the others
    are then known for the whole step, and no thread divides. Of the steps those come one after
    another that go the least way in memory: so what the caches hold is used again.
    """

    matrices: Matrices
    size: int

    @cached_property
    def along(self) -> Iter:
        """The index whose neighbours are side by side in a step."""
        m = self.matrices
        near = [
            i for i in m.inner if i.extent >= RUN and 1 in (reach(m.first, i), reach(m.second, i))
        ]
        whole = [i for i in m.inner if i.extent % self.size == 0]
        both = [i for i in near if i in whole]
        return (both or near or whole or [*m.inner] or [Iter(1)])[-1]

    @property
    def inner(self) -> list[Iter]:
        """All indices, that one as the last."""
        return [*(i for i in self.matrices.inner if i is not self.along), self.along]

    @property
    def is_whole(self) -> bool:
        """Whether every step goes along one index."""
        return self.along.extent % self.size == 0

    @cached_property
    def part(self) -> Iter:
        """Counts the steps along that index."""
        return Iter(self.along.extent // self.size)

    @property
    def steps(self) -> int:
        return -(-count(self.matrices.inner) // self.size)

    @cached_property
    def order(self) -> tuple[Iter, ...]:
        """The indices that number the steps, the slowest first."""
        m = self.matrices

        def far(i: Iter) -> int:
            index, times = (self.along, self.size) if i is self.part else (i, 1)
            return -times * max(reach(m.first, index), reach(m.second, index))

        return tuple(sorted([*self.inner[:-1], self.part], key=far))

    def places(self, step: Expr, unit: Expr, lanes: int, lane: Iter) -> Places:
        """The inner indices at the neighbours ``unit * lanes + lane`` of a step."""
        if not self.is_whole:
            number = linear([(step, self.size // lanes), (unit, 1)])
            return unravelled(number, self.inner, lanes, lane)
        found = dict(unravelled(step, self.order, 1, lane))
        terms = [(found.pop(self.part), self.size), (unit, lanes)]
        found[self.along] = linear([*terms, (lane, 1)] if lanes > 1 else terms)
        return found

    def inside(self, step: Expr, unit: Expr, lanes: int, steps: int) -> Expr | None:
        """Whether there are such products, of ``steps`` that are walked; None: always."""
        total = count(self.matrices.inner)
        if total % self.size:
            number = linear([(step, self.size // lanes), (unit, 1)])
            return apply("less", number, total // lanes)
        return apply("less", step, self.steps) if steps > self.steps else None
