"""Conditions: what must be known about the matched nodes before a rule may fire.

Comes in: the bindings of a match. Goes out: yes or no; no also means "cannot tell". Separate from
the rules so that each fact has one name and one proof. Facts about values look a few nodes deep,
never further: a rule must cost the same in a graph of any depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from graphc.graph import Node
from graphc.rewrite.pattern import Bindings, Head, Variable, number_of

DEPTH = 5
"""How far below a node the facts look."""


@dataclass(frozen=True)
class Condition:
    """A named predicate on bindings; ``&``, ``|`` and ``~`` combine them."""

    name: str
    holds: Callable[[Bindings], bool]

    def __and__(self, other: Condition) -> Condition:
        return Condition(
            f"{self.name} and {other.name}", lambda b: self.holds(b) and other.holds(b)
        )

    def __or__(self, other: Condition) -> Condition:
        return Condition(f"{self.name} or {other.name}", lambda b: self.holds(b) or other.holds(b))

    def __invert__(self) -> Condition:
        return Condition(f"not {self.name}", lambda b: not self.holds(b))


ALWAYS = Condition("always", lambda bound: True)


def fact(name: str, test: Callable[[Node], bool]) -> Callable[[Variable], Condition]:
    """A condition on one variable, from a test of the node bound to it."""

    def condition(x: Variable) -> Condition:
        return Condition(f"{name}({x.name})", lambda bound: test(bound[x.name]))

    return condition


is_float = fact("is_float", lambda x: x.dtype.is_float)
is_exact = fact("is_exact", lambda x: not x.dtype.is_float)
is_signed = fact("is_signed", lambda x: x.dtype.kind != "uint")
forward = fact("forward", lambda x: x.site.gradient_of is None)


_REACH = {"float16": 13, "bfloat16": 125, "float32": 125, "float64": 1021}


def power_of_two(c: Variable) -> Condition:
    """``c`` is a float 2**k whose inverse is a normal number, so that 1 / c is exact."""

    def test(node: Node) -> bool:
        value = number_of(node)
        if value is None or not node.dtype.is_float or not math.isfinite(value) or value == 0:
            return False
        mantissa, exponent = math.frexp(abs(value))
        return mantissa == 0.5 and abs(exponent) <= _REACH.get(node.dtype.name, 0)

    return Condition(f"power_of_two({c.name})", lambda bound: test(bound[c.name]))


def moderate(*numbers: Variable) -> Condition:
    """The numbers and their product are far from overflow and underflow."""

    def test(bound: Bindings) -> bool:
        values = [abs(number_of(bound[c.name]) or 0) for c in numbers]
        low, high = (1e-2, 1e2) if bound[numbers[0].name].dtype.bits == 16 else (1e-18, 1e18)
        return all(low <= v <= high for v in (*values, math.prod(values)))

    return Condition(f"moderate({', '.join(c.name for c in numbers)})", test)


# Signs --------------------------------------------------------------------------------------------
_NEVER_NEGATIVE = {
    "exp", "exp2", "sqrt", "square", "abs", "sigmoid", "softplus", "relu", "cosh", "arccosh",
    "arccos",
}  # fmt: skip
_IF_ALL_ARE = {
    "add", "multiply", "minimum", "floor", "ceil", "round", "trunc", "sign", "log1p", "expm1",
    "sinh", "tanh", "arcsin", "arctan", "arcsinh", "erf",
}  # fmt: skip


def is_never_negative(node: Node, depth: int = DEPTH) -> bool:
    """Whether no element is below zero; nan and -0.0 are allowed. False when it cannot be told."""
    value = number_of(node)
    if value is not None:
        return value >= 0
    if not node.dtype.is_float:  # signed integers wrap around
        return node.dtype.kind in ("bool", "uint")
    if depth == 0 or not node.inputs:
        return False
    function = Head.of(node.op).function
    known = [is_never_negative(x, depth - 1) for x in node.inputs]
    if all(known) and (node.op.kind in ("free", "contract") or function in _IF_ALL_ARE):
        return True
    return function in _NEVER_NEGATIVE or _sign_of(function, node.inputs, known)


def _sign_of(function: str, inputs: tuple[Node, ...], known: list[bool]) -> bool:
    """The functions whose sign follows from some of their operands only."""
    if function == "maximum":  # of two; the maximum of an empty axis is -inf
        return len(inputs) == 2 and any(known)
    if function == "multiply":  # of two; a product along an axis has one operand
        return len(inputs) == 2 and inputs[0] is inputs[1]
    if function == "divide":
        divisor = number_of(inputs[1])
        return divisor is not None and divisor > 0 and known[0]
    return function == "where" and all(known[1:])


never_negative = fact("never_negative", is_never_negative)


# Stability ----------------------------------------------------------------------------------------
def is_shifted(node: Node, depth: int = DEPTH) -> bool:
    """Whether ``node`` is ``x - m``, or ``-(x + m)``, with an ``m`` made from a maximum."""
    if depth == 0:
        return False
    function = Head.of(node.op).function
    if function == "subtract":
        return _holds_maximum(node.inputs[1], DEPTH)
    if function == "negative" and Head.of(node.inputs[0].op).function == "add":
        return any(_holds_maximum(x, DEPTH) for x in node.inputs[0].inputs)
    return node.op.kind == "free" and any(is_shifted(x, depth - 1) for x in node.inputs)


def _holds_maximum(node: Node, depth: int) -> bool:
    if node.op.kind == "reduce" and Head.of(node.op).function == "maximum":
        return True
    return depth > 0 and any(_holds_maximum(x, depth - 1) for x in node.inputs)


shifted = fact("shifted", is_shifted)
