"""Dropout.

Comes in: a tensor. Goes out: the same, in training with zeros in some places, and where it was
kept. A separate file because it alone draws random numbers and is part of networks.
"""

from __future__ import annotations

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn import functional
from graphc.frontends.nn.init import tensor_generator
from graphc.frontends.onnx.registry import Known, Node, operator


@operator("Dropout")
def dropout(
    x: Tensor,
    ratio: Known | float = 0.5,
    training_mode: Known | None = None,
    *,
    seed: int | None = None,
    node: Node,
) -> tuple[Tensor, Tensor]:
    """x, in training with each element set to 0 with probability ``ratio`` and the others scaled
    up, and what is kept: bools, before operator set 10 of the dtype of x.
    """
    share = 0.5 if ratio is None else float(ratio)
    if training_mode is None or not training_mode or share == 0:
        return x, gc.ones(x.shape, "bool" if node.version >= 10 else x.dtype)
    source = tensor_generator(None if seed is None else seed % 2**64)
    keep = source.bernoulli(1 - share, x.shape)
    return functional.dropout(x, keep, share), keep
