"""Sums of many terms: what one operation can add up is not added term by term.

Comes in: a graph with static sizes. Goes out: a graph in which a sum of tensors padded to disjoint
places is one concatenation, and a sum of contractions is one contraction over the operands put side
by side. A separate pass, called before lowering by backends that generate code, because it looks at
whole trees of additions, and because the contraction adds up in another order.

Gradients of networks that use something many times are full of such sums: the slices of one tensor,
each padded back to its size, and the products whose sum is the gradient of a weight. Lowering
writes operands side by side without copies (`graphc.kernels.place`); where it could not, the
contraction must save more memory traffic than the copies cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphc.graph import Graph, Node, readers
from graphc.ops.contraction import Contract
from graphc.ops.elementwise import Elementwise, combine
from graphc.ops.leaves import constant
from graphc.ops.movement import broadcast_to, reshape
from graphc.ops.selection import Pad, Slice, concatenate, slice_axis
from graphc.rewrite import Head, Ledger
from graphc.site import serving

PADS = "sum of padded tensors"
PRODUCTS = "sum of contractions"


def merge_sums(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with sums of padded tensors and of contractions as one operation each."""

    def change(nodes: Iterable[Node]) -> Mapping[Node, Node]:
        merger = _Merger(list(nodes), set(graph.roots), ledger)
        for node in merger.order:
            merger.visit(node)
        return merger.new

    return graph.map(change)


@dataclass(frozen=True)
class _Term:
    """A term of a sum: the node in the old graph, and what it has become."""

    old: Node
    node: Node


class _Merger:
    """One walk over the graph. ``new`` maps every node met so far to what it has become."""

    def __init__(self, order: list[Node], roots: set[Node], ledger: Ledger | None) -> None:
        self.order, self.ledger = order, ledger
        self.position = {node: k for k, node in enumerate(order)}
        reading = readers(order)
        self.alone = {n for n in order if len(reading[n]) == 1 and n not in roots}
        self.inside = {n for n in self.alone if _is_sum(n) and _is_sum(reading[n][0])}
        self.new: dict[Node, Node] = {}

    def visit(self, node: Node) -> None:
        inputs = tuple(self.new[x] for x in node.inputs)
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        self.new[node] = node if same else Node(node.op, inputs, node.type, node.site)
        if _is_sum(node) and node not in self.inside:
            self.new[node] = self.merged(node)

    def merged(self, node: Node) -> Node:
        """The sum that ends in ``node``, with what belongs together as one term each."""
        terms = [_Term(x, self.new[x]) for x in self.terms(node)]
        found: list[Node] = []
        with serving(node):
            for group in _grouped(terms, self.alone).values():
                found += self.one(node, group)
            if len(found) == len(terms):
                return self.new[node]
            total = found[0]
            for x in found[1:]:
                total = combine("add", total, x)
        return total

    def terms(self, node: Node) -> list[Node]:
        """The terms of the tree of additions below ``node``, from left to right."""
        found: list[Node] = []
        stack = [*reversed(node.inputs)]
        while stack:
            x = stack.pop()
            if x in self.inside:
                stack += reversed(x.inputs)
            else:
                found.append(x)
        return found

    def one(self, node: Node, group: list[_Term]) -> list[Node]:
        """The terms of a group: one if they can be merged."""
        alike = Head.of(group[0].node.op) if len(group) > 1 else None
        if alike == Head(Pad):
            return self.recorded(node, PADS, [x.node for x in group], _side_by_side(group))
        if alike == Head(Contract):
            whole = _one_product([x.node for x in self.ordered(group)])
            return self.recorded(node, PRODUCTS, [x.node for x in group], whole)
        return [x.node for x in group]

    def ordered(self, group: list[_Term]) -> list[_Term]:
        """Products in the order of the slices that one side of them is, else in that in which the
        first of their operands are computed: so they are likely to lie side by side.
        """
        for side in (0, 1):
            cut = {x: _first_cut(x.node.inputs[side]) for x in group}
            if None not in cut.values() and len({c[0] for c in cut.values() if c}) == 1:
                return sorted(group, key=lambda x: cut[x][1])  # type: ignore[index]
        return sorted(group, key=lambda x: min(self.position[y] for y in x.old.inputs))

    def recorded(self, node: Node, rule: str, old: list[Node], new: list[Node]) -> list[Node]:
        if self.ledger is not None and len(new) < len(old):
            self.ledger.add("sums", rule, node, new[0])
        return new


def _is_sum(node: Node) -> bool:
    return Head.of(node.op) == Head(Elementwise, "add")


def _grouped(terms: Iterable[_Term], alone: set[Node]) -> dict[object, list[_Term]]:
    """Terms that may be merged under one key, any other under its own."""
    found: dict[object, list[_Term]] = {}
    for number, term in enumerate(terms):
        found.setdefault(_key(term, alone) or number, []).append(term)
    return found


def _key(term: _Term, alone: set[Node]) -> object:
    op: Any = term.node.op
    if Head.of(op) == Head(Pad):
        axis = _padded_axis(op)
        return None if axis is None else ("pad", axis)
    if Head.of(op) == Head(Contract) and term.old in alone:
        return (op, *(x.type for x in term.node.inputs))
    return None


# Padded tensors -----------------------------------------------------------------------------------
def _padded_axis(op: Pad) -> int | None:
    """The only axis that zeros are put around; None when there is another one."""
    axes = [a for a, amounts in enumerate(zip(op.low, op.high, strict=True)) if any(amounts)]
    plain = op.mode == "constant" and op.value == 0 and not any(op.interior)
    return axes[0] if plain and len(axes) == 1 else None


def _side_by_side(group: list[_Term]) -> list[Node]:
    """Padded tensors that do not overlap as one concatenation, and the others."""
    pads = [x.node for x in group]
    first: Any = pads[0].op
    axis, shape = _padded_axis(first), pads[0].type.static_shape
    assert axis is not None
    parts: list[Node] = []
    rest: list[Node] = []
    end = 0
    for pad in sorted(pads, key=lambda x: _start(x, axis)):
        start, (x,) = _start(pad, axis), pad.inputs
        if start < end or x.shape[axis] == 0:
            rest.append(pad)
            continue
        parts += [*_zeros(x, axis, start - end), x]
        end = start + x.type.static_shape[axis]
    parts += _zeros(pads[0], axis, shape[axis] - end)
    return [concatenate(parts, axis), *rest] if len(rest) < len(pads) - 1 else pads


def _start(pad: Node, axis: int) -> int:
    op: Any = pad.op
    start: int = op.low[axis]
    return start


def _zeros(like: Node, axis: int, extent: int) -> Iterator[Node]:
    if extent:
        shape = like.type.static_shape
        yield broadcast_to(constant(0, like.dtype), (*shape[:axis], extent, *shape[axis + 1 :]))


# Contractions -------------------------------------------------------------------------------------
def _one_product(products: list[Node]) -> list[Node]:
    """One contraction over all operands, if it saves more traffic than putting them together."""
    op: Any = products[0].op
    left, right = ([x.inputs[side] for x in products] for side in (0, 1))
    saved = 2 * (len(products) - 1) * math.prod(products[0].type.static_shape)
    if sum(2 * _copied(x) for x in (*left, *right)) > saved:
        return products
    label = 1 + max((*op.left, *op.right, *op.out), default=0)
    whole = Contract((label, *op.left), (label, *op.right), op.out)
    return [whole(_stacked(left), _stacked(right))]


def _copied(x: Node) -> int:
    """Elements to copy when ``x`` is put beside others: none when it can be computed there."""
    while x.op.kind == "free" and x.inputs and Head.of(x.op) != Head(Slice):
        x = x.inputs[-1]  # the others, of `After`, are not read
    return math.prod(x.type.static_shape) if x.op.kind in ("leaf", "free") else 0


def _stacked(parts: list[Node]) -> Node:
    """The parts along a new first axis; consecutive slices are what they were cut from."""
    cut = [_first_cut(x) for x in parts]
    if cut[0] is not None:
        whole, start = cut[0]
        if cut == [(whole, start + k) for k in range(len(parts))]:
            return slice_axis(whole, 0, start, start + len(parts))
    return concatenate([reshape(x, (1, *x.shape)) for x in parts], 0)


def _first_cut(x: Node) -> tuple[Node, int] | None:
    """What ``x`` is one element along the first axis of, and which; None if it is not."""
    y = x.inputs[0] if x.inputs and x.shape == x.inputs[0].shape[1:] else x
    op: Any = y.op
    if y is x or Head.of(op) != Head(Slice) or y.shape[0] != 1:
        return None
    (whole,) = y.inputs
    return (whole, op.starts[0]) if whole.shape[1:] == x.shape else None
