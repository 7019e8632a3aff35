"""Activations as layers: the functions of `graphc.frontends.dsl` with their options kept.

Comes in: options. Goes out: modules without parameters (`PReLU` has one). A separate file because
they say nothing but which function they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import numpy as np

from graphc.frontends.dsl import activations, elementwise, reductions
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.frontends.nn.module import Module


class Activation(Module):
    """``function(x, *options)``: the base of all that follow."""

    function: ClassVar[Callable[..., Tensor]]
    options: tuple[float, ...] = ()

    def forward(self, x: Value) -> Tensor:
        """Same shape, but for `GLU`."""
        return type(self).function(x, *self.options)


# Without options ----------------------------------------------------------------------------------
class ReLU(Activation):
    """max(x, 0)."""

    function = staticmethod(elementwise.relu)


class ReLU6(Activation):
    """x kept between 0 and 6."""

    function = staticmethod(activations.relu6)


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = staticmethod(elementwise.tanh)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(elementwise.sigmoid)


class LogSigmoid(Activation):
    """log(sigmoid(x)), without overflow."""

    function = staticmethod(activations.log_sigmoid)


class SiLU(Activation):
    """x * sigmoid(x)."""

    function = staticmethod(elementwise.silu)


class Mish(Activation):
    """x * tanh(softplus(x))."""

    function = staticmethod(activations.mish)


class SELU(Activation):
    """A multiple of ELU that keeps mean 0 and variance 1."""

    function = staticmethod(activations.selu)


class Softsign(Activation):
    """x / (1 + abs(x))."""

    function = staticmethod(activations.softsign)


class Hardsigmoid(Activation):
    """relu6(x + 3) / 6."""

    function = staticmethod(activations.hard_sigmoid)


class Hardswish(Activation):
    """x * relu6(x + 3) / 6."""

    function = staticmethod(activations.hard_swish)


class Tanhshrink(Activation):
    """x - tanh(x)."""

    function = staticmethod(activations.tanh_shrink)


# With options -------------------------------------------------------------------------------------
class LeakyReLU(Activation):
    """x above 0, else slope * x."""

    function = staticmethod(elementwise.leaky_relu)

    def __init__(self, slope: float = 0.01) -> None:
        self.options = (slope,)


class ELU(Activation):
    """x above 0, else alpha * (exp(x) - 1)."""

    function = staticmethod(elementwise.elu)

    def __init__(self, alpha: float = 1.0) -> None:
        self.options = (alpha,)


class CELU(Activation):
    """x above 0, else alpha * (exp(x / alpha) - 1)."""

    function = staticmethod(activations.celu)

    def __init__(self, alpha: float = 1.0) -> None:
        self.options = (alpha,)


class Hardtanh(Activation):
    """x kept between ``low`` and ``high``."""

    function = staticmethod(activations.hard_tanh)

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.options = (low, high)


class Threshold(Activation):
    """x above ``limit``, else ``value``."""

    function = staticmethod(activations.threshold)

    def __init__(self, limit: float, value: float) -> None:
        self.options = (limit, value)


class Hardshrink(Activation):
    """x further than ``limit`` from 0, else 0."""

    function = staticmethod(activations.hard_shrink)

    def __init__(self, limit: float = 0.5) -> None:
        self.options = (limit,)


class Softshrink(Activation):
    """x moved towards 0 by ``limit``, not beyond it."""

    function = staticmethod(activations.soft_shrink)

    def __init__(self, limit: float = 0.5) -> None:
        self.options = (limit,)


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta, without overflow (Dugas et al. 2000)."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        if self.beta == 1:
            return elementwise.softplus(x)
        return elementwise.softplus(elementwise.multiply(x, self.beta)) * (1 / self.beta)


class GELU(Module):
    """x times the normal distribution function of x, or its approximation by tanh."""

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate: Literal["none", "tanh"] = approximate

    def forward(self, x: Value) -> Tensor:
        """Same shape."""
        return elementwise.gelu(x, self.approximate)


class PReLU(Module):
    """x above 0, else weight * x; ``weight [count]`` is learned, one for all or one per channel."""

    def __init__(self, count: int = 1, start: float = 0.25) -> None:
        self.weight = parameter(np.full(count, start, np.float32), "weight")

    def forward(self, x: Value) -> Tensor:
        """Same shape; channels are axis 1."""
        return activations.prelu(x, self.weight)


# Over an axis -------------------------------------------------------------------------------------
class AlongAxis(Activation):
    """A function over one axis."""

    def __init__(self, axis: int = -1) -> None:
        self.options = (axis,)


class Softmax(AlongAxis):
    """exp(x) / sum(exp(x)) along ``axis``."""

    function = staticmethod(reductions.softmax)


class LogSoftmax(AlongAxis):
    """log(softmax(x)) along ``axis``."""

    function = staticmethod(reductions.log_softmax)


class Softmin(AlongAxis):
    """softmax(-x) along ``axis``."""

    function = staticmethod(activations.softmin)


class GLU(AlongAxis):
    """The first half of ``axis`` times the sigmoid of the second."""

    function = staticmethod(activations.glu)
