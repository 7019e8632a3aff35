"""Linear algebra: products of matrices, and what is made of them.

Comes in: tensors. Goes out: tensors. A separate file because these are where the time goes.
"""

from __future__ import annotations

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import operator

operator("MatMul")(gc.matmul)
operator("Det")(gc.linalg.det)


@operator("Gemm")
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 0,
) -> Tensor:
    """``alpha * a @ b + beta * c``, of transposed matrices if asked for.

    ``c`` is broadcast always; before version 7 it had to be asked for.
    """
    product = (a.T if transA else a) @ (b.T if transB else b)
    scaled = _scaled(product, alpha)
    return scaled if c is None else scaled + _scaled(c, beta)


def _scaled(x: Tensor, factor: float) -> Tensor:
    """``factor * x``, which for integers is a whole number of times."""
    if factor == 1:
        return x
    if x.dtype.is_float:
        return factor * x
    return (factor * x.astype("float64")).astype(x.dtype)


@operator("Einsum")
def einsum(*tensors: Tensor, equation: str) -> Tensor:
    """Einstein's summation."""
    return gc.einsum(equation.replace(" ", ""), *tensors)
