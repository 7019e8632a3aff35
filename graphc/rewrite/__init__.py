"""Rewriting: equations with names, and the driver that applies them.

Comes in: a graph and rules. Goes out: an equal graph and a ledger of what was done. Above ops,
because rules are written with them; below the passes, which are lists of rules.
"""

from graphc.rewrite.conditions import (
    ALWAYS,
    Condition,
    fact,
    forward,
    is_exact,
    is_float,
    is_signed,
    moderate,
    never_negative,
    power_of_two,
    shifted,
)
from graphc.rewrite.driver import MERGED, rewrite
from graphc.rewrite.ledger import Application, Ledger
from graphc.rewrite.pattern import (
    Bindings,
    Head,
    Pattern,
    along,
    number,
    number_of,
    peak,
    total,
    variable,
)
from graphc.rewrite.rules import UNSAFE, Rule, by_hand, rule, variables

__all__ = [
    "ALWAYS",
    "MERGED",
    "UNSAFE",
    "Application",
    "Bindings",
    "Condition",
    "Head",
    "Ledger",
    "Pattern",
    "Rule",
    "along",
    "by_hand",
    "fact",
    "forward",
    "is_exact",
    "is_float",
    "is_signed",
    "moderate",
    "never_negative",
    "number",
    "number_of",
    "peak",
    "power_of_two",
    "rewrite",
    "rule",
    "shifted",
    "total",
    "variable",
    "variables",
]
