"""What is measured: one computation written in every system, and what is done with it.

Comes in: nothing. Goes out: `Model`, `Workload` and the tasks. A separate step because the
mathematics of a workload must be readable on one screen, side by side in all systems, with no word
about processes, clocks or compilers: those are in `systems` and `worker`, once for all workloads.

A model is a frozen dataclass. Its fields are sizes, its docstring is the formula, and its methods
are (all of them may be left out, except `graphc`):

    inputs(rng)        the data of a call, by name: NumPy arrays
    parameters(rng)    what is learnt, by name
    graphc(gc, **tensors)         the result (a tensor, or a tuple of them; for training the loss)
    numpy(np, **arrays)           the same by hand
    torch(torch, **tensors)       the same with PyTorch, torch.compile and ONNX Runtime
    jax(jax, **arrays)            the same with JAX (``jax.numpy`` and ``jax.nn`` are loaded)
    numpy_gradients(np, **arrays) for the other tasks: the result, and gradients by name, by hand

Each method gets the system's module first, so that no workload imports a peer, then every array of
``inputs`` and ``parameters`` by name, as that system's own tensors. Integers are int64 for graphc
and PyTorch, int32 for JAX. The systems do the rest: compile, differentiate, update, wait.

An input called ``cotangent`` is not passed to the formula: `Backward` starts from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from graphc.graph import Array
from graphc.types import DTYPES

Arrays = dict[str, Array]

DRAWN = (1 << 24) - 3
"""Numbers of an array that are drawn: more than any cache holds, and so many that no row or tile
begins where they begin again.
"""

COTANGENT = "cotangent"
"""The input that is the derivative of some later loss by the result."""


class Model:
    """One computation, written in every system; see the module's text for the methods."""

    channels_last = False
    """Whether PyTorch keeps its images and kernels in this order of axes, for speed."""

    seed = 0
    """Of the random numbers."""

    file: str = ""
    """The ONNX file that holds it, if one does: systems that read such files run it as it is."""

    tolerance = 1e-4
    """What results may differ by, as a share of the largest magnitude in the same array."""

    mode = "default"
    """How torch.compile is asked to compile it for a GPU: "reduce-overhead" records a graph."""

    def inputs(self, rng: np.random.Generator) -> Arrays:
        """The data of a call."""
        return {}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        """What is learnt; constants between the calls of `Forward`."""
        return {}

    def method(self, system: str) -> Callable[..., object] | None:
        """How ``system`` writes it, or None when it is not written there."""
        found: Callable[..., object] | None = getattr(self, system, None)
        return found


# What is done with a model ------------------------------------------------------------------------
@dataclass(frozen=True)
class Forward:
    """The result."""


@dataclass(frozen=True)
class Backward:
    """The result, and its gradients by the inputs and parameters ``wrt``.

    Backwards from the input ``cotangent``; from 1 when there is none and the result is one number.
    """

    wrt: tuple[str, ...]


@dataclass(frozen=True)
class Train:
    """A step of training: the result is the loss, all parameters are updated.

    ``optimiser`` is "sgd" or "adam" (of Kingma and Ba, with PyTorch's defaults).
    """

    optimiser: str = "sgd"
    rate: float = 0.01


@dataclass(frozen=True)
class Update:
    """The optimiser alone: parameter ``p`` has its gradient in the input ``p_gradient``; no formula
    is called.
    """

    optimiser: str = "adam"
    rate: float = 0.001


Task = Forward | Backward | Train | Update
FORWARD = Forward()


@dataclass(frozen=True)
class Workload:
    """A model with its sizes, a name, what is done with it, and what is hoped for.

    ``bar`` is the least ratio between the time of the best peer and graphc's, 0 for none. ``quick``
    is the model at a size that runs in no time. On a GPU, where every process takes its time, only
    peers of the kinds ``against`` and ``beside`` are measured; the bar is about the former.
    ``host_bar`` are the seconds that the host may be busy with a call.
    """

    name: str
    model: Model
    quick: Model
    bar: float
    task: Task = FORWARD
    against: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    host_bar: float = 0.0

    @property
    def summary(self) -> str:
        """The first line of the model's docstring."""
        return (type(self.model).__doc__ or "").strip().partition("\n")[0]

    def sized(self, quick: bool) -> Model:
        """The model at full or at quick size."""
        return self.quick if quick else self.model


def arrays_of(model: Model) -> tuple[Arrays, Arrays]:
    """Inputs and parameters; the same numbers in every process."""
    rng = np.random.default_rng(model.seed)
    return model.inputs(rng), model.parameters(rng)


def normal(
    rng: np.random.Generator, *shape: int, scale: float = 1.0, dtype: str = "float32"
) -> Array:
    """Normal numbers, drawn as float32; the first `DRAWN` again and again where more are wanted."""
    count = math.prod(shape)
    if count <= DRAWN:
        found: Array = rng.standard_normal(shape, np.float32) * np.float32(scale)
    else:
        found = np.resize(normal(rng, DRAWN, scale=scale), count).reshape(shape)
    return found if dtype == "float32" else found.astype(DTYPES[dtype].numpy)
