"""Averages of parameters over the steps: often better models than the last step's.

Comes in: an optimiser's updates. Goes out: these, and the updates of averages beside them. A
separate step because the average watches training and does not take part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.creation import full_like
from graphc.frontends.dsl.elementwise import maximum, where
from graphc.frontends.dsl.leaves import assign, value
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Memory, Updates
from graphc.site import scope


class Average(Memory):
    """Averages of parameters: average = average + share * (parameter - average) after every step.

    What the share is, as a function of the number of steps before, makes the kind of average; it is
    1 at first, so that the start does not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._averaged: list[Tensor] = []

    def share(self, done: Tensor) -> Tensor:
        """The share of the newest parameters after ``done`` steps, float64."""
        raise NotImplementedError

    @at_user_line
    def updates(self, updates: Updates, parameters: Sequence[Tensor]) -> Updates:
        """``updates`` of an optimiser, with those of the averages of ``parameters``.

        ``step = gc.compile(..., average.updates(optimiser.updates(loss, chosen), chosen))``
        """
        self._averaged = list(parameters)
        count = self.count()
        with scope("average"):
            share = self.share(count.astype("float64"))
            more: Updates = {count: count + 1}
            for place, p in enumerate(self._averaged):
                average = self.remember(f"average.{place}", partial(value, p))
                more[average] = average + (updates.get(p, p) - average) * share.astype(p.dtype)
        return {**updates, **more}

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside ``with`` the parameters hold their averages, after it what they held before."""
        before: list[tuple[Tensor, Any]] = [(p, value(p)) for p in self._averaged]
        try:
            for place, (p, _) in enumerate(before):
                assign(p, value(self._memory[f"average.{place}"]))
            yield
        finally:
            for p, own in before:
                assign(p, own)


class PolyakAverage(Average):
    """The mean of the parameters after every step from number ``start`` on, counted from 1.

    Polyak and Juditsky 1992; over the last part of training: Izmailov et al. 2018. Before ``start``
    it is the parameters themselves.
    """

    def __init__(self, start: int = 1) -> None:
        """Raises `UserError` GC0104 for a ``start`` below 1."""
        super().__init__()
        if start < 1:
            raise UserError("GC0104", f"start={start}", fix="steps are counted from 1")
        self.start = start

    def share(self, done: Tensor) -> Tensor:
        return 1 / maximum(done + (2 - self.start), 1)


class ExponentialAverage(Average):
    """The moving average: ``decay`` of what it was, the rest new. The first step counts in full."""

    def __init__(self, decay: float = 0.999) -> None:
        """Raises `UserError` GC0104 for a ``decay`` outside 0 to 1."""
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError("GC0104", f"decay={decay}", fix="use a decay from 0 to below 1")
        self.decay = decay

    def share(self, done: Tensor) -> Tensor:
        return where(done == 0, 1, full_like(done, 1 - self.decay))
