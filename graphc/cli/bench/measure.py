"""One workload in all systems, taking turns.

Comes in: a workload, the systems, a number of threads, seconds. Goes out: a `Result`. Nobody is
timed whose results are not those of graphc's numpy backend.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphc.cli.bench.child import Child
from graphc.cli.bench.results import GRAPHC, Outcome, Result, Roofline, Times
from graphc.cli.bench.systems import takes
from graphc.cli.bench.workload import Workload

Say = Callable[[str], None]

ROUNDS = 5
"""Turns that each system takes: a machine that slows down for a while slows all of them."""

LEAST, MOST = 10, 2000
"""Samples of each system, whatever they cost."""


@dataclass(frozen=True)
class Plan:
    """What to measure: systems by name, seconds for all of them together, perhaps tiny sizes."""

    systems: tuple[str, ...]
    threads: tuple[int, ...]
    seconds: float
    quick: bool = False

    @property
    def rounds(self) -> int:
        return 1 if self.quick else ROUNDS


def limits(threads: int, quick: bool, say: Say) -> Roofline | None:
    """What the machine can do; None, with a word about it, when that cannot be measured."""
    folder = tempfile.TemporaryDirectory(prefix="graphc-bench-")
    with folder as name, Child(threads, name) as child:
        found = child.ask("limits", quick=quick)
    if "failed" in found:
        say(f"the machine's limits are not known: {found['failed']}")
        return None
    return Roofline.of(found)


def measure(workload: Workload, plan: Plan, say: Say) -> Iterator[Result]:
    """A result for each number of threads."""
    with tempfile.TemporaryDirectory(prefix="graphc-bench-") as folder:
        file = str(Path(folder) / "expected.npz")
        say(f"{workload.name}: what is right")
        with Child(1, folder) as oracle:
            right = oracle.ask("expect", workload=workload.name, quick=plan.quick, file=file)
        for threads in plan.threads:
            facts = (workload.name, workload.summary, threads, workload.bar)
            if "failed" in right:
                failed = Outcome(failed=f"no results to compare with: {right['failed']}")
                yield Result(*facts, outcomes={plan.systems[0]: failed})
                continue
            outcomes = _outcomes(workload, plan, threads, file, say)
            yield Result(*facts, **right, outcomes=outcomes)


def _outcomes(
    workload: Workload, plan: Plan, threads: int, file: str, say: Say
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    asked: dict[str, Any] = dict(
        workload=workload.name, quick=plan.quick, threads=threads, file=file
    )
    with contextlib.ExitStack() as stack:
        living = {}
        for system in plan.systems:
            if not takes(system, workload):
                continue
            say(f"{workload.name}, {threads} threads: {system} prepares")
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="graphc-bench-"))
            child = stack.enter_context(Child(threads, folder))
            begun = child.ask("start", system=system, **asked)
            if "failed" in begun:
                outcomes[system] = Outcome(failed=begun["failed"])
                child.end()
                continue
            living[system] = child
            cached = _second_time(system, threads, folder, asked)
            outcomes[system] = Outcome(
                first=begun["first"], cached=cached, building=begun["peak"], plan=begun["plan"]
            )
        say(f"{workload.name}, {threads} threads: {', '.join(living)} take turns")
        for system, turns in _turns(living, plan).items():
            outcomes[system] = _timed(outcomes[system], turns)
    return outcomes


def _second_time(system: str, threads: int, folder: str, asked: dict[str, Any]) -> float:
    """Seconds until the first result in a process that finds graphc's code on disk."""
    if not system.startswith(GRAPHC):
        return 0.0
    with Child(threads, folder) as child:
        return float(child.ask("start", system=system, **asked).get("first", 0.0))


def _turns(living: dict[str, Child], plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """The answers to all turns of each system; the order turns about."""
    found: dict[str, list[dict[str, Any]]] = {system: [] for system in living}
    share = plan.seconds / plan.rounds / max(1, len(living))
    least, most = -(-LEAST // plan.rounds), MOST // plan.rounds
    for number in range(plan.rounds):
        for system in sorted(living, reverse=number % 2 == 1):
            found[system].append(living[system].ask("turn", seconds=share, least=least, most=most))
    return found


def _timed(begun: Outcome, turns: list[dict[str, Any]]) -> Outcome:
    failed = next((turn["failed"] for turn in turns if "failed" in turn), "")
    if failed:
        return Outcome(failed=failed)
    samples = [seconds for turn in turns for seconds in turn["samples"]]
    peak = max(turn["peak"] for turn in turns)
    return replace(begun, times=Times.of(samples), peak=peak)
