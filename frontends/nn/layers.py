"""Layers with weights, pooling and activations, under the names that PyTorch users know.

Comes in: sizes and a random generator. Goes out: modules. Every ``rng`` is a NumPy generator, a
seed, or None for the generator that `graphc.frontends.nn.init.seed` sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from graphc.errors import UserError
from graphc.frontends.dsl import elementwise, reductions
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.random import Generator
from graphc.frontends.dsl.shaping import take
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.frontends.nn import functional, init
from graphc.frontends.nn.functional import Padding, Sizes, several
from graphc.frontends.nn.init import Initialiser, Rng, Source
from graphc.frontends.nn.module import Module


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
        self.bias = _bias(bias, outputs, inputs, source)

    def forward(self, x: Value) -> Tensor:
        """``[..., inputs]`` to ``[..., outputs]``."""
        return functional.linear(x, self.weight, self.bias)


def _bias(wanted: bool, outputs: int, fan_in: int, source: Source) -> Tensor | None:
    """A bias uniform in +-1/sqrt(fan in), as PyTorch starts it."""
    if not wanted:
        return None
    return parameter(init.uniform(max(fan_in, 1) ** -0.5)(source, (outputs,)), "bias")


class Convolution(Module):
    """`functional.conv` with weights over ``rank`` spatial axes: `Conv1d`, `Conv2d`, `Conv3d`."""

    rank: ClassVar[int]

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes = 1,
        padding: Padding = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        rng: Rng = None,
        initialiser: Initialiser = init.fan_in_uniform,
    ) -> None:
        if groups < 1 or inputs % groups or outputs % groups:
            raise UserError(
                "GC0104",
                f"{inputs} and {outputs} channels in {groups} groups",
                why="every group has as many channels",
                fix="use a divisor of both numbers of channels",
            )
        source = init.generator(rng)
        shape = (outputs, inputs // groups, *several(kernel, self.rank))
        self.weight = parameter(initialiser(source, shape), "weight")
        self.bias = _bias(bias, outputs, init.fans(shape)[0], source)
        self.stride, self.padding = stride, padding
        self.dilation, self.groups = dilation, groups

    def forward(self, x: Value) -> Tensor:
        """``[n, inputs, *sizes]`` to ``[n, outputs, *sizes]``."""
        return functional.conv(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv1d(Convolution):
    """Convolution of ``[n, inputs, width]``; weight ``[outputs, inputs/groups, kernel]``."""

    rank = 1


class Conv2d(Convolution):
    """Convolution of ``[n, inputs, h, w]``; weight ``[outputs, inputs/groups, kh, kw]``."""

    rank = 2


class Conv3d(Convolution):
    """Convolution of ``[n, inputs, depth, height, width]``."""

    rank = 3


class MaxPool2d(Module):
    """The largest element of each window of ``[n, c, h, w]``; the stride defaults to it."""

    def __init__(self, window: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> None:
        self.window, self.stride, self.padding = window, stride, padding

    def forward(self, x: Value) -> Tensor:
        """``[n, c, h, w]`` to ``[n, c, h', w']``."""
        return functional.max_pool(x, self.window, self.stride, self.padding)


class AvgPool2d(Module):
    """The mean of each window of ``[n, c, h, w]``; the stride is the window by default."""

    def __init__(self, window: Sizes, stride: Sizes | None = None, padding: Padding = 0) -> None:
        self.window, self.stride, self.padding = window, stride, padding

    def forward(self, x: Value) -> Tensor:
        """``[n, c, h, w]`` to ``[n, c, h', w']``."""
        return functional.avg_pool(x, self.window, self.stride, self.padding)


class Flatten(Module):
    """All axes from ``start`` on become one: ``[n, c, h, w]`` to ``[n, c*h*w]``."""

    def __init__(self, start: int = 1) -> None:
        self.start = start

    def forward(self, x: Value) -> Tensor:
        """``[n, ...]`` to ``[n, elements]``."""
        value = tensor(x)
        return value.reshape((*value.shape[: self.start], -1))


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


class Dropout(Module):
    """In training sets each element to 0 with ``probability`` and scales the others up.

    The masks are new at every call of the compiled step and repeat with ``seed``.
    """

    def __init__(self, probability: float = 0.5, seed: int = 0) -> None:
        if not 0 <= probability < 1:
            raise UserError("GC0104", f"dropout of {probability}", fix="use 0 <= probability < 1")
        self.probability = probability
        self.random = Generator(seed)

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        value = tensor(x)
        if not self.training or self.probability == 0:
            return value
        keep = self.random.bernoulli(1 - self.probability, value.shape)
        return functional.dropout(value, keep, self.probability)


# Activations --------------------------------------------------------------------------------------
class Activation(Module):
    """A function of each element, as a module."""

    function: ClassVar[Callable[..., Tensor]]

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return type(self).function(x)


class ReLU(Activation):
    """max(x, 0)."""

    function = staticmethod(elementwise.relu)


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = staticmethod(elementwise.tanh)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(elementwise.sigmoid)


class SiLU(Activation):
    """x * sigmoid(x)."""

    function = staticmethod(elementwise.silu)


class GELU(Module):
    """x times the normal distribution function of x, or its approximation by tanh."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return elementwise.gelu(x, self.approximate)


class LeakyReLU(Module):
    """x above 0, else slope * x."""

    def __init__(self, slope: float = 0.01) -> None:
        self.slope = slope

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return elementwise.leaky_relu(x, self.slope)


class Softmax(Module):
    """exp(x) / sum(exp(x)) along ``axis``."""

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return reductions.softmax(x, self.axis)
