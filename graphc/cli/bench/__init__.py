"""``graphc bench``: how fast generated code is on this machine, beside other systems.

Comes in: workloads, systems, numbers of threads, seconds. Goes out: tables of medians with their
spread, the same as JSON with the machine named, plots. With ``--check`` the exit status says
whether the bars are reached. What is measured is in `workloads`, how in `measure`.

A whole run takes an hour, so its file is written after every result, and ``--resume`` goes on with
it: with what is missing, then with what was measured while the machine was in a bad state.

``--suite gpu`` is what a GPU is measured by, in some minutes: other workloads, other peers, and
checks besides (`checks`). With ``--backends cuda-sim --quick`` the same runs without any GPU.
"""

from __future__ import annotations

import argparse
import math
from itertools import groupby
from pathlib import Path
from typing import Any

from graphc.cli.bench.checks import CHECKS, checked, known
from graphc.cli.bench.growth import plot_growth, report_growth
from graphc.cli.bench.measure import limits, measure
from graphc.cli.bench.order import begun, gone_on
from graphc.cli.bench.plot import plot, require_plot
from graphc.cli.bench.report import (
    bar_shown,
    failures,
    family_means,
    holds,
    host_holds,
    report_run,
)
from graphc.cli.bench.results import FAILED, GRAPHC, Result, Run, threads_shown, writable
from graphc.cli.bench.spares import Spares
from graphc.cli.bench.systems import GPU_PEERS, PEERS
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
    _add_systems(parser)
    parser.add_argument(
        "--growth", action="store_true", help="how times grow with programs and batches"
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        metavar="S",
        help="for each workload and count (default: 5; gpu: 1)",
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


def _add_systems(parser: argparse.ArgumentParser) -> None:
    """Declare what is measured, against what, on what."""
    parser.add_argument(
        "--suite", choices=("cpu", "gpu"), default="cpu", help="gpu: what GPUs are measured by"
    )
    parser.add_argument("--backends", type=_some, metavar="A,B", help="default: llvm; gpu: cuda")
    parser.add_argument(
        "--peers",
        type=_names,
        metavar="A,B",
        help=f"of {', '.join((*PEERS, *GPU_PEERS))}, or none (default: all installed; with "
        "--growth none)",
    )
    parser.add_argument("--threads", type=_counts, metavar="1,2", help="default: 1 and all")
    parser.add_argument(
        "--verify", type=_names, metavar="A,B",
        help=f"of {', '.join(CHECKS)}, or none (default: all with --suite gpu, none otherwise)",
    )  # fmt: skip


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
        rows = [(f, w.name, bar_shown(w.bar), w.summary) for f, ws in FAMILIES.items() for w in ws]
        screen.table(("family", "workload", ">bar", "what"), rows)
        return 0
    known(options.verify or ())
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
    missed = any("NO" in (holds(r, system), host_holds(r, system)) for r, system in mine)
    missed = missed or any(mean < bar for _, mean, bar in family_means(run))
    broken = any(system.startswith(GRAPHC) for _, _, system, _ in failures(run))
    wrong = any(check.state == FAILED for check in run.checks)
    return not missed and not broken and not wrong


def _measured(options: argparse.Namespace, screen: Screen) -> tuple[Run, bool]:
    """The results, and whether Ctrl-C ended them early."""
    run, names = gone_on(options) if options.resume else begun(options, screen)
    left = run.lacking(names)
    try:
        _look_at_machine(run, screen)
        with Spares(run.plan.limit, ahead=not run.plan.quick) as spares:
            for name, pairs in groupby(left, key=lambda pair: pair[0]):
                counts = [threads for _, threads in pairs]
                for result in measure(workload_of(name), run.plan, counts, screen.note, spares):
                    run.put(result)
                    _keep(run, _line(result), options.json, screen)
        _look_at_machine(run, screen)
        for check in checked(options, run):
            run.checks.append(check)
            _keep(run, f"{check.name}: {check.state}, {check.said}", options.json, screen)
    except KeyboardInterrupt:
        return run, True
    return run, False


def _keep(run: Run, said: str, file: Path | None, screen: Screen) -> None:
    """Hours of work should survive whatever comes."""
    screen.note(said)
    if file is not None:
        run.write(file)


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
    return f"{result.workload}, {threads_shown(result.threads)}: {said or 'no times'}"
