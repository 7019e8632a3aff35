"""The transforms of fast convolution: tiles in, tiles out.

Comes in: images [N,C,H,W], or products in the transformed domain. Goes out: transformed tiles, or
images again. Between the two a convolution with 3x3 filters is 36 small matrix products with a
quarter of its multiplications (Winograd, Arithmetic complexity of computations, 1980; Lavin and
Gray, Fast algorithms for convolutional neural networks, 2016). Two ops of their own because their
factors are known numbers, so code for them is additions and a few multiplications, not products of
matrices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from graphc.errors import UserError
from graphc.expr import Expr, Lit, Select, apply
from graphc.graph import Array, Op, Read
from graphc.types import INT64, TensorType

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Scheme:
    """F(results, taps): so many results of a filter with so many taps, by way of polynomials.

    ``output ((filter g) * (input d))`` is the correlation of ``results + taps - 1`` numbers d with
    ``taps`` numbers g. The polynomials with these coefficients are evaluated at ``points`` and at
    infinity, multiplied there, and the product is found from its values (Cook and Toom; Blahut,
    Fast algorithms for signal processing, 2010). The error grows with the size of the factors, so
    points are small and come in pairs: rows of opposite points share their additions.
    """

    results: int
    taps: int
    points: tuple[float, ...]

    @property
    def size(self) -> int:
        """Numbers on each side of a tile."""
        return self.results + self.taps - 1

    @functools.cached_property
    def input(self) -> Matrix:
        """To the values whose product with `filter`'s is looked for: [size, size]."""
        rows = [_with_roots(self._others(p)) for p in self.points]
        return _matrix([*([*row, 0.0] for row in rows), _with_roots(self.points)])

    @functools.cached_property
    def filter(self) -> Matrix:
        """The values of the filter's polynomial, weighted: [size, taps]."""
        weights = [math.prod(p - q for q in self._others(p)) for p in self.points]
        rows = [
            [p**k / w for k in range(self.taps)] for p, w in zip(self.points, weights, strict=True)
        ]
        return _matrix([*rows, [0.0] * (self.taps - 1) + [1.0]])

    @functools.cached_property
    def output(self) -> Matrix:
        """From products to results: [results, size]."""
        last = self.results - 1
        return _matrix([[*(p**k for p in self.points), k == last] for k in range(self.results)])

    def _others(self, point: float) -> list[float]:
        return [q for q in self.points if q != point]


def _with_roots(roots: Sequence[float]) -> list[float]:
    """The coefficients of the product of all ``x - root``, the constant one first."""
    found = [1.0]
    for root in roots:
        pairs = zip([0.0, *found], [*found, 0.0], strict=True)
        found = [before - root * here for before, here in pairs]
    return found


def _matrix(rows: list[list[float]]) -> Matrix:
    """Without the last digit, so that a root squared is a round number again and 1 is free."""
    return tuple(tuple(round(float(number), 15) for number in row) for row in rows)


@dataclass(frozen=True)
class ToTiles(Op):
    """``y[c,u,v,n,i,j] = sum over a, b of m[u][a] m[v][b] x[n,c,i*step+a,j*step+b]``.

    x is [N,C,H,W], y is [C,U,U,N,I,J] with as many whole tiles as fit into H and W. The elements of
    one tile lie close to each other, because a kernel writes them all at once.
    """

    unrolled: ClassVar[tuple[int, ...]] = (1, 2)
    matrix: Matrix = field(repr=False)
    step: int

    @property
    def name(self) -> str:
        return "to_tiles"

    def infer(self, x: TensorType) -> TensorType:
        if x.rank != 4 or x.dtype.kind != "float":
            raise UserError("GC0103", f"to_tiles: {x} is no batch of images of floats")
        batch, channels, *extents = x.static_shape
        counts = [(n - len(self.matrix[0])) // self.step + 1 for n in extents]
        size = len(self.matrix)
        return x.with_shape((channels, size, size, batch, *counts))

    def eval(self, x: Array) -> Array:
        width = len(self.matrix[0])
        windows = sliding_window_view(x, (width, width), axis=(2, 3))
        tiles = windows[:, :, :: self.step, :: self.step]
        m = np.asarray(self.matrix, x.dtype)
        return np.ascontiguousarray(np.einsum("ua,ncijab,vb->cuvnij", m, tiles, m, optimize=True))

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        c, u, v, n, i, j = index
        width = range(len(self.matrix[0]))
        rows, columns = [i * self.step + a for a in width], [j * self.step + b for b in width]
        return _transformed(self.matrix, u, v, lambda a, b: x(n, c, rows[a], columns[b]))


@dataclass(frozen=True)
class FromTiles(Op):
    """``y[n,c,i,p,j,q] = sum over u, v of m[p][u] m[q][v] x[c,u,v,n,i,j]``.

    x is [C,U,U,N,I,J]; y is [N,C,I,P,J,P], whose elements lie as those of images [N,C,I*P,J*P] do.
    """

    unrolled: ClassVar[tuple[int, ...]] = (3, 5)
    matrix: Matrix = field(repr=False)

    @property
    def name(self) -> str:
        return "from_tiles"

    def infer(self, x: TensorType) -> TensorType:
        if x.rank != 6 or x.dtype.kind != "float" or x.shape[1:3] != (len(self.matrix[0]),) * 2:
            raise UserError("GC0103", f"from_tiles: {x} holds no tiles of {len(self.matrix[0])}")
        channels, _, _, batch, rows, columns = x.static_shape
        size = len(self.matrix)
        return x.with_shape((batch, channels, rows, size, columns, size))

    def eval(self, x: Array) -> Array:
        m = np.asarray(self.matrix, x.dtype)
        return np.ascontiguousarray(np.einsum("pu,cuvnij,qv->ncipjq", m, x, m, optimize=True))

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        n, c, i, p, j, q = index
        place = [Lit(u, INT64) for u in range(len(self.matrix[0]))]
        return _transformed(self.matrix, p, q, lambda u, v: x(c, place[u], place[v], n, i, j))


def _transformed(matrix: Matrix, p: Expr, q: Expr, element: Callable[[int, int], Expr]) -> Expr:
    """``sum over a of matrix[p][a] * (sum over b of matrix[q][b] * element(a, b))``."""
    width, down, across = range(len(matrix[0])), _used(matrix, p), _used(matrix, q)
    rows = [
        _product(matrix, q, [element(a, b) if b in across else _UNUSED for b in width])
        if a in down
        else _UNUSED
        for a in width
    ]
    return _product(matrix, p, rows)


_UNUSED = Lit(0, INT64)
"""Stands where a factor of zero does: many do, and writing kernels takes time too."""


def _used(matrix: Matrix, row: Expr) -> set[int]:
    """The places of a row of the matrix that are not zero; all when the row is not known."""
    if not isinstance(row, Lit):
        return set(range(len(matrix[0])))
    return {k for k, factor in enumerate(matrix[int(row.value)]) if factor}


def _product(matrix: Matrix, row: Expr, values: list[Expr]) -> Expr:
    """Values times a row of the matrix; where the row is an index, a choice among all rows."""
    if isinstance(row, Lit):
        return _combination(matrix[int(row.value)], values)
    chosen = _combination(matrix[0], values)
    for number, factors in enumerate(matrix[1:], 1):
        here = apply("equal", row, number)
        chosen = Select(here, _combination(factors, values), chosen)
    return chosen


def _combination(factors: tuple[float, ...], values: list[Expr]) -> Expr:
    """The sum of ``factors`` times ``values``, even places and odd places apart.

    Rows of opposite points differ by the sign of the odd part, so both share both parts.
    """
    even, odd = (
        [(f, x) for f, x in zip(factors[k::2], values[k::2], strict=True) if f] for k in (0, 1)
    )
    if not even or not odd:
        return _sum(even or odd)
    negative = odd[0][0] < 0
    part = _sum([(-f if negative else f, x) for f, x in odd])
    return apply("subtract" if negative else "add", _sum(even), part)


def _sum(terms: list[tuple[float, Expr]]) -> Expr:
    total = _scaled(*terms[0])
    for factor, value in terms[1:]:
        total = apply("subtract" if factor < 0 else "add", total, _scaled(abs(factor), value))
    return total


def _scaled(factor: float, value: Expr) -> Expr:
    return value if factor == 1 else apply("multiply", value, float(factor))
