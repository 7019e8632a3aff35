"""How compile time and step time grow with the program and with its data.

Comes in: a run of the workloads of `workloads.growth`. Goes out: a table for each series, and how
the times grow: the exponent p of ``time = c * size**p``, fitted to the larger half of the sizes,
where fixed costs matter least. 1 is linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from graphc.cli.bench.plot import canvas, save
from graphc.cli.bench.report import report_failures
from graphc.cli.bench.results import Outcome, Result, Run
from graphc.cli.bench.workloads.growth import SERIES, Series
from graphc.cli.screen import Screen, duration

Times = Callable[[Outcome], float]


def _step(outcome: Outcome) -> float:
    return outcome.times.median if outcome.times else math.nan


TIMES: dict[str, Times] = {
    "first call": lambda outcome: outcome.first or math.nan,
    "from disk": lambda outcome: outcome.cached or math.nan,
    "step": _step,
}
"""What is looked at, by name."""


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope of the line through the logarithms, by least squares, over the larger half.

    nan with fewer than two points.
    """
    pairs = [(x, y) for x, y in zip(sizes, seconds, strict=True) if y > 0]
    larger = pairs[len(pairs) // 2 :] if len(pairs) > 3 else pairs
    if len(larger) < 2:
        return math.nan
    x, y = np.log(np.array(larger).T)
    return float(np.polyfit(x, y, 1)[0])


def points(run: Run, series: Series, threads: int, system: str) -> list[tuple[int, Result]]:
    """The results of a series, by size."""
    found = {r.workload: r for r in run.on(threads) if system in r.outcomes}
    return [(n, found[w.name]) for n, w in series.workloads.items() if w.name in found]


def report_growth(run: Run, screen: Screen) -> None:
    """Print a table for each series, system and number of threads."""
    for threads in run.thread_counts:
        for system in dict.fromkeys(name for r in run.on(threads) for name in r.outcomes):
            for series in SERIES:
                found = points(run, series, threads, system)
                if found:
                    screen.heading(f"{series.name}: {system}, {threads} threads")
                    screen.table(*table(series, found, system))
    report_failures(run, screen)


def table(
    series: Series, found: Sequence[tuple[int, Result]], system: str
) -> tuple[list[str], list[list[str]]]:
    """One line for each size, and one for the exponents."""
    rows = []
    for size, result in found:
        times = [take(result.outcomes[system]) for take in TIMES.values()]
        shown = ["-" if math.isnan(t) else duration(t) for t in times]
        rows.append([f"{size:,}", f"{result.nodes:,}", *shown])
    grown = [exponent(*_curve(found, system, take)) for take in TIMES.values()]
    rows.append(["grows as", "", *("" if math.isnan(p) else f"n^{p:.2f}" for p in grown)])
    return [f">{series.axis}", ">nodes", *(f">{name}" for name in TIMES)], rows


def _curve(
    found: Sequence[tuple[int, Result]], system: str, take: Times
) -> tuple[list[float], list[float]]:
    return [float(n) for n, _ in found], [take(r.outcomes[system]) for _, r in found]


def plot_growth(run: Run, path: Path) -> None:
    """Draw the series side by side, a line for each time of each system. Raises GC0501."""
    threads = max(run.thread_counts, default=1)
    figure, axes = canvas(1, len(SERIES), 15, 5)
    for place, series in zip(axes[0], SERIES, strict=True):
        for system in dict.fromkeys(name for r in run.on(threads) for name in r.outcomes):
            found = points(run, series, threads, system)
            for name, take in TIMES.items():
                sizes, seconds = _curve(found, system, take)
                if not all(map(math.isnan, seconds)):
                    grown = f"n^{exponent(sizes, seconds):.2f}"
                    place.plot(sizes, seconds, "o-", label=f"{system}, {name}: {grown}")
        place.set(xscale="log", yscale="log", xlabel=series.axis, ylabel="seconds")
        place.set_title(series.name)
        place.legend(fontsize="small")
    save(figure, path)
