"""Identities: each has the values of one operand, and says something about them.

Comes in: nodes. Goes out: the same values. Lowering puts `Copy` where a result must exist in memory
of its own; users put `StopGradient` where a value is to count as a constant, and `OwnGradient`
where cotangents are to flow by a rule of their own; such rules put `After` where something must
not be computed early.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from graphc.expr import Expr
from graphc.graph import Array, Node, Op, Read
from graphc.types import TensorType

GradientRule = Callable[..., Sequence[Node | None]]
"""``rule(g, y, value, *xs)``: the cotangents of ``xs`` given the cotangent ``g`` of ``y``."""


@dataclass(frozen=True)
class Copy(Op):
    """The same values in memory of their own."""

    kind: ClassVar[str] = "pointwise"

    def infer(self, x: TensorType) -> TensorType:
        return x

    def eval(self, x: Array) -> Array:
        return np.array(x)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (g,)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return x(*index)


@dataclass(frozen=True)
class StopGradient(Op):
    """The same values, which count as constants in differentiation."""

    kind: ClassVar[str] = "free"
    stackable: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return "stop_gradient"

    def infer(self, x: TensorType) -> TensorType:
        return x

    def eval(self, x: Array) -> Array:
        return x

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        return (None,)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        return x(*index)


@dataclass(frozen=True)
class OwnGradient(Op):
    """The values of the first operand, from which no cotangent flows back to how it was computed:
    by ``rule`` it flows to the other operands.

    The rule uses no other nodes than those it is given, so that the graph can be rebuilt; one that
    ``walks`` follows the first operand down to the others, and so means the same for stacks. It
    means nothing any more once derivatives have been taken, so it makes no difference between two
    ops.
    """

    kind: ClassVar[str] = "free"
    title: str = field(repr=False)
    rule: GradientRule = field(repr=False, compare=False)
    walks: bool = field(default=False, repr=False, compare=False)

    stacked: ClassVar[Callable[[GradientRule], GradientRule] | None] = None
    """A rule for stacks, made of one for an element; `graphc.batch` provides it."""

    @property
    def name(self) -> str:
        return self.title

    def infer(self, value: TensorType, *xs: TensorType) -> TensorType:
        return value

    def eval(self, value: Array, *xs: Array) -> Array:
        return value

    def grad(self, g: Node, y: Node, value: Node, *xs: Node) -> tuple[Node | None, ...]:
        return (None, *self.rule(g, y, value, *xs))

    def batch(self, value: Node, *xs: Node) -> Node:
        if self.walks or OwnGradient.stacked is None:
            return self(value, *xs)
        return replace(self, rule=OwnGradient.stacked(self.rule))(value, *xs)

    def at(self, index: tuple[Expr, ...], value: Read, *xs: Read) -> Expr:
        return value(*index)


@dataclass(frozen=True)
class After(Op):
    """The values of the last operand, which nobody reads before the others are there.

    It is another node than its operand, so what is computed from it is not one with what is
    computed from the operand, and is neither computed nor stored before the others are.
    """

    kind: ClassVar[str] = "free"
    stackable: ClassVar[bool] = True

    def infer(self, *types: TensorType) -> TensorType:
        return types[-1]

    def eval(self, *arrays: Array) -> Array:
        return arrays[-1]

    def grad(self, g: Node, y: Node, *xs: Node) -> tuple[Node | None, ...]:
        return (*(None for _ in xs[:-1]), g)

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        return xs[-1](*index)


def awaited(node: Node) -> int:
    """How many operands of ``node``, the first ones, it only waits for."""
    return len(node.inputs) - 1 if isinstance(node.op, After) else 0
