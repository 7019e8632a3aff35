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

import numpy as np

from graphc.cli.bench.child import processors
from graphc.cli.bench.results import GPU, GRAPHC, Plan, Run
from graphc.cli.bench.systems import GPU_PEERS, PEERS, SYSTEMS
from graphc.cli.bench.workloads import ON_GPU, chosen, ordered
from graphc.cli.bench.workloads.files import is_file
from graphc.cli.doctor import environment
from graphc.cli.options import numbers
from graphc.cli.screen import Screen
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.frontends import dsl
from graphc.frontends.dsl.function import graph_of

INSTALL = "pip install 'graphc[peers]'"

SECONDS, GPU_SECONDS, QUICK = 5.0, 1.0, 0.05
"""For each workload and number of threads, by default, on a GPU, and with tiny sizes."""
GPU_LIMIT = 150.0
"""Seconds that a process may take for one workload on a GPU: nothing else may wait longer."""

MACHINE = (
    "system", "processor", "vectors", "features", "threads", "python", "numpy", "LLVM", "graphc"
)  # fmt: skip
GPU_FACTS = ("GPU ", "NVIDIA driver", "NVRTC", "C++ compiler")
"""What they must know besides where a GPU, or what stands for it, does the work."""
"""What a reader of the numbers must know; no paths."""


def begun(options: argparse.Namespace, screen: Screen) -> tuple[Run, list[str]]:
    """A new run and its workloads."""
    on_gpu = options.suite == "gpu"
    patterns = options.workloads or (["growth"] if options.growth else ON_GPU if on_gpu else [])
    names = [w.name for w in chosen(patterns, numbers(options.size))]
    wanted = options.backends or ["cuda" if on_gpu else "llvm"]
    backends = _known(wanted, [s for s in SYSTEMS if s.startswith(GRAPHC)])
    usual = [] if options.growth else _gpu_peers(wanted) if on_gpu else list(PEERS)
    peers = _known(usual if options.peers is None else options.peers, {**PEERS, **GPU_PEERS})
    systems = [*dict.fromkeys((*backends, *peers))]
    missing = _missing(systems, names)
    if missing:
        _say_what_is_missing(missing, screen)
    plan = Plan(
        workloads=tuple(names),
        systems=tuple(name for name in systems if name not in missing),
        threads=(GPU,) if on_gpu else tuple(_possible(options.threads or _usual_counts())),
        seconds=QUICK if options.quick else options.seconds or (GPU_SECONDS if on_gpu else SECONDS),
        quick=options.quick,
        limit=GPU_LIMIT if on_gpu else 0.0,
        absent=tuple(missing),
    )
    if on_gpu:
        plan = _on_gpu(plan)
    return Run(machine_facts(plan.systems, on_gpu), {}, [], plan), names


def _usual_counts() -> list[int]:
    return sorted({1, len(processors())})


def _gpu_peers(backends: Iterable[str]) -> list[str]:
    """The peers of backends on a GPU: copies are by the device of the backend."""
    copies = {f"copy {name}" for name in backends}
    return [name for name in GPU_PEERS if not name.startswith("copy ") or name in copies]


def _on_gpu(plan: Plan) -> Plan:
    """The plan for a GPU, on which all its backends have computed something trivial.

    Raises `UserError` GC0403 where a backend does not run here, with what it lacks.
    """
    for name in plan.systems:
        if name.startswith(GRAPHC):
            x = dsl.input("x", (4,))
            step = Executable(graph_of([x], [x + 1], {}), name.removeprefix(GRAPHC))
            step(np.zeros(4, np.float32))
    if plan.quick:
        return plan
    return replace(plan, right=next(name for name in RIGHT if name in (*plan.systems, RIGHT[-1])))


RIGHT = ("torch cuda", f"{GRAPHC}llvm")
"""Who knows what is right where the numpy backend would need minutes: the first that is there."""


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
    settings = ("backends", "peers", "threads", "seconds", "quick", "suite")
    given = [f"--{n}" for n in settings if getattr(options, n) not in (None, False, "cpu")]
    if given:
        raise UserError(
            "GC0503", f"--resume goes on as the run was begun, so {given[0]} cannot be given",
            fix="leave it out, or begin another run with --json",
        )  # fmt: skip
    on_gpu = GPU in run.plan.threads
    if not on_gpu:
        _possible(run.plan.threads)
    missing = _missing(run.plan.systems, run.plan.workloads)
    if missing:
        raise UserError("GC0503", f"the run has {_listed(missing)}, not installed", fix=INSTALL)
    _same_machine(run.machine, machine_facts(run.plan.systems, on_gpu))
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


def _say_what_is_missing(missing: Mapping[str, str], screen: Screen) -> None:
    packages = {n: what for n, what in missing.items() if not what.startswith("a ")}
    devices = {n: what for n, what in missing.items() if n not in packages}
    if packages:
        screen.note(f"not installed: {_listed(packages)}. All peers: {INSTALL}")
    if devices:
        screen.note(f"not here: {_listed(devices)}")


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


def machine_facts(systems: Iterable[str], on_gpu: bool = False) -> dict[str, str]:
    """The machine and the versions, by name."""
    found = environment()
    modules = dict.fromkeys(SYSTEMS[n].modules[0] for n in systems if not n.startswith(GRAPHC))
    versions = {"peers": ", ".join(f"{x} {version(x)}" for x in modules if x != "graphc")}
    device = {fact: x for fact, x in found.items() if on_gpu and fact.startswith(GPU_FACTS)}
    return {fact: found[fact] for fact in MACHINE if fact in found} | device | versions
