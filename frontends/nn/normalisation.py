"""Normalisation layers: `BatchNorm1d`, `BatchNorm2d`, `LayerNorm`.

Comes in: tensors whose scale drifts. Goes out: tensors with mean 0 and variance 1, scaled and
shifted by parameters. A separate file because batch normalisation has a memory and a mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import rsqrt
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn.functional import channelwise, normalise
from graphc.frontends.nn.module import Module


class BatchNorm(Module):
    """Normalises each channel of ``[n, features, ...]`` over all others (Ioffe and Szegedy 2015).

    In training the batch's own mean and variance are used, and `Module.updates` holds the running
    ones: ``running = (1 - momentum) * running + momentum * batch``, with the unbiased variance. In
    `eval` mode the running ones are used. ``weight`` and ``bias`` scale and shift each channel.
    """

    ranks: ClassVar[tuple[int, ...]]

    def __init__(self, features: int, epsilon: float = 1e-5, momentum: float = 0.1) -> None:
        self.epsilon, self.momentum = epsilon, momentum
        zeros, ones = np.zeros(features, np.float32), np.ones(features, np.float32)
        self.weight, self.bias = parameter(ones, "weight"), parameter(zeros, "bias")
        self.running_mean = parameter(zeros, "running_mean", trainable=False)
        self.running_var = parameter(ones, "running_var", trainable=False)

    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0103 for another number of axes."""
        value = tensor(x)
        if value.ndim not in self.ranks:
            raise UserError(
                "GC0103",
                f"{type(self).__name__} of {value.node.type}",
                fix=f"it takes {' or '.join(map(str, self.ranks))} axes: [n, features, ...]",
            )
        mean, var = self._statistics(value)
        scale = rsqrt(var + self.epsilon) * self.weight
        centred = value - channelwise(mean, value)
        return centred * channelwise(scale, value) + channelwise(self.bias, value)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[features]``: the batch's in training, else the running ones."""
        if not self.training:
            return self.running_mean, self.running_var
        axes = (0, *range(2, x.ndim))
        mean, unbiased = x.mean(axes), x.var(axes, correction=1)
        self.record(
            {
                self.running_mean: self._moved(self.running_mean, mean),
                self.running_var: self._moved(self.running_var, unbiased),
            }
        )
        return mean, x.var(axes)

    def _moved(self, running: Tensor, batch: Tensor) -> Tensor:
        return (1 - self.momentum) * running + self.momentum * batch


class BatchNorm1d(BatchNorm):
    """Batch normalisation of ``[n, features]`` or ``[n, features, width]``."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch normalisation of ``[n, features, height, width]``."""

    ranks = (4,)


class LayerNorm(Module):
    """Normalises the last axes, which have ``shape`` (Ba, Kiros and Hinton 2016)."""

    def __init__(self, shape: int | Sequence[int], epsilon: float = 1e-5) -> None:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        self.axes, self.epsilon = tuple(range(-len(sizes), 0)), epsilon
        self.weight = parameter(np.ones(sizes, np.float32), "weight")
        self.bias = parameter(np.zeros(sizes, np.float32), "bias")

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return normalise(x, self.axes, self.epsilon) * self.weight + self.bias
