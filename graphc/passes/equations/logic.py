"""Equations of conditions: comparisons, logic, selection, rounding, conversions.

Comes in: nothing. Goes out: `LOGIC`. All are exact.
"""

from __future__ import annotations

from typing import Any

from graphc.graph import Node
from graphc.ops.elementwise import Cast, Elementwise, cast_to, combine
from graphc.rewrite import Head, Rule, by_hand, is_exact, is_float, number_of, rule, variable
from graphc.scalars import (
    equal,
    greater,
    greater_equal,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)
from graphc.types import DType

x, y, z = variable("x"), variable("y"), variable("z")
p, q = variable("p"), variable("q")

SELECTION: list[Rule] = [
    rule("choose always", where(True, x, y), x, why="the condition holds everywhere"),
    rule("choose never", where(False, x, y), y, why="the condition holds nowhere"),
    rule("choose the same", where(p, x, x), x, why="both branches are one value"),
    rule("choose by not", where(logical_not(p), x, y), where(p, y, x), why="the branches swap"),
    rule(
        "chosen twice", where(p, where(p, x, y), z), where(p, x, z),
        why="the inner condition is known to hold",
    ),
    rule(
        "refused twice", where(p, x, where(p, y, z)), where(p, x, z),
        why="the inner condition is known not to hold",
    ),
]  # fmt: skip


@by_hand(
    "compute both branches", Elementwise, Cast,
    why="a function of one of two numbers is one of two numbers",
)  # fmt: skip
def _compute_both_branches(node: Node) -> Node | None:
    choices = [x for x in node.inputs if number_of(x) is None]
    if len(choices) != 1 or not _chooses_numbers(choices[0]) or choices[0].op == node.op:
        return None
    (choice,) = choices
    condition = choice.inputs[0]
    chosen, other = (
        node.op(*(choice.inputs[k] if x is choice else x for x in node.inputs)) for k in (1, 2)
    )
    return combine("where", condition, chosen, other)


def _chooses_numbers(x: Node) -> bool:
    is_choice = Head.of(x.op) == Head(Elementwise, "where")
    return is_choice and all(number_of(branch) is not None for branch in x.inputs[1:])


BOOLEANS: list[Rule] = [
    rule("not not", logical_not(logical_not(p)), p, why="negation is its own inverse"),
    rule("and itself", logical_and(p, p), p, why="and is idempotent"),
    rule("or itself", logical_or(p, p), p, why="or is idempotent"),
    rule("and true", logical_and(p, True), p, why="true is neutral"),
    rule("and false", logical_and(p, False), False, why="false absorbs"),
    rule("or false", logical_or(p, False), p, why="false is neutral"),
    rule("or true", logical_or(p, True), True, why="true absorbs"),
    rule("xor false", logical_xor(p, False), p, why="false is neutral"),
    rule("xor true", logical_xor(p, True), logical_not(p), why="true negates"),
    rule("xor itself", logical_xor(p, p), False, why="equal values do not differ"),
    rule("not equal", logical_not(equal(x, y)), not_equal(x, y), why="nan differs from all"),
    rule("not different", logical_not(not_equal(x, y)), equal(x, y), why="nan differs from all"),
]


def _compare(name: str, function: Any, value: bool) -> Rule:
    """A comparison of a value without nan with itself."""
    return rule(
        f"{name} itself", function(x, x), value, when=is_exact(x), why="there is no nan to differ"
    )


COMPARISONS: list[Rule] = [
    _compare("equal to", equal, True),
    _compare("at most", less_equal, True),
    _compare("at least", greater_equal, True),
    _compare("different from", not_equal, False),
    rule("less than itself", less(x, x), False, why="false for nan, too"),
    rule("greater than itself", greater(x, x), False, why="false for nan, too"),
    rule(
        "differs from itself", not_equal(x, x), isnan(x), when=is_float(x),
        why="only nan differs from itself",
    ),
    rule(
        "not less", logical_not(less(x, y)), greater_equal(x, y), when=is_exact(x),
        why="without nan one of the two holds",
    ),
    rule(
        "not greater", logical_not(greater(x, y)), less_equal(x, y), when=is_exact(x),
        why="without nan one of the two holds",
    ),
]  # fmt: skip

_ROUNDINGS = [Head(Elementwise, name) for name in ("floor", "ceil", "round", "trunc")]


@by_hand("round the rounded", *_ROUNDINGS, why="a whole number is its own rounding")
def _round_twice(node: Node) -> Node | None:
    (x,) = node.inputs
    return x if Head.of(x.op) in _ROUNDINGS else None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is one of ``wide``."""
    if wide == narrow or narrow.kind == "bool":
        return True
    if wide.kind == "float":
        digits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
        if narrow.kind == "float":
            return digits[wide.name] >= digits[narrow.name] and wide.bits > narrow.bits
        return digits[wide.name] >= narrow.bits and wide.bits > narrow.bits
    if wide.kind == "int" and narrow.kind == "uint":
        return wide.bits > narrow.bits
    return wide.kind == narrow.kind and wide.bits >= narrow.bits


@by_hand("cast to its own dtype", Cast, why="nothing is converted")
def _cast_to_itself(node: Node) -> Node | None:
    (x,) = node.inputs
    return x if x.dtype == node.dtype else None


@by_hand("cast twice", Cast, of=Cast, why="the first cast loses nothing")
def _cast_twice(node: Node) -> Node | None:
    middle = node.inputs[0]
    source = middle.inputs[0]
    if not holds(middle.dtype, source.dtype):
        return None
    wraps = middle.dtype.is_float and not node.dtype.is_float
    if wraps and not holds(node.dtype, source.dtype) and not source.dtype.is_float:
        return None  # from a float, out of range is undefined; from an integer it wraps
    return cast_to(source, node.dtype)


CONVERSIONS = [_compute_both_branches, _round_twice, _cast_to_itself, _cast_twice]

LOGIC = [*SELECTION, *BOOLEANS, *COMPARISONS, *CONVERSIONS]
