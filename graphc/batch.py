"""Vectorisation: from a graph for one element to a graph for a stack of them.

Comes in: nodes, and stacks that stand for some of the nodes below. Goes out: stacks of the nodes. A
separate step because what is written for one element (a model, a gradient, a row of a Jacobian
matrix) is then computed for all of them by operations on larger tensors, not one after another.
Each op brings its own rule, `Op.batch`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.dims import Size
from graphc.errors import CompilerBug, UserError
from graphc.graph import Node, call_results, describe, toposort
from graphc.ops.copy import GradientRule, OwnGradient
from graphc.ops.leaves import new_input
from graphc.ops.reduction import broadcast_in
from graphc.site import serving


def batched(roots: Sequence[Node], stacks: Mapping[Node, Node], size: Size) -> list[Node]:
    """A tensor [size, ...] for each of ``roots``, given such ``stacks`` for nodes below them.

    What depends on none of these is computed once. Raises `UserError` GC0104 for an op without a
    rule.
    """
    known, copies = dict(stacks), dict[Node, Node]()

    def stack(x: Node) -> Node:
        if x not in known and x not in copies:
            copies[x] = broadcast_in(x, (size, *x.shape), tuple(range(1, x.type.rank + 1)))
        return known[x] if x in known else copies[x]

    order = toposort(roots, stacks)
    calls = call_results(order)
    for node in order:
        if node not in known and any(x in known for x in node.inputs):
            with serving(node):
                twins = calls.get(node, [node])
                found = _applied(twins, [stack(x) for x in node.inputs])
                known.update(zip(twins, found, strict=True))
    return [stack(y) for y in roots]


def _applied(twins: Sequence[Node], stacks: Sequence[Node]) -> list[Node]:
    """The stacks of one node, or of those results of a call that ``twins`` are."""
    node = twins[0]
    try:
        results = node.op.joint_batch(*stacks) if node.op.kind == "call" else ()
        found = [results[y.op.result] for y in twins] if results else [node.op.batch(*stacks)]
    except UserError as error:
        raise error.located(str(node.site), [describe(x) for x in node.inputs]) from None
    for y, result in zip(twins, found, strict=True):
        if result.shape[1:] != y.shape:
            raise CompilerBug(f"a batch of {y.type} by {y.op} is {result.type}")
    return found


def _stacked(rule: GradientRule) -> GradientRule:
    """A rule of gradients for stacks: that for an element, vectorised."""

    def of_stacks(*given: Node) -> Sequence[Node | None]:
        size = given[0].shape[0]
        stacks = {new_input("element", x.type.drop((0,))): x for x in given}
        parts = rule(*stacks)
        found = iter(batched([p for p in parts if p is not None], stacks, size))
        return [None if p is None else next(found) for p in parts]

    return of_stacks


OwnGradient.stacked = staticmethod(_stacked)
