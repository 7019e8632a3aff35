"""Elementwise operators: arithmetic, comparisons, logic, bits, trigonometry, activations.

Comes in: tensors. Goes out: tensors of the broadcast shape. A separate file because these need no
shape: most are a function of graphc under another name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import graphc.frontends.dsl as gc
from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.frontends.onnx.registry import operator
from graphc.frontends.onnx.values import is_of_sizes

_UNCHANGED: dict[str, Callable[..., Tensor]] = {
    "Abs": gc.abs,
    "Acos": gc.acos,
    "Acosh": gc.acosh,
    "Asin": gc.asin,
    "Asinh": gc.asinh,
    "Atan": gc.atan,
    "Atanh": gc.atanh,
    "BitwiseAnd": gc.bitwise_and,
    "BitwiseNot": gc.bitwise_invert,
    "BitwiseOr": gc.bitwise_or,
    "BitwiseXor": gc.bitwise_xor,
    "Ceil": gc.ceil,
    "Celu": gc.celu,
    "Cos": gc.cos,
    "Cosh": gc.cosh,
    "Elu": gc.elu,
    "Erf": gc.erf,
    "Exp": gc.exp,
    "Floor": gc.floor,
    "Gelu": gc.gelu,
    "GreaterOrEqual": gc.greater_equal,
    "HardSwish": gc.hard_swish,
    "IsNaN": gc.isnan,
    "LessOrEqual": gc.less_equal,
    "Log": gc.log,
    "Mish": gc.mish,
    "Neg": gc.negative,
    "Not": gc.logical_not,
    "Reciprocal": gc.reciprocal,
    "Relu": gc.relu,
    "Round": gc.round,
    "Sigmoid": gc.sigmoid,
    "Sign": gc.sign,
    "Sin": gc.sin,
    "Sinh": gc.sinh,
    "Softplus": gc.softplus,
    "Softsign": gc.softsign,
    "Sqrt": gc.sqrt,
    "Tan": gc.tan,
    "Tanh": gc.tanh,
    "Where": gc.where,
}
for _name, _function in _UNCHANGED.items():
    operator(_name)(_function)


# Arithmetic ---------------------------------------------------------------------------------------
def divide(a: Tensor, b: Tensor) -> Tensor:
    """The quotient; of integers without its fraction, as in C."""
    if a.dtype.is_float:
        return a / b
    if a.dtype.kind == "uint" or is_of_sizes(a):  # no negative numbers: nothing to cut off
        return a // b
    return (a - gc.fmod(a, b)) // b


@operator("Mod")
def modulo(a: Tensor, b: Tensor, *, fmod: int = 0) -> Tensor:
    """The remainder, with the sign of ``b``, or of ``a`` with ``fmod``."""
    return gc.fmod(a, b) if fmod else a % b


def power(x: Tensor, y: Tensor) -> Tensor:
    """``x`` to the power ``y``, in the dtype of ``x``; whole numbers to a fraction are cut off."""
    if x.dtype.is_integer and y.dtype.is_float:
        return gc.power(x.astype("float64"), y.astype("float64")).astype(x.dtype)
    return gc.power(x, y.astype(x.dtype))


@operator("BitShift")
def bit_shift(x: Tensor, y: Tensor, *, direction: str) -> Tensor:
    """The bits of ``x`` moved by ``y`` places to the LEFT or RIGHT."""
    if direction not in ("LEFT", "RIGHT"):
        raise UserError("GC0505", f"BitShift in direction {direction!r}", fix="use LEFT or RIGHT")
    return x << y if direction == "LEFT" else x >> y


# Of any number of tensors -------------------------------------------------------------------------
@operator("Max")
def maximum(*tensors: Tensor) -> Tensor:
    """The largest of the tensors."""
    return reduce(gc.maximum, tensors)


@operator("Min")
def minimum(*tensors: Tensor) -> Tensor:
    """The smallest of the tensors."""
    return reduce(gc.minimum, tensors)


@operator("Sum")
def total(*tensors: Tensor) -> Tensor:
    """The sum of the tensors."""
    return reduce(gc.add, tensors)


@operator("Mean")
def mean(*tensors: Tensor) -> Tensor:
    """The mean of the tensors."""
    return total(*tensors) / len(tensors)


# Special values -----------------------------------------------------------------------------------
@operator("IsInf")
def is_infinite(x: Tensor, *, detect_negative: int = 1, detect_positive: int = 1) -> Tensor:
    """Whether ``x`` is infinite, of the signs asked for."""
    if detect_negative and detect_positive:
        return gc.isinf(x)
    if detect_negative:
        return gc.isneginf(x)
    return gc.isposinf(x) if detect_positive else gc.zeros_like(x, "bool")


@operator("Clip")
def clip(x: Tensor, min: Value | None = None, max: Value | None = None) -> Tensor:
    """``x`` kept between ``min`` and ``max``; ``max`` wins where they are the wrong way round."""
    return gc.clip(x, min, max)


# Activations --------------------------------------------------------------------------------------
@operator("HardSigmoid")
def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """``alpha * x + beta`` kept between 0 and 1."""
    return gc.hard_tanh(alpha * x + beta, 0.0, 1.0)


@operator("LeakyRelu")
def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """``x`` where it is not negative, else ``alpha * x``."""
    return gc.leaky_relu(x, alpha)


@operator("PRelu", since=7)
def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """``x`` where it is not negative, else ``slope * x``; ``slope`` is broadcast."""
    return gc.where(x < 0, slope * x, x)


@operator("Selu")
def selu(
    x: Tensor, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805
) -> Tensor:
    """A multiple of `Elu` that keeps mean 0 and variance 1."""
    return gamma * gc.elu(x, alpha)


@operator("Shrink")
def shrink(x: Tensor, *, bias: float = 0.0, lambd: float = 0.5) -> Tensor:
    """``x`` moved by ``bias`` towards 0 where it is further than ``lambd`` from it, else 0."""
    wide = x if x.dtype.is_float else x.astype("float64")
    outside = gc.where(wide < -lambd, wide + bias, gc.where(wide > lambd, wide - bias, 0))
    return outside.astype(x.dtype)


@operator("Swish")
def swish(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x * sigmoid(alpha * x)``."""
    return gc.silu(x) if alpha == 1 else x * gc.sigmoid(alpha * x)


@operator("ThresholdedRelu")
def thresholded_relu(x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """``x`` above ``alpha``, else 0."""
    return gc.threshold(x, alpha, 0.0)


# Before version 7 --------------------------------------------------------------------------------
def _placed(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """``function`` whose second operand stands at ``axis`` of the first, not at its end."""

    def at_axis(a: Tensor, b: Tensor, *, axis: int | None = None, broadcast: int = 0) -> Tensor:
        behind = 0 if axis is None else a.ndim - axis % max(a.ndim, 1) - b.ndim
        return function(a, b.reshape([*b.shape, *[1] * behind]))

    return at_axis


for _name, _binary in {
    "Add": gc.add,
    "And": gc.logical_and,
    "Div": divide,
    "Equal": gc.equal,
    "Greater": gc.greater,
    "Less": gc.less,
    "Mul": gc.multiply,
    "Or": gc.logical_or,
    "Pow": power,
    "Sub": gc.subtract,
    "Xor": gc.logical_xor,
}.items():
    operator(_name)(_placed(_binary))
    operator(_name, since=7)(_binary)

operator("PRelu")(gc.prelu)
