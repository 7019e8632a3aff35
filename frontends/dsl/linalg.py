"""`graphc.linalg`: systems of equations and decompositions, under the names of the array API.

Comes in: stacks of float matrices [..., m, n]. Goes out: tensors. LAPACK computes them on every
backend of a CPU (`graphc.ops.linalg`), and all have gradients. All raise `UserError` GC0103 where
matrices are missing or not square, and GC0308 when a program meets a matrix that LAPACK refuses.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.creation import eye, tril, triu
from graphc.frontends.dsl.elementwise import abs, exp, sqrt, where
from graphc.frontends.dsl.manners import align, at_user_line, common_dtype, raw
from graphc.frontends.dsl.shaping import expand_dims, squeeze
from graphc.frontends.dsl.tensor import Axis, Tensor, Value, matmul, tensor
from graphc.graph import Node
from graphc.ops import linalg as ops
from graphc.ops.library import LibraryCall
from graphc.ops.movement import broadcast_to

__all__ = [
    "cholesky",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matrix_norm",
    "matrix_power",
    "matrix_transpose",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "trace",
    "vector_norm",
]


@at_user_line
def inv(x: Value) -> Tensor:
    """The inverse of [..., n, n]. To solve equations `solve` is faster and more exact."""
    return _one(ops.Inverse(), x)


@at_user_line
def solve(a: Value, b: Value) -> Tensor:
    """The x of ``a @ x = b`` for ``a`` [..., n, n] and ``b`` [n] or [..., n, k]; leading axes
    broadcast.
    """
    return _solved(ops.Solve(), a, b)


@at_user_line
def solve_triangular(a: Value, b: Value, *, lower: bool = True) -> Tensor:
    """`solve` with the lower (or upper) triangle of ``a``; its other elements are not looked at."""
    return _solved(ops.SolveTriangular(lower=lower), a, b)


def _solved(op: LibraryCall, a: Value, b: Value) -> Tensor:
    left, right = tensor(a), tensor(b)
    dtype = common_dtype([raw(left), raw(right)])
    left, right = left.astype(dtype), right.astype(dtype)
    if left.ndim < 2:
        raise UserError("GC0103", f"{op.name} of {left.node.type}", fix="pass matrices [..., n, n]")
    if right.ndim == 1:
        return squeeze(_solved(op, left, expand_dims(right, -1)), -1)
    lead = align("solve", *(_ones(x) for x in (left, right)))[0].shape
    stretched = [broadcast_to(x.node, (*lead, *x.shape[-2:])) for x in (left, right)]
    return Tensor(op(*stretched))


def _ones(x: Tensor) -> Node:
    """Something with the leading axes of a stack of matrices."""
    return x[..., 0, 0].node


@at_user_line
def det(x: Value) -> Tensor:
    """The determinant of [..., n, n]; the gradient of a singular matrix is nan."""
    sign, logarithm = slogdet(x)
    return sign * exp(logarithm)


@at_user_line
def slogdet(x: Value) -> tuple[Tensor, Tensor]:
    """The sign of the determinant and the logarithm of its absolute value, without overflow."""
    sign, logarithm = _all(ops.Determinant(), x)
    return sign, logarithm


@at_user_line
def cholesky(x: Value, *, upper: bool = False) -> Tensor:
    """The lower triangle L with ``L @ L.mT`` the symmetric positive definite ``x``, whose lower
    triangle is read; with ``upper`` its transpose.
    """
    found = _one(ops.Cholesky(), x)
    return found.mT if upper else found


@at_user_line
def qr(x: Value) -> tuple[Tensor, Tensor]:
    """Q [..., m, k] with orthonormal columns and the upper triangle R [..., k, n] of ``x = Q @ R``;
    k is the smaller of m and n.
    """
    q, r = _all(ops.Orthogonal(), x)
    return q, r


@at_user_line
def eigh(x: Value) -> tuple[Tensor, Tensor]:
    """Ascending eigenvalues [..., n] and eigenvectors (columns of [..., n, n]) of a symmetric
    ``x``, whose lower triangle is read. The gradient of vectors needs distinct values.
    """
    values, vectors = _all(ops.Symmetric(), x)
    return values, vectors


def eigvalsh(x: Value) -> Tensor:
    """The eigenvalues of `eigh`."""
    return eigh(x)[0]


@at_user_line
def svd(x: Value) -> tuple[Tensor, Tensor, Tensor]:
    """U [..., m, k], s [..., k] and Vh [..., k, n] of ``x = U @ diag(s) @ Vh``; s descends, and k
    is the smaller of m and n. The gradients of U and Vh need distinct s that are not 0.
    """
    u, s, vh = _all(ops.SingularValues(), x)
    return u, s, vh


def svdvals(x: Value) -> Tensor:
    """The singular values of `svd`."""
    return svd(x)[1]


@at_user_line
def pinv(x: Value, *, rtol: float = 1e-6) -> Tensor:
    """The pseudo-inverse [..., n, m]; singular values up to ``rtol`` of the largest count as 0."""
    u, s, vh = svd(x)
    large = s > s[..., :1] * rtol
    inverse = where(large, 1 / where(large, s, 1.0), 0.0)
    return matmul(vh.mT * expand_dims(inverse, -2), u.mT)


# Made of other operations -------------------------------------------------------------------------
@at_user_line
def matrix_power(x: Value, n: int) -> Tensor:
    """``x @ x @ ...``, n factors, by repeated squaring; the inverse first for negative n."""
    base = tensor(x) if n >= 0 else inv(x)
    found: Tensor | None = None
    for digit in reversed(f"{n:b}".lstrip("-")):
        if digit == "1":
            found = base if found is None else matmul(found, base)
        base = matmul(base, base)
    return _identity_like(base) if found is None else found


def _identity_like(x: Tensor) -> Tensor:
    one = eye(x.shape[-1], dtype=x.dtype)
    return Tensor(broadcast_to(one.node, x.shape))


@at_user_line
def matrix_transpose(x: Value) -> Tensor:
    """The matrices with rows for columns."""
    return tensor(x).mT


@at_user_line
def diagonal(x: Value, *, offset: int = 0) -> Tensor:
    """The elements [..., i, i + offset] of matrices, as the last axis."""
    value = tensor(x)
    rows, columns = value.node.type.static_shape[-2:]
    start = (max(-offset, 0), max(offset, 0))
    count = max(0, min(rows - start[0], columns - start[1]))
    inner = value[..., start[0] : start[0] + count, start[1] : start[1] + count]
    kept = tril(triu(inner)) if count else inner
    return kept.sum(-1)


@at_user_line
def trace(x: Value, *, offset: int = 0) -> Tensor:
    """The sum of `diagonal`."""
    return diagonal(x, offset=offset).sum(-1)


@at_user_line
def vector_norm(x: Value, axis: Axis = None, *, keepdims: bool = False, ord: float = 2) -> Tensor:
    """The ``ord``-norm over ``axis``, of all elements for None: sum(abs(x)**ord)**(1/ord), the
    largest or smallest size for inf and -inf, the number of elements that are not 0 for 0.

    The gradient at 0 is nan for 2, as the norm has a corner there.
    """
    value = tensor(x)
    size = abs(value)
    if ord == 2:
        return sqrt((value * value).sum(axis, keepdims=keepdims))
    if ord in (float("inf"), float("-inf")):
        return (size.max if ord > 0 else size.min)(axis, keepdims=keepdims)
    if ord == 0:
        return (value != 0).astype(value.dtype).sum(axis, keepdims=keepdims)
    if ord == 1:
        return size.sum(axis, keepdims=keepdims)
    return (size**ord).sum(axis, keepdims=keepdims) ** (1 / ord)


@at_user_line
def matrix_norm(x: Value, *, keepdims: bool = False, ord: float | str = "fro") -> Tensor:
    """A norm of [..., m, n]: "fro" (root of the sum of squares), "nuc" (sum of singular values), 2
    and -2 (largest and smallest of them), 1, -1, inf, -inf (sums of columns or rows).
    """
    value = tensor(x)
    if ord == "fro":
        return vector_norm(value, (-2, -1), keepdims=keepdims)
    if ord in ("nuc", 2, -2):
        s = svdvals(value)
        found = s.sum(-1) if ord == "nuc" else s.max(-1) if ord == 2 else s.min(-1)
    elif ord in (1, -1, float("inf"), float("-inf")):
        sums = abs(value).sum(-2 if ord in (1, -1) else -1)
        found = sums.max(-1) if float(ord) > 0 else sums.min(-1)
    else:
        raise UserError(
            "GC0104", f"matrix_norm with ord={ord!r}", fix="use 'fro', 'nuc', 1, -1, 2, -2 or inf"
        )
    return expand_dims(found, (-2, -1)) if keepdims else found


def _one(op: LibraryCall, x: Value) -> Tensor:
    return Tensor(op(tensor(x).node))


def _all(op: LibraryCall, x: Value) -> tuple[Tensor, ...]:
    return tuple(map(Tensor, op.each(tensor(x).node)))
