"""Times of calls: medians and their spread.

Comes in: functions without arguments. Goes out: `Times`. A separate step because all benchmarks
must measure alike: warm up, take turns, use medians.
"""

from __future__ import annotations

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


def measured(functions: Mapping[str, Callable[[], object]], budget: Budget) -> dict[str, Times]:
    """Call the functions in turn until the budget is spent; two calls of each warm up."""
    for function in functions.values():
        function()
        function()
    samples: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + budget.seconds
    for number in range(MOST):
        if number >= LEAST and time.perf_counter() > end:
            break
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            samples[name].append(time.perf_counter() - start)
    return {name: Times(tuple(values)) for name, values in samples.items()}
