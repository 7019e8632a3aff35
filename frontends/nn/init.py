"""Start values of weights.

Comes in: a NumPy generator and a shape ``[out, in, *kernel]``. Goes out: an array. A separate step
because how far the signal carries at the start is decided here alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.random import Generator

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


def tensor_generator(seed: Rng) -> Generator:
    """A source of random tensors for a layer: of its own seed, or of one that is drawn."""
    return Generator(seed if isinstance(seed, int) else int(generator(seed).integers(2**63)))


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


def lecun_uniform(rng: Source, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 1 / fan in (LeCun et al. 1998, Efficient BackProp, section 4.6)."""
    return uniform(math.sqrt(3 / max(fans(shape)[0], 1)))(rng, shape)


def lecun_normal(rng: Source, shape: tuple[int, ...]) -> Array:
    """Normal with variance 1 / fan in (LeCun et al. 1998), for SELU (Klambauer et al. 2017)."""
    return normal(math.sqrt(1 / max(fans(shape)[0], 1)))(rng, shape)


def orthogonal(gain: float = 1.0) -> Initialiser:
    """``gain`` times a matrix with orthonormal rows, or columns if these are fewer.

    All such matrices are equally likely; axes from the second on count as one (Saxe et al. 2013;
    Mezzadri 2007 for the signs). Raises `UserError` GC0103 for fewer than two axes.
    """

    def made(rng: Source, shape: tuple[int, ...]) -> Array:
        _check_rank("orthogonal", shape)
        rows, columns = shape[0], math.prod(shape[1:])
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.where(np.diagonal(r) < 0, -1, 1)
        return (gain * (q if rows >= columns else q.T)).reshape(shape).astype(np.float32)

    return made


def identity(rng: Source, shape: tuple[int, ...]) -> Array:
    """Ones on the diagonal of a matrix, zeros elsewhere (Le et al. 2015, for ReLU recurrences)."""
    if len(shape) != 2:
        raise UserError("GC0103", f"identity of shape {shape}", fix="use dirac for convolutions")
    return np.eye(*shape, dtype=np.float32)


def dirac(groups: int = 1) -> Initialiser:
    """Filters ``[out, in, *kernel]`` that hand channel k of a group on as output k of that group.

    The middle place of the kernel is one; further outputs are zero (Zagoruyko and Komodakis 2017).
    Raises `UserError` GC0103 for fewer than three axes, GC0104 if groups do not divide the outputs.
    """

    def made(rng: Source, shape: tuple[int, ...]) -> Array:
        _check_rank("dirac", shape, 3)
        if groups < 1 or shape[0] % groups:
            raise UserError("GC0104", f"{shape[0]} outputs in {groups} groups")
        found = np.zeros(shape, np.float32)
        middle = tuple(size // 2 for size in shape[2:])
        outputs = shape[0] // groups
        for group, k in np.ndindex(groups, min(outputs, shape[1])):
            found[(group * outputs + k, k, *middle)] = 1
        return found

    return made


def _check_rank(name: str, shape: tuple[int, ...], least: int = 2) -> None:
    if len(shape) < least:
        raise UserError("GC0103", f"{name} of shape {shape}", fix=f"it needs {least} axes or more")


def uniform(bound: float) -> Initialiser:
    """Uniform between ``-bound`` and ``bound``."""
    return lambda rng, shape: rng.uniform(-bound, bound, shape).astype(np.float32)


def normal(std: float) -> Initialiser:
    """Normal with mean 0 and standard deviation ``std``."""
    return lambda rng, shape: (rng.standard_normal(shape) * std).astype(np.float32)


def truncated_normal(std: float = 1.0, cutoff: float = 2.0) -> Initialiser:
    """`normal` with every draw beyond ``cutoff`` times ``std`` drawn again.

    Raises `UserError` GC0104 for a cutoff of 0 or below.
    """
    if cutoff <= 0:
        raise UserError("GC0104", f"a normal cut off at {cutoff}", fix="use a number above 0")

    def made(rng: Source, shape: tuple[int, ...]) -> Array:
        draws = rng.standard_normal(shape)
        while (far := np.abs(draws) > cutoff).any():
            draws = np.where(far, rng.standard_normal(shape), draws)
        return (draws * std).astype(np.float32)

    return made


def constant(value: float) -> Initialiser:
    """``value`` everywhere."""
    return lambda rng, shape: np.full(shape, value, np.float32)


zeros, ones = constant(0.0), constant(1.0)
