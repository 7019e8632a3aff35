"""Operations that ONNX has no operator for, written as their values at an index, all at once.

Comes in: a node. Goes out: ONNX nodes that compute its definition (`graphc.graph.Op.at`): every
iterator is an axis, reads are gathers, reductions fold axes again. A separate step because it needs
no knowledge of the operation at all, so that whatever has a definition can be exported; emitters
are written for what ONNX says more shortly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from graphc.dims import Dim, product
from graphc.errors import UserError
from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Reduce,
    Select,
    lift,
    walk,
)
from graphc.frontends.onnx.exporting.registry import lacking
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node
from graphc.index import bounds
from graphc.scalars import SCALARS, identity_of, maximum, minimum, where
from graphc.types import INT64, TensorType


@dataclass(frozen=True)
class _Read:
    """An operand as `Op.at` sees it."""

    buffer: Buffer

    @property
    def type(self) -> TensorType:
        return self.buffer.type

    def __call__(self, *index: Any) -> Expr:
        return Load(self.buffer, tuple(lift(i, INT64) for i in index))


def by_definition(scope: Scope, node: Node) -> Value:
    """The value of ``node``. Raises `UserError` GC0505 where sizes have no numbers, but for first
    axes of operations that do the same for each element of a stack.
    """
    lead = _stacked(node)
    inner, *types = (x.type.drop(range(lead)) for x in (node, *node.inputs))
    _check_numbers(node, [inner, *types])
    places = tuple(map(Iter, inner.static_shape))
    reads = [_Read(Buffer(t)) for t in types]
    count = product(node.shape[:lead])
    memory = {
        read.buffer: scope.reshape(scope.full(x), (count, product(read.type.shape)))
        for read, x in zip(reads, node.inputs, strict=True)
    }
    value = _Spelling(scope, places, memory)(node.op.at(places, *reads)).cast(node.dtype)
    if value.shape != (count, *inner.shape):
        value = scope.stretched(value, (count, *inner.shape))
    return scope.reshape(value, node.shape)


def _stacked(node: Node) -> int:
    """How many first axes of the result and of all operands merely hold stacks."""
    most = min(x.type.rank for x in (node, *node.inputs)) if node.op.stackable else 0
    while most and not _is_stack(node, most):
        most -= 1
    return most


def _is_stack(node: Node, count: int) -> bool:
    """Whether the operation works without these axes."""
    if any(x.shape[:count] != node.shape[:count] for x in node.inputs):
        return False
    axes = range(count)
    try:
        found = node.op.infer(*(x.type.drop(axes) for x in node.inputs))
    except UserError:
        return False
    return found == node.type.drop(axes)


def _check_numbers(node: Node, types: Sequence[TensorType]) -> None:
    sizes = [n for t in types for n in t.shape if isinstance(n, Dim)]
    if sizes:
        numbers = {name: 8 for size in sizes for name in sorted(size.names)}
        raise lacking(
            node,
            "it is written as a gather at indices that depend on the sizes, and these are open",
            f"give the sizes numbers: export(..., sizes={numbers})",
        )


class _Spelling:
    """Writes expressions. Counted from the end, the axes are: those of the result at ``places``,
    those of reductions, and one for the stack, which every operand in ``memory`` has first.
    """

    def __init__(
        self, scope: Scope, places: Sequence[Iter], memory: Mapping[Buffer, Value]
    ) -> None:
        self.scope, self.memory = scope, memory
        self.axes = {i: axis - len(places) for axis, i in enumerate(places)}
        self.done: dict[int, Value] = {}

    def __call__(self, root: Expr) -> Value:
        """The value, [stack or 1, *places]."""
        order, rank = [*walk(root)], len(self.axes)
        for expr in order:
            if isinstance(expr, Reduce):
                for i in expr.iters:
                    self.axes[i] = -len(self.axes) - 1
        for expr in order:
            self.done[id(expr)] = _SPELLINGS[type(expr)](self, expr)
        value = self._of_all_axes(self.done[id(root)], len(self.axes) + 1)
        return self.scope.reshape(value, (value.shape[0], *value.shape[value.rank - rank :]))

    def _of_all_axes(self, value: Value, rank: int) -> Value:
        return self.scope.reshape(value, (1,) * (rank - value.rank) + value.shape)

    def of(self, expr: Expr) -> Value:
        """What was written for a part."""
        return self.done[id(expr)]

    def iterator(self, expr: Iter) -> Value:
        """0, 1, 2, ... along an axis of its own."""
        column = (expr.extent,) + (1,) * (-self.axes[expr] - 1)
        return self.scope.constant(np.arange(expr.extent).reshape(column), expr.dtype)

    def number(self, expr: Lit) -> Value:
        return self.scope.constant(expr.value, expr.dtype)

    def sum(self, expr: Affine) -> Value:
        terms = [self.of(a) if factor == 1 else self.of(a) * factor for a, factor in expr.terms]
        if expr.constant or not terms:
            terms.append(self.scope.constant(expr.constant, expr.dtype))
        return reduce(add, terms)

    def load(self, expr: Load) -> Value:
        """Flat memory at flat offsets, for each element of the stack."""
        shape = expr.buffer.shape
        if 0 in shape:
            return self.scope.constant(0, expr.dtype)
        terms = [self.scope.constant(0, INT64)]
        for i, extent, step in zip(expr.index, shape, expr.buffer.strides, strict=True):
            if extent > 1:
                terms.append(self.of(i) if step == 1 else self.of(i) * step)
        offset = self._of_all_axes(reduce(add, terms[1:] or terms), len(self.axes))
        return self._gathered(self.memory[expr.buffer], offset).cast(expr.dtype)

    def _gathered(self, source: Value, offset: Value) -> Value:
        """The elements at ``offset``, which data may have made different within the stack."""
        count = source.shape[0]
        if offset.rank == len(self.axes):
            like = replace(source, shape=(count, *offset.shape))
            return self.scope.add("Gather", source, offset, like=like, axis=1)
        inner = offset.shape[1:]
        if offset.shape[0] != count:
            offset = self.scope.stretched(offset, (count, *inner))
        flat = self.scope.reshape(offset, (count, product(inner)))
        like = replace(flat, dtype=source.dtype)
        found = self.scope.add("GatherElements", source, flat, like=like, axis=1)
        return self.scope.reshape(found, (count, *inner))

    def apply(self, expr: Apply) -> Value:
        args = [self.of(x) for x in expr.args]
        if expr.function == "cast":
            return args[0].cast(expr.dtype)
        return self.scope.apply(expr.function, *args)

    def select(self, expr: Select) -> Value:
        chosen: Value = where(*(self.of(x) for x in expr.children))
        return chosen

    def bounded(self, expr: Bounded) -> Value:
        """Both branches of a choice are computed, so what a guard keeps out is read at an end."""
        place, reach = self.of(expr.index), bounds(expr.index)
        if expr.owner is not None or (reach and reach[0] >= 0 and reach[1] < expr.extent):
            return place
        found: Value = minimum(maximum(place, 0), expr.extent - 1)
        return found

    def reduce(self, expr: Reduce) -> Value:
        """The axes of the iterators folded; they stay with extent 1."""
        body, axes = self.of(expr.body), [self.axes[i] for i in expr.iters]
        if any(i.extent == 0 for i in expr.iters):
            return self.scope.constant(identity_of(SCALARS[expr.function], expr.dtype), expr.dtype)
        shape = [1] * (max(-a for a in axes) - body.rank) + [*body.shape]
        for i, axis in zip(expr.iters, axes, strict=True):
            shape[axis] = i.extent
        whole = body if tuple(shape) == body.shape else self.scope.stretched(body, tuple(shape))
        return self.scope.reduce(expr.function, whole, axes, keep=True)


_SPELLINGS: dict[type[Expr], Callable[[_Spelling, Any], Value]] = {
    Iter: _Spelling.iterator,
    Lit: _Spelling.number,
    Affine: _Spelling.sum,
    Load: _Spelling.load,
    Apply: _Spelling.apply,
    Select: _Spelling.select,
    Bounded: _Spelling.bounded,
    Reduce: _Spelling.reduce,
}
