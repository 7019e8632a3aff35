"""A run as tables.

Comes in: a `Run`. Goes out: rows for the screen, or for Markdown. Two tables for each number of
threads: what a call costs, and what it takes to get there. An asterisk marks the best peer, a
dagger a workload that was measured while the machine had put its cores apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import geometric_mean

from graphc.cli.bench.results import GRAPHC, Result, Run
from graphc.cli.bench.workloads import FAMILIES, WORKLOADS
from graphc.cli.screen import Screen, duration

Table = tuple[list[str], list[list[str]]]

DAGGER = " †"


def report_run(run: Run, screen: Screen) -> None:
    """Print everything."""
    for threads in run.thread_counts:
        results = run.on(threads)
        screen.heading(f"seconds of a call, {threads_shown(threads)}{limits_shown(run, threads)}")
        screen.table(*speed(run, results))
        if footnote(run, threads):
            screen.say(footnote(run, threads))
        screen.heading(f"first call, and most memory while steps run, {threads_shown(threads)}")
        screen.table(*making(results))
    report_failures(run, screen)
    screen.say()
    screen.say(verdict(run))


def report_failures(run: Run, screen: Screen) -> None:
    """Print who has no time, and why."""
    failed = failures(run)
    if failed:
        screen.heading("not measured")
        screen.table(("workload", "threads", "system", "why"), failed)


def footnote(run: Run, threads: int) -> str:
    """What the dagger means, with the rates that were seen; "" when there is none."""
    apart = [min(r.core_to_core) for r in run.on(threads) if run.is_apart(r)]
    if not apart:
        return ""
    return (
        f"{DAGGER.strip()} cores apart: one read what another had just written at "
        f"{min(apart) / 1e9:.0f} GB/s, at best {run.core_to_core(threads) / 1e9:.0f}. The machine "
        "had placed them badly; steps of small networks take up to twice as long then."
    )


def threads_shown(count: int) -> str:
    """A number of threads in words."""
    return f"{count} thread{'s' * (count > 1)}"


def limits_shown(run: Run, threads: int) -> str:
    """The machine's limits in words, in brackets."""
    limit = run.rooflines.get(threads)
    if limit is None:
        return ""
    handed = run.core_to_core(threads)
    memory = f"{limit.memory / 1e9:.0f} GB/s copied in memory"
    between = f", {handed / 1e9:.0f} from core to core" if handed else ""
    return (
        f" (this machine: {limit.single / 1e9:.0f} GFLOP/s float32, "
        f"{limit.double / 1e9:.0f} float64, {memory}{between})"
    )


def peers_of(results: Sequence[Result]) -> list[str]:
    """The peers of some results, in their order."""
    names = dict.fromkeys(name for result in results for name in result.outcomes)
    return [name for name in names if not name.startswith(GRAPHC)]


def speed(run: Run, results: Sequence[Result]) -> Table:
    """What a call costs: one line for each workload and backend."""
    peers = peers_of(results)
    several = len({name for result in results for name in result.backends}) > 1
    rows = [
        [
            result.workload
            + (f" ({system.removeprefix(GRAPHC)})" if several else "")
            + DAGGER * run.is_apart(result),
            _time(result, system),
            _spread(result, system),
            *(_time(result, peer) + "*" * (peer == result.best) for peer in peers),
            _number(result.ratio(system), "{:.2f}x"),
            _number(result.bar or math.nan, "{:.1f}x"),
            holds(result, system),
            _number(run.efficiency(result, system), "{:.0%}"),
        ]
        for result in results
        for system in result.backends
    ]
    columns = ["workload", ">graphc", ">±", *(f">{p}" for p in peers)]
    return [*columns, ">ratio", ">bar", "holds", ">of limit"], rows


def making(results: Sequence[Result]) -> Table:
    """What it takes until calls can be made."""
    peers = peers_of(results)
    rows = [
        [
            result.workload,
            *_first(result, system),
            *(_first(result, peer)[0] for peer in peers),
            _plan(result, system),
            _megabytes(result, system),
            *(_megabytes(result, peer) for peer in peers),
        ]
        for result in results
        for system in result.backends
    ]
    columns = ["workload", ">graphc", ">from disk", *(f">{p}" for p in peers)]
    return [*columns, ">arena/least/sum MB", ">graphc MB", *(f">{p} MB" for p in peers)], rows


def failures(run: Run) -> list[list[str]]:
    """Who has no time, and why."""
    return [
        [result.workload, str(result.threads), system, outcome.failed]
        for result in run.results
        for system, outcome in result.outcomes.items()
        if outcome.failed
    ]


def verdict(run: Run) -> str:
    """How many bars are reached, and the geometric mean of all ratios; 41 of 82 workloads are
    products of squares, so also the mean with each family of workloads counted once.
    """
    pairs = [(r, system) for r in run.results for system in r.backends]
    judged = [(r, system) for r, system in pairs if holds(r, system)]
    if not judged:
        return "no peer to compare with"
    ratios: dict[str, list[float]] = {}
    for result, system in judged:
        family = next((f for f, ws in FAMILIES.items() if WORKLOADS.get(result.workload) in ws), "")
        ratios.setdefault(family, []).append(result.ratio(system))
    reached = sum(holds(r, system) == "yes" for r, system in judged)
    mean = geometric_mean([x for family in ratios.values() for x in family])
    said = f"{reached} of {len(judged)} bars reached, geometric mean {mean:.2f}x the best peer"
    if len(ratios) < 2:
        return said
    by_family = geometric_mean([geometric_mean(family) for family in ratios.values()])
    return f"{said}, {by_family:.2f}x with each family of workloads counted once"


def holds(result: Result, system: str) -> str:
    """Whether the bar is reached: yes, NO, or nothing without a peer."""
    ratio = result.ratio(system)
    return "" if math.isnan(ratio) or not result.bar else "yes" if ratio >= result.bar else "NO"


def _time(result: Result, system: str) -> str:
    times = result.times(system)
    return duration(times.median) if times else "-"


def _spread(result: Result, system: str) -> str:
    times = result.times(system)
    return f"{times.spread:.0%}" if times else ""


def _first(result: Result, system: str) -> tuple[str, str]:
    outcome = result.outcomes.get(system)
    if outcome is None or not outcome.first:
        return "-", "-"
    return duration(outcome.first), duration(outcome.cached) if outcome.cached else "-"


def _megabytes(result: Result, system: str) -> str:
    outcome = result.outcomes.get(system)
    return f"{outcome.peak / 1e6:.0f}" if outcome and outcome.peak else "-"


def _plan(result: Result, system: str) -> str:
    """The arena of temporaries, beside the most that lives at once and the sum of all."""
    plan = result.outcomes[system].plan
    return " / ".join(f"{plan[name] / 1e6:.3g}" for name in ("arena", "least", "total") if plan)


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form.format(value)
