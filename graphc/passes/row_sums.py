"""Sums along a product's rows that another product has the shorter terms of.

Comes in: a graph with static sizes. Goes out: a graph in which ``sum((g @ v.mT) * p, -1)`` is
``sum(g * (p @ v), -1)`` where ``p @ v`` is there anyway. A separate pass, called before lowering
for backends that compute products again instead of keeping them, because it looks for two products
at once, and adds up in another order.

The gradient of softmax attention is full of such sums: p are its weights, ``p @ v`` is its result,
and g the gradient of that (Dao et al., FlashAttention, 2022, appendix B.2). With the longer sum
gone, nothing needs to know a whole row of ``g @ v.mT``. Masks may hide elements of either factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from graphc.graph import Graph, Node, readers
from graphc.ops.contraction import Contract
from graphc.ops.elementwise import Cast, Elementwise, cast_to, combine, is_widening
from graphc.ops.movement import Reshape, reshape, transpose
from graphc.ops.reduction import Broadcast, Fold, sum_over
from graphc.rewrite import Head, Ledger, number_of
from graphc.scalars import SCALARS
from graphc.site import serving
from graphc.types import DType

RULE = "sum along a product"
_RESHAPE, _BROADCAST, _CONTRACT, _CAST = map(Head, (Reshape, Broadcast, Contract, Cast))
_SUM = Head.of(Fold(SCALARS["add"], (0,)))
_WHERE, _TIMES = (Head.of(Elementwise(SCALARS[name])) for name in ("where", "multiply"))

Axes = tuple[int, ...]
Seen = frozenset[tuple[Node, Axes, Axes]]
"""Masks, which are false where zeros are: what is repeated, to which lengths, along which axes, of
which none has one element."""


@dataclass(frozen=True)
class _Product:
    """A contraction, as one of its two factors sees it."""

    node: Node
    first: Node
    second: Node
    labels: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def op(self) -> Any:
        return self.node.op

    def kept(self, total: Node) -> Axes:
        """The labels that are left of the product in a sum over axes of it, or of what has it in
        more or fewer axes of one element.
        """
        summed: Any = total.op
        lengths = total.inputs[0].type.static_shape
        gone = [k in summed.axes for k, n in enumerate(lengths) if n != 1]
        long = [x for x, n in zip(self.op.out, self.node.type.static_shape, strict=True) if n != 1]
        left = {x for x, is_gone in zip(long, gone, strict=True) if not is_gone}
        return tuple(x for x in self.op.out if x in left or x not in long)


def shorten_row_sums(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with sums along rows of products made of other products where these are there."""

    def change(nodes: Iterable[Node]) -> Mapping[Node, Node]:
        return _Shortener(list(nodes), ledger).run()

    return graph.map(change)


class _Shortener:
    """One walk over the graph. ``products`` are those met so far, by what their first factor is
    below its masks, and these.
    """

    def __init__(self, order: list[Node], ledger: Ledger | None) -> None:
        self.order, self.ledger, self.reading = order, ledger, readers(order)
        self.products: dict[tuple[Node, Seen], list[_Product]] = {}
        self.new: dict[Node, Node] = {}

    def run(self) -> dict[Node, Node]:
        for node in self.order:
            inputs = tuple(self.new[x] for x in node.inputs)
            self.new[node] = node if inputs == node.inputs else replace(node, inputs=inputs)
            if Head.of(node.op) == _CONTRACT:
                for product in _views(node):
                    self.products.setdefault(_bare(product.first), []).append(product)
            elif Head.of(node.op) == _SUM and Head.of(node.inputs[0].op) == _TIMES:
                self.shorten(node)
        return self.new

    def shorten(self, node: Node) -> None:
        """Replace a sum along rows, if the other product is there."""
        for row, other in self.pairs(*node.inputs[0].inputs):
            orders = _orders(node, row, other)
            if orders is not None:
                with serving(node, rule=RULE):
                    self.new[node] = self.short(node, row, other, *orders)
                if self.ledger is not None:
                    self.ledger.add("row sums", RULE, node, self.new[node])
                return

    def pairs(self, a: Node, b: Node) -> Iterator[tuple[_Product, _Product]]:
        """Either factor as a product that is added up, and a product of the other factor with one
        of its own.
        """
        (x, seen), (y, also) = _bare(a), _bare(b)
        for long, weight in ((x, y), (y, x)):
            for row in _views(long) if Head.of(long.op) == _CONTRACT else ():
                for other in self.products.get((weight, seen | also), ()):
                    if other.second is row.second:
                        yield row, other

    def short(self, node: Node, row: _Product, other: _Product, own: Axes, theirs: Axes) -> Node:
        """The first factor of the row times the other product, the axes of both in these orders,
        summed over the last ones.
        """
        product = self.new[other.node]
        for reader in self.reading[other.node]:
            if Head.of(reader.op) == _CAST and reader.dtype.is_narrow:  # so it is stored
                product = cast_to(cast_to(product, reader.dtype), product.dtype)
                break
        terms = combine("multiply", _turned(self.new[row.first], own), _turned(product, theirs))
        total = sum_over(terms, tuple(range(len(row.kept(node)), len(own))))
        return cast_to(reshape(total, node.shape), node.dtype)


def _turned(x: Node, axes: Axes) -> Node:
    return x if axes == tuple(range(len(axes))) else transpose(x, axes)


def _views(node: Node) -> tuple[_Product, _Product]:
    """A contraction from either side."""
    op: Any = node.op
    a, b = node.inputs
    return _Product(node, a, b, (op.left, op.right)), _Product(node, b, a, (op.right, op.left))


def _bare(x: Node) -> tuple[Node, Seen]:
    """What is below masks with zeros, roundings to a narrow float and axes of one element, and the
    masks.
    """
    seen = set[tuple[Node, Axes, Axes]]()
    while True:
        if Head.of(x.op) == _WHERE and number_of(x.inputs[2]) == 0:
            seen.add(_mask(x.inputs[0]))
            x = x.inputs[1]
        elif is_widening(x) and _is_rounding(x.inputs[0], x.dtype):
            x = x.inputs[0].inputs[0]
        elif _thinner(x) is not x:
            x = _thinner(x)
        else:
            return x, frozenset(seen)


def _mask(x: Node) -> tuple[Node, Axes, Axes]:
    """A condition as `Seen` holds it."""
    x, lengths = _thinner(x), _long(x)
    axes = tuple(range(len(lengths)))
    if Head.of(x.op) == _BROADCAST:
        op: Any = x.op
        long = [k for k, n in enumerate(x.type.static_shape) if n != 1]
        axes = tuple(long.index(a) for a in op.axes if a in long)
        x = _thinner(x.inputs[0])
    return x, lengths, axes


def _thinner(x: Node) -> Node:
    """What is renamed only to have more or fewer axes of one element."""
    while Head.of(x.op) == _RESHAPE and _long(x) == _long(x.inputs[0]):
        x = x.inputs[0]
    return x


def _long(x: Node) -> Axes:
    """The lengths of the axes of more than one element."""
    return tuple(n for n in x.type.static_shape if n != 1)


def _is_rounding(x: Node, wide: DType) -> bool:
    return Head.of(x.op) == _CAST and x.inputs[0].dtype == wide


def _orders(node: Node, row: _Product, other: _Product) -> tuple[Axes, Axes] | None:
    """How to turn the row's first factor and the other product so that the axes of the sum come
    first, and those to sum over last; None if the other product is not what the sum holds, or its
    rows are not shorter.
    """
    if other.first.shape != row.node.shape:
        return None
    place = dict(zip(other.labels[0], row.op.out, strict=True))
    for label, wanted in zip(other.labels[1], row.labels[1], strict=True):
        if place.setdefault(label, wanted) != wanted:
            return None
    kept = row.kept(node)
    gone = {*row.op.out} - {*kept}
    own, theirs = row.labels[0], tuple(place[x] for x in other.op.out)
    if {place[x] for x in other.op.summed} != gone or {*theirs} != {*own}:
        return None
    lengths = (math.prod(x.type.static_shape) for x in (row.first, row.node))
    if not {*own}.issuperset(kept) or next(lengths) >= next(lengths):
        return None
    order = [*kept] + [x for x in own if x not in kept]
    return tuple(own.index(x) for x in order), tuple(theirs.index(x) for x in order)
