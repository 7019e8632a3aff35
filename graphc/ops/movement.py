"""Movement ops that only rename indices, transpose and reshape: they never need a buffer.

Comes in: one node. Goes out: the same values at other indices. The adjoint of a transpose or
reshape is its inverse. `reduction` holds broadcasting, `selection` the ops that pick or place a
part of a tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.expr import Expr, lift
from graphc.graph import Array, Node, Op, Read
from graphc.ops.reduction import broadcast_in, static
from graphc.types import INT64, TensorType


@dataclass(frozen=True)
class Transpose(Op):
    """Axis k of the result is axis ``axes[k]`` of the input."""

    kind: ClassVar[str] = "free"
    axes: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if sorted(self.axes) != list(range(x.rank)):
            raise UserError(
                "GC0104",
                f"transpose: axes {self.axes} are no permutation of the {x.rank} axes of {x}",
                fix=f"name each of 0..{x.rank - 1} once",
            )
        return x.keep(self.axes)

    def eval(self, x: Array) -> Array:
        return x.transpose(self.axes)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (transpose(g, inverse(self.axes)),)

    def batch(self, x: Node) -> Node:
        return Transpose((0, *(a + 1 for a in self.axes)))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return x(*(index[a] for a in inverse(self.axes)))

    def lands(self, _: int, index: tuple[Expr, ...], *types: TensorType) -> tuple[Expr, ...]:
        return tuple(index[a] for a in self.axes)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in row-major order under another shape of the same size."""

    kind: ClassVar[str] = "free"
    shape: tuple[Size, ...]

    def infer(self, x: TensorType) -> TensorType:
        if product(self.shape) != x.size:
            raise UserError(
                "GC0101",
                f"reshape: {x} has {x.size} elements, shape {self.shape} has {product(self.shape)}",
                why="a reshape keeps every element",
                fix="use -1 for one axis to let graphc compute it",
            )
        return x.with_shape(self.shape)

    def eval(self, x: Array) -> Array:
        return x.reshape(static(self.shape))

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (reshape(g, x.shape),)

    def batch(self, x: Node) -> Node:
        return Reshape((x.shape[0], *self.shape))(x)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return x(*_same_offset(index, static(self.shape), x.type.static_shape))

    def lands(self, _: int, index: tuple[Expr, ...], *types: TensorType) -> tuple[Expr, ...]:
        return _same_offset(index, types[0].static_shape, static(self.shape))


def _same_offset(
    index: tuple[Expr, ...], shape: tuple[int, ...], other: tuple[int, ...]
) -> tuple[Expr, ...]:
    """The index in ``other`` of the element at ``index`` of ``shape``, in row-major order."""
    if 0 in shape:
        return tuple(lift(0, INT64) for _ in other)
    offset = lift(0, INT64)
    for i, extent in zip(index, shape, strict=True):
        offset = offset * extent + i
    found: list[Expr] = []
    for extent in reversed(other):
        found.append(lift(offset % extent, INT64))
        offset = offset // extent
    return tuple(reversed(found))


def inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The inverse of a permutation."""
    return tuple(axes.index(a) for a in range(len(axes)))


def transpose(x: Node, axes: tuple[int, ...]) -> Node:
    """``x`` with permuted axes; itself for the identity."""
    return x if axes == tuple(range(x.type.rank)) else Transpose(axes)(x)


def reshape(x: Node, shape: tuple[Size, ...]) -> Node:
    """``x`` under another shape; itself when it has it."""
    return x if tuple(shape) == x.shape else Reshape(tuple(shape))(x)


def broadcast_to(x: Node, shape: tuple[Size, ...]) -> Node:
    """NumPy's broadcasting: axes aligned at the end, extent 1 stretches; `UserError` GC0101."""
    lead = len(shape) - x.type.rank
    fits = lead >= 0 and all(s in (1, t) for s, t in zip(x.shape, shape[lead:], strict=True))
    if not fits:
        raise UserError("GC0101", f"cannot broadcast {x.type} to shape {tuple(shape)}")
    kept = tuple(a for a, s in enumerate(x.shape) if s == shape[lead + a])
    thin = reshape(x, tuple(x.shape[a] for a in kept))
    return broadcast_in(thin, tuple(shape), tuple(lead + a for a in kept))
