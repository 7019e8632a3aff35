"""What each pass does to a graph: nodes, kernels, rules, time.

Comes in: a graph and numbers for its named sizes. Goes out: one `Step` per pass, the ledger and the
final graph. A separate step because a demonstration counts kernels after every pass, which the
compiler itself needs only once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from graphc.cli.screen import Screen, duration
from graphc.graph import Graph, specialise
from graphc.kernels.lower import lower
from graphc.passes import optimise, prepare
from graphc.rewrite import Ledger


@dataclass(frozen=True)
class Step:
    """The graph after one pass: how large it is, and what the pass did in how many seconds."""

    name: str
    nodes: int
    kernels: int
    applied: int
    seconds: float


@dataclass(frozen=True)
class Pipeline:
    """All steps, the first being the graph as written; every rule applied; the final graph."""

    steps: tuple[Step, ...]
    ledger: Ledger
    graph: Graph


def count_kernels(graph: Graph) -> int:
    """How many kernels a graph with static sizes becomes."""
    return len(lower(prepare(graph)).kernels)


def run_pipeline(graph: Graph, sizes: Mapping[str, int]) -> Pipeline:
    """Run the passes on ``graph`` with ``sizes`` for its named sizes, measuring each."""
    ledger = Ledger()
    graph = specialise(graph, sizes)
    steps = [Step("as written", len(graph), count_kernels(graph), 0, 0.0)]
    clock = time.perf_counter()

    def watch(name: str, result: Graph) -> None:
        nonlocal clock
        seconds = time.perf_counter() - clock
        before = sum(step.applied for step in steps)
        kernels = count_kernels(result)
        steps.append(Step(name, len(result), kernels, len(ledger) - before, seconds))
        clock = time.perf_counter()

    final = optimise(graph, watch=watch, ledger=ledger)
    return Pipeline(tuple(steps), ledger, final)


def print_pipeline(screen: Screen, pipeline: Pipeline) -> None:
    """The table of steps."""
    columns = ("pass", ">nodes", ">kernels", ">rules applied", ">time")
    rows = [
        (s.name, s.nodes, s.kernels, s.applied or "", duration(s.seconds) if s.seconds else "")
        for s in pipeline.steps
    ]
    screen.table(columns, rows)
