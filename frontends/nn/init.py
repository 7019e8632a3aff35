"""Start values of weights.

Comes in: a NumPy generator and a shape ``[out, in, *kernel]``. Goes out: an array. A separate step
because how far the signal carries at the start is decided here alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Source = np.random.Generator
Initialiser = Callable[[Source, tuple[int, ...]], Array]
Rng = Source | int | None
"""A NumPy generator, a seed, or None for the default generator that `seed` sets."""

_default = {"rng": np.random.default_rng(0)}


def seed(number: int) -> None:
    """Start the default generator anew; layers made without ``rng`` draw their weights from it."""
    _default["rng"] = np.random.default_rng(number)


def generator(rng: Rng) -> Source:
    """The generator that ``rng`` stands for."""
    if rng is None:
        return _default["rng"]
    return np.random.default_rng(rng) if isinstance(rng, int) else rng


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many inputs an output of the layer reads, and how many outputs an input reaches."""
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def fan_in_uniform(rng: Source, shape: tuple[int, ...]) -> Array:
    """Uniform in +-1/sqrt(fan in): PyTorch's default for linear layers and convolutions."""
    return uniform(1 / math.sqrt(max(fans(shape)[0], 1)))(rng, shape)


def glorot_uniform(rng: Source, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / (fan in + fan out) (Glorot and Bengio 2010, eq. 16)."""
    return uniform(math.sqrt(6 / max(sum(fans(shape)), 1)))(rng, shape)


def glorot_normal(rng: Source, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / (fan in + fan out) (Glorot and Bengio 2010)."""
    return normal(math.sqrt(2 / max(sum(fans(shape)), 1)))(rng, shape)


def he_uniform(rng: Source, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / fan in, for ReLU layers (He et al. 2015, eq. 10)."""
    return uniform(math.sqrt(6 / max(fans(shape)[0], 1)))(rng, shape)


def he_normal(rng: Source, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / fan in, for ReLU layers (He et al. 2015, eq. 10)."""
    return normal(math.sqrt(2 / max(fans(shape)[0], 1)))(rng, shape)


def uniform(bound: float) -> Initialiser:
    """Uniform between ``-bound`` and ``bound``."""
    return lambda rng, shape: rng.uniform(-bound, bound, shape).astype(np.float32)


def normal(std: float) -> Initialiser:
    """Normal with mean 0 and standard deviation ``std``."""
    return lambda rng, shape: (rng.standard_normal(shape) * std).astype(np.float32)


def constant(value: float) -> Initialiser:
    """``value`` everywhere."""
    return lambda rng, shape: np.full(shape, value, np.float32)
