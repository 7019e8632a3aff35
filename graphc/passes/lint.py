"""Lint: gradients that will be nan although the values are not.

Comes in: nodes. Goes out: findings, each with a place in the user's program and a way out; the
graph stays as it is. A separate step because it looks for what a program means to avoid and does
not: ``where(x > 0, log(x), 0)`` never shows a logarithm of 0, but its gradient there is 0 times
infinity. The way out is a second ``where`` inside, so that the function never sees the bad operand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphc.graph import Node, toposort
from graphc.rewrite import Head, number_of
from graphc.rewrite.conditions import DEPTH, is_never_negative
from graphc.site import Site

_DOMAIN_IS_POSITIVE = {"log", "log2", "log10", "sqrt", "rsqrt", "reciprocal"}
_EDGES = {"arccos", "arcsin", "arccosh", "arctanh"}
"""Functions whose slope is infinite at the ends of their domain."""

_SEEN_THROUGH = ("pointwise", "free", "reduce")
"""The kinds of operations through which a masked value is followed."""

_POSITIVE = {"exp", "exp2", "cosh", "sigmoid", "softplus"}
_IF_ALL_ARE = {
    "add", "multiply", "divide", "minimum", "sqrt", "rsqrt", "reciprocal", "square", "cast",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """What is wrong at ``site``, why, and what to write instead."""

    site: Site
    what: str
    why: str
    fix: str

    def __str__(self) -> str:
        return f"{self.what}\n\n{self.site}\n\n  why: {self.why}\n  try: {self.fix}"


def lint(roots: Iterable[Node]) -> tuple[Finding, ...]:
    """The findings in what ``roots`` are computed from, in order; gradients are not looked at."""
    order = [n for n in toposort(roots) if n.site.gradient_of is None]
    found: dict[Node, Finding] = {}
    for node in order:
        if _function(node) == "where" and node.dtype.is_float:
            found |= {x: _masked(x) for branch in node.inputs[1:] for x in _singular(branch)}
    return tuple(found[n] for n in order if n in found)


def _masked(node: Node) -> Finding:
    name = _function(node)
    return Finding(
        node.site,
        f"where hides values of {name}, but not its slope",
        "where nothing is chosen from a branch its gradient is 0 times that slope, and 0 times "
        "infinity is nan",
        f"choose the operand of {name} first, e.g. safe = gc.where(condition, x, 1), compute with "
        "safe, and keep the where around it",
    )


# What may be singular -----------------------------------------------------------------------------
def _singular(branch: Node) -> Iterator[Node]:
    """The operations in a masked branch whose slope may be infinite, and whose operand is not
    masked itself.
    """
    stack, seen = [branch], {branch}
    while stack:
        node = stack.pop()
        if node.op.kind not in _SEEN_THROUGH or _function(node) in ("where", "stop_gradient"):
            continue
        if any(not is_positive(x) and not _is_guarded(x) for x in _critical(node)):
            yield node
        stack += [x for x in node.inputs if x.dtype.is_float and x not in seen]
        seen.update(node.inputs)


def _critical(node: Node) -> Sequence[Node]:
    """The operands at whose zeros, or at the ends of whose domain, the slope is infinite."""
    function = _function(node)
    if function in _DOMAIN_IS_POSITIVE or function in _EDGES:
        return node.inputs
    if function == "log1p":
        return () if is_never_negative(node.inputs[0]) else node.inputs
    if function == "divide":
        return node.inputs[1:]
    if function == "power":
        exponent = number_of(node.inputs[1])
        smooth = exponent is not None and exponent >= 0 and float(exponent).is_integer()
        return () if smooth else node.inputs[:1]
    return ()


def _is_guarded(x: Node) -> bool:
    """Whether ``x`` is computed from a choice, or cut off: somebody has thought of it."""
    stack, seen = [x], {x}
    while stack:
        node = stack.pop()
        if _function(node) in ("where", "maximum", "minimum") and node.op.kind == "pointwise":
            return True
        if node.op.kind in _SEEN_THROUGH:
            stack += [z for z in node.inputs if z.dtype.is_float and z not in seen]
            seen.update(node.inputs)
    return False


def is_positive(node: Node, depth: int = DEPTH) -> bool:
    """Whether every element is above zero, but for underflow. False when it cannot be told."""
    value = number_of(node)
    if value is not None:
        return value > 0
    if depth == 0 or not node.inputs:
        return False
    function = _function(node)
    known = [is_positive(x, depth - 1) for x in node.inputs]
    if function == "add" and node.op.kind == "pointwise" and any(known):
        return all(k or is_never_negative(x) for k, x in zip(known, node.inputs, strict=True))
    if function in _IF_ALL_ARE or node.op.kind == "free":
        return all(known)
    if function == "where":
        return all(known[1:])
    return function in _POSITIVE or (function == "maximum" and any(known))


def _function(node: Node) -> str:
    """The scalar function of an elementwise operation or a fold, else the name of the op."""
    return Head.of(node.op).function or node.op.name
