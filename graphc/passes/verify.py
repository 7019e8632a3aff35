"""Verification: the rules that every graph keeps, checked.

Comes in: a graph. Goes out: nothing, or a `CompilerBug` that names the broken rule and the node. A
separate pass so that it can stand between any two others.
"""

from __future__ import annotations

from graphc.errors import CompilerBug, UserError
from graphc.graph import Graph, Node, describe


def verify(graph: Graph) -> None:
    """Check types, order, leaves, inputs, updates and provenance of every node.

    Raises `CompilerBug`. Types are inferred again from the operands' types.
    """
    nodes = graph.nodes
    _check_ends(graph)
    listed, done = set(graph.inputs), set[Node]()
    for node in nodes:
        _check_order(node, done)
        _check_type(node)
        _check_leaf(node, listed)
        _check_site(node)
        done.add(node)


def _fail(node: Node, what: str) -> CompilerBug:
    where = f"\n{node.site}" if node.site.code else ""
    return CompilerBug(f"{describe(node)}: {what}{where}")


def _check_order(node: Node, done: set[Node]) -> None:
    if any(x not in done for x in node.inputs):
        raise _fail(node, "a node depends on itself")


def _check_type(node: Node) -> None:
    try:
        inferred = node.op.infer(*(x.type for x in node.inputs))
    except (UserError, TypeError) as error:  # TypeError: too many or too few operands
        raise _fail(node, f"its operands do not fit: {error}") from error
    if inferred != node.type:
        raise _fail(node, f"it says {node.type}, but {node.op} gives {inferred}")


def _check_leaf(node: Node, listed: set[Node]) -> None:
    is_input = node.op.kind == "leaf" and node.op.label and node.op.storage is None
    if is_input and node not in listed:
        raise _fail(node, "the graph reads an input that it does not list")


def _check_site(node: Node) -> None:
    site = node.site
    if not (site.code or site.scope or site.gradient_of or site.made_by):
        raise _fail(node, "nobody knows where it comes from")


def _check_ends(graph: Graph) -> None:
    for x in graph.inputs:
        if x.op.kind != "leaf" or x.op.storage is not None:
            raise _fail(x, "an input of the graph must be a leaf without storage")
    if len(set(graph.inputs)) != len(graph.inputs):
        raise CompilerBug("an input is listed twice")
    targets = [target for target, _ in graph.updates]
    if len(set(targets)) != len(targets):
        raise CompilerBug("a parameter is updated twice")
    for target, value in graph.updates:
        if target.op.storage is None:
            raise _fail(target, "only a parameter can be updated")
        if target.type != value.type:
            raise _fail(target, f"its update is {value.type}")
