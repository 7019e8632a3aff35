"""Layers that map features: linear, bilinear, embedding; and what puts layers around a residual.

Comes in: sizes and a random generator. Goes out: modules, under the names that PyTorch users know.
Every ``rng`` is a NumPy generator, a seed, or None for the generator that
`graphc.frontends.nn.init.seed` sets.
"""

from __future__ import annotations

from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.shaping import take
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import functional, init
from graphc.frontends.nn.init import Initialiser, Rng, Source
from graphc.frontends.nn.module import Module, Sequential


class Linear(Module):
    """``y = x @ weight.T + bias``: ``[..., inputs]`` to ``[..., outputs]``.

    ``weight`` is ``[outputs, inputs]``, ``bias`` ``[outputs]``.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        *,
        rng: Rng = None,
        initialiser: Initialiser = init.fan_in_uniform,
    ) -> None:
        source = init.generator(rng)
        self.weight = parameter(initialiser(source, (outputs, inputs)), "weight")
        self.bias = fan_in_bias(bias, outputs, inputs, source)

    def forward(self, x: Value) -> Tensor:
        """``[..., inputs]`` to ``[..., outputs]``."""
        return functional.linear(x, self.weight, self.bias)


class Bilinear(Module):
    """``y[k] = x1 @ weight[k] @ x2 + bias[k]``: a product of two feature vectors.

    ``weight`` is ``[outputs, inputs1, inputs2]``, ``bias`` ``[outputs]``; both start uniform in
    +-1/sqrt(inputs1).
    """

    def __init__(
        self, inputs1: int, inputs2: int, outputs: int, bias: bool = True, *, rng: Rng = None
    ) -> None:
        source, make = init.generator(rng), init.uniform(max(inputs1, 1) ** -0.5)
        self.weight = parameter(make(source, (outputs, inputs1, inputs2)), "weight")
        self.bias = fan_in_bias(bias, outputs, inputs1, source)

    def forward(self, x1: Value, x2: Value) -> Tensor:
        """``[..., inputs1]`` and ``[..., inputs2]`` to ``[..., outputs]``."""
        return functional.bilinear(x1, x2, self.weight, self.bias)


def fan_in_bias(wanted: bool, outputs: int, fan_in: int, source: Source) -> Tensor | None:
    """A bias uniform in +-1/sqrt(fan in), as PyTorch starts it; None if it is not wanted."""
    if not wanted:
        return None
    return parameter(init.uniform(max(fan_in, 1) ** -0.5)(source, (outputs,)), "bias")


class Embedding(Module):
    """Rows of ``weight [count, features]`` by integer index: ``[...]`` to ``[..., features]``."""

    def __init__(
        self,
        count: int,
        features: int,
        *,
        rng: Rng = None,
        initialiser: Initialiser | None = None,
    ) -> None:
        make = initialiser or init.normal(1.0)
        self.weight = parameter(make(init.generator(rng), (count, features)), "weight")

    def forward(self, indices: Value) -> Tensor:
        """Integers ``[...]`` to ``[..., features]``."""
        return take(self.weight, indices, 0)


class Flatten(Module):
    """All axes from ``start`` on become one: ``[n, c, h, w]`` to ``[n, c*h*w]``."""

    def __init__(self, start: int = 1) -> None:
        self.start = start

    def forward(self, x: Value) -> Tensor:
        """``[n, ...]`` to ``[n, elements]``."""
        value = tensor(x)
        return value.reshape((*value.shape[: self.start], -1))


class Identity(Module):
    """Its input: stands where a layer may be left out."""

    def forward(self, x: Value) -> Tensor:
        """``x``."""
        return tensor(x)


class Residual(Sequential):
    """``x + layers[-1](... layers[0](x))`` (He et al. 2016); the layers keep the shape."""

    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0101 when the layers change it."""
        given = tensor(x)
        change: Tensor = super().forward(given)
        return given + change
