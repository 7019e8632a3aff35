"""Random tensors: draws from a generator whose state is a parameter of the graph.

Comes in: a seed. Goes out: tensors of random numbers, new ones at every call of the compiled
function, the same on every backend. A separate step because the state must be written back: the
parameter is marked as advancing, and `compile` adds the update that counts its calls.

The numbers come from Philox (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011).
"""

from __future__ import annotations

from typing import Any

from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.reductions import argmax
from graphc.frontends.dsl.shaping import take
from graphc.frontends.dsl.sorting import argsort
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.ops import random as draws
from graphc.types import FLOAT32, DType
from graphc.types import dtype as dtype_of


class Generator:
    """A source of random tensors; equal seeds and equal orders of draws give equal numbers.

    Every draw is a stream of its own, so adding one at the end changes none before it. ``state`` is
    a parameter uint32[4]: two words of key, the count of calls (low, high).
    """

    def __init__(self, seed: int) -> None:
        """``seed`` is an int of at most 64 bits, 0 or more. Raises `UserError` GC0104."""
        if not 0 <= seed < 2**64:
            raise UserError("GC0104", f"{seed} is no seed", fix="use an int from 0 to 2**64 - 1")
        words = [seed & 0xFFFFFFFF, seed >> 32, 0, 0]
        self.state = parameter(words, "rng", trainable=False, dtype="uint32", advances=True)
        self.streams = 0

    def _stream(self) -> int:
        self.streams += 1
        return self.streams - 1

    def named_state(self) -> dict[str, Tensor]:
        """The generator's state by name, for checkpoints."""
        return {"state": self.state}

    @at_user_line
    def uniform(
        self, shape: Any = (), low: float = 0.0, high: float = 1.0, dtype: Any = "float32"
    ) -> Tensor:
        """Numbers from ``low`` (included) to ``high`` (left out), all equally likely."""
        sizes, kind = _checked(shape, dtype)
        drawn = Tensor(draws.uniform(self.state.node, sizes, self._stream(), kind))
        return drawn if (low, high) == (0, 1) else drawn * (high - low) + low

    @at_user_line
    def normal(
        self, shape: Any = (), mean: float = 0.0, std: float = 1.0, dtype: Any = "float32"
    ) -> Tensor:
        """Normally distributed numbers."""
        sizes, kind = _checked(shape, dtype)
        drawn = Tensor(draws.normal(self.state.node, sizes, self._stream(), kind))
        return drawn if (mean, std) == (0, 1) else drawn * std + mean

    @at_user_line
    def bernoulli(self, probability: float, shape: Any = ()) -> Tensor:
        """Bools that are true with ``probability``."""
        sizes, _ = _checked(shape, FLOAT32)
        return Tensor(draws.bernoulli(self.state.node, sizes, self._stream(), probability))

    @at_user_line
    def gumbel(self, shape: Any = (), dtype: Any = "float32") -> Tensor:
        """Numbers of the standard Gumbel distribution, the limit of the largest of many."""
        sizes, kind = _checked(shape, dtype)
        return Tensor(draws.gumbel(self.state.node, sizes, self._stream(), kind))

    @at_user_line
    def categorical(self, logits: Value, shape: Any = ()) -> Tensor:
        """Classes drawn with the probabilities ``softmax(logits)`` along the last axis.

        Of logits ``[..., classes]`` int64 ``[*shape, ...]``: independent draws for every element of
        ``shape``. A class of -inf is never drawn. By the largest of the logits with Gumbel noise
        (Maddison, Tarlow and Minka, A* sampling, 2014). Raises `UserError` GC0102, GC0103, GC0104
        (no classes).
        """
        given = tensor(logits)
        if not given.ndim:
            raise UserError("GC0103", "categorical of one number", fix="pass logits [..., classes]")
        noise = self.gumbel((*manners.shape_of(shape), *given.shape), "float64")
        return argmax(given.astype("float64") + noise, -1)

    @at_user_line
    def permutation(self, x: Value | int) -> Tensor:
        """``x`` with the elements of its first axis in random order, all orders equally likely; of
        an int n the numbers 0, ..., n - 1 (int64). Raises `UserError` GC0103.
        """
        if isinstance(x, int):
            return argsort(self.uniform((x,), dtype="float64"))
        given = tensor(x)
        if not given.ndim:
            raise UserError("GC0103", "a permutation of one number", fix="pass a tensor [n, ...]")
        return take(given, argsort(self.uniform(given.shape[:1], dtype="float64")), 0)


def _checked(shape: Any, dtype: Any) -> tuple[tuple[Size, ...], DType]:
    return manners.shape_of(shape), dtype_of(dtype)
