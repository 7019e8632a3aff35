"""Decompositions and solutions of square systems, by LAPACK through NumPy.

Comes in: stacks of matrices [..., n, n] (or [..., m, n]) of floats. Goes out: one of the results.
The formulas of LAPACK are not what a compiler of tensors is for, so a library computes them
(`LibraryCall`); their derivatives are products of matrices and are ours. Sources: M. Giles, An
extended collection of matrix derivative results for forward and reverse mode (2008); I. Murray,
Differentiation of the Cholesky decomposition (2016).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from graphc.errors import UserError
from graphc.graph import Array, Node
from graphc.ops.einsum import einsum
from graphc.ops.elementwise import full_like
from graphc.ops.leaves import Iota
from graphc.ops.library import LibraryCall
from graphc.ops.movement import transpose
from graphc.ops.reduction import broadcast_in, where
from graphc.scalars import equal, less
from graphc.types import INT64, TensorType

Gradients = tuple[Node | None, ...]


@dataclass(frozen=True, kw_only=True)
class Inverse(LibraryCall):
    """The inverse of a square matrix. Raises `UserError` GC0308 at run time when there is none."""

    stackable: ClassVar[bool] = True

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        return (_square(self, x),)

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.inv, x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        return (-_product(_product(turned(y), g), turned(y)),)


@dataclass(frozen=True, kw_only=True)
class Solve(LibraryCall):
    """The x of ``a @ x = b`` for b [..., n, k]. Raises GC0308 at run time for a singular a."""

    stackable: ClassVar[bool] = True

    def results(self, a: TensorType, b: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        _square(self, a)
        if b.rank != a.rank or b.shape[:-1] != a.shape[:-1] or b.dtype != a.dtype:
            raise UserError(
                "GC0101", f"{self.name}: {a} and {b} do not fit",
                why="a is [..., n, n] and b is [..., n, k], of one dtype",
            )  # fmt: skip
        return (b,)

    def call(self, a: Array, b: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.solve, a, b)

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> Gradients:
        back = self(turned(a), g)
        return -_product(back, turned(y)), back


@dataclass(frozen=True, kw_only=True)
class SolveTriangular(Solve):
    """`Solve` with the ``lower`` or upper triangle of a; the rest of a is not looked at."""

    lower: bool

    @property
    def name(self) -> str:
        return "solve_triangular"

    def call(self, a: Array, b: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return super().call(np.tril(a) if self.lower else np.triu(a), b)

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> Gradients:
        back = replace(self, lower=not self.lower)(turned(a), g)
        return _triangle(-_product(back, turned(y)), lower=self.lower), back


@dataclass(frozen=True, kw_only=True)
class Determinant(LibraryCall):
    """The sign of the determinant, and the logarithm of its size: of two results [...] both.

    The gradient of the logarithm needs the inverse, so a singular matrix has none.
    """

    stackable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "slogdet"

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        return (_square(self, x).with_shape(x.shape[:-2]),) * 2

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.slogdet, x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        if self.result == 0:
            return (None,)
        slope = turned(Inverse()(x))
        return (_along(g, slope) * slope,)


@dataclass(frozen=True, kw_only=True)
class Cholesky(LibraryCall):
    """The lower triangle L with ``L @ L.T`` the symmetric x; only x's lower triangle is read.

    Raises `UserError` GC0308 at run time when x is not positive definite.
    """

    stackable: ClassVar[bool] = True

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        return (_square(self, x),)

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.cholesky, x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        upper = SolveTriangular(lower=False)
        inner = _triangle(_product(turned(y), g), lower=True)
        inner = where(_diagonal(inner), inner * 0.5, inner)
        found = upper(turned(y), turned(upper(turned(y), turned(inner))))
        return (_symmetric(found),)


@dataclass(frozen=True, kw_only=True)
class Orthogonal(LibraryCall):
    """The results Q [..., m, k] and R [..., k, n] of the reduced decomposition ``x = Q @ R`` with
    orthonormal columns of Q and an upper triangle R; k is the smaller of m and n.

    The gradient is defined for m >= n and matrices of full rank.
    """

    stackable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "qr"

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        *lead, rows, columns = _matrix(self, x).static_shape
        inner = min(rows, columns)
        return x.with_shape((*lead, rows, inner)), x.with_shape((*lead, inner, columns))

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.qr, x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        if x.type.static_shape[-2] < x.type.static_shape[-1]:
            raise UserError(
                "GC0201", f"qr of {x.type} has no gradient", why="there are more columns than rows"
            )
        q, r = self.each(x)
        if self.result == 0:
            inner, slope = -_product(turned(g), q), g
        else:
            inner, slope = _product(r, turned(g)), full_like(0.0, q)
        lower = _triangle(inner, lower=True)
        mirrored = where(_diagonal(inner), lower, lower + turned(lower))
        total = slope + _product(q, mirrored)
        return (turned(SolveTriangular(lower=False)(r, turned(total))),)


@dataclass(frozen=True, kw_only=True)
class Symmetric(LibraryCall):
    """The results w [..., n], ascending eigenvalues, and V [..., n, n], their eigenvectors in
    columns, of a symmetric x; only its lower triangle is read.

    The gradient of V needs distinct eigenvalues.
    """

    stackable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "eigh"

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        return _square(self, x).with_shape(x.shape[:-1]), x

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, np.linalg.eigh, x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        values, vectors = self.each(x)
        if self.result == 0:
            return (_product(vectors * _rows(g, vectors), turned(vectors)),)
        gaps = _gaps(values, vectors)
        inner = _product(turned(vectors), g) * gaps
        return (_symmetric(_product(_product(vectors, inner), turned(vectors))),)


@dataclass(frozen=True, kw_only=True)
class SingularValues(LibraryCall):
    """The results U [..., m, k], s [..., k], descending, and V.T [..., k, n] of ``x = U @ diag(s) @
    V.T``; k is the smaller of m and n.

    The gradients of U and V.T need distinct singular values that are not 0.
    """

    stackable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "svd"

    def results(self, x: TensorType) -> tuple[TensorType, ...]:  # type: ignore[override]
        *lead, rows, columns = _matrix(self, x).static_shape
        inner = min(rows, columns)
        return (
            x.with_shape((*lead, rows, inner)),
            x.with_shape((*lead, inner)),
            x.with_shape((*lead, inner, columns)),
        )

    def call(self, x: Array) -> tuple[Array, ...]:  # type: ignore[override]
        return _lapack(self, partial(np.linalg.svd, full_matrices=False), x)

    def grad(self, g: Node, y: Node, x: Node) -> Gradients:
        u, s, vt = self.each(x)
        if self.result == 1:
            return (_product(u * _rows(g, u), vt),)
        if self.result == 0:
            return (_left_slope(g, u, s, vt),)
        return (turned(_left_slope(turned(g), turned(vt), s, turned(u))),)


def _left_slope(g: Node, u: Node, s: Node, vt: Node) -> Node:
    """What a cotangent of u gives for ``u @ diag(s) @ vt``."""
    square = _product(turned(u), g)
    inner = square * _gaps(s * s, square)
    inner = (inner + turned(inner)) * _rows(s, inner)
    outside = (g - _product(u, square)) / _rows(s, g)
    return _product(_product(u, inner) + outside, vt)


# Matrices as nodes --------------------------------------------------------------------------------
def turned(x: Node) -> Node:
    """The matrices transposed."""
    rank = x.type.rank
    return transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def _product(a: Node, b: Node) -> Node:
    return einsum("...ij,...jk->...ik", a, b)


def _symmetric(x: Node) -> Node:
    return (x + turned(x)) * 0.5


def _along(x: Node, like: Node) -> Node:
    """One number for each matrix."""
    return broadcast_in(x, like.shape, tuple(range(x.type.rank)))


def _rows(x: Node, like: Node) -> Node:
    """One number for each column of the matrices, the same in every row."""
    rank = like.type.rank
    return broadcast_in(x, like.shape, (*range(rank - 2), rank - 1))


def _columns(x: Node, like: Node) -> Node:
    """One number for each row of the matrices, the same in every column."""
    return broadcast_in(x, like.shape, tuple(range(like.type.rank - 1)))


def _gaps(values: Node, like: Node) -> Node:
    """``1 / (values[j] - values[i])`` at [i, j], and 0 on the diagonal."""
    differences = _rows(values, like) - _columns(values, like)
    diagonal = _diagonal(like)
    return where(diagonal, 0.0, 1.0 / where(diagonal, 1.0, differences))


def _places(like: Node) -> tuple[Node, Node]:
    rank = like.type.rank
    return Iota(like.shape, rank - 2, INT64)(), Iota(like.shape, rank - 1, INT64)()


def _diagonal(like: Node) -> Node:
    row, column = _places(like)
    found: Node = equal(row, column)
    return found


def _triangle(x: Node, *, lower: bool) -> Node:
    row, column = _places(x)
    outside: Node = less(row, column) if lower else less(column, row)
    return where(outside, 0.0, x)


# Checks -------------------------------------------------------------------------------------------
def _matrix(op: LibraryCall, x: TensorType) -> TensorType:
    if x.rank < 2 or not x.dtype.is_float:
        raise UserError(
            "GC0103", f"{op.name} of {x}", why="it takes matrices [..., m, n] of floats"
        )
    return x


def _square(op: LibraryCall, x: TensorType) -> TensorType:
    if _matrix(op, x).shape[-1] != x.shape[-2]:
        raise UserError("GC0103", f"{op.name} of {x}", why="it takes square matrices [..., n, n]")
    return x


def _lapack(op: LibraryCall, function: Callable[..., Any], *arrays: Array) -> tuple[Array, ...]:
    """What LAPACK computes, in the dtype of the operands; where it cannot, `UserError` GC0308."""
    try:
        with np.errstate(all="ignore"):
            found = function(*arrays)
    except np.linalg.LinAlgError as error:
        raise UserError(
            "GC0308",
            f"{op.name}: {error}",
            why="LAPACK gave up on one of the matrices",
            fix="add a small multiple of the identity, or look at the operand with find_nan",
        ) from None
    several = found if isinstance(found, tuple) else (found,)
    return tuple(np.asarray(x, arrays[0].dtype) for x in several)
