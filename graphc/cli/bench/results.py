"""What a run of the benchmark found, as data: the same in memory, in the JSON file, in every table.

Comes in: samples. Goes out: `Run`, to and from JSON. A separate step because tables and plots of a
README must come from one run, printed again at any time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from graphc.errors import UserError

GRAPHC = "graphc "
"""How the name of a system that is graphc on a backend begins: ``graphc llvm``."""


@dataclass(frozen=True)
class Times:
    """Seconds of a call: the median, the quartiles, how many samples."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self:
        """Of all samples of a system."""
        values = list(samples)
        low, median, high = (float(x) for x in np.quantile(values, [0.25, 0.5, 0.75]))
        return cls(median, low, high, len(values))

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median."""
        return (self.high - self.low) / 2 / self.median


@dataclass(frozen=True)
class Outcome:
    """One system with one workload: its times, or why there are none.

    ``first`` and ``cached`` are the seconds until the first result, with empty caches and, for
    graphc, by a second process. ``peak`` are the most bytes resident while steps ran, ``building``
    while the program was made. ``plan`` is what graphc planned for its temporaries: the ``arena``,
    the ``total`` of all, and the ``least`` that could do, the most that lives at once.
    """

    times: Times | None = None
    failed: str = ""
    first: float = 0.0
    cached: float = 0.0
    peak: int = 0
    building: int = 0
    plan: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One workload on one number of threads, in every system. ``bar`` is 0 for none, ``nodes``
    counts those of the graph as written, ``wide`` says that it computes in float64.
    """

    workload: str
    summary: str
    threads: int
    bar: float
    nodes: int = 0
    flops: int = 0
    bytes: int = 0
    wide: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def times(self, system: str) -> Times | None:
        """A system's times, if it has any."""
        return self.outcomes[system].times if system in self.outcomes else None

    @property
    def backends(self) -> list[str]:
        """The systems that are graphc."""
        return [name for name in self.outcomes if name.startswith(GRAPHC)]

    @property
    def best(self) -> str:
        """The fastest peer, or ""."""
        timed = {
            name: outcome.times.median
            for name, outcome in self.outcomes.items()
            if outcome.times is not None and not name.startswith(GRAPHC)
        }
        return min(timed, key=lambda name: timed[name], default="")

    def ratio(self, system: str) -> float:
        """How many times as fast as the best peer; nan when one of them has no time."""
        mine, other = self.times(system), self.times(self.best)
        return other.median / mine.median if mine and other else math.nan


@dataclass(frozen=True)
class Roofline:
    """What the machine can do on some threads: operations a second in ``single`` and in ``double``
    precision, bytes a second ``copied`` (read and written) within footprints, smallest first.
    """

    single: float
    double: float
    copied: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From what a worker, or a file, says."""
        pairs = tuple((int(n), float(rate)) for n, rate in data["copied"])
        return cls(float(data["single"]), float(data["double"]), pairs)

    def better(self, other: Roofline) -> Roofline:
        """The higher of two measurements, each."""
        pairs = zip(self.copied, other.copied, strict=True)
        copied = tuple((size, max(rate, again)) for (size, rate), (_, again) in pairs)
        single, double = max(self.single, other.single), max(self.double, other.double)
        return Roofline(single, double, copied)

    def bandwidth(self, footprint: int) -> float:
        """Bytes a second within ``footprint``: of the largest measured one that is no larger, for
        what fits into a cache has the cache's limit.
        """
        fitting = [rate for size, rate in self.copied if size <= footprint]
        return fitting[-1] if fitting else self.copied[0][1]

    @property
    def memory(self) -> float:
        """Bytes a second of main memory: of the largest footprint."""
        return self.copied[-1][1]

    def seconds(self, result: Result) -> float:
        """The least time of a workload: all its arithmetic, or all its traffic."""
        peak = self.double if result.wide else self.single
        return max(result.flops / peak, result.bytes / self.bandwidth(result.bytes))


@dataclass(frozen=True)
class Run:
    """Everything: the machine by facts, its limits by number of threads, the results."""

    machine: dict[str, str]
    rooflines: dict[int, Roofline]
    results: list[Result]

    def on(self, threads: int) -> list[Result]:
        """The results on one number of threads."""
        return [r for r in self.results if r.threads == threads]

    @property
    def thread_counts(self) -> list[int]:
        return list(dict.fromkeys(r.threads for r in self.results))

    def efficiency(self, result: Result, system: str) -> float:
        """The share of the machine's limit that a system reaches; nan without a time."""
        times, limit = result.times(system), self.rooflines.get(result.threads)
        return limit.seconds(result) / times.median if times and limit else math.nan

    def write(self, path: Path) -> None:
        """As JSON; the file is whole or not there. Raises `UserError` GC0501."""
        beside = path.with_name(f".{path.name}.writing")
        try:
            beside.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")
            os.replace(beside, path)
        except OSError as error:
            raise UserError("GC0501", f"{path} cannot be written: {error}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """What `write` wrote. Raises `UserError` GC0501 for anything else."""
        try:
            data = json.loads(path.read_text("utf-8"))
            rooflines = {int(n): Roofline.of(r) for n, r in data["rooflines"].items()}
            return cls(data["machine"], rooflines, [_result(r) for r in data["results"]])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError("GC0501", f"{path} cannot be read: {error}") from error


def _result(data: Mapping[str, Any]) -> Result:
    outcomes = {name: _outcome(o) for name, o in data["outcomes"].items()}
    return Result(**{**data, "outcomes": outcomes})


def _outcome(data: Mapping[str, Any]) -> Outcome:
    times = Times(**data["times"]) if data["times"] else None
    return Outcome(**{**data, "times": times})
