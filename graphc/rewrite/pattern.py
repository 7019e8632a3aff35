"""Patterns: shapes of expressions to look for, written like the expressions themselves.

Comes in: an equation's side such as ``exp(log(x))`` or ``x / along(total(x, a), a)``. Goes out: the
bindings that make it equal to a node (`match`), and a node made from bindings (`build`). Separate
from the driver, because a pattern knows nothing of graphs, order or sharing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphc.arith import Arithmetic
from graphc.graph import Node, Op
from graphc.ops.elementwise import Elementwise, combine, full_like
from graphc.ops.reduction import Broadcast, Fold, expand, fold
from graphc.scalars import SCALARS
from graphc.types import Scalar

Bindings = Mapping[str, Any]
"""Variable names to nodes, axes names to (axes, shape before the reduction)."""

_HOPS = 8
_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"}


def number_of(node: Node) -> Scalar | None:
    """The number that every element of ``node`` is: a constant, seen through free ops; or None."""
    for _ in range(_HOPS):
        if node.op.kind != "free" or len(node.inputs) != 1:
            break
        node = node.inputs[0]
    value = node.op.number
    return value if isinstance(value, bool | int | float) else None


class Head(NamedTuple):
    """An op class and, for `Elementwise` and `Fold`, its function: what rules are indexed by."""

    op: type[Op]
    function: str = ""

    @staticmethod
    def of(op: Op) -> Head:
        function = getattr(op, "function", None)
        return Head(type(op), function.name if function is not None else "")

    def fits(self, other: Head) -> bool:
        """Whether a pattern with this head may match a node with the ``other``."""
        return self.op is other.op and self.function in ("", other.function)


class Pattern(Arithmetic):
    """One side of an equation; operators and scalar functions make larger patterns of it."""

    __slots__ = ()

    def combine(self, function: str, *operands: Any) -> Any:
        return Call(function, tuple(lifted(x) for x in operands))

    @property
    def head(self) -> Head | None:
        """What the root must be; None when it may be anything."""
        return None

    @property
    def operands(self) -> tuple[Pattern, ...]:
        return ()

    @property
    def needs_number(self) -> bool:
        """Whether only a constant can match."""
        return False

    @property
    def literal(self) -> Scalar | None:
        """The only number that matches, when it is one number."""
        return None

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        """Every way to extend ``bound`` so that the pattern equals ``node``."""
        raise NotImplementedError

    def build(self, bound: Bindings) -> Node | Scalar:
        """The pattern as a node; a number stays one, so that its neighbours give it a dtype."""
        raise NotImplementedError


@dataclass(frozen=True)
class Variable(Pattern):
    """Any node, but the same one wherever the name occurs."""

    name: str

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        known = bound.get(self.name)
        if known is None:
            yield {**bound, self.name: node}
        elif known is node:
            yield bound

    def build(self, bound: Bindings) -> Node:
        node: Node = bound[self.name]
        return node

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class AnyNumber(Variable):
    """A `Variable` that only constants match, however they are broadcast."""

    @property
    def needs_number(self) -> bool:
        return True

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        if number_of(node) is not None:
            yield from super().match(node, bound)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Literal(Pattern):
    """One number. 0 also matches -0.0: a rule where that matters says so."""

    value: Scalar

    @property
    def literal(self) -> Scalar:
        return self.value

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        if number_of(node) == self.value:
            yield bound

    def build(self, bound: Bindings) -> Scalar:
        return self.value

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Call(Pattern):
    """A scalar function of patterns; commuting operands match in both orders."""

    function: str
    arguments: tuple[Pattern, ...]

    @property
    def head(self) -> Head:
        return Head(Elementwise, self.function)

    @property
    def operands(self) -> tuple[Pattern, ...]:
        return self.arguments

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        if self.head != Head.of(node.op):
            return
        yield from _match_all(self.arguments, node.inputs, bound)
        if SCALARS[self.function].commutes:
            yield from _match_all(self.arguments, node.inputs[::-1], bound)

    def build(self, bound: Bindings) -> Node:
        return combine(self.function, *(x.build(bound) for x in self.arguments))

    def __str__(self) -> str:
        inner = [str(x) for x in self.arguments]
        if sign := _SIGNS.get(self.function):
            return f"({inner[0]} {sign} {inner[1]})"
        return f"{self.function}({', '.join(inner)})"


def _match_all(
    patterns: tuple[Pattern, ...], nodes: tuple[Node, ...], bound: Bindings
) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for extended in patterns[0].match(nodes[0], bound):
        yield from _match_all(patterns[1:], nodes[1:], extended)


@dataclass(frozen=True)
class Folded(Pattern):
    """``operand`` folded by ``function`` over the axes called ``axes``."""

    function: str
    operand: Pattern
    axes: str

    @property
    def head(self) -> Head:
        return Head(Fold, self.function)

    @property
    def operands(self) -> tuple[Pattern, ...]:
        return (self.operand,)

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        if self.head != Head.of(node.op):
            return
        op: Any = node.op
        (x,) = node.inputs
        there = (op.axes, x.shape)
        if bound.get(self.axes, there) == there:
            yield from self.operand.match(x, {**bound, self.axes: there})

    def build(self, bound: Bindings) -> Node:
        (x,) = _nodes(self.operand, bound)
        return fold(self.function, x, bound[self.axes][0])

    def __str__(self) -> str:
        return f"{self.function}.over({self.operand}, {self.axes})"


@dataclass(frozen=True)
class Along(Pattern):
    """``operand`` repeated along the axes called ``axes``: undoes the loss of them by a fold."""

    operand: Pattern
    axes: str

    @property
    def head(self) -> Head:
        return Head(Broadcast)

    @property
    def operands(self) -> tuple[Pattern, ...]:
        return (self.operand,)

    def match(self, node: Node, bound: Bindings) -> Iterator[Bindings]:
        if self.head != Head.of(node.op):
            return
        op: Any = node.op
        new = tuple(a for a in range(len(op.shape)) if a not in op.axes)
        there = (new, op.shape)
        if bound.get(self.axes, there) == there:
            yield from self.operand.match(node.inputs[0], {**bound, self.axes: there})

    def build(self, bound: Bindings) -> Node:
        axes, shape = bound[self.axes]
        (x,) = _nodes(self.operand, bound)
        return expand(x, shape, axes)

    def __str__(self) -> str:
        return f"along({self.operand}, {self.axes})"


def _nodes(pattern: Pattern, bound: Bindings) -> tuple[Node]:
    made = pattern.build(bound)
    assert isinstance(made, Node), "a number is not folded or repeated"
    return (made,)


def lifted(value: Pattern | Scalar) -> Pattern:
    """A number as a pattern; a pattern unchanged."""
    return value if isinstance(value, Pattern) else Literal(value)


def variable(name: str) -> Variable:
    """A pattern that matches any node."""
    return Variable(name)


def number(name: str) -> AnyNumber:
    """A pattern that matches any constant."""
    return AnyNumber(name)


def total(x: Pattern, axes: str) -> Folded:
    """The sum over the axes called ``axes``."""
    return Folded("add", x, axes)


def peak(x: Pattern, axes: str) -> Folded:
    """The maximum over the axes called ``axes``."""
    return Folded("maximum", x, axes)


def along(x: Pattern, axes: str) -> Along:
    """``x`` repeated along the axes called ``axes``."""
    return Along(x, axes)


def build_like(pattern: Pattern, bound: Bindings, like: Node) -> Node:
    """The pattern as a node of the shape of ``like``; a bare number takes its dtype too."""
    made = pattern.build(bound)
    return made if isinstance(made, Node) else full_like(made, like)
