"""The driver: rebuilds a graph bottom-up, shares equal nodes, applies rules until none fires.

Comes in: a graph, rules, perhaps a ledger. Goes out: a graph with the same meaning. Sharing is
part of every rebuild, by interning ``(op, inputs)``; so common-subexpression elimination is this
driver with no rules. Provenance is its duty, too: what a rule makes inherits the site and scope of
the node it replaces, and says which rule made it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphc.errors import CompilerBug
from graphc.graph import Graph, Node, Op
from graphc.rewrite.ledger import Ledger
from graphc.rewrite.pattern import Head, number_of
from graphc.rewrite.rules import Look, Rule
from graphc.site import Site, serving
from graphc.types import Scalar

BOUND = 64
"""Rewrites of one node, and of what its rewrites made, before we call it a loop."""

MERGED = "equal nodes are one"
"""The name under which sharing is recorded."""

SOME_NUMBER = math.inf
"""Stands for every number that no rule names, so that the index stays small."""


class Index:
    """The rules that are worth trying, by the root and its first operands: most nodes see none."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self.found: dict[tuple[Head, Look], tuple[Rule, ...]] = {}
        anywhere = any(not rule.heads for rule in rules)
        self.looking = None if anywhere else {h.op for rule in rules for h in rule.heads}
        self.named = {operand.literal for rule in rules for operand in rule.operands}

    def candidates(self, node: Node) -> tuple[Rule, ...]:
        if self.looking is not None and type(node.op) not in self.looking:
            return ()
        head = Head.of(node.op)
        key = (head, tuple((Head.of(x.op), self._value(x)) for x in node.inputs[:3]))
        if key not in self.found:
            self.found[key] = tuple(rule for rule in self.rules if rule.fits(*key))
        return self.found[key]

    def _value(self, x: Node) -> Scalar | None:
        value = number_of(x)
        return value if value is None or value in self.named else SOME_NUMBER


class Rewriter:
    """One rebuild. ``best`` maps every node met so far to its final form."""

    def __init__(self, rules: Sequence[Rule], stage: str, ledger: Ledger | None) -> None:
        self.index = Index(rules)
        self.stage, self.ledger = stage, ledger
        self.best: dict[Node, Node] = {}
        self.table: dict[tuple[Op, tuple[Node, ...]], Node] = {}
        self.next: dict[Node, Node] = {}
        self.depth: dict[Node, int] = {}

    def settle(self, root: Node) -> None:
        """Find the final form of ``root`` and of everything below it, without recursion."""
        stack = [root]
        while stack:
            node = stack[-1]
            if node in self.best:
                stack.pop()
            elif missing := [x for x in node.inputs if x not in self.best]:
                self._deepen(node, missing)
                stack += reversed(missing)
            else:
                target = self._step(node)
                if target is node or target in self.best:
                    self.best[node] = self.best.get(target, node)
                    stack.pop()
                else:
                    stack.append(target)

    def _deepen(self, node: Node, missing: Iterable[Node]) -> None:
        """What a rule made counts against the same bound as its maker."""
        if depth := self.depth.get(node, 0):
            for x in missing:
                self.depth.setdefault(x, depth)

    def _step(self, node: Node) -> Node:
        """The next form of a node whose operands are final; the node itself when it is final."""
        if node not in self.next:
            shared = self._shared(node)
            self.next[node] = shared if shared is not node else self._rewritten(node)
        elif self.next[node] not in self.best:
            self._complain(node, "undo each other")
        return self.next[node]

    def _shared(self, node: Node) -> Node:
        """The one node with this op and these (final) operands."""
        inputs = tuple(self.best[x] for x in node.inputs)
        key = (node.op, inputs)
        known = self.table.get(key)
        if known is None:
            known = self.table[key] = self._moved(node, inputs)
            self.depth[known] = self.depth.get(node, 0)
        elif self.ledger is not None and known is not node and not self.depth.get(node):
            self.ledger.add(self.stage, MERGED, node, known)
        return known

    def _moved(self, node: Node, inputs: tuple[Node, ...]) -> Node:
        """The node over new operands; itself when nothing changed."""
        site = self._relocated(node.site)
        if site is node.site and all(a is b for a, b in zip(inputs, node.inputs, strict=True)):
            return node
        return Node(node.op, inputs, node.type, site)

    def _relocated(self, site: Site) -> Site:
        """A gradient's site names the forward node that is in the graph now."""
        served = site.gradient_of
        if served is None or (now := self.best.get(served, served)) is served:
            return site
        return replace(site, gradient_of=now)

    def _rewritten(self, node: Node) -> Node:
        for rule in self.index.candidates(node):
            with serving(node, rule=rule.name):
                result = rule.apply(node)
            if result is not None and result is not node:
                self._record(rule, node, result)
                return result
        return node

    def _record(self, rule: Rule, node: Node, result: Node) -> None:
        if result.type != node.type:
            raise CompilerBug(
                f"rule {rule.name!r} made {result.type} of {node.type}: {node.op} -> {result.op}"
            )
        depth = self.depth.get(node, 0) + 1
        self.depth.setdefault(result, depth)
        if depth > BOUND:
            self._complain(node, "never come to an end")
        if self.ledger is not None:
            self.ledger.add(self.stage, rule.name, node, result)

    def _complain(self, node: Node, what: str) -> None:
        made_by = {n.site.made_by for n in self.next if self.depth.get(n, 0)} - {""}
        names = ", ".join(sorted(made_by))
        raise CompilerBug(f"rules {what} at {node.op}: {node.type}; involved: {names}")


def rewrite(
    graph: Graph, rules: Sequence[Rule] = (), ledger: Ledger | None = None, stage: str = "rewrite"
) -> Graph:
    """The graph with equal nodes shared and ``rules`` applied until none fires.

    Inputs stay as they are, used or not. ``ledger`` takes a record per application under the name
    ``stage``. Raises `CompilerBug` when a rule changes a type, or when rules run in circles.
    """

    def change(nodes: Iterable[Node]) -> Mapping[Node, Node]:
        rewriter = Rewriter(rules, stage, ledger)
        rewriter.best.update((x, x) for x in graph.inputs)
        for node in nodes:
            rewriter.settle(node)
        return rewriter.best

    return graph.map(change)
