"""Contraction: the sum of products of two tensors over shared axes; every matmul is one.

Comes in: two nodes and a label per axis. Goes out: their product. Closed under differentiation: the
gradient of a contraction is a contraction, so no transposes appear in backward graphs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from graphc.dims import product
from graphc.errors import UserError
from graphc.expr import Apply, Expr, Iter, Reduce
from graphc.graph import Array, Node, Op, Read
from graphc.types import TensorType

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
Labels = tuple[int, ...]


@dataclass(frozen=True)
class Contract(Op):
    """``out[...] = sum over shared labels of left[...] * right[...]``, as in Einstein's summation.

    Labels are small ints, one per axis. A label of ``out`` is in ``left`` or ``right``; a label
    missing from ``out`` is in both and summed over; no label is repeated within a tensor. Both
    operands have one number dtype.
    """

    kind: ClassVar[str] = "contract"
    left: Labels
    right: Labels
    out: Labels

    @property
    def name(self) -> str:
        return "matmul" if self._is_matmul else "contract"

    @property
    def _is_matmul(self) -> bool:
        if not len(self.left) == len(self.right) == len(self.out) >= 2:
            return False
        *batch, m, k = self.left
        *_, n = self.right
        return self.right == (*batch, k, n) and self.out == (*batch, m, n)

    def __str__(self) -> str:
        return "matmul" if self._is_matmul else f"contract({self.equation})"

    @property
    def equation(self) -> str:
        """The einsum equation, e.g. ``ab,cb->ac``."""
        left, right, out = (
            "".join(_LETTERS[label] for label in labels)
            for labels in (self.left, self.right, self.out)
        )
        return f"{left},{right}->{out}"

    @property
    def summed(self) -> Labels:
        """The labels that are summed over, in the order of ``left``."""
        return tuple(label for label in self.left if label not in self.out)

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        _check_ranks(self, a, b)
        if a.dtype != b.dtype or a.dtype.kind == "bool":
            raise UserError(
                "GC0102",
                f"{self.name} of {a.dtype.name} and {b.dtype.name}",
                why="both operands have one number dtype",
                fix="cast one operand",
            )
        sizes = dict(zip(self.left, a.shape, strict=True))
        for label, size in zip(self.right, b.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise UserError(
                    "GC0101",
                    f"{self.name}: {a} and {b} do not fit: {sizes[label]} against {size}",
                    why=f"the axes they share must agree in {self.equation}",
                    fix="transpose or reshape one operand",
                )
        return a.with_shape(sizes[label] for label in self.out)

    def eval(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return _matmul_of(self, a, b)

    def grad(self, g: Node, y: Node, a: Node, b: Node) -> tuple[Node | None, ...]:
        return (
            Contract(self.out, self.right, self.left)(g, b),
            Contract(self.left, self.out, self.right)(a, g),
        )

    def batch(self, a: Node, b: Node) -> Node:
        new = max((*self.left, *self.right), default=-1) + 1
        return Contract((new, *self.left), (new, *self.right), (new, *self.out))(a, b)

    def at(self, index: tuple[Expr, ...], a: Read, b: Read) -> Expr:
        where: dict[int, Expr] = dict(zip(self.out, index, strict=True))
        extents = dict(zip(self.left, a.type.static_shape, strict=True))
        inner = {label: Iter(extents[label]) for label in self.summed}
        where.update(inner)
        left = a(*(where[label] for label in self.left))
        right = b(*(where[label] for label in self.right))
        return sum_of_products(tuple(inner.values()), left, right)

    def cost(self, y: TensorType, a: TensorType, b: TensorType) -> Any:
        sizes = dict(zip(self.left, a.shape, strict=True))
        return y.size * product(sizes[label] for label in self.summed) * 2


def sum_of_products(iters: tuple[Iter, ...], left: Expr, right: Expr) -> Expr:
    """The sum of ``left * right``."""
    body = Apply("multiply", (left, right), left.dtype)
    return Reduce("add", iters, body) if iters else body


def _check_ranks(op: Contract, a: TensorType, b: TensorType) -> None:
    if a.rank != len(op.left) or b.rank != len(op.right):
        raise UserError("GC0103", f"{op.name}: {a} and {b} for the equation {op.equation}")


def _matmul_of(op: Contract, a: Array, b: Array) -> Array:
    """The contraction by NumPy's batched matmul: batch, rows, columns, summed axes grouped."""
    batch = [x for x in op.left if x in op.right and x in op.out]
    rows = [x for x in op.left if x not in op.right]
    columns = [x for x in op.right if x not in op.left]
    sizes = dict(zip(op.left + op.right, a.shape + b.shape, strict=True))

    def group(array: Array, labels: Labels, groups: list[list[int]]) -> Array:
        order = [labels.index(x) for part in groups for x in part]
        lead = [sizes[x] for x in groups[0]]
        flat = [math.prod(sizes[x] for x in part) for part in groups[1:]]
        return array.transpose(order).reshape([*lead, *flat])

    summed = list(op.summed)
    left = group(a, op.left, [batch, rows, summed])
    result: Array = np.matmul(left, group(b, op.right, [batch, summed, columns]))
    made = batch + rows + columns
    return result.reshape([sizes[x] for x in made]).transpose([made.index(x) for x in op.out])


def matmul(a: Node, b: Node) -> Node:
    """``a @ b`` of nodes with equal leading axes: ``[..., m, k]`` by ``[..., k, n]``."""
    rank = a.type.rank
    batch = tuple(range(rank - 2))
    m, k, n = rank - 2, rank - 1, rank
    return Contract((*batch, m, k), (*batch, k, n), (*batch, m, n))(a, b)
