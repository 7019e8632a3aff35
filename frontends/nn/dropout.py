"""Dropout layers: elements or whole channels set to a floor while training.

Comes in: tensors. Goes out: tensors of the same shape, with other ones missing at every call. A
separate file because these layers have a mode and a random generator, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import functional
from graphc.frontends.nn.init import Rng, tensor_generator
from graphc.frontends.nn.layers import Identity
from graphc.frontends.nn.module import Module


class Dropping(Module):
    """What all dropout layers share: in training each place is dropped with ``probability``.

    The masks are new at every call of the compiled step and repeat with ``seed``: a number, a NumPy
    generator that draws it, or None for the default generator. Raises `UserError` GC0104.
    """

    function: ClassVar[Callable[..., Tensor]] = staticmethod(functional.dropout)
    ranks: ClassVar[tuple[int, ...]] = ()
    """The numbers of axes that x may have where whole channels are dropped; else empty."""

    def __init__(self, probability: float = 0.5, seed: Rng = None) -> None:
        if not 0 <= probability < 1:
            raise UserError("GC0104", f"dropout of {probability}", fix="use 0 <= probability < 1")
        self.probability = probability
        self.random = tensor_generator(seed)

    @at_user_line
    def forward(self, x: Value) -> Tensor:
        """Same shape. Raises `UserError` GC0103 where channels are dropped that x does not have."""
        value = tensor(x)
        places = self._places(value)
        if not self.training or self.probability == 0:
            return value
        keep = self.random.bernoulli(1 - self.probability, places)
        return type(self).function(value, keep, self.probability)

    def _places(self, x: Tensor) -> tuple[Size, ...]:
        """The shape of the mask: that of ``x``, or with 1 in place of the sizes of channels."""
        if not self.ranks:
            return x.shape
        if x.ndim not in self.ranks:
            raise UserError(
                "GC0103",
                f"{type(self).__name__} of {x.node.type}",
                fix=f"it takes {' or '.join(map(str, self.ranks))} axes: [n, channels, ...]",
            )
        return (*x.shape[:2], *[1] * (x.ndim - 2))


class Dropout(Dropping):
    """In training sets each element to 0 with ``probability`` and scales the others up."""


class Dropout1d(Dropping):
    """`Dropout` of whole channels of ``[n, channels, width]`` (Tompson et al. 2015)."""

    ranks = (3,)


class Dropout2d(Dropping):
    """`Dropout` of whole channels of ``[n, channels, height, width]`` (Tompson et al. 2015)."""

    ranks = (4,)


class Dropout3d(Dropping):
    """`Dropout` of whole channels of ``[n, channels, depth, height, width]``."""

    ranks = (5,)


class AlphaDropout(Dropping):
    """`functional.alpha_dropout` in training, for networks with SELU: keeps mean and variance."""

    function = staticmethod(functional.alpha_dropout)


class FeatureAlphaDropout(AlphaDropout):
    """`AlphaDropout` of whole channels of ``[n, channels, ...]``."""

    ranks = (2, 3, 4, 5)


def optional_dropout(probability: float, seed: Rng) -> Module:
    """A `Dropout` for a layer that may have one: for 0 a layer without a generator in its state."""
    return Dropout(probability, seed) if probability else Identity()
