"""Sums of products: matrix products where there is one, Einsum for the rest, and convolutions.

Comes in: contractions with labels, convolutions with an axis for groups. Goes out: values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.frontends.onnx.exporting.definition import by_definition
from graphc.frontends.onnx.exporting.functions import computing
from graphc.frontends.onnx.exporting.registry import emits
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.ops.contraction import Contract, Labels
from graphc.ops.convolution import Convolve


@emits(Contract)
def contract(scope: Scope, op: Contract, node: Node) -> Value:
    """MatMul, also of turned operands, Gemm for two matrices, Mul without a sum, else Einsum; a sum
    of nothing is 0.
    """
    x, y = map(scope.full, node.inputs)
    if 0 in x.shape:
        return scope.constant(0, node.dtype)
    a, b = _Factor(x, op.left), _Factor(y, op.right)
    if not op.summed:
        return a.spread(op.out) * b.spread(op.out)
    for left, right in ((a, b), (b, a)):
        batch = tuple(x for x in left.labels if x in right.labels and x in op.out)
        rows = tuple(x for x in left.labels if x not in right.labels)
        columns = tuple(x for x in right.labels if x not in left.labels)
        fits = len(op.summed) == len(columns) == 1 and (not batch or len(rows) == 1)
        if fits and op.out == (*batch, *rows, *columns):
            orders = (*batch, *rows, *op.summed), (*batch, *op.summed, *columns)
            return _matrices(left, right, orders, node)
    return _product(scope, "Einsum", a.value, b.value, node, equation=op.equation)


@dataclass(frozen=True)
class _Factor:
    """An operand with a label for each axis."""

    value: Value
    labels: Labels

    def turned(self, order: Labels) -> Value:
        """With its axes in the order of these labels."""
        return self.value.scope.transpose(self.value, [self.labels.index(x) for x in order])

    def spread(self, labels: Labels) -> Value:
        """With an axis for each of ``labels`` behind its first, of extent 1 where it has none."""
        own = tuple(x for x in labels if x in self.labels)
        sizes = dict(zip(self.labels, self.value.shape, strict=True))
        shape = [sizes.get(x, 1) for x in labels[labels.index(own[0]) :]] if own else []
        return self.value.scope.reshape(self.turned(own), shape)


def _matrices(left: _Factor, right: _Factor, orders: tuple[Labels, Labels], node: Node) -> Value:
    """The product of operands whose axes are to be in these orders."""
    scope = max(left.value.scope, right.value.scope, key=lambda scope: scope.depth)
    turns = [int(x.labels != order) for x, order in zip((left, right), orders, strict=True)]
    if any(turns) and len(orders[0]) == len(orders[1]) == 2 and node.dtype.is_float:
        a, b = left.value, right.value
        return _product(scope, "Gemm", a, b, node, transA=turns[0], transB=turns[1])
    return _product(scope, "MatMul", left.turned(orders[0]), right.turned(orders[1]), node)


def _product(
    scope: Scope, operator: str, a: Value, b: Value, node: Node, **attributes: object
) -> Value:
    wide = computing(operator, a.dtype)
    like = replace(a, dtype=wide, shape=node.shape)
    return scope.add(operator, a.cast(wide), b.cast(wide), like=like, **attributes).cast(node.dtype)


@emits(Convolve)
def convolve(scope: Scope, op: Convolve, node: Node) -> Value:
    """Conv, of floats over at least one axis: channels of all groups are one axis there, and a
    border of zeros is its own.
    """
    x, w = node.inputs
    if not op.strides or not node.dtype.is_float or 0 in w.shape:
        return by_definition(scope, node)
    batch, groups, channels, *extents = x.shape
    images = scope.reshape(scope.full(x), (batch, groups * channels, *extents))
    filters = scope.reshape(scope.full(w), (groups * w.shape[1], *w.shape[2:]))
    images, pads = _without_border(scope, images)
    wide = computing("Conv", node.dtype)
    y = scope.make(
        "Conv",
        images.cast(wide),
        filters.cast(wide),
        dtype=wide,
        shape=(batch, groups * w.shape[1], *node.shape[3:]),
        group=groups,
        strides=op.strides,
        dilations=op.dilations,
        kernel_shape=w.shape[3:],
        pads=pads or (0,) * (2 * len(extents)),
    )
    return scope.reshape(y.cast(node.dtype), node.shape)


def _without_border(scope: Scope, x: Value) -> tuple[Value, tuple[int, ...]]:
    """``x`` without a border of zeros around its spatial axes, and that border."""
    if x.name not in scope.file.padded:
        return x, ()
    source, low, high = scope.file.padded[x.name]
    if len(low) != x.rank or any((*low[:2], *high[:2])):
        return x, ()
    return source, (*low[2:], *high[2:])
