"""Two identities: one that makes memory, one that stops gradients.

Comes in: a node. Goes out: the same values. Lowering puts `Copy` where a result must exist in
memory of its own; users put `StopGradient` where a value is to count as a constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphc.expr import Expr
from graphc.graph import Array, Node, Op, Read
from graphc.types import TensorType


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
