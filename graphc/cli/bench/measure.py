"""One workload in all systems, taking turns.

Comes in: a workload, the systems, a number of threads, seconds. Goes out: a `Result`. Nobody is
timed whose results are not right: those of graphc's numpy backend, or, where a GPU is there for
what would take a processor minutes, those of PyTorch on it. Between the turns it is looked how near
to each other the machine's cores are.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from graphc.cli.bench.child import Child
from graphc.cli.bench.results import (
    GPU,
    GRAPHC,
    Outcome,
    Plan,
    Result,
    Roofline,
    Times,
    threads_shown,
)
from graphc.cli.bench.spares import Spares
from graphc.cli.bench.systems import takes
from graphc.cli.bench.workload import Workload

Say = Callable[[str], None]

ROUNDS = 5
"""Turns that each system takes: a machine that slows down for a while slows all of them."""

LEAST, MOST = 10, 2000
"""Samples of each system, whatever they cost."""

Look = Callable[[], float]
"""Measures the rate at which one core reads what another has just written; 0 for unknown."""


def limits(threads: int, quick: bool, say: Say) -> Roofline | None:
    """What the machine can do; None, with a word about it, when that cannot be measured."""
    if threads == GPU:
        return None  # they are systems there, which take turns with the others
    with Child(threads) as child:
        found = child.ask("limits", quick=quick)
    if "failed" in found:
        say(f"the machine's limits are not known: {found['failed']}")
        return None
    return Roofline.of(found)


def measure(
    workload: Workload, plan: Plan, counts: Iterable[int], say: Say, spares: Spares
) -> Iterator[Result]:
    """A result for each number of threads in ``counts``."""
    with tempfile.TemporaryDirectory(prefix="graphc-bench-") as folder:
        file = str(Path(folder) / "expected.npz")
        say(f"{workload.name}: what is right")
        asked = dict(workload=workload.name, quick=plan.quick, file=file, right=plan.right)
        with spares.child(plan.right, GPU if GPU in plan.threads else 1) as oracle:
            right = oracle.ask("expect", **asked)
        for threads in counts:
            result = Result(
                workload.name, workload.summary, threads, workload.bar,
                against=workload.against, host_bar=workload.host_bar,
            )  # fmt: skip
            if "failed" in right:
                failed = Outcome(failed=f"no results to compare with: {right['failed']}")
                yield replace(result, outcomes={plan.systems[0]: failed})
                continue
            outcomes, rates = _outcomes(workload, plan, threads, file, say, spares)
            yield replace(result, **right, outcomes=outcomes, core_to_core=rates)


def _outcomes(
    workload: Workload, plan: Plan, threads: int, file: str, say: Say, spares: Spares
) -> tuple[dict[str, Outcome], tuple[float, ...]]:
    """What became of each system, and the rates from core to core meanwhile."""
    outcomes: dict[str, Outcome] = {}
    asked: dict[str, Any] = dict(
        workload=workload.name, quick=plan.quick, threads=threads, file=file
    )
    with contextlib.ExitStack() as stack:
        living = {}
        for system in plan.systems:
            if not takes(system, workload):
                continue
            say(f"{workload.name}, {threads_shown(threads)}: {system} prepares")
            child = stack.enter_context(spares.child(system, threads))
            begun = child.ask("start", system=system, **asked)
            if "failed" in begun:
                outcomes[system] = Outcome(failed=begun["failed"])
                child.end()
                continue
            living[system] = child
            cached = _second_time(system, threads, child.folder, asked)
            outcomes[system] = Outcome(
                first=begun["first"], cached=cached, building=begun["peak"], plan=begun["plan"]
            )
        say(f"{workload.name}, {threads_shown(threads)}: {', '.join(living)} take turns")
        turns, rates = _turns(living, plan, stack.enter_context(_look(threads, say)))
        for system, answers in turns.items():
            outcomes[system] = _timed(outcomes[system], answers)
    return outcomes, rates


@contextlib.contextmanager
def _look(threads: int, say: Say) -> Iterator[Look]:
    """How to measure the rate from core to core, by a process of its own: a virtual machine may be
    given other cores at any moment.
    """
    if threads in (GPU, 1):
        yield lambda: 0.0
        return

    def look() -> float:
        found = child.ask("core_to_core")
        if "failed" in found:
            say(f"the rate from core to core is not known: {found['failed']}")
        return float(found.get("rate", 0.0))

    with Child(threads) as child:
        yield look


def _second_time(system: str, threads: int, folder: str, asked: dict[str, Any]) -> float:
    """Seconds until the first result in a process that finds graphc's code on disk."""
    if not system.startswith(GRAPHC) or threads == GPU:
        return 0.0
    with Child(threads, folder) as child:
        return float(child.ask("start", system=system, **asked).get("first", 0.0))


def _turns(
    living: dict[str, Child], plan: Plan, look: Look
) -> tuple[dict[str, list[dict[str, Any]]], tuple[float, ...]]:
    """The answers to all turns of each system, whose order turns about, and what ``look`` saw
    before each round and after the last.
    """
    found: dict[str, list[dict[str, Any]]] = {system: [] for system in living}
    rounds = 1 if plan.quick else ROUNDS
    share = plan.seconds / rounds / max(1, len(living))
    least, most = -(-LEAST // rounds), MOST // rounds
    rates = [look()]
    for number in range(rounds):
        for system in sorted(living, reverse=number % 2 == 1):
            found[system].append(living[system].ask("turn", seconds=share, least=least, most=most))
        rates.append(look())
    return found, tuple(rate for rate in rates if rate)


def _timed(begun: Outcome, turns: list[dict[str, Any]]) -> Outcome:
    failed = next((turn["failed"] for turn in turns if "failed" in turn), "")
    if failed:
        return Outcome(failed=failed)
    samples = [seconds for turn in turns for seconds in turn["samples"]]
    peak = max(turn["peak"] for turn in turns)
    busy = [seconds for turn in turns for seconds in turn.get("host", ())]
    host = median(busy) if busy else 0.0
    return replace(begun, times=Times.of(samples), peak=peak, host=host)
