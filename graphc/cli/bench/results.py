"""What a run of the benchmark found, as data: the same in memory, in the JSON file, in every table.

Comes in: samples. Goes out: `Run`, to and from JSON. A separate step because tables and plots of a
README must come from one run, printed again at any time.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from graphc.errors import UserError

GRAPHC = "graphc "
"""How the name of a system that is graphc on a backend begins: ``graphc llvm``."""

GPU = 0
"""Stands for a number of threads where a GPU does the work."""

APART = 0.5
"""Cores were apart when one read what another had written at less than this share of the best rate.
Cores of one cache hand over 4 times as fast as others (72 and 17 GB/s on Zen 4); repeated
measurements of a busy machine differ by a third.
"""


def threads_shown(count: int) -> str:
    """A number of threads in words."""
    return "on the GPU" if count == GPU else f"{count} thread{'s' * (count > 1)}"


@dataclass(frozen=True)
class Plan:
    """What to measure: workloads and systems by name, seconds for all systems together on each
    number of threads, perhaps tiny sizes. ``right`` is the system whose results are right,
    ``limit`` are the seconds after which a process is given up, 0 for never. ``absent`` are the
    systems that were asked for and are not here.
    """

    workloads: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    threads: tuple[int, ...] = ()
    seconds: float = 0.0
    quick: bool = False
    right: str = f"{GRAPHC}numpy"
    limit: float = 0.0
    absent: tuple[str, ...] = ()


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
    the ``total`` of all, and the ``least`` that could do, the most that lives at once. ``host`` are
    the seconds that the host is busy with a call that a GPU computes.
    """

    times: Times | None = None
    failed: str = ""
    first: float = 0.0
    cached: float = 0.0
    peak: int = 0
    building: int = 0
    plan: dict[str, int] = field(default_factory=dict)
    host: float = 0.0


@dataclass(frozen=True)
class Result:
    """One workload on one number of threads, in every system. ``bar`` is 0 for none, ``nodes``
    counts those of the graph as written, ``wide`` says that it computes in float64.
    ``core_to_core`` has the bytes a second that a core read of what another had just written,
    before each round of turns and after the last; nothing on one thread. ``against`` are the kinds
    of peers that the bar is about, "torch" for "torch cuda": all, where it is empty. ``host_bar``
    are the seconds that the host may be busy with a call, 0 for any.
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
    core_to_core: tuple[float, ...] = ()
    against: tuple[str, ...] = ()
    host_bar: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether no system failed."""
        return not any(outcome.failed for outcome in self.outcomes.values())

    def times(self, system: str) -> Times | None:
        """A system's times, if it has any."""
        return self.outcomes[system].times if system in self.outcomes else None

    @property
    def backends(self) -> list[str]:
        """The systems that are graphc."""
        return [name for name in self.outcomes if name.startswith(GRAPHC)]

    @property
    def best(self) -> str:
        """The fastest peer among those that the bar is about, or ""."""
        timed = {
            name: outcome.times.median
            for name, outcome in self.outcomes.items()
            if outcome.times is not None and not name.startswith(GRAPHC)
            if not self.against or name.partition(" ")[0] in self.against
        }
        return min(timed, key=lambda name: timed[name], default="")

    def ratio(self, system: str) -> float:
        """How many times as fast as the best peer; nan when one of them has no time."""
        mine, other = self.times(system), self.times(self.best)
        return other.median / mine.median if mine and other else math.nan


@dataclass(frozen=True)
class Roofline:
    """What the machine can do on some threads: operations a second in ``single`` and in ``double``
    precision, bytes a second ``copied`` (read and written) within footprints, smallest first, and
    handed from ``core_to_core``, 0 when that is not known.
    """

    single: float
    double: float
    copied: tuple[tuple[int, float], ...]
    core_to_core: float = 0.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """From what a worker, or a file, says."""
        pairs = tuple((int(n), float(rate)) for n, rate in data["copied"])
        handed = float(data.get("core_to_core", 0.0))
        return cls(float(data["single"]), float(data["double"]), pairs, handed)

    def better(self, other: Roofline) -> Roofline:
        """The higher of two measurements, each."""
        pairs = zip(self.copied, other.copied, strict=True)
        copied = tuple((size, max(rate, again)) for (size, rate), (_, again) in pairs)
        single, double = max(self.single, other.single), max(self.double, other.double)
        return Roofline(single, double, copied, max(self.core_to_core, other.core_to_core))

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


PASSED, FAILED, LEFT_OUT = "passed", "FAILED", "left out"
"""States of a `Check`."""


@dataclass(frozen=True)
class Check:
    """Something that is right or wrong and has no time to compare: its state, and what a program
    said in the end, or why it did not run.
    """

    name: str
    state: str
    said: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """Everything: the machine by facts, its limits by number of threads, the results, what was
    asked for, and what was checked besides.
    """

    machine: dict[str, str]
    rooflines: dict[int, Roofline]
    results: list[Result]
    plan: Plan = Plan()
    checks: list[Check] = field(default_factory=list)

    def on(self, threads: int) -> list[Result]:
        """The results on one number of threads."""
        return [r for r in self.results if r.threads == threads]

    @property
    def thread_counts(self) -> list[int]:
        return list(dict.fromkeys(r.threads for r in self.results))

    def core_to_core(self, threads: int) -> float:
        """The best rate from core to core that was seen on a number of threads, or 0."""
        seen = [rate for result in self.on(threads) for rate in result.core_to_core]
        limit = self.rooflines.get(threads)
        return max([*seen, limit.core_to_core if limit else 0.0])

    def is_apart(self, result: Result) -> bool:
        """Whether the machine had put its cores apart while the result was measured."""
        best = self.core_to_core(result.threads)
        return any(rate < APART * best for rate in result.core_to_core)

    def lacking(self, names: Iterable[str]) -> list[tuple[str, int]]:
        """What a whole run of these workloads lacks: first what was never measured or failed, then
        what was measured with the cores apart. Each a workload's name and a number of threads.
        """
        found = {(r.workload, r.threads): r for r in self.results}
        wanted = [(name, threads) for name in names for threads in self.plan.threads]
        missing = [k for k in wanted if k not in found or not found[k].is_whole]
        return missing + [k for k in wanted if k not in missing and self.is_apart(found[k])]

    def put(self, result: Result) -> None:
        """Take in a result. Of two of the same, that of the nearer cores stays: it is chosen by the
        state of the machine, never by a time.
        """
        same = [r for r in self.on(result.threads) if r.workload == result.workload]
        for old in same:
            if old.is_whole and min(old.core_to_core, default=0.0) > min(
                result.core_to_core, default=0.0
            ):
                return
            self.results.remove(old)
        self.results.append(result)
        names, counts = self.plan.workloads, self.plan.threads
        places = {pair: k for k, pair in enumerate(itertools.product(names, counts))}
        self.results.sort(key=lambda r: places.get((r.workload, r.threads), len(places)))

    def only(self, names: Iterable[str]) -> Run:
        """The same without other workloads."""
        chosen = set(names)
        return replace(self, results=[r for r in self.results if r.workload in chosen])

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
            results = [_result(r) for r in data["results"]]
            checks = [Check(**_checked(Check, c)) for c in data.get("checks", ())]
            return cls({**data["machine"]}, rooflines, results, _plan(data.get("plan", {})), checks)
        except OSError as error:
            raise UserError("GC0501", f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                "GC0501",
                f"{path} does not hold a run of graphc bench, or is damaged",
                why=f"{type(error).__name__}: {error}",
                fix="give a file that `graphc bench --json FILE` wrote",
            ) from error


def writable(path: Path) -> None:
    """Raises `UserError` GC0501 when no file can be made beside ``path``: to be told before an hour
    of measuring, not after it.
    """
    folder = path.parent
    if path.is_dir():
        raise UserError("GC0501", f"{path} is a folder", fix="name a file")
    if not folder.is_dir():
        what = f"{path} cannot be written: there is no folder {folder}"
        raise UserError("GC0501", what, fix=f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError("GC0501", f"{path} cannot be written: {folder} is not writable")


# From JSON ----------------------------------------------------------------------------------------
SCALARS: dict[str, Any] = {"str": str, "int": int, "float": (float, int), "bool": bool}
"""What a field declared so may hold."""


def _checked(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass; the scalars among them are. Raises TypeError."""
    declared = {each.name: str(each.type) for each in fields(kind)}
    for name, value in data.items():
        if not isinstance(value, SCALARS.get(declared.get(name, ""), object)):
            raise TypeError(f"{name} is {value!r}, no {declared[name]}")
    return dict(data)


def _result(data: Mapping[str, Any]) -> Result:
    outcomes = {name: _outcome(o) for name, o in data["outcomes"].items()}
    rates = tuple(float(rate) for rate in data.get("core_to_core", ()))
    lists = {"core_to_core": rates, "against": tuple(data.get("against", ()))}
    return Result(**{**_checked(Result, data), "outcomes": outcomes, **lists})


def _outcome(data: Mapping[str, Any]) -> Outcome:
    times = Times(**_checked(Times, data["times"])) if data["times"] else None
    plan = {name: int(size) for name, size in data["plan"].items()}
    return Outcome(**{**_checked(Outcome, data), "times": times, "plan": plan})


def _plan(data: Mapping[str, Any]) -> Plan:
    names = ("workloads", "systems", "threads", "absent")
    lists = {name: tuple(data.get(name, ())) for name in names}
    return Plan(**{**_checked(Plan, data), **lists})
