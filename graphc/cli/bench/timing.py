"""Times of calls: medians and their spread.

Comes in: functions without arguments. Goes out: `Times`. A separate step because all benchmarks
must measure alike: warm up, take turns in processes of their own, use medians.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from graphc.cli.screen import duration

LEAST, MOST = 5, 2000
"""Samples of each function, whatever they cost."""


@dataclass(frozen=True)
class Budget:
    """How long a comparison may take; ``quick`` asks for small sizes."""

    seconds: float
    quick: bool = False


@dataclass(frozen=True)
class Times:
    """Seconds of each call, in order."""

    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.samples))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        low, high = np.quantile(self.samples, [0.25, 0.75])
        return float(high - low) / 2 / self.median

    @property
    def shown(self) -> str:
        return duration(self.median)


ROUNDS = 5
"""Turns that each function takes."""


def measured(functions: Mapping[str, Callable[[], object]], budget: Budget) -> dict[str, Times]:
    """Let the functions take turns until the budget is spent; each turn begins with two calls that
    do not count.

    Every turn runs in a process of its own: the idle threads of one side spin for a while, and
    would hold a core of the other.
    """
    samples: dict[str, list[float]] = {name: [] for name in functions}
    rounds = 1 if budget.quick else ROUNDS
    share = budget.seconds / rounds / len(functions)
    for _ in range(rounds):
        for name, function in functions.items():
            samples[name] += _apart(function, share, -(-LEAST // rounds), MOST // rounds)
    return {name: Times(tuple(values)) for name, values in samples.items()}


def _apart(function: Callable[[], object], seconds: float, least: int, most: int) -> list[float]:
    """A turn in a fork of this process; in this one where there are no forks."""
    if "fork" not in multiprocessing.get_all_start_methods():
        return _turn(function, seconds, least, most)
    context = multiprocessing.get_context("fork")
    result, sender = context.Pipe(duplex=False)

    def run() -> None:
        sender.send_bytes(json.dumps(_turn(function, seconds, least, most)).encode())

    child = context.Process(target=run)
    child.start()
    sender.close()
    try:
        samples: list[float] = json.loads(result.recv_bytes())
    finally:
        child.join()
    return samples


def _turn(function: Callable[[], object], seconds: float, least: int, most: int) -> list[float]:
    function()
    function()
    samples: list[float] = []
    end = time.perf_counter() + seconds
    while len(samples) < least or (len(samples) < most and time.perf_counter() < end):
        start = time.perf_counter()
        function()
        samples.append(time.perf_counter() - start)
    return samples
