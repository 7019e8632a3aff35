"""A graph as text: lines for reading and comparing, a table for terminals, a tree for expressions.

Comes in: a graph or a node. Goes out: text that does not change when the inside of the compiler
renames something. A separate step because every picture must also exist as text: for terminals,
screen readers, diffs and tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table
from rich.text import Text

from graphc.graph import Graph, Node, toposort
from graphc.show.names import is_gradient, literals, node_names, place, written


@dataclass(frozen=True)
class Script:
    """A graph prepared for printing: which nodes get a line, and how each operand is spelled."""

    graph: Graph
    detail: str = "folded"

    @cached_property
    def spelled(self) -> dict[Node, str]:
        """Nodes written in place; with ``detail="all"`` there are none."""
        if self.detail == "all":
            return {}
        kept = {*self.graph.inputs, *self.graph.roots}
        return {n: text for n, text in literals(self.graph.nodes).items() if n not in kept}

    @cached_property
    def lines(self) -> list[Node]:
        """The nodes with a line of their own, in execution order."""
        return [n for n in self.graph.nodes if n not in self.spelled and n not in self.leaves]

    @cached_property
    def leaves(self) -> dict[Node, None]:
        """Inputs and parameters, which stand at the top."""
        return dict.fromkeys((*self.graph.inputs, *self.graph.parameters))

    @cached_property
    def names(self) -> dict[Node, str]:
        return node_names([*self.leaves, *self.lines])

    def operand(self, node: Node) -> str:
        return self.spelled.get(node) or self.names[node]

    def call(self, node: Node) -> str:
        """The operation with operands and attributes, e.g. ``sum(%3, axes=(0,))``."""
        return written(node, [self.operand(x) for x in node.inputs])

    def serves(self, node: Node) -> str:
        """What a gradient node is the gradient of, or ""."""
        served = node.site.gradient_of if is_gradient(node) else None
        return "" if served is None else self.names.get(served, served.op.name)


def graph_text(graph: Graph, *, detail: str = "folded") -> str:
    """The graph, one node a line, e.g. ``h: f32[batch,512] = tanh(%3)``.

    Numbers and their broadcasts are written in their reader's line unless ``detail="all"``.
    Comments name the scope a line belongs to and the node that a gradient serves.
    """
    script = Script(graph, detail)
    parameters = [n for n in script.leaves if n.op.storage is not None]
    inputs = ", ".join(f"{script.names[n]}: {n.type}" for n in graph.inputs)
    lines = [f"graph({inputs})"]
    lines += [f"  param {script.names[n]}: {n.type}" for n in parameters]
    lines += _body(script)
    lines += [f"  return {', '.join(map(script.operand, graph.outputs))}"]
    lines += [f"  update {script.operand(t)} = {script.operand(v)}" for t, v in graph.updates]
    return "\n".join(lines)


def _body(script: Script) -> Iterator[str]:
    scope: tuple[str, ...] = ()
    for node in script.lines:
        if node.site.scope != scope:
            scope = node.site.scope
            yield f"  # {' / '.join(scope) or 'top level'}"
        served = script.serves(node)
        note = f"  # gradient of {served}" if served else ""
        yield f"  {script.names[node]}: {node.type} = {script.call(node)}{note}"


def graph_table(graph: Graph, *, detail: str = "folded") -> Table:
    """The graph as a `rich` table for terminals: name, type, operation, origin."""
    script = Script(graph, detail)
    table = Table("name", "type", "operation", "gradient of", "scope", "line")
    for node in [*script.leaves, *script.lines]:
        kind = "param" if node.op.storage is not None else "input"
        call = script.call(node) if node not in script.leaves else kind
        scope = " / ".join(node.site.scope)
        row = (script.names[node], str(node.type), call, script.serves(node), scope, place(node))
        table.add_row(*map(Text, row), style="dim" if is_gradient(node) else None)
    return table


# Trees --------------------------------------------------------------------------------------------
def tree_text(root: Node, *, limit: int = 200) -> str:
    """An expression as a tree, operands below their operation; a value read twice is drawn once.

    At most ``limit`` lines are printed; the last one then says how many nodes are missing.
    """
    tree = _Tree(root)
    lines: list[str] = []
    drawn: set[Node] = set()
    stack = [(root, "", "")]
    while stack and len(lines) < limit:
        node, prefix, branch = stack.pop()
        again = node in drawn
        lines.append(f"{prefix}{branch}{tree.label(node, again)}")
        drawn.add(node)
        if not again and node not in tree.spelled:
            below = prefix + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
            marks = ["└─ ", *["├─ "] * (len(node.inputs) - 1)]
            stack += [(x, below, m) for x, m in zip(reversed(node.inputs), marks, strict=False)]
    missing = len([n for n in tree.nodes if n not in drawn and n not in tree.spelled])
    return "\n".join([*lines, *([f"... {missing} more nodes"] if missing else [])])


class _Tree:
    """The names and spellings of the nodes of one expression."""

    def __init__(self, root: Node) -> None:
        self.nodes = toposort([root])
        self.spelled = {n: text for n, text in literals(self.nodes).items() if n is not root}
        self.names = node_names([n for n in self.nodes if n not in self.spelled])
        reads = Counter(x for n in self.nodes for x in n.inputs)
        self.shared = {n for n, count in reads.items() if count > 1}

    def label(self, node: Node, again: bool) -> str:
        """What stands on the node's line; numbers are shown only where something refers to them."""
        if node in self.spelled:
            return self.spelled[node]
        name = self.names[node]
        shown = f"{name}: " if node in self.shared or not name.startswith("%") else ""
        if again and node.inputs:
            return f"{shown}above"
        return f"{shown}{node.type} {'' if node.op.label else written(node, [])}".rstrip()


Graph.printer = staticmethod(graph_text)
