"""``graphc bench``: how fast generated code is on this machine, beside other systems.

Comes in: workloads, systems, numbers of threads, seconds. Goes out: tables of medians with their
spread, the same as JSON with the machine named, plots. With ``--check`` the exit status says
whether the bars are reached. What is measured is in `workloads`, how in `measure`.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graphc.cli.bench.child import processors
from graphc.cli.bench.growth import plot_growth, report_growth
from graphc.cli.bench.measure import Plan, limits, measure
from graphc.cli.bench.plot import plot, require_matplotlib
from graphc.cli.bench.report import failures, holds, report_run
from graphc.cli.bench.results import GRAPHC, Result, Run
from graphc.cli.bench.systems import PEERS, SYSTEMS
from graphc.cli.bench.workloads import FAMILIES, chosen
from graphc.cli.doctor import environment
from graphc.cli.screen import Screen, duration
from graphc.errors import UserError

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended (128 + SIGINT)."""


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="how fast generated code is on this machine")
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help="names, patterns or families (--list)"
    )
    parser.add_argument("--list", action="store_true", help="what there is to measure")
    parser.add_argument("--backends", type=_names, default=["llvm"], metavar="A,B")
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
    parser.add_argument("--seconds", type=float, default=5.0, help="for each workload and count")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--check", action="store_true", help="status 1 when a bar is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for programs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="bars and a roofline: svg, png")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="print a --json")
    parser.set_defaults(command=bench)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip() not in ("", "none")]


def _counts(text: str) -> list[int]:
    counts = [int(number) for number in _names(text)]
    if not counts or min(counts) < 1:
        raise argparse.ArgumentTypeError("counts of threads are 1 or more")
    return counts


def bench(options: argparse.Namespace, screen: Screen) -> int:
    """Measure, or read what was measured; print, write."""
    if options.list:
        rows = [(f, w.name, f"{w.bar:.1f}x", w.summary) for f, ws in FAMILIES.items() for w in ws]
        screen.table(("family", "workload", ">bar", "what"), rows)
        return 0
    if options.plot is not None:
        require_matplotlib()
    stopped = False
    if options.source is not None:
        run = Run.read(options.source)
    else:
        run, stopped = _measured(options, screen)
    (report_growth if options.growth else report_run)(run, screen)
    if options.json is not None:
        run.write(options.json)
    if options.plot is not None:
        (plot_growth if options.growth else plot)(run, options.plot)
    if stopped:
        screen.note("stopped; this is what was done")
        return INTERRUPTED
    return 1 if options.check and not _reached(run) else 0


def _reached(run: Run) -> bool:
    mine = [(r, system) for r in run.results for system in r.backends]
    missed = any(holds(r, system) == "NO" for r, system in mine)
    broken = any(system.startswith(GRAPHC) for _, _, system, _ in failures(run))
    return not missed and not broken


def _measured(options: argparse.Namespace, screen: Screen) -> tuple[Run, bool]:
    """The results, and whether Ctrl-C ended them early."""
    workloads = chosen(options.workloads or (["growth"] if options.growth else []))
    plan = _plan(options, screen)
    run = Run(_machine(plan), {}, [])
    try:
        _look_at_machine(run, plan, screen)
        for workload in workloads:
            for result in measure(workload, plan, screen.note):
                run.results.append(result)
                screen.note(_line(result))
                if options.json is not None:  # hours of work should survive whatever comes
                    run.write(options.json)
        _look_at_machine(run, plan, screen)
    except KeyboardInterrupt:
        return run, True
    return run, False


def _look_at_machine(run: Run, plan: Plan, screen: Screen) -> None:
    """Measure the limits, before and after: a neighbour on the machine can only lower them."""
    for threads in plan.threads:
        found = limits(threads, plan.quick, screen.note)
        if found is not None:
            run.rooflines[threads] = found.better(run.rooflines.get(threads, found))


def _line(result: Result) -> str:
    """A result in one line, while the next is measured."""
    times = {name: duration(o.times.median) for name, o in result.outcomes.items() if o.times}
    said = ", ".join(f"{name} {time}" for name, time in times.items())
    return f"{result.workload}, {result.threads} threads: {said or 'no times'}"


def _plan(options: argparse.Namespace, screen: Screen) -> Plan:
    """Who is measured; a peer that is not installed is said, and left out."""
    usual = [] if options.growth else list(PEERS)
    wanted = usual if options.peers is None else options.peers
    names = [*(GRAPHC + name for name in options.backends), *wanted]
    for name in names:
        if name not in SYSTEMS:
            known = ", ".join(n.removeprefix(GRAPHC) for n in SYSTEMS)
            raise UserError(
                "GC0503", f"no system {name.removeprefix(GRAPHC)!r}", fix=f"known: {known}"
            )
    missing = {name: SYSTEMS[name].missing for name in names if SYSTEMS[name].missing}
    if missing:
        lost = ", ".join(f"{name} ({package})" for name, package in missing.items())
        screen.note(f"not installed: {lost}. All peers: pip install 'graphc[peers]'")
    count = len(processors())
    threads = options.threads or sorted({1, count})
    if max(threads) > count:
        raise UserError("GC0503", f"{max(threads)} threads on {count} processors")
    systems = tuple(name for name in dict.fromkeys(names) if name not in missing)
    return Plan(systems, tuple(threads), 0.05 if options.quick else options.seconds, options.quick)


MACHINE = (
    "system", "processor", "vectors", "features", "threads", "python", "numpy", "LLVM", "graphc"
)  # fmt: skip
"""What a reader of the numbers must know; no paths."""


def _machine(plan: Plan) -> dict[str, str]:
    found = environment()
    peers = dict.fromkeys(SYSTEMS[name].modules[0] for name in plan.systems if name in PEERS)
    versions = {"peers": ", ".join(f"{name} {version(name)}" for name in peers)}
    return {fact: found[fact] for fact in MACHINE if fact in found} | versions
