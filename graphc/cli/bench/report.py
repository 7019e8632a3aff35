"""A run as tables.

Comes in: a `Run`. Goes out: rows for the screen, or for Markdown. Two tables for each number of
threads: what a call costs, and what it takes to get there. An asterisk marks the best peer, a
dagger a workload that was measured while the machine had put its cores apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import geometric_mean

from graphc.cli.bench.results import GPU, GRAPHC, Result, Run, threads_shown
from graphc.cli.bench.workloads import FAMILIES, WORKLOADS
from graphc.cli.bench.workloads.gpu import FAMILY_BARS
from graphc.cli.screen import Screen, duration

Table = tuple[list[str], list[list[str]]]

DAGGER = " †"

COMPUTING = 10
"""Operations for each byte, from which on arithmetic and not memory is the limit of any GPU: an
H200 has time for 14 of float32.
"""


def report_run(run: Run, screen: Screen) -> None:
    """Print everything."""
    for threads in run.thread_counts:
        results = run.on(threads)
        screen.heading(f"seconds of a call, {threads_shown(threads)}{limits_shown(run, threads)}")
        screen.table(*speed(run, results))
        if footnote(run, threads):
            screen.say(footnote(run, threads))
        if threads == GPU:
            screen.heading("bytes that must be moved, or operations, in a second")
            screen.table(*rates(results))
        if any(result.host_bar for result in results):
            screen.heading("seconds that the host is busy with a call")
            screen.table(*asking(results))
        screen.heading(f"first call, and most memory while steps run, {threads_shown(threads)}")
        screen.table(*making(results))
    report_failures(run, screen)
    if run.checks:
        screen.heading("checks")
        rows = [[c.name, c.state, _taken(c.seconds), c.said] for c in run.checks]
        screen.table(("check", "state", ">time", "said"), rows)
    screen.say()
    for doubt in doubts(run):
        screen.say(doubt)
    screen.say(verdict(run))
    for family, mean, bar in family_means(run):
        is_held = "yes" if mean >= bar else "NO"
        screen.say(f"{family}: geometric mean {mean:.2f}x, bar {bar_shown(bar)}, {is_held}")


def doubts(run: Run) -> list[str]:
    """Why the times of a run say nothing."""
    found = ["tiny sizes: that it runs is all that these times say"] if run.plan.quick else []
    if any(name.endswith("cuda-sim") for name in run.plan.systems):
        found.append("cuda-sim is the CPU: its times say nothing about a GPU")
    return found


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
            bar_shown(result.bar),
            holds(result, system),
            _number(run.efficiency(result, system), "{:.0%}"),
        ]
        for result in results
        for system in result.backends
    ]
    columns = ["workload", ">graphc", ">±", *(f">{p}" for p in peers)]
    return [*columns, ">ratio", ">bar", "holds", ">of limit"], rows


def rates(results: Sequence[Result]) -> Table:
    """How fast every system moves what must be moved, or computes where that takes longer."""
    systems = list(dict.fromkeys(name for result in results for name in result.outcomes))
    rows = [[result.workload, *(_rate(result, name) for name in systems)] for result in results]
    return ["workload", *(f">{name}" for name in systems)], rows


def _rate(result: Result, system: str) -> str:
    times = result.times(system)
    if times is None:
        return "-"
    if result.flops > COMPUTING * result.bytes:
        return f"{result.flops / times.median / 1e12:.3g} TFLOP/s"
    return f"{result.bytes / times.median / 1e9:.4g} GB/s"


def asking(results: Sequence[Result]) -> Table:
    """What the host does until a device has been asked for a call."""
    rows = [
        [
            result.workload,
            *(_host(result, name) for name in (system, *peers_of(results))),
            duration(result.host_bar),
            host_holds(result, system),
        ]
        for result in results
        if result.host_bar
        for system in result.backends
    ]
    return ["workload", ">graphc", *(f">{p}" for p in peers_of(results)), ">at most", "holds"], rows


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
        [result.workload, f"{result.threads or 'GPU'}", system, outcome.failed]
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


def family_means(run: Run) -> list[tuple[str, float, float]]:
    """Families with a bar for the geometric mean of their ratios: name, mean and bar."""
    found = []
    for family, bar in FAMILY_BARS.items():
        names = {w.name for w in FAMILIES[family]}
        ratios = [r.ratio(s) for r in run.results if r.workload in names for s in r.backends]
        ratios = [ratio for ratio in ratios if not math.isnan(ratio)]
        if ratios:
            found.append((family, geometric_mean(ratios), bar))
    return found


def holds(result: Result, system: str) -> str:
    """Whether the bar is reached: yes, NO, or nothing without a peer."""
    ratio = result.ratio(system)
    return "" if math.isnan(ratio) or not result.bar else "yes" if ratio >= result.bar else "NO"


def host_holds(result: Result, system: str) -> str:
    """Whether the host is free soon enough: yes, NO, or nothing where nobody asks."""
    outcome = result.outcomes.get(system)
    if not result.host_bar or outcome is None or not outcome.host:
        return ""
    return "yes" if outcome.host <= result.host_bar else "NO"


def _host(result: Result, system: str) -> str:
    outcome = result.outcomes.get(system)
    return duration(outcome.host) if outcome and outcome.host else "-"


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


def bar_shown(ratio: float) -> str:
    """A bar, or nothing where there is none."""
    return "" if not ratio else f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def _taken(seconds: float) -> str:
    return duration(seconds) if seconds else ""


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else form.format(value)
