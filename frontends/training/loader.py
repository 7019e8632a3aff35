"""`DataLoader`: the batches of a training, epoch after epoch, which a checkpoint can continue.

Comes in: arrays, or what behaves like them. Goes out: batches, read ahead by a thread. A separate
step because `graphc.frontends.data.batches` has no memory: here is the place in the epoch, and the
order of every epoch follows from a seed alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from graphc.frontends.data.batching import Array, Rows, batch_count, batches
from graphc.frontends.data.prefetch import prefetch
from graphc.frontends.dsl.leaves import assign, parameter, value
from graphc.frontends.dsl.tensor import Tensor


class DataLoader:
    """Each iteration is an epoch of `batches`, or the rest of the one that was broken off.

    With ``seed`` the rows of epoch k are shuffled by a generator made of the seed and k; for None
    they stay in order. Up to ``ahead`` batches are made ahead of time by a thread (`prefetch`), and
    none for 0. As a part of a checkpoint it remembers the epoch, and how many of its batches have
    been handed out:

        loader = DataLoader([images, labels], 64, seed=0)
        checkpoint = Checkpoint("run.safetensors", model=model, optimiser=optimiser, data=loader)
        fit(step, loader, epochs=50, first=checkpoint.resume(), after_epoch=checkpoint)
    """

    def __init__(
        self,
        arrays: Sequence[Rows],
        batch_size: int,
        *,
        seed: int | None = None,
        drop_last: bool = True,
        ahead: int = 2,
    ) -> None:
        """Raises `UserError` GC0104, GC0303, as `batches` does."""
        self.arrays, self.batch_size, self.drop_last = arrays, batch_size, drop_last
        self.seed, self.ahead = seed, ahead
        self._count = batch_count(arrays, batch_size, drop_last)
        self._state = {
            name: parameter(0, name, trainable=False, dtype="int64")
            for name in ("epoch", "position")
        }

    @property
    def epoch(self) -> int:
        """The number of the epoch that the next batch belongs to, from 0."""
        return int(value(self._state["epoch"]))

    @property
    def position(self) -> int:
        """How many batches of that epoch have been handed out."""
        return int(value(self._state["position"]))

    def __len__(self) -> int:
        """How many batches the next iteration has."""
        return self._count - self.position or self._count

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        """The batches that are left of this epoch."""
        if self.position >= self._count > 0:  # broken off behind the last batch
            self._next_epoch()
        rng = None if self.seed is None else np.random.default_rng((self.seed, self.epoch))
        place = self.position
        left = batches(self.arrays, self.batch_size, rng, self.drop_last, place)
        for batch in prefetch(left, self.ahead) if self.ahead else left:
            place += 1
            assign(self._state["position"], place)
            yield batch
        self._next_epoch()

    def _next_epoch(self) -> None:
        assign(self._state["position"], 0)
        assign(self._state["epoch"], self.epoch + 1)

    def named_state(self) -> dict[str, Tensor]:
        """The epoch and the place in it."""
        return dict(self._state)
