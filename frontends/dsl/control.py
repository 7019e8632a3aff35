"""Control flow inside a graph: scan, map, fori_loop, while_loop, cond.

Comes in: Python functions of tensors, and start values in nested tuples, lists and dicts. Goes out:
tensors in the same nesting. A separate step because a function must be traced once, with stand-ins
for its arguments, and what it uses from outside found (`graphc.control.closed`).

What a body uses from outside, parameters too, is computed once before the loop and passed in, and
gradients flow to it. So random numbers drawn in a body are the same in every step: draw them before
the loop, with an axis for the steps, and scan over them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphc.control import Cond, Scan, While, closed, with_products
from graphc.dims import Size, size
from graphc.errors import UserError
from graphc.frontends.dsl.creation import arange
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.structure import Rebuild, flatten
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.graph import Graph, Node
from graphc.ops.leaves import new_input
from graphc.types import TensorType

Nested = Any
"""A tensor, or tuples, lists and dicts of tensors."""


@at_user_line
def scan(
    step: Callable[[Any, Any], tuple[Nested, Nested]],
    start: Nested,
    xs: Nested = None,
    *,
    length: Size | str | None = None,
    reverse: bool = False,
) -> tuple[Nested, Nested]:
    """``carry, ys[t] = step(carry, xs[t])`` for t = 0, 1, ... (backward with ``reverse``).

    ``xs`` are tensors [length, ...]; without any, ``length`` says how many steps there are and
    ``step`` gets None. Returns the last carry and the stacked ys [length, ...]. The step is
    compiled once. For a gradient the carries and the products of all steps are kept; a step in
    `checkpoint` keeps carries only. Raises `UserError`: GC0101 (a carry that changes its type,
    sequences of different lengths), GC0104 (no length).
    """
    carries, rebuild_carry = _leaves(start)
    sequences, rebuild_x = _leaves(xs) if xs is not None else ([], None)
    extent = _length(sequences, length)
    inputs = [new_input("carry", x.node.type) for x in carries]
    elements = [new_input("x", _element(x)) for x in sequences]
    given = None if rebuild_x is None else rebuild_x(_tensors(elements))
    carry, y = _pair(step(rebuild_carry(_tensors(inputs)), given))
    new, rebuild_carry = _like("scan", carry, carries)
    outputs, rebuild_y = _leaves(y) if y is not None else ([], None)
    body, outside = closed([y.node for y in (*new, *outputs)], [*inputs, *elements])
    counts = {"carries": len(carries), "sequences": len(sequences)}
    body = with_products(body, sum(counts.values()))
    op = Scan(body=body, length=extent, reverse=reverse, **counts)
    results = _tensors(op.each(*(x.node for x in (*carries, *sequences)), *outside))
    last, ys = results[: len(new)], results[len(new) : len(new) + len(outputs)]
    return rebuild_carry(last), None if rebuild_y is None else rebuild_y(ys)


def _pair(found: Any) -> tuple[Nested, Nested]:
    if not isinstance(found, tuple) or len(found) != 2:
        raise UserError(
            "GC0107", f"scan: the step returns {type(found).__name__}",
            fix="return a pair: the next carry, and an output (or None)",
        )  # fmt: skip
    return found


@at_user_line
def map(function: Callable[[Any], Nested], xs: Nested) -> Nested:
    """``function(xs[t])`` for every t, stacked. One t at a time: operations on whole axes are
    faster where they fit.
    """
    return scan(lambda carry, x: (carry, function(x)), (), xs)[1]


@at_user_line
def fori_loop(
    start: int, stop: int, step: Callable[[Tensor, Any], Nested], value: Nested
) -> Nested:
    """``value = step(i, value)`` for i = start, ..., stop - 1; ``i`` is an int64 tensor."""
    return scan(lambda carry, i: (step(i, carry), None), value, arange(start, stop))[0]


@at_user_line
def while_loop(
    condition: Callable[[Any], Tensor], step: Callable[[Any], Nested], value: Nested
) -> Nested:
    """``value = step(value)`` as long as ``condition(value)``, a single bool, is true.

    It has no gradient (GC0201), as the number of steps is not known before: `scan` has one. Raises
    `UserError` GC0101, GC0102 for a step or a condition of another type.
    """
    carries, rebuild = _leaves(value)
    inputs = [new_input("carry", x.node.type) for x in carries]
    given = _tensors(inputs)
    verdict = tensor(condition(rebuild(given)))
    new, rebuild = _like("while_loop", step(rebuild(given)), carries)
    both, outside = closed([verdict.node, *(y.node for y in new)], inputs)
    goes_on = Graph(both.inputs, both.outputs[:1])
    body = Graph(both.inputs, both.outputs[1:])
    op = While(condition=goes_on, body=body, carries=len(carries))
    return rebuild(_tensors(op.each(*(x.node for x in carries), *outside)))


@at_user_line
def cond(
    predicate: Any,
    then: Callable[..., Nested],
    other: Callable[..., Nested],
    *operands: Nested,
) -> Nested:
    """``then(*operands)`` where ``predicate``, a single bool, is true when the program runs, else
    ``other(*operands)``; only one of them is computed.

    Both return the same nesting of tensors of the same types. To choose element by element, use
    `where`. Raises `UserError` GC0101, GC0102.
    """
    given, rebuild = _leaves(operands)
    inputs = [new_input("operand", x.node.type) for x in given]
    arguments = rebuild(_tensors(inputs))
    chosen, rebuild_result = _leaves(then(*arguments))
    rejected, _ = _like("cond", other(*arguments), chosen)
    both, outside = closed([y.node for y in (*chosen, *rejected)], inputs)
    op = Cond(
        then=Graph(both.inputs, both.outputs[: len(chosen)]),
        other=Graph(both.inputs, both.outputs[len(chosen) :]),
    )
    results = op.each(tensor(predicate).node, *(x.node for x in given), *outside)
    return rebuild_result(_tensors(results))


# Nested values ------------------------------------------------------------------------------------
def _leaves(value: Nested) -> tuple[list[Tensor], Rebuild]:
    leaves, rebuild = flatten(value)
    return [tensor(x) for x in leaves], rebuild


def _tensors(nodes: Sequence[Node]) -> list[Tensor]:
    return [Tensor(node) for node in nodes]


def _like(name: str, value: Nested, wanted: Sequence[Tensor]) -> tuple[list[Tensor], Rebuild]:
    """The leaves of what a body returns; they stand for ``wanted``."""
    found, rebuild = _leaves(value)
    if len(found) != len(wanted):
        raise UserError(
            "GC0302", f"{name}: {len(found)} tensors come out where {len(wanted)} are expected",
            why="what goes round a loop, or out of two branches, is nested alike",
        )  # fmt: skip
    return found, rebuild


def _element(x: Tensor) -> TensorType:
    if not x.ndim:
        raise UserError("GC0103", f"scan over {x.node.type}", fix="pass tensors [length, ...]")
    return x.node.type.drop((0,))


def _length(sequences: Sequence[Tensor], length: Size | str | None) -> Size:
    """How many steps: what all sequences say, or what the user says."""
    given = [x.shape[0] if x.ndim else 1 for x in sequences]
    known = given if length is None else [size(length), *given]
    if not known:
        raise UserError("GC0104", "scan without sequences", fix="pass length=")
    if any(n != known[0] for n in known):
        raise UserError("GC0101", f"scan: lengths {', '.join(str(n) for n in known)} differ")
    return known[0]
