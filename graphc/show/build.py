"""From nodes to a picture: boxes, ports, scopes, pairs.

Comes in: roots of a graph and what to show of them. Goes out: a `Picture`. A separate step because
a picture is plain data: whoever draws it needs no graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from graphc.graph import Node
from graphc.show.fold import groups_of
from graphc.show.names import attributes, literals, place, readable, variables, written
from graphc.show.picture import LEAVES, Box, Chip, Picture, Port, Scope, scope_table
from graphc.show.roles import REPEATED, Roles

BUDGET = 2_000
"""More visible boxes than this are folded, scopes first."""


@dataclass(frozen=True)
class Request:
    """What to show: see `graphc.show.draw.draw` for the meaning of the options."""

    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()
    names: Mapping[Node, str] = field(default_factory=dict)
    kernels: Mapping[Node, tuple[int, str]] = field(default_factory=dict)
    values: Mapping[Node, str] = field(default_factory=dict)
    view: str = "both"
    detail: str | int = "folded"
    title: str = "graph"
    budget: int = BUDGET


def picture(request: Request) -> Picture:
    """The picture of a request."""
    roles = Roles(request.outputs, request.updates, request.view, request.detail)
    groups, notes = groups_of(roles, request.budget)
    return _Builder(request, roles, groups, notes).picture()


@dataclass(frozen=True)
class _Builder:
    request: Request
    roles: Roles
    groups: Sequence[tuple[str, tuple[Node, ...]]]
    notes: tuple[str, ...]

    def picture(self) -> Picture:
        boxes = tuple(self._box(k, title) for k, (title, _) in enumerate(self.groups))
        scopes = tuple(
            Scope(path[-1], self.scopes.get(path[:-1], -1), path) for path in self.scopes
        )
        kernels = dict(self.request.kernels.values())
        members = tuple(nodes for _, nodes in self.groups)
        return Picture(boxes, scopes, kernels, self.request.title, self.notes, members)

    @cached_property
    def box_of(self) -> dict[Node, int]:
        return {n: k for k, (_, members) in enumerate(self.groups) for n in members}

    @cached_property
    def names(self) -> dict[Node, str]:
        nodes = list(self.roles.of)
        labels = {n: readable(n.op.label) for n in nodes if n.op.label}
        numbers = {n: spelled for n, spelled in literals(nodes).items() if not n.inputs}
        return numbers | variables(nodes) | labels | dict(self.request.names)

    @cached_property
    def scopes(self) -> dict[tuple[str, ...], int]:
        return scope_table([self._scope(members) for _, members in self.groups])

    def _scope(self, members: Sequence[Node]) -> tuple[str, ...]:
        """The deepest scope around all members; a leaf belongs where its first reader is."""
        if len(members) == 1 and not members[0].inputs:
            reader = self.first_reader.get(members[0], members[0])
            if reader not in self.box_of:
                return members[0].site.scope
            members = self.groups[self.box_of[reader]][1]
        paths = [n.site.scope for n in members if n.inputs]
        shared = paths[0] if paths else ()
        for path in paths[1:]:
            while shared != path[: len(shared)]:
                shared = shared[:-1]
        title = self.groups[self.box_of[members[0]]][0]
        return shared[:-1] if len(members) > 1 and shared[-1:] == (title,) else shared

    @cached_property
    def readers(self) -> dict[Node, list[Node]]:
        """The shown readers of each leaf, the one farthest from the results first."""
        distance: dict[Node, int] = {}
        for node in reversed(list(self.roles.of)):
            for x in node.inputs:
                same = self.roles.of.get(x) == self.roles.of[node]
                step = distance.get(node, 0) + 1 if same else 0
                distance[x] = max(distance.get(x, 0), step)
        found: dict[Node, list[Node]] = {}
        for node in self.roles.of:
            if node not in self.roles.passed:
                for x in node.inputs:
                    found.setdefault(self.roles.source(x)[0], []).append(node)
        for leaf in found:
            if not leaf.inputs:
                found[leaf].sort(key=lambda n: -distance.get(n, 0))
        return found

    @cached_property
    def first_reader(self) -> dict[Node, Node]:
        """Of each leaf the reader beside which it stands; forward ones come first."""
        return {
            leaf: next((n for n in readers if self.roles.wired(n)), readers[0])
            for leaf, readers in self.readers.items()
        }

    # Boxes ----------------------------------------------------------------------------------------
    def _box(self, number: int, title: str) -> Box:
        members = self.groups[number][1]
        last = members[-1]
        single = len(members) == 1
        count = sum(self.roles.of[n] not in LEAVES for n in members)
        kernels = {self.request.kernels.get(n, (-1, ""))[0] for n in members}
        return Box(
            title=title if not single else last.op.name,
            name=self.names.get(last, "") if single else f"{count} operation{'s'[: count != 1]}",
            type=str(last.type),
            role=self.roles.of[last],
            ports=tuple(self._ports(members)),
            partner=self._partner(members),
            scope=self.scopes.get(self._scope(members), -1),
            kernel=kernels.pop() if len(kernels) == 1 else -1,
            count=len(members),
            output=any(n in self.roles.roots for n in members),
            attributes=", ".join(attributes(last)) if single and last.inputs else "",
            call=written(last, [self._called(x) for x in last.inputs]) if single else "",
            place=place(last),
            code=last.site.text.strip() if last.site.code else "",
            value=self.request.values.get(last, "") if single else "",
        )

    def _ports(self, members: Sequence[Node]) -> list[Port]:
        here = self.box_of[members[0]]
        if self.roles.of[members[-1]] in LEAVES:
            return []
        ports = [self._port(node, x) for node in members for x in node.inputs]
        outside = dict.fromkeys(p.source for p in ports if p.source not in (None, here))
        return ports if len(members) == 1 else [Port(source) for source in outside]

    def _port(self, reader: Node, operand: Node) -> Port:
        if operand in self.roles.literal:
            return Port(None, Chip(self.roles.literal[operand], "const", str(operand.type)))
        node, way = self.roles.source(operand)
        detail = f"{self._called(node)}: {node.type}"
        if node not in self.box_of or self._is_repeated(reader, node):
            text = self.names.get(node) or node.op.name
            return Port(None, Chip(text, self.roles.of[node], detail))
        return Port(self.box_of[node], Chip("·".join(way), "way", detail) if way else None)

    def _is_repeated(self, reader: Node, leaf: Node) -> bool:
        """Whether this reader names the leaf in a chip, to spare the picture a long edge."""
        if self.roles.of[leaf] not in LEAVES or self.request.detail == "all":
            return False
        if self.roles.of[leaf] != "saved" and not self.roles.wired(reader):
            return True
        joined = [n for n in self.readers[leaf] if self.roles.wired(n) or self._is_backward]
        return len(joined) > REPEATED and self.first_reader[leaf] is not reader

    @property
    def _is_backward(self) -> bool:
        return self.request.view == "backward"

    def _called(self, node: Node) -> str:
        return self.names.get(node) or self.roles.literal.get(node) or node.op.name

    # Pairs ----------------------------------------------------------------------------------------
    def _partner(self, members: Sequence[Node]) -> int | None:
        served = (n.site.gradient_of for n in members if self.roles.of[n] == "gradient")
        return next((box for n in served if n and (box := self._served(n)) is not None), None)

    def _served(self, node: Node) -> int | None:
        """The box of the node that a gradient serves; after a rewrite, of what replaced it."""
        node = self.roles.home.get(node, node)
        if node in self.box_of:
            return self.box_of[node]
        where = (node.site.code, node.site.instruction, node.site.scope)
        return self.replaced.get((*where, node.op.name), self.replaced.get((*where, "")))

    @cached_property
    def replaced(self) -> dict[tuple[object, ...], int]:
        """The boxes of forward nodes by the statement that made them, with and without the op."""
        found: dict[tuple[object, ...], int] = {}
        for node, box in self.box_of.items():
            if self.roles.of[node] == "forward":
                where = (node.site.code, node.site.instruction, node.site.scope)
                found[(*where, node.op.name)] = found[(*where, "")] = box
        return found
