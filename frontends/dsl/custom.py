"""Gradients that users say themselves: a formula, or the usual one on values computed again.

Comes in: a Python function of tensors. Goes out: a function with the same values. A separate step
because what a function makes must be told apart from what it is given: the op that stands for it
(`graphc.ops.copy.OwnGradient`) names both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.manners import as_node, at_user_line
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.grad import recomputed
from graphc.graph import Node, brief, toposort
from graphc.ops.copy import OwnGradient
from graphc.ops.movement import broadcast_to

Function = Callable[..., Any]


def custom_gradient(backward: Function) -> Callable[[Function], Callable[..., Tensor]]:
    """Decorates a function of tensors whose gradient is ``backward(g, y, *args)``.

    ``g`` is the cotangent of the result ``y``, ``args`` (and keywords) are those of the function;
    ``backward`` returns the cotangent of each argument that is a tensor, of its shape, or None
    where nothing flows; one alone needs no tuple. Both are functions of their arguments only: other
    inputs and trainable parameters must be arguments. The function returns one tensor.

        @gc.custom_gradient(lambda g, y, x: g)      # rounds, and lets gradients through
        def straight_through(x):
            return gc.round(x)

    Derivatives of any order are taken of ``backward`` as of any other function; `jvp` needs it to
    be linear in ``g``. Raises `UserError` when called or differentiated: GC0101 (a cotangent of
    another shape), GC0107 (not a tensor), GC0302 (something from outside, or not one cotangent per
    tensor).
    """

    def decorate(function: Function) -> Callable[..., Tensor]:
        def applied(*args: Any, **named: Any) -> Tensor:
            leaves, rebuild = flatten((args, named))
            places = [k for k, x in enumerate(leaves) if isinstance(x, Tensor)]
            xs = [leaves[k].node for k in places]
            value = _single(function(*args, **named))
            _only_of("function", [value], xs)

            def rule(g: Node, y: Node, _: Node, *nodes: Node) -> Sequence[Node | None]:
                filled = list(leaves)
                for place, node in zip(places, nodes, strict=True):
                    filled[place] = Tensor(node)
                given, options = rebuild(filled)
                parts = _cotangents(backward(Tensor(g), Tensor(y), *given, **options), nodes)
                _only_of("backward function", [p for p in parts if p is not None], (g, y, *nodes))
                return parts

            return Tensor(OwnGradient("custom_gradient", rule)(value, *xs))

        return wraps(function)(at_user_line(applied))

    return decorate


def checkpoint(function: Function) -> Function:
    """``function`` with the same values and gradients, in less memory: what it computes is not kept
    for the backward pass, but computed again there from its arguments.

    The function takes and returns tensors (or None), nested as it likes; the common use is
    ``gc.checkpoint(layer)(x)``. Inputs and parameters that it uses count as arguments; of other
    tensors from outside pass those that need not be computed again. Gradients of several results
    are computed from one recomputation each. Chen, Xu, Zhang and Guestrin, Training deep nets with
    sublinear memory cost (2016).
    """

    def applied(*args: Any, **named: Any) -> Any:
        given = [x.node for x in flatten((args, named))[0] if isinstance(x, Tensor)]
        results, rebuild = flatten(function(*args, **named))
        kept = (None if y is None else _kept_from(tensor(y).node, given) for y in results)
        return rebuild(list(kept))

    return wraps(function)(at_user_line(applied))


def _kept_from(value: Node, given: Iterable[Node]) -> Tensor:
    """``value`` as something to compute again from ``given`` and the leaves it uses beside them."""
    leaves = (n for n in toposort([value], given) if n.op.is_input or n.op.storage is not None)
    starts = dict.fromkeys((*given, *leaves))
    if value in starts or not value.dtype.is_float:
        return Tensor(value)
    return Tensor(OwnGradient("checkpoint", recomputed, walks=True)(value, *starts))


def _single(result: Any) -> Node:
    if not isinstance(result, Tensor):
        raise UserError(
            "GC0107",
            f"a function with a custom gradient returns {type(result).__name__}",
            why="its backward function gets one cotangent, that of one tensor",
            fix="return one tensor; stack several, or write a function for each",
        )
    return result.node


def _cotangents(found: Any, nodes: Sequence[Node]) -> list[Node | None]:
    """What a backward function returned, as nodes of the types of ``nodes``."""
    listed = list(found) if isinstance(found, tuple | list) else [found]
    if len(listed) != len(nodes):
        raise UserError(
            "GC0302",
            f"a backward function returns {len(listed)} cotangents for {len(nodes)} tensors",
            fix="return one for each argument that is a tensor, None where nothing flows",
        )
    return [None if g is None else _cotangent(g, x) for g, x in zip(listed, nodes, strict=True)]


def _cotangent(found: Any, x: Node) -> Node | None:
    if not x.dtype.is_float:
        return None
    node = as_node(found, x.dtype)
    if node.shape not in ((), x.shape):
        raise UserError(
            "GC0101",
            f"a backward function returns {node.type} for {brief(x)}",
            why="a cotangent has the shape of its tensor",
            fix="sum over the axes along which the function repeats that argument",
        )
    return broadcast_to(node, x.shape)


def _only_of(name: str, results: Sequence[Node], given: Sequence[Node]) -> None:
    """Raises `UserError` GC0302 when ``results`` use what is not ``given`` and may be varied."""
    for node in toposort(results, given):
        if node.op.is_input or getattr(node.op, "trainable", False):
            raise UserError(
                "GC0302",
                f"the {name} of a custom gradient uses {brief(node)}, which is not an argument",
                why="gradients flow to arguments only",
                fix="pass it as an argument; the backward function may return None for it",
            )
