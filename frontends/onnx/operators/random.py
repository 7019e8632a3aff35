"""Random numbers: draws from a distribution, new ones at every run.

Comes in: shapes, parameters of distributions, seeds. Goes out: tensors that take their numbers from
a generator of graphc (`Generator`), one for each node, whose state is stored between runs. A
separate step because ONNX gives seeds as floats, or leaves them out. Which numbers come out of a
seed is not part of ONNX.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

import graphc.frontends.dsl as gc
from graphc.frontends.dsl.random import Generator
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.dtypes import dtype_of
from graphc.frontends.onnx.registry import operator
from graphc.types import FLOAT32, DType


def generator(seed: float | None) -> Generator:
    """A source of numbers: the bits of ``seed`` are the seed; without one it is new each time."""
    bits = secrets.randbits(64) if seed is None else int(np.float32(seed).view(np.uint32))
    return Generator(bits)


@operator("RandomNormal")
def random_normal(
    *,
    shape: Sequence[int],
    mean: float = 0.0,
    scale: float = 1.0,
    dtype: int = 1,
    seed: float | None = None,
) -> Tensor:
    """Normally distributed numbers."""
    return generator(seed).normal(tuple(shape), mean, scale, dtype_of(dtype))


@operator("RandomNormalLike")
def random_normal_like(
    x: Tensor,
    *,
    mean: float = 0.0,
    scale: float = 1.0,
    dtype: int = 0,
    seed: float | None = None,
) -> Tensor:
    """Normally distributed numbers of the shape of ``x``."""
    return generator(seed).normal(x.shape, mean, scale, _dtype(dtype, x))


@operator("RandomUniform")
def random_uniform(
    *,
    shape: Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    dtype: int = 1,
    seed: float | None = None,
) -> Tensor:
    """Numbers from ``low`` to ``high``, all equally likely."""
    return generator(seed).uniform(tuple(shape), low, high, dtype_of(dtype))


@operator("RandomUniformLike")
def random_uniform_like(
    x: Tensor,
    *,
    low: float = 0.0,
    high: float = 1.0,
    dtype: int = 0,
    seed: float | None = None,
) -> Tensor:
    """Numbers from ``low`` to ``high`` in the shape of ``x``."""
    return generator(seed).uniform(x.shape, low, high, _dtype(dtype, x))


@operator("Bernoulli")
def bernoulli(x: Tensor, *, dtype: int = 0, seed: float | None = None) -> Tensor:
    """1 with the probability that ``x`` says for each place, else 0."""
    drawn = generator(seed).uniform(x.shape, dtype=x.dtype)
    return (drawn < x).astype(_dtype(dtype, x))


@operator("Multinomial")
def multinomial(
    x: Tensor, *, sample_size: int = 1, dtype: int = 6, seed: float | None = None
) -> Tensor:
    """``sample_size`` classes for each row of ``x`` ``[batch, classes]``, logarithms of weights.

    The largest of the logarithms, each with noise of its own, is a class drawn by its weight
    (Gumbel, Statistical theory of extreme values, 1954).
    """
    batch, classes = x.shape
    drawn = generator(seed).uniform((batch, sample_size, classes), dtype=FLOAT32)
    noise = -gc.log(-gc.log(drawn + 2.0**-25))
    return gc.argmax(x[:, None, :].astype(FLOAT32) + noise, axis=-1).astype(dtype_of(dtype))


def _dtype(number: int, like: Tensor) -> DType:
    """The dtype asked for, or that of ``like``."""
    return dtype_of(number) if number else like.dtype
