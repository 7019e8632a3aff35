"""``graphc bench``: how fast generated code is on this machine, beside other systems.

Comes in: workloads, systems, numbers of threads, seconds. Goes out: tables of medians with their
spread, the same as JSON with the machine named, plots. With ``--check`` the exit status says
whether the bars are reached. What is measured is in `workloads`, how in `measure`.

A whole run takes an hour, so its file is written after every result, and ``--resume`` goes on with
it: with what is missing, then with what was measured while the machine was in a bad state.
"""

from __future__ import annotations

import argparse
import math
from itertools import groupby
from pathlib import Path
from typing import Any

from graphc.cli.bench.growth import plot_growth, report_growth
from graphc.cli.bench.measure import limits, measure
from graphc.cli.bench.order import begun, gone_on
from graphc.cli.bench.plot import plot, require_plot
from graphc.cli.bench.report import failures, holds, report_run
from graphc.cli.bench.results import GRAPHC, Result, Run, writable
from graphc.cli.bench.systems import PEERS
from graphc.cli.bench.workloads import FAMILIES, chosen, workload_of
from graphc.cli.options import add_sizes, numbers
from graphc.cli.screen import Screen, duration

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended (128 + SIGINT)."""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="how fast generated code is on this machine")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help="names, patterns or families (--list), or MODEL.onnx",
    )
    add_sizes(parser)
    parser.add_argument("--list", action="store_true", help="what there is to measure")
    parser.add_argument("--backends", type=_some, metavar="A,B", help="default: llvm")
    parser.add_argument(
        "--peers",
        type=_names,
        metavar="A,B",
        help=f"of {', '.join(PEERS)}, or none (default: all installed; with --growth none)",
    )
    parser.add_argument("--threads", type=_counts, metavar="1,2", help="default: 1 and all")
    parser.add_argument(
        "--growth", action="store_true", help="how times grow with programs and batches"
    )
    parser.add_argument(
        "--seconds", type=_seconds, metavar="S", help="for each workload and count (default: 5)"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--check", action="store_true", help="status 1 when a bar is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="bars and a roofline: svg, png")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument(
        "--from", dest="source", type=Path, metavar="FILE",
        help="measure nothing, print what --json wrote",
    )  # fmt: skip
    earlier.add_argument(
        "--resume", type=Path, metavar="FILE",
        help="go on with a --json FILE: what is missing, then what is marked as doubtful",
    )  # fmt: skip
    parser.set_defaults(command=bench)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]


def _some(text: str) -> list[str]:
    names = _names(text)
    if not names:
        raise argparse.ArgumentTypeError("at least one backend is measured")
    return names


def _counts(text: str) -> list[int]:
    try:
        counts = [int(number) for number in _names(text)]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers from 1, such as 1,2")
    return counts


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def bench(options: argparse.Namespace, screen: Screen) -> int:
    """Measure, or read what was measured; print, write."""
    if options.list:
        rows = [(f, w.name, f"{w.bar:.1f}x", w.summary) for f, ws in FAMILIES.items() for w in ws]
        screen.table(("family", "workload", ">bar", "what"), rows)
        return 0
    options.json = options.json or options.resume
    if options.json is not None:
        writable(options.json)
    if options.plot is not None:
        require_plot(options.plot)
    stopped = False
    if options.source is not None:
        run = Run.read(options.source)
        if options.workloads:
            run = run.only(w.name for w in chosen(options.workloads, numbers(options.size)))
    else:
        run, stopped = _measured(options, screen)
    (report_growth if options.growth else report_run)(run, screen)
    if options.json is not None and run.results:
        run.write(options.json)
    if options.plot is not None:
        (plot_growth if options.growth else plot)(run, options.plot)
    _say_what_is_left(run, stopped, options.json, screen)
    if stopped:
        return INTERRUPTED
    return 1 if options.check and not _reached(run) else 0


def _say_what_is_left(run: Run, stopped: bool, file: Path | None, screen: Screen) -> None:
    """How to go on with a run that was stopped or disturbed."""
    if stopped:
        screen.note("stopped; this is what was done")
    left = run.lacking(run.plan.workloads)
    if left and file is not None and run.results:
        screen.note(f"missing or marked: {len(left)}; go on with graphc bench --resume {file}")


def _reached(run: Run) -> bool:
    mine = [(r, system) for r in run.results for system in r.backends]
    missed = any(holds(r, system) == "NO" for r, system in mine)
    broken = any(system.startswith(GRAPHC) for _, _, system, _ in failures(run))
    return not missed and not broken


def _measured(options: argparse.Namespace, screen: Screen) -> tuple[Run, bool]:
    """The results, and whether Ctrl-C ended them early."""
    run, names = gone_on(options) if options.resume else begun(options, screen)
    left = run.lacking(names)
    try:
        _look_at_machine(run, screen)
        for name, pairs in groupby(left, key=lambda pair: pair[0]):
            counts = [threads for _, threads in pairs]
            for result in measure(workload_of(name), run.plan, counts, screen.note):
                run.put(result)
                screen.note(_line(result))
                if options.json is not None:  # hours of work should survive whatever comes
                    run.write(options.json)
        _look_at_machine(run, screen)
    except KeyboardInterrupt:
        return run, True
    return run, False


def _look_at_machine(run: Run, screen: Screen) -> None:
    """Measure the limits, before and after: a neighbour on the machine can only lower them."""
    for threads in run.plan.threads:
        found = limits(threads, run.plan.quick, screen.note)
        if found is not None:
            run.rooflines[threads] = found.better(run.rooflines.get(threads, found))


def _line(result: Result) -> str:
    """A result in one line, while the next is measured."""
    times = {name: duration(o.times.median) for name, o in result.outcomes.items() if o.times}
    said = ", ".join(f"{name} {time}" for name, time in times.items())
    return f"{result.workload}, {result.threads} threads: {said or 'no times'}"
