"""Sums of products, and which index moves which factor.

Comes in: a flat kernel. Goes out: its sum of products, if it has one, with the kernel's indices
told apart. A separate step because the schedule of every contraction, matmul and convolution alike,
follows from this one question, on a CPU as on a GPU.

An index that moves only the first factor counts rows, one that moves only the second counts
columns, one that moves both is a batch, one that is summed over is inner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from graphc.expr import Apply, Expr, Iter, Load, Reduce, depends_on, walk
from graphc.index import stride
from graphc.kernels.kernel import Kernel


@dataclass(frozen=True)
class Contraction:
    """A kernel's sum of products: ``total`` over ``total.iters`` of ``first * second``, by rows and
    columns.
    """

    kernel: Kernel
    total: Reduce
    first: Expr
    second: Expr

    def moves(self, factor: Expr, iterator: Iter) -> int | None:
        """How far the factor's offset goes when the index steps by one; None when that is not a
        constant, as of factors that are computed.
        """
        if isinstance(factor, Load):
            return stride(factor.index[0], iterator)
        return None if depends_on(factor, iterator) else 0

    def moving(self, first: bool, second: bool) -> list[Iter]:
        """The kernel's indices that move these factors, and no other."""
        wanted = (first, second)
        return [
            i
            for i in self.kernel.iters
            if (self.moves(self.first, i) != 0, self.moves(self.second, i) != 0) == wanted
        ]

    @property
    def rows(self) -> list[Iter]:
        """Indices that move only the first factor."""
        return self.moving(True, False)

    @property
    def columns(self) -> list[Iter]:
        """Indices that move only the second factor."""
        return self.moving(False, True)

    @property
    def batch(self) -> list[Iter]:
        """Indices that move both factors."""
        return self.moving(True, True)

    @property
    def depth(self) -> int:
        """Products per sum."""
        return math.prod(i.extent for i in self.total.iters)


def find(kernel: Kernel) -> Contraction | None:
    """The contraction in a flat kernel, if it is one: one sum of products at every point."""
    if len(kernel.stages) != 1 or kernel.stages[0].iters or any(s.combine for s in kernel.stores):
        return None
    sums = {id(e): e for s in kernel.stores for e in walk(s.value) if isinstance(e, Reduce)}
    if len(sums) != 1:
        return None
    (total,) = sums.values()
    body = total.body
    if total.function != "add" or not isinstance(body, Apply) or body.function != "multiply":
        return None
    return Contraction(kernel, total, *body.args) if total.dtype.bits >= 32 else None
