"""A run as a picture: bars of times with their spread, and a roofline for each number of threads.

Comes in: a `Run` and a file name. Goes out: the file, in the format that its ending names. The only
part that needs matplotlib.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from graphc.cli.bench.results import Result, Roofline, Run, threads_shown, writable
from graphc.errors import UserError

ROW = 0.16
"""Inches for each bar."""

INK = "#444444"


def require_plot(path: Path) -> None:
    """Raises `UserError` before anything is measured: GC0504 when there is no matplotlib or the
    ending of ``path`` names no format of it, GC0501 when no file can be made there.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UserError("GC0504", "plots need matplotlib", fix="pip install 'graphc[plot]'")
    canvases: Any = importlib.import_module("matplotlib.backend_bases").FigureCanvasBase
    formats = canvases.get_supported_filetypes()
    if path.suffix[1:].lower() not in formats:
        raise UserError(
            "GC0504", f"{path} ends in no format of plots", fix=f"end it in .{', .'.join(formats)}"
        )
    writable(path)


def canvas(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure without a window, and its grid of axes."""
    figure: Any = importlib.import_module("matplotlib.figure").Figure(
        figsize=(width, height), layout="constrained"
    )
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: Path) -> None:
    """Write the figure. Raises `UserError` GC0501."""
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UserError("GC0501", f"{path} cannot be written: {error}") from error


def plot(run: Run, path: Path) -> None:
    """Draw a run."""
    counts = run.thread_counts
    bars = max((_bar_count(run.on(n)) for n in counts), default=1)
    figure, axes = canvas(max(1, len(counts)), 2, 14, max(4.0, ROW * bars) * max(1, len(counts)))
    for (left, right), threads in zip(axes, counts, strict=False):
        results = run.on(threads)
        draw_times(left, results)
        left.set_title(f"time of a call, graphc = 1, {threads_shown(threads)}")
        if threads in run.rooflines:
            draw_roofline(right, run.rooflines[threads], results)
        right.set_title(f"roofline, {threads_shown(threads)}")
    figure.suptitle(f"{run.machine.get('processor', '')}, graphc {run.machine.get('graphc', '')}")
    save(figure, path)


def _bar_count(results: Sequence[Result]) -> int:
    return sum(len(r.outcomes) + 1 for r in results)


def draw_times(axes: Any, results: Sequence[Result]) -> None:
    """Horizontal bars, one group for each workload: medians relative to graphc's, quartiles as
    whiskers.
    """
    systems = list(dict.fromkeys(name for r in results for name in r.outcomes))
    position, ticks = 0.0, []
    for result in results:
        unit = next((t.median for b in result.backends if (t := result.times(b))), math.nan)
        start = position
        for system in result.outcomes:
            times = result.times(system)
            if times is not None:
                low, high = times.median - times.low, times.high - times.median
                axes.barh(
                    position, times.median / unit, color=f"C{systems.index(system)}",
                    xerr=[[low / unit], [high / unit]], ecolor=INK,
                )  # fmt: skip
            position += 1
        ticks.append((start + position - 1) / 2)
        position += 1
    axes.set_yticks(ticks, [r.workload for r in results])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.axvline(1.0, color=INK, linewidth=0.8)
    for place, system in enumerate(systems):
        axes.barh(math.nan, math.nan, color=f"C{place}", label=system)
    axes.legend(loc="lower right", fontsize="small")


def draw_roofline(axes: Any, limit: Roofline, results: Sequence[Result]) -> None:
    """Operations a second over operations per byte: the machine's roofs, graphc's points (full)
    and, joined to them, the best peer's (hollow).
    """
    shown = [r for r in results if r.flops and r.bytes]
    intensities = [r.flops / r.bytes for r in shown] or [1.0]
    low, high = min(intensities) / 2, max([*intensities, limit.single / limit.memory]) * 2
    for name, rate in (("memory", limit.memory), ("fastest cache", limit.copied[0][1])):
        knee = min(max(limit.single / rate, low), high)
        heights = [min(rate * x, limit.single) / 1e9 for x in (low, knee, high)]
        axes.plot((low, knee, high), heights, label=f"{name}: {rate / 1e9:.0f} GB/s")
    for result, intensity in zip(shown, intensities, strict=True):
        _draw_point(axes, result, intensity)
    axes.set(xscale="log", yscale="log", xlabel="operations per byte", ylabel="GFLOP/s")
    axes.legend(loc="lower right", fontsize="small")


def _draw_point(axes: Any, result: Result, intensity: float) -> None:
    def rate(system: str) -> float:
        times = result.times(system)
        return result.flops / times.median / 1e9 if times else math.nan

    mine = max((rate(b) for b in result.backends), default=math.nan)
    other = rate(result.best)
    axes.plot((intensity, intensity), (mine, other), color=INK, linewidth=0.5)
    axes.plot(intensity, mine, "o", color="C0", markersize=4)
    axes.plot(intensity, other, "o", color=INK, markersize=4, fillstyle="none")
    if not math.isnan(mine):
        axes.annotate(
            result.workload, (intensity, mine), (4, 2), textcoords="offset points", fontsize=6
        )
