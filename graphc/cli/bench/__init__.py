"""``graphc bench``: how fast generated code is on this machine, beside NumPy.

Comes in: which benchmarks, how long. Goes out: a table of medians with their spread, and the same
as JSON with the machine named. Both sides of a comparison run in one process and take turns, so
that a machine that slows down slows both. With ``--check`` the exit status says whether the floor
holds.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from graphc.cli.bench.floor import BENCHMARKS, Result
from graphc.cli.bench.timing import Budget
from graphc.cli.doctor import environment
from graphc.cli.screen import Screen
from graphc.errors import UserError


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="how fast generated code is on this machine")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each comparison")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--check", action="store_true", help="status 1 when a floor is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers, for programs")
    parser.set_defaults(command=bench)


def bench(options: argparse.Namespace, screen: Screen) -> int:
    """Run benchmarks, print the table."""
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        known = ", ".join(BENCHMARKS)
        raise UserError("GC0503", f"no benchmark {unknown[0]!r}", fix=f"known: {known}")
    budget = Budget(0.05, quick=True) if options.quick else Budget(options.seconds)
    machine = environment()
    screen.say(f"{machine['processor']}, {machine['threads']} threads, numpy {machine['numpy']}")
    results: list[Result] = []
    for name in options.names or BENCHMARKS:
        screen.say(f"{name} ...")
        results += BENCHMARKS[name](budget)
    screen.heading("medians")
    screen.table(COLUMNS, [_row(r) for r in results])
    if options.json is not None:
        _write(options.json, machine, results)
    missed = [r.name for r in results if not r.holds]
    return 1 if options.check and missed else 0


COLUMNS = ("benchmark", ">graphc", ">spread", ">compared with", ">ratio", ">floor", "holds")


def _row(r: Result) -> tuple[str, ...]:
    return (
        r.name,
        r.mine.shown,
        f"±{r.mine.spread:.0%}",
        f"{r.other.shown} {r.other_name}" if r.other else "",
        f"{r.ratio:.2f}x" if r.other else "",
        r.floor_shown,
        "yes" if r.holds else "NO",
    )


MACHINE = (
    "system", "processor", "vectors", "features", "threads", "python", "numpy", "LLVM", "graphc"
)  # fmt: skip
"""What a reader of the numbers must know; no paths."""


def _write(path: Path, machine: dict[str, str], results: list[Result]) -> None:
    named = {fact: machine[fact] for fact in MACHINE if fact in machine}
    content = {"machine": named, "results": [r.as_data() for r in results]}
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be written: {error}") from error
