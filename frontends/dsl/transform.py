"""Differentiation as users call it: `grad` and `value_and_grad`.

Comes in: tensors. Goes out: tensors of the larger graph that `graphc.grad` builds. A separate step
because a user wants an error where the compiler has a None: a gradient that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphc.errors import UserError
from graphc.frontends.dsl.manners import as_node, at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.grad import gradients
from graphc.graph import Node, brief, describe
from graphc.ops.movement import broadcast_to
from graphc.site import here


@at_user_line
def grad(
    loss: Tensor, wrt: Tensor | Iterable[Tensor], seed: Value | None = None
) -> tuple[Tensor, ...]:
    """The derivative of ``loss`` by each tensor of ``wrt``; it can be differentiated again.

    ``loss`` is a single float, or has a ``seed`` of its shape: the derivative is then that of
    ``sum(loss * seed)``. Each result has the type of its tensor in ``wrt``. Raises `UserError`:
    GC0201 (integers, an operation without a derivative), GC0202 (no seed), GC0203 (``loss`` does
    not depend on a tensor of ``wrt``). Method: `graphc.grad`.
    """
    (loss,) = _chosen([loss], "gradient of")
    chosen = _chosen(wrt, "gradient by")
    nodes = [x.node for x in chosen]
    found = gradients(loss.node, nodes, _seed(loss, seed))
    return tuple(_connected(g, x, loss) for g, x in zip(found, nodes, strict=True))


def value_and_grad(
    loss: Tensor, wrt: Tensor | Iterable[Tensor], seed: Value | None = None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """``loss`` and `grad` of it, as a pair to compile together."""
    return loss, grad(loss, wrt, seed)


def _chosen(given: Tensor | Iterable[Tensor], role: str) -> Sequence[Tensor]:
    chosen = [given] if isinstance(given, Tensor) else list(given)
    for x in chosen:
        if not isinstance(x, Tensor):
            raise UserError(
                "GC0107",
                f"{role} {type(x).__name__} {str(x)[:40]!r}",
                why="tensors of one graph are differentiated by tensors of that graph",
                fix="pass the loss, then the inputs and parameters themselves",
            )
    return chosen


def _seed(loss: Tensor, seed: Value | None) -> Node | None:
    if seed is None:
        return None
    return broadcast_to(as_node(tensor(seed), loss.dtype), loss.shape)


def _connected(gradient: Node | None, x: Node, loss: Tensor) -> Tensor:
    if gradient is None:
        raise UserError(
            "GC0203",
            f"{loss.node.name or 'the result'} does not depend on {brief(x)}",
            why="no path of differentiable operations leads from one to the other",
            fix="leave it out of wrt, or use it in the computation (stop_gradient cuts paths)",
        ).located(str(here()), [describe(loss.node), describe(x)])
    return Tensor(gradient)
