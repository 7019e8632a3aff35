"""What is asked for: from the words of a command to a run that is still to be measured.

Comes in: the options of ``graphc bench``. Goes out: a `Run`, empty or begun earlier, with its plan,
and the workloads to look at. A separate step because whatever a user may have got wrong is said
here, before anything is measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import version

from graphc.cli.bench.child import processors
from graphc.cli.bench.results import GRAPHC, Plan, Run
from graphc.cli.bench.systems import PEERS, SYSTEMS
from graphc.cli.bench.workloads import chosen, ordered
from graphc.cli.bench.workloads.files import is_file
from graphc.cli.doctor import environment
from graphc.cli.options import numbers
from graphc.cli.screen import Screen
from graphc.errors import UserError

INSTALL = "pip install 'graphc[peers]'"

SECONDS, QUICK = 5.0, 0.05
"""For each workload and number of threads, by default and with tiny sizes."""

MACHINE = (
    "system", "processor", "vectors", "features", "threads", "python", "numpy", "LLVM", "graphc"
)  # fmt: skip
"""What a reader of the numbers must know; no paths."""


def begun(options: argparse.Namespace, screen: Screen) -> tuple[Run, list[str]]:
    """A new run and its workloads."""
    patterns = options.workloads or (["growth"] if options.growth else [])
    names = [w.name for w in chosen(patterns, numbers(options.size))]
    usual = [] if options.growth else list(PEERS)
    backends = _known(options.backends or ["llvm"], [s for s in SYSTEMS if s not in PEERS])
    peers = _known(usual if options.peers is None else options.peers, PEERS)
    seconds = QUICK if options.quick else options.seconds or SECONDS
    plan = Plan(
        workloads=tuple(names),
        systems=tuple(_installed([*backends, *peers], names, screen)),
        threads=tuple(_possible(options.threads or sorted({1, len(processors())}))),
        seconds=seconds,
        quick=options.quick,
    )
    return Run(machine_facts(plan.systems), {}, [], plan), names


def gone_on(options: argparse.Namespace) -> tuple[Run, list[str]]:
    """The run that a file holds, and its workloads, or those that are named: they join it.

    Raises `UserError` GC0503 where it was measured by other systems or on another machine: numbers
    of one table are to be compared.
    """
    run = Run.read(options.resume)
    if not run.plan.systems:
        raise UserError(
            "GC0503", f"{options.resume} does not say how it was measured", fix="use --json FILE"
        )
    settings = ("backends", "peers", "threads", "seconds", "quick")
    given = [f"--{name}" for name in settings if getattr(options, name) not in (None, False)]
    if given:
        raise UserError(
            "GC0503", f"--resume goes on as the run was begun, so {given[0]} cannot be given",
            fix="leave it out, or begin another run with --json",
        )  # fmt: skip
    _possible(run.plan.threads)
    missing = _missing(run.plan.systems, run.plan.workloads)
    if missing:
        raise UserError("GC0503", f"the run has {_listed(missing)}, not installed", fix=INSTALL)
    _same_machine(run.machine, machine_facts(run.plan.systems))
    sizes = numbers(options.size)
    names = [w.name for w in chosen(options.workloads, sizes)] if options.workloads else []
    plan = replace(run.plan, workloads=ordered([*run.plan.workloads, *names]))
    return replace(run, plan=plan), names or [*plan.workloads]


def _same_machine(before: Mapping[str, str], now: Mapping[str, str]) -> None:
    for fact in {**before, **now}:
        old, new = before.get(fact, "nothing"), now.get(fact, "nothing")
        if old != new:
            raise UserError(
                "GC0503", f"the run was begun elsewhere: {fact} was {old}, is {new}",
                why="numbers of one table must come from one machine and one set of versions",
                fix="begin another run with --json",
            )  # fmt: skip


def _known(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The systems' full names; a backend is called by its own."""
    full = {name.removeprefix(GRAPHC): name for name in known}
    for name in names:
        if name not in full:
            near = get_close_matches(name, full, 1)
            guess = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                "GC0503", f"no system {name!r} here", fix=f"{guess}known: {', '.join(full)}"
            )
    return [full[name] for name in names]


def _installed(names: Iterable[str], workloads: Iterable[str], screen: Screen) -> list[str]:
    """Those that are installed; what is not is said, and left out."""
    missing = _missing(names, workloads)
    if missing:
        screen.note(f"not installed: {_listed(missing)}. All peers: {INSTALL}")
    return [name for name in dict.fromkeys(names) if name not in missing]


def _missing(names: Iterable[str], workloads: Iterable[str]) -> dict[str, str]:
    """The package that a system lacks; what makes files of formulas is not needed for files."""
    only_files = all(map(is_file, workloads))
    systems = {name: SYSTEMS[name] for name in names}
    lacks = {n: (replace(s, more=()) if only_files else s).missing for n, s in systems.items()}
    return {name: package for name, package in lacks.items() if package}


def _listed(missing: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({package})" for name, package in missing.items())


def _possible(threads: Iterable[int]) -> list[int]:
    counts, most = list(dict.fromkeys(threads)), len(processors())
    if max(counts) > most:
        raise UserError(
            "GC0503", f"{max(counts)} threads on {most} processors", fix=f"at most {most}"
        )
    return counts


def machine_facts(systems: Iterable[str]) -> dict[str, str]:
    """The machine and the versions, by name."""
    found = environment()
    peers = dict.fromkeys(SYSTEMS[name].modules[0] for name in systems if name in PEERS)
    versions = {"peers": ", ".join(f"{name} {version(name)}" for name in peers)}
    return {fact: found[fact] for fact in MACHINE if fact in found} | versions
