"""The judge of rules: builds the left side, applies the rule, evaluates both sides, compares.

What must agree depends on what the rule admits to change (`graphc.rewrite.UNSAFE`):

* "" and "sign of zero": every value, bit by bit but for the sign of zero (and for float16 and
  bfloat16 but for rounding: between two operations they need not be rounded),
* "rounding": moderate and infinite values, against the left side in float64,
* "overflow": the same, and where the left side is nan the right one may be anything,
* "nan": moderate values only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np

from graphc.errors import UserError
from graphc.graph import Array, Node, toposort
from graphc.ops.elementwise import full_like
from graphc.rewrite import Pattern, Rule, variables
from graphc.rewrite.pattern import Along, AnyNumber, Folded
from graphc.scalars import absolute
from graphc.site import serving
from graphc.types import FLOAT64, DType, dtype
from rewrite.values import evaluate, leaf, same, specials

_NAMES = ("float32", "float64", "float16", "bfloat16", "int32", "int8", "uint8", "bool")
DTYPES = [dtype(d) for d in _NAMES]
NUMBERS = [(2.0, 0.25), (3.0, 5.0), (-0.5, 7.0)]
CONDITIONS = {"p", "q"}
"""Variables of these names stand for bools."""


def has_axes(pattern: Pattern) -> bool:
    """Whether the pattern needs shapes, so that it cannot be tried element by element."""
    return isinstance(pattern, Along | Folded) or any(has_axes(x) for x in pattern.operands)


def literals(pattern: Pattern) -> list[float]:
    """The numbers written in a pattern."""
    here = [] if pattern.literal is None else [pattern.literal]
    return [*here, *(v for x in pattern.operands for v in literals(x))]


def fire(rule: Rule, node: Node) -> Node | None:
    """What the rule makes of the node, as the driver asks."""
    with serving(node, rule=rule.name):
        return rule.apply(node)


def faults(rule: Rule) -> list[str]:
    """Where the two sides of an equation differ; also when it never fires."""
    assert rule.left is not None
    names = [n for n, v in variables(rule.left).items() if not isinstance(v, AnyNumber)]
    found, fired = [], 0
    for kind, numbers, positive in product(DTYPES, NUMBERS, [False, True]):
        values = grid(rule, kind, names)
        inputs = [leaf(n, x.shape, x.dtype) for n, x in zip(names, values, strict=True)]
        left = _left(rule, inputs, numbers, positive)
        right = None if left is None else fire(rule, left)
        if left is not None and right is not None:
            fired += 1
            wide = _left(rule, [leaf(*_widened(x)) for x in inputs], numbers, positive)
            if not agree(rule.unsafe, left, right, wide, inputs, values):
                found.append(f"{rule.name} for {kind} and {numbers}")
    return found if fired else [f"{rule.name} never fires"]


def _widened(x: Node) -> tuple[str, Sequence[int], DType]:
    return x.name, x.shape, FLOAT64 if x.dtype.is_float else x.dtype


def _left(
    rule: Rule, inputs: list[Node], numbers: tuple[float, float], positive: bool
) -> Node | None:
    """The left side over inputs, or over their magnitudes; None where dtypes do not fit."""
    assert rule.left is not None
    names = variables(rule.left)
    if inputs[-1].dtype.kind == "uint" and min(literals(rule.left), default=0) < 0:
        return None
    try:
        bound = {
            x.name: absolute(x) if positive and x.name not in CONDITIONS else x for x in inputs
        }
        wild = [n for n, v in names.items() if isinstance(v, AnyNumber)]
        for name, value in zip(wild, numbers, strict=False):
            like = inputs[-1]
            bound[name] = full_like(value if like.dtype.is_float else int(value), like)
        made = rule.left.build(bound)
    except UserError:
        return None
    return made if isinstance(made, Node) else None


def grid(rule: Rule, kind: DType, names: Sequence[str]) -> list[Array]:
    """One array per name, of one shape in which every value meets every other."""
    exact = rule.unsafe in ("", "sign of zero")
    columns = [
        specials(
            dtype("bool") if n in CONDITIONS else kind,
            extreme=exact or not kind.is_float,
            infinite=rule.unsafe != "nan",
        )
        for n in names
    ]
    return [np.ascontiguousarray(a) for a in np.meshgrid(*columns, indexing="ij")]


def agree(
    unsafe: str,
    left: Node,
    right: Node,
    wide: Node | None,
    inputs: Sequence[Node],
    values: Sequence[Array],
) -> bool:
    """Whether ``right`` may stand for ``left``, which is also given in float64."""
    feed = dict(zip(inputs, values, strict=True))
    wanted, found = evaluate([left, right], feed)
    if unsafe in ("", "sign of zero") or not left.dtype.is_float:
        nearly = left.dtype.is_narrow and near(found, wanted)
        return nearly or same(wanted, found, signed_zero=not unsafe)
    if wide is None:
        return False
    leaves = [n for n in _leaves(wide) if n.name in {x.name for x in inputs}]
    exact = evaluate([wide], {n: _value(n, inputs, values) for n in leaves})[0]
    keep = ~np.isnan(exact) if unsafe in ("overflow", "nan") else np.ones(exact.shape, bool)
    return near(found[keep], exact[keep])


def near(found: Array, wanted: Array) -> bool:
    """Equal up to 64 units in the last place: exp magnifies the error of its argument by it."""
    step = 64 * float(dtype(found.dtype).limits.eps)
    with np.errstate(over="ignore"):
        narrowed = wanted.astype(found.dtype)
        return bool(np.allclose(found, narrowed, rtol=step, atol=step, equal_nan=True))


def _leaves(root: Node) -> Iterator[Node]:
    return (n for n in toposort([root]) if n.op.kind == "leaf")


def _value(x: Node, inputs: Sequence[Node], values: Sequence[Array]) -> Array:
    ((_, array),) = [(n, v) for n, v in zip(inputs, values, strict=True) if n.name == x.name]
    return array.astype(x.dtype.numpy)
