"""Operators of training, in the domain ai.onnx.preview.training: derivatives, optimisers.

Comes in: tensors of a graph, or what a step of an optimiser needs. Goes out: derivatives, or new
values and new state. A separate file because it is a domain of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.registry import Node, operator

DOMAIN = "ai.onnx.preview.training"


@operator("Gradient", domain=DOMAIN)
def gradient(
    *inputs: Tensor, xs: Sequence[str], y: str, zs: Sequence[str] = (), node: Node
) -> tuple[Tensor, ...]:
    """The derivative of the sum of the tensor called ``y`` by each of those called ``xs``.

    Raises `UserError` GC0505 where ``inputs`` are not the tensors called ``xs`` and ``zs``, but
    others that are to be put in their places.
    """
    named = [node.around[name] for name in (*xs, *zs)]
    if any(a is not b for a, b in zip(inputs, named, strict=True)):
        raise UserError(
            "GC0505", "Gradient at other values than those of the graph", fix="use them in it"
        )  # fmt: skip
    target = node.around[y]
    if not isinstance(target, Tensor):
        raise UserError("GC0107", f"the gradient of {y!r}, which is no tensor")
    return gc.grad(target, inputs[: len(xs)], gc.ones_like(target))


def _step(
    rule: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], kinds: int
) -> tuple[Tensor, ...]:
    """``rule`` for each of several tensors: ``inputs`` has all tensors, then all their gradients,
    then each kind of state for all of them; the results are in the same order, without gradients.
    """
    count = len(inputs) // kinds
    found = [rule(*inputs[k::count]) for k in range(count)]
    return tuple(y for column in zip(*found, strict=True) for y in column)


@operator("Adagrad", domain=DOMAIN)
def adagrad(
    rate: Tensor,
    count: Tensor,
    *inputs: Tensor,
    decay_factor: float = 0.0,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
) -> tuple[Tensor, ...]:
    """A step for tensors x, gradients g and sums of squares h (Duchi, Hazan and Singer, 2011)."""
    reduced = rate / (1 + count.astype(rate.dtype) * decay_factor)

    def rule(x: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        slope = norm_coefficient * x + g
        total = h + slope * slope
        return x - reduced * slope / (gc.sqrt(total) + epsilon), total

    return _step(rule, inputs, 3)


@operator("Adam", domain=DOMAIN)
def adam(
    rate: Tensor,
    count: Tensor,
    *inputs: Tensor,
    alpha: float = 0.9,
    beta: float = 0.999,
    epsilon: float = 0.0,
    norm_coefficient: float = 0.0,
    norm_coefficient_post: float = 0.0,
) -> tuple[Tensor, ...]:
    """A step for tensors x, gradients g and means v, h of gradients and of their squares (Kingma
    and Ba, 2015).
    """
    steps = gc.maximum(count, 1).astype(rate.dtype)  # 0 would be a 0/0 where it is not taken
    unbiased = rate * gc.sqrt(1 - beta**steps) / (1 - alpha**steps)
    adjusted = gc.where(count > 0, unbiased, rate)

    def rule(x: Tensor, g: Tensor, v: Tensor, h: Tensor) -> tuple[Tensor, ...]:
        slope = norm_coefficient * x + g
        mean = alpha * v + (1 - alpha) * slope
        square = beta * h + (1 - beta) * slope * slope
        new = x - adjusted * mean / (gc.sqrt(square) + epsilon)
        return (1 - norm_coefficient_post) * new, mean, square

    return _step(rule, inputs, 4)


@operator("Momentum", domain=DOMAIN)
def momentum(
    rate: Tensor,
    count: Tensor,
    *inputs: Tensor,
    alpha: float,
    beta: float,
    mode: str,
    norm_coefficient: float,
) -> tuple[Tensor, ...]:
    """A step for tensors x, gradients g and momenta v, with ``mode`` "standard" or "nesterov"."""
    weight = gc.where(count > 0, beta, 1.0).astype(rate.dtype)

    def rule(x: Tensor, g: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        slope = norm_coefficient * x + g
        new = alpha * v + weight * slope
        return x - rate * (slope + alpha * new if mode == "nesterov" else new), new

    return _step(rule, inputs, 3)
