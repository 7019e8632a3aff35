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
from graphc.graph import Node, describe, toposort
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

    for node in toposort(roots, stacks):
        if any(x in known for x in node.inputs):
            with serving(node):
                known[node] = _applied(node, [stack(x) for x in node.inputs])
    return [stack(y) for y in roots]


def _applied(node: Node, stacks: Sequence[Node]) -> Node:
    try:
        result: Node = node.op.batch(*stacks)
    except UserError as error:
        raise error.located(str(node.site), [describe(x) for x in node.inputs]) from None
    if result.shape[1:] != node.shape:
        raise CompilerBug(f"a batch of {node.type} by {node.op} is {result.type}")
    return result
