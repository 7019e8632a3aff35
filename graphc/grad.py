"""Reverse-mode differentiation: from a graph to a larger graph.

Comes in: a scalar node, and the nodes to differentiate with respect to. Goes out: their cotangents
as ordinary nodes, so they can be printed, optimised, compiled and differentiated again. Method:
reverse accumulation (Griewank and Walther, Evaluating Derivatives, ch. 3); each op brings its own
rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import CompilerBug, UserError
from graphc.graph import Node, describe, toposort
from graphc.ops.elementwise import full_like
from graphc.site import serving


def gradients(y: Node, wrt: Sequence[Node], seed: Node | None = None) -> tuple[Node | None, ...]:
    """The derivative of ``y`` by each node of ``wrt``, times ``seed``; None where y does not depend
    on it.

    ``seed`` is the cotangent of ``y`` and has its type; it may be left out when ``y`` is 0-d.
    Raises `UserError`: GC0201 (an integer, or an op without a derivative on the path), GC0202 (no
    seed for a tensor).
    """
    _check(y, wrt)
    order = toposort([y])
    active = _on_path(order, wrt)
    cotangents: dict[Node, Node] = {}
    if y in active:
        cotangents[y] = _seed(y, seed)
    for node in reversed(order):
        if node in cotangents and node.inputs:
            _backward(node, cotangents, active)
    return tuple(cotangents.get(x) for x in wrt)


def _check(y: Node, wrt: Sequence[Node]) -> None:
    for node in (y, *wrt):
        if not node.dtype.is_float:
            raise UserError(
                "GC0201",
                f"no gradient of {node.dtype.name} values",
                why="derivatives exist for floating-point tensors only",
                fix="cast to float32 before the part you differentiate",
            ).located(str(node.site), [describe(node)])


def _seed(y: Node, seed: Node | None) -> Node:
    if seed is None and y.shape:
        raise UserError(
            "GC0202",
            f"gradient of {y.type}, which is not a single number",
            why="only a scalar has one gradient; a tensor needs a weight per element",
            fix="sum or mean the result, or pass seed= with its shape",
        ).located(str(y.site), [describe(y)])
    with serving(y, gradient=True):
        if seed is None:
            return full_like(1, y)
    if seed.type != y.type:
        raise UserError("GC0202", f"the seed is {seed.type}, the result {y.type}")
    return seed


def _on_path(order: Sequence[Node], wrt: Sequence[Node]) -> set[Node]:
    """The float nodes whose value depends on ``wrt``."""
    active = set(wrt)
    for node in order:
        if node.dtype.is_float and any(x in active for x in node.inputs):
            active.add(node)
    return active


def _backward(node: Node, cotangents: dict[Node, Node], active: set[Node]) -> None:
    """Apply the rule of one op and add what it gives to the cotangents of its active inputs."""
    if not any(x in active for x in node.inputs):
        return
    with serving(node, gradient=True):
        try:
            parts = node.op.grad(cotangents[node], node, *node.inputs)
        except UserError as error:
            raise error.located(str(node.site), [describe(x) for x in node.inputs]) from None
        for x, part in zip(node.inputs, parts, strict=True):
            if part is None or x not in active:
                continue
            if part.type != x.type:
                raise CompilerBug(
                    f"the gradient of {node.op} is {part.type} for an operand {x.type}"
                )
            cotangents[x] = cotangents[x] + part if x in cotangents else part
