"""Which part a node plays in a picture, and which nodes are folded into their readers.

Comes in: the nodes of a graph. Goes out: a role for each, and the chips. A separate step because
the roles need the whole graph, while a box is made from one node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphc.graph import Node, toposort
from graphc.show.names import is_gradient, literals

FOLDED = ("broadcast", "reshape", "cast", "bitcast", "copy")
"""Operations drawn as chips: they move or convert values and compute nothing."""

REPEATED = 2
"""A leaf with more forward readers than this is an edge for the first, a chip for the others."""


@dataclass(frozen=True)
class Roles:
    """The nodes below ``outputs`` and ``updates`` with their roles; see `Box.role`."""

    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()
    view: str = "both"
    detail: str | int = "folded"

    @cached_property
    def roots(self) -> frozenset[Node]:
        return frozenset((*self.outputs, *(value for _, value in self.updates)))

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node in execution order, shown or not."""
        return toposort((*self.outputs, *(value for _, value in self.updates)))

    @cached_property
    def of(self) -> Mapping[Node, str]:
        """The role of each node that the view shows."""
        full = _roles(self.nodes, self.outputs, bool(self.updates))
        if self.view == "forward":
            forward = [n for n, role in full.items() if role == "forward"]
            kept = {x for n in forward for x in (n, *n.inputs)} | set(self.outputs)
            return {n: r for n, r in full.items() if n in kept and r not in ("gradient", "update")}
        if self.view == "backward":
            backward = [n for n, role in full.items() if role in ("gradient", "update")]
            read = {x for n in backward for x in (n, *n.inputs)}
            return {n: "saved" if r == "forward" else r for n, r in full.items() if n in read}
        return full

    @cached_property
    def literal(self) -> Mapping[Node, str]:
        """Nodes spelled inside their reader: constants and broadcasts of them."""
        if self.detail == "all":
            return {}
        spelled = {n: n.op.name for n, role in self.of.items() if role == "const"}
        spelled |= literals(self.of)
        return {n: text for n, text in spelled.items() if n not in self.roots}

    @cached_property
    def passed(self) -> frozenset[Node]:
        """Movement nodes drawn as a chip on the way from their operand to their reader."""
        if self.detail == "all":
            return frozenset()
        return frozenset(n for n in self.of if n not in self.literal and self._passes(n))

    def _passes(self, node: Node) -> bool:
        shown = node not in self.roots and self.of[node] != "saved"
        return shown and node.op.name in FOLDED and len(node.inputs) == 1

    def source(self, node: Node) -> tuple[Node, list[str]]:
        """The node an operand really comes from, and the folded operations on the way."""
        way: list[str] = []
        while node in self.passed:
            way.append(node.op.name)
            node = node.inputs[0]
        return node, way[::-1]

    @cached_property
    def home(self) -> Mapping[Node, Node]:
        """For each folded movement node the first shown node that reads it, through others too."""
        homes: dict[Node, Node] = {}
        for node in self.of:
            for x in node.inputs:
                if x in self.passed and self.of[x] == self.of[node]:
                    homes.setdefault(x, node)
        for node in reversed(list(homes)):
            homes[node] = homes.get(homes[node], homes[node])
        return homes

    @cached_property
    def drawn(self) -> list[Node]:
        """The nodes with a box, in execution order; leaves that are only chips have none."""
        leaves = {"input", "param"}
        hidden = {n for n, role in self.of.items() if role in leaves and n not in self.roots}
        if self.detail == "all":
            hidden = set()
        hidden -= {self.source(x)[0] for n in self.of for x in n.inputs if self.wired(n)}
        return [
            n for n in self.of if n not in self.literal and n not in self.passed and n not in hidden
        ]

    def wired(self, reader: Node) -> bool:
        """Whether leaves are joined to this reader by edges; gradients name them in chips."""
        return self.detail == "all" or self.of[reader] == "forward"


def _roles(nodes: Sequence[Node], outputs: Iterable[Node], updated: bool) -> dict[Node, str]:
    computed = set(toposort(outputs)) if updated else set(nodes)
    roles: dict[Node, str] = {}
    for node in nodes:
        below = {roles[x] for x in node.inputs}
        roles[node] = _role(node, below, node in computed)
    return roles


def _role(node: Node, below: set[str], computed: bool) -> str:
    if not node.inputs:
        return "param" if node.op.storage is not None else "input" if node.op.label else "const"
    if is_gradient(node):
        return "gradient"
    return "update" if not computed or below & {"gradient", "update"} else "forward"
