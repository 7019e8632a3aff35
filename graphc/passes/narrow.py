"""Narrow floats stay narrow where they are only moved: converted by those who compute with them.

Comes in: a graph. Goes out: a graph in which what is stored only to have it in other places (with
zeros around it, beside other tensors) is stored in the 16 bits that it came in. A separate pass,
the last before lowering, because others look for such moves at the operands of products and sums.
"""

from __future__ import annotations

from typing import Any

from graphc.graph import Graph, Node
from graphc.ops.elementwise import cast_to, is_widening
from graphc.ops.movement import Reshape, Transpose
from graphc.ops.reduction import Broadcast
from graphc.ops.selection import Concatenate, Flip, Interleave, Pad, Slice
from graphc.rewrite import Head, Ledger, Rule, by_hand, rewrite
from graphc.types import DType

_VIEWS = tuple(map(Head, (Reshape, Transpose, Broadcast, Slice, Flip)))
_PAD = Head(Pad)


def narrow_dtype(x: Node) -> DType | None:
    """The narrow float of which ``x`` holds values and nothing else; None if there is none."""
    while Head.of(x.op) in _VIEWS or (Head.of(x.op) == _PAD and _pads_with_zeros(x)):
        x = x.inputs[0]
    return x.inputs[0].dtype if is_widening(x) else None


def _pads_with_zeros(x: Node) -> bool:
    op: Any = x.op
    return bool(op.mode != "constant" or op.value == 0)


@by_hand(
    "move, then widen", Pad, Concatenate, Interleave,
    why="values and zeros of 16 bits are the same in 32, and take half the memory",
)  # fmt: skip
def _widen_last(node: Node) -> Node | None:
    kinds = {narrow_dtype(x) for x in node.inputs}
    other = Head.of(node.op) == _PAD and not _pads_with_zeros(node)
    if None in kinds or len(kinds) != 1 or other:
        return None
    return cast_to(node.op(*map(_unwidened, node.inputs)), node.dtype)


def _unwidened(x: Node) -> Node:
    """The narrow values of which ``x`` is made, in its shape."""
    moves = []
    while not is_widening(x):
        moves.append(x.op)
        x = x.inputs[0]
    found = x.inputs[0]
    for op in reversed(moves):
        found = op(found)
    return found


NARROW: list[Rule] = [_widen_last]


def keep_narrow(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph in which narrow floats are moved as they are stored."""
    return rewrite(graph, NARROW, ledger, "narrow")
