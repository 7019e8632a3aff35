"""Worker processes that have imported their system before they are needed.

Comes in: how workers are made. Goes out: a `Child` for a system. A separate step because importing
takes longer than measuring: PyTorch needs seconds, a workload on a GPU milliseconds. While one
workload is measured on the GPU, the other cores make ready for the next. Where a workload is
measured on the cores themselves nothing is made ahead.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Self

from graphc.cli.bench.child import Child
from graphc.cli.bench.results import GPU


class Spares:
    """Workers by system; ``limit`` are the seconds that an answer may take. With ``ahead`` the
    next one of each is made while the last is in use.
    """

    def __init__(self, limit: float = 0.0, ahead: bool = False) -> None:
        self.limit, self.ahead = limit, ahead
        self.ready: dict[str, Child] = {}

    @contextlib.contextmanager
    def child(self, system: str, threads: int) -> Iterator[Child]:
        """A worker of its own, which ends when the block does."""
        if threads != GPU or not self.ahead:
            with Child(threads, limit=self.limit) as made:
                yield made
            return
        taken = self.ready.pop(system, None) or self._begun(system)
        self.ready[system] = self._begun(system)
        with taken:
            taken.receive()  # what fails here fails again, and is reported, where it is used
            yield taken

    def _begun(self, system: str) -> Child:
        made = Child(GPU, limit=self.limit)
        made.send("warm", system=system)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self.ready:
            with self.ready.popitem()[1]:
                pass  # it ends with the block
