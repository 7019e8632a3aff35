"""What formulas remember between steps: parameters by name that nobody trains.

Comes in: names and start values. Goes out: parameters, made at the first request. A separate step
because optimisers and averages remember alike, and a checkpoint saves both by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.tensor import Tensor

Updates = dict[Tensor, Tensor]
"""Parameters and their next values, for ``gc.compile(updates=)``."""


class Memory:
    """Base of whatever remembers: its parameters by name."""

    def __init__(self) -> None:
        self._memory: dict[str, Tensor] = {}

    def named_state(self) -> dict[str, Tensor]:
        """The parameters by name, e.g. ``momentum.0``; none before they are needed."""
        return dict(self._memory)

    def remember(self, name: str, start: Callable[[], Any]) -> Tensor:
        """The parameter called ``name``, made with the array ``start()`` at the first request."""
        if name not in self._memory:
            array, label = start(), name.replace(".", "_")
            self._memory[name] = parameter(array, label, trainable=False, dtype=array.dtype)
        return self._memory[name]

    def count(self) -> Tensor:
        """How many steps were done: int64."""
        return self.remember("count", partial(np.zeros, (), np.int64))


class Beside:
    """The memory beside one parameter, number ``place``: what it holds, and what it holds next."""

    def __init__(self, memory: Memory, place: int, like: Tensor, step: Tensor | None) -> None:
        self._memory, self._place, self._like, self._step = memory, place, like, step
        self.updates: Updates = {}

    @property
    def step(self) -> Tensor:
        """The number of the step that is made, from 1, in the parameter's dtype.

        Raises `UserError` GC0104 in an optimiser that does not count.
        """
        if self._step is None:
            raise UserError(
                "GC0104", "a rule asks for the step, which nobody counts", fix="pass counts=True"
            )
        return self._step.astype(self._like.dtype)

    def __call__(
        self, name: str, start: float = 0.0, shape: tuple[int, ...] | None = None
    ) -> Tensor:
        """What is remembered as ``name``: ``start`` at first, in the parameter's dtype."""
        like = self._like.node.type
        sizes = like.static_shape if shape is None else shape
        make = partial(np.full, sizes, start, like.dtype.numpy)
        return self._memory.remember(f"{name}.{self._place}", make)

    def keep(self, name: str, value: Tensor) -> Tensor:
        """Remember ``value`` as ``name`` after this step; goes out as it is."""
        self.updates[self(name)] = value
        return value

    def average(self, name: str, share: float, new: Tensor) -> Tensor:
        """Keep the moving average: ``share`` of what it was, and the rest of ``new``."""
        return self.keep(name, share * self(name) + (1 - share) * new)
