"""Rules: named equations with a condition and a reason, and named functions for the rest.

Comes in: two patterns, or a function from a node to a node or None. Goes out: `Rule`, a frozen
value that the driver applies and the tests evaluate. Separate from the driver because a rule is
data: it is listed, printed and tested without a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from graphc.graph import Node, Op
from graphc.rewrite.conditions import ALWAYS, Condition
from graphc.rewrite.pattern import Head, Pattern, Variable, build_like, lifted
from graphc.types import Scalar

UNSAFE = ("", "sign of zero", "rounding", "overflow", "nan")
"""What a rule may change. "": nothing, for any value. "sign of zero": 0.0 may become -0.0.
"rounding": the last bits, or where an intermediate result overflows. "overflow": the left side
loses precision, overflows or becomes nan where the right does not. "nan": nan and infinity are
assumed away; only `passes.fast_math` may."""

Look = tuple[tuple[Head, Scalar | None], ...]
"""The first operands of a node at a glance: heads, and values where they are numbers."""

Apply = Callable[[Node], Node | None]


@dataclass(frozen=True)
class Operand:
    """What an operand must look like, as far as can be told at a glance."""

    head: Head | None = None
    needs_number: bool = False
    literal: Scalar | None = None

    def fits(self, head: Head, value: Scalar | None) -> bool:
        """Whether an operand with this head, and this value if it is a constant, will do."""
        if self.literal is not None:
            return value == self.literal
        if self.needs_number:
            return value is not None
        return self.head is None or self.head.fits(head)


@dataclass(frozen=True)
class Rule:
    """A rewrite. ``why`` says in one sentence what it relies on, ``unsafe`` what it may change.

    ``heads`` are the ops it may stand at (empty: any); ``operands`` what their inputs must be.
    ``left`` and ``right`` are the equation, when it is one.
    """

    name: str
    why: str
    apply: Apply = field(repr=False)
    heads: tuple[Head, ...] = ()
    operands: tuple[Operand, ...] = ()
    commutes: bool = False
    unsafe: str = ""
    left: Pattern | None = None
    right: Pattern | None = None
    when: Condition = ALWAYS

    def __post_init__(self) -> None:
        assert self.unsafe in UNSAFE, f"{self.name}: unsafe is one of {UNSAFE}"

    def fits(self, head: Head, operands: Look) -> bool:
        """Whether it is worth trying at a node with this head and these operands."""
        if self.heads and not any(h.fits(head) for h in self.heads):
            return False
        return self._operands_fit(operands) or (
            self.commutes and self._operands_fit(operands[::-1])
        )

    def _operands_fit(self, operands: Look) -> bool:
        if len(self.operands) > len(operands):
            return False
        pairs = zip(self.operands, operands, strict=False)
        return all(wanted.fits(*found) for wanted, found in pairs)

    def __str__(self) -> str:
        if self.left is None:
            return f"{self.name}: {self.why}"
        condition = "" if self.when is ALWAYS else f"   when {self.when.name}"
        return f"{self.name}: {self.left} -> {self.right}{condition}"


def rule(
    name: str,
    left: Pattern,
    right: Pattern | Scalar,
    *,
    when: Condition = ALWAYS,
    why: str,
    unsafe: str = "",
) -> Rule:
    """The rule that replaces ``left`` by ``right`` where ``when`` holds for what was matched."""
    result = lifted(right)

    def apply(node: Node) -> Node | None:
        for bound in left.match(node, {"root": node}):
            if when.holds(bound):
                return build_like(result, bound, node)
        return None

    assert left.head is not None, f"{name}: a rule needs an op at its root"
    return Rule(
        name,
        why,
        apply,
        heads=(left.head,),
        operands=tuple(Operand(x.head, x.needs_number, x.literal) for x in left.operands),
        commutes=len(left.operands) == 2,
        unsafe=unsafe,
        left=left,
        right=result,
        when=when,
    )


def by_hand(
    name: str,
    *roots: type[Op] | Head,
    of: type[Op] | Head | None = None,
    number: bool = False,
    why: str,
    unsafe: str = "",
) -> Callable[[Apply], Rule]:
    """Make a rule of a function ``Node -> Node | None`` at ops of the classes ``roots``.

    ``of`` is the op of the first operand, ``number`` says that it must be a constant. For what an
    equation cannot say: axes, shapes, labels.
    """
    first = Operand(None if of is None else _head(of), number)
    heads = tuple(_head(root) for root in roots)

    def decorate(apply: Apply) -> Rule:
        return Rule(name, why, apply, heads, () if first == Operand() else (first,), unsafe=unsafe)

    return decorate


def _head(root: type[Op] | Head) -> Head:
    return root if isinstance(root, Head) else Head(root)


def variables(pattern: Pattern) -> dict[str, Variable]:
    """The variables and number wildcards of a pattern by name, in order of appearance."""
    if isinstance(pattern, Variable):
        return {pattern.name: pattern}
    return {k: v for x in pattern.operands for k, v in variables(x).items()}
