"""What a node is called in texts and pictures: the user's name, else its position.

Comes in: nodes in execution order. Goes out: one name per node, unique, and the same for the same
program however the inside of the compiler names things. A separate step because texts, drawings and
reports must agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from graphc.graph import Node, Op

Statement = tuple[Any, int]
"""The instruction of the user's function that made a node."""


def node_names(nodes: Sequence[Node], given: Mapping[Node, str] | None = None) -> dict[Node, str]:
    """A unique name for each of ``nodes``, which are in execution order.

    ``given`` names come first, then labels of inputs and parameters, then the variable a value was
    assigned to; a second ``h`` is called ``h_2``. The others are numbered by position, inputs and
    parameters not counted: ``%3``.
    """
    wanted = {n: readable(n.op.label) for n in nodes if n.op.label}
    wanted |= {n: name for n, name in variables(nodes).items() if n not in wanted}
    wanted |= {n: readable(name) for n, name in (given or {}).items() if name}
    labelled = [n for n in nodes if n.op.label]
    others = [n for n in nodes if not n.op.label]
    wanted = {n: f"%{position}" for position, n in enumerate(others)} | wanted
    taken: set[str] = set()
    counts: Counter[str] = Counter()
    names: dict[Node, str] = {}
    for node in (*labelled, *others):
        names[node] = _free(wanted[node], taken, counts)
        taken.add(names[node])
    return names


def _free(name: str, taken: set[str], counts: Counter[str]) -> str:
    """``name``, or the first of ``name_2``, ``name_3``, ... that is not taken."""
    candidate = name
    while candidate in taken:
        counts[name] += 1
        candidate = f"{name}_{counts[name] + 1}"
    return candidate


def variables(nodes: Sequence[Node]) -> dict[Node, str]:
    """The variable each value was assigned to, where the user named it.

    One statement may make many nodes, in several scopes; its name goes to the value it ends with:
    the last one made, which the statement does not read again. (A statement in a loop reads what it
    made one turn before; where each turn has a scope, that is another value.) A gradient carries
    the site of the node it serves, but not its name.
    """
    made_at = {n: _statement(n) for n in nodes if n.inputs}
    read_again = {
        x
        for n, at in made_at.items()
        for x in n.inputs
        if at and made_at.get(x) == at and x.site.scope == n.site.scope
    }
    named: dict[Node, str] = {}
    for (node, at), (_, next_at) in pairwise([*made_at.items(), (None, None)]):
        if node and at and at != next_at and node not in read_again and node.site.variable:
            named[node] = node.site.variable
    return named


def _statement(node: Node) -> Statement | None:
    site = node.site
    if site.code is None or site.gradient_of is not None:
        return None
    return (site.code, site.instruction)


def readable(name: str) -> str:
    """``name`` on one line: what cannot be printed, or would break a line of text, is escaped."""
    plain = name.isprintable() and not any(c.isspace() or c in "\"'" for c in name)
    return name if plain else repr(name)


def is_gradient(node: Node) -> bool:
    """Whether differentiation made the node."""
    return node.site.gradient_of is not None and bool(node.inputs)


def place(node: Node) -> str:
    """Where the user wrote it, e.g. ``mlp.py:12``, or ""."""
    return f"{Path(node.site.file).name}:{node.site.line}" if node.site.code else ""


def literals(nodes: Iterable[Node]) -> dict[Node, str]:
    """The nodes a reader may write in place: numbers and their broadcasts, with their spelling."""
    spelled: dict[Node, str] = {}
    for node in nodes:
        if node.op.kind == "free" and not node.inputs and not node.shape:
            spelled[node] = str(node.op)
        elif node.op.name in ("broadcast", "reshape") and node.inputs[0] in spelled:
            spelled[node] = spelled[node.inputs[0]]
    return spelled


def written(node: Node, operands: Sequence[str]) -> str:
    """A call of the node's op: attributes with a name follow the operands, others precede them."""
    extra = attributes(node)
    before = [a for a in extra if "=" not in a]
    inside = [*before, *operands, *(a for a in extra if "=" in a)]
    return f"{node.op.name}({', '.join(inside)})" if inside else node.op.name


def attributes(node: Node) -> tuple[str, ...]:
    """The op's attributes as text, without defaults and what the type of the result says."""
    op = node.op
    if type(op).__str__ is not Op.__str__:
        return _spelled_by_op(str(op), op.name)
    declared = [f for f in fields(op) if f.repr]  # type: ignore[arg-type]
    said = {f.name: f.default for f in declared if f.default is not MISSING}
    said |= {"shape": node.shape, "dtype": node.dtype, "type": node.type, "label": op.label}
    shown = {f.name: getattr(op, f.name) for f in declared}
    return tuple(f"{key}={value}" for key, value in shown.items() if said.get(key, op) != value)


def _spelled_by_op(text: str, name: str) -> tuple[str, ...]:
    inside = text.removeprefix(name).removeprefix("(").removesuffix(")")
    return (inside,) if inside else ()
