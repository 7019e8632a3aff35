"""Graphs of attention, there and back, written out by the frontend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import graphc as gc
from graphc import nn
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Array, Graph

PLACES, FEATURES = 9, 4
Sizes = tuple[int, ...]


def attention(
    queries: Sizes = (2, 2, PLACES, FEATURES),
    keys: Sizes | None = None,
    values: Sizes | None = None,
    dtype: str = "float32",
    mask: tuple[Sizes, str] | None = None,
    **more: Any,
) -> tuple[list[Tensor], Tensor]:
    """Queries, keys, values, a mask if there is a type of one, and what attention makes of them."""
    keys = keys or queries
    given = {"q": queries, "k": keys, "v": values or keys}
    inputs = [gc.input(name, shape, dtype) for name, shape in given.items()]
    if mask is not None:
        inputs.append(gc.input("mask", *mask))
    return inputs, nn.scaled_dot_product_attention(*inputs, **more)


def trained(inputs: list[Tensor], result: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The same and the gradients of all but the mask, which another input weighs."""
    weight = gc.input("weight", result.shape, result.dtype.name)
    wanted = [x for x in inputs if x.dtype.is_float][:3]
    gradients = gc.grad((result * weight).sum(), wanted)
    return [*inputs, weight], [result, *gradients]


def graph(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Graph:
    return Graph(tuple(x.node for x in inputs), tuple(y.node for y in outputs))


def arrays(made: Graph, seed: int = 0) -> list[Array]:
    """Normal numbers, and bools of which half hold."""
    rng = np.random.default_rng(seed)
    found = []
    for x in made.inputs:
        numbers = rng.normal(size=x.type.static_shape)
        is_bool = x.dtype.name == "bool"
        found.append(numbers > 0 if is_bool else numbers.astype(x.dtype.numpy))
    return found
