"""Reverse-mode differentiation: from a graph to a larger graph.

Comes in: a scalar node, and the nodes to differentiate with respect to. Goes out: their cotangents
as ordinary nodes, so they can be printed, optimised, compiled and differentiated again. Method:
reverse accumulation (Griewank and Walther, Evaluating Derivatives, ch. 3); each op brings its own
rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from graphc.errors import CompilerBug, UserError
from graphc.graph import Node, call_results, describe, toposort
from graphc.ops.copy import After, awaited
from graphc.ops.elementwise import full_like
from graphc.site import serving

Key = TypeVar("Key")


def gradients(y: Node, wrt: Sequence[Node], seed: Node | None = None) -> tuple[Node | None, ...]:
    """The derivative of ``y`` by each node of ``wrt``, times ``seed``; None where y does not depend
    on it.

    ``seed`` is the cotangent of ``y`` and has its type; it may be left out when ``y`` is 0-d.
    Raises `UserError`: GC0201 (an integer, or an op without a derivative on the path), GC0202 (no
    seed for a tensor).
    """
    check_floats((y, *wrt))
    return pullback([y], [_seed(y, seed)], wrt)


def pullback(
    ys: Sequence[Node], seeds: Sequence[Node], wrt: Sequence[Node], ends: Sequence[Node] = ()
) -> tuple[Node | None, ...]:
    """The cotangent of each node of ``wrt``, given those of ``ys``; None where nothing flows.

    It is the product of ``seeds`` with the Jacobian matrix. Below ``ends`` nobody looks.
    """
    order = toposort(ys, ends)
    active = _on_path(order, wrt)
    cotangents: dict[Node, Node] = {}
    for y, seed in zip(ys, seeds, strict=True):
        if y in active:
            with serving(y, gradient=True):
                _add(cotangents, y, seed)
    calls = call_results(order)
    for node in reversed(order):  # the first result of a call stands before all that read any
        results = calls.get(node, [node])
        if node.inputs and node is results[0] and any(y in cotangents for y in results):
            _backward(results, cotangents, active)
    return tuple(cotangents.get(x) for x in wrt)


def pushforward(
    ys: Sequence[Node], tangents: Sequence[Node], wrt: Sequence[Node]
) -> tuple[Node | None, ...]:
    """The derivative of each of ``ys`` when ``wrt`` moves along ``tangents``; None for those that
    stay.

    Reverse mode twice: `pullback` is linear in its seeds, so its own derivative by them is its
    transpose (Townsend, A new trick for calculating Jacobian vector products, 2017). Raises
    `UserError` GC0201, also for a custom gradient that is not linear in its cotangent.
    """
    seeds = []
    for y in ys:
        with serving(y, gradient=True):
            seeds.append(full_like(0, y))
    pulled = zip(pullback(ys, seeds, wrt), tangents, strict=True)
    pairs = [(g, tangent) for g, tangent in pulled if g is not None]
    found = pullback([g for g, _ in pairs], [tangent for _, tangent in pairs], seeds)
    results, tied = untied(found, seeds)
    for y, result in zip(ys, results, strict=True):
        if result in tied and any(n.op.name == "custom_gradient" for n in toposort([y])):
            raise UserError(
                "GC0201",
                f"no forward derivative of {y.type}",
                why="a backward function on the way is not linear in its cotangent",
                fix="use grad or vjp, or make the backward function a product with the cotangent",
            ).located(str(y.site), [describe(y)])
    return results


def untied(
    found: Sequence[Node | None], seeds: Sequence[Node]
) -> tuple[tuple[Node | None, ...], set[Node]]:
    """``found``, in which nothing waits for ``seeds`` any more, and the nodes that depend on them.

    What is linear in its seeds is computed from other values alone, whenever these are there.
    """
    new, tied = {seed: seed for seed in seeds}, set(seeds)
    for node in toposort([y for y in found if y is not None], seeds):
        inputs = tuple(new[x] for x in node.inputs)
        if any(x in tied for x in inputs[: awaited(node)]):
            new[node] = inputs[-1]
            continue
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        new[node] = node if same else replace(node, inputs=inputs)
        if any(x in tied for x in inputs):
            tied.add(new[node])
    return tuple(None if y is None else new[y] for y in found), tied


def recomputed(g: Node, y: Node, value: Node, *xs: Node) -> tuple[Node | None, ...]:
    """The gradient rule of a checkpoint: what lies between ``xs`` and ``value`` is computed again,
    once ``g`` is there, and nothing of it is kept from the forward pass.

    Gradients that flow on from here wait for the others, which read the same values. Chen, Xu,
    Zhang and Guestrin, Training deep nets with sublinear memory cost (2016).
    """
    starts = [After()(g, x) for x in xs]
    again = dict(zip(xs, starts, strict=True))
    for node in toposort([value], xs):
        inputs = tuple(again.get(x, x) for x in node.inputs)
        again[node] = node
        if inputs != node.inputs:
            with serving(node, gradient=True):
                again[node] = node.op(*inputs)
    floats = [x for x in xs if x.dtype.is_float]
    found = pullback([again[value]], [g], [again[x] for x in floats], starts)
    parts = {x: part for x, part in zip(floats, found, strict=True) if part is not None}
    flows = {x: After()(*parts.values(), part) for x, part in parts.items() if x.inputs}
    return tuple(flows.get(x, parts.get(x)) for x in xs)


def check_floats(nodes: Sequence[Node]) -> None:
    """Raises `UserError` GC0201 for a node that cannot be differentiated, or differentiated by."""
    for node in nodes:
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


def _backward(results: list[Node], cotangents: dict[Node, Node], active: set[Node]) -> None:
    """Apply the rule of one op, or of all results of a call, and add what it gives to the
    cotangents of its active inputs.
    """
    node = results[0]
    if not any(x in active for x in node.inputs):
        return
    with serving(node, gradient=True):
        try:
            parts = _pulled_back(results, cotangents)
        except UserError as error:
            raise error.located(str(node.site), [describe(x) for x in node.inputs]) from None
        for x, part in zip(node.inputs, parts, strict=True):
            if part is None or x not in active:
                continue
            if part.type != x.type:
                raise CompilerBug(
                    f"the gradient of {node.op} is {part.type} for an operand {x.type}"
                )
            _add(cotangents, x, part)


def _add(cotangents: dict[Key, Node], x: Key, part: Node) -> None:
    cotangents[x] = cotangents[x] + part if x in cotangents else part


def _pulled_back(results: list[Node], cotangents: dict[Node, Node]) -> Sequence[Node | None]:
    node = results[0]
    if node.op.kind != "call":
        return node.op.grad(cotangents[node], node, *node.inputs)
    given: dict[int, Node] = {}
    for y in results:  # a rule may have made the same call again, so a result may be there twice
        if y in cotangents:
            _add(given, y.op.result, cotangents[y])
    count = len(node.op.results(*(x.type for x in node.inputs)))
    parts: Sequence[Node | None] = node.op.joint_grad(
        [given.get(k) for k in range(count)], results, node.inputs
    )
    return parts
