"""Kernels that forget to wait: each barrier, fence and wait of their text is left out once.

Comes in: programs. Goes out: the mutants that no order of threads, no report of the simulator and
no report of a race tells from the right kernel. Waits inside the helpers of the prelude count too:
the kernel gets a copy of its own of the helper.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from execute import outcome
from graphc.backends.cuda import TAKES, library_of
from graphc.backends.cuda.code import Form, forms
from graphc.backends.cuda.device import Launch, Limits, Unit
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.prelude import part
from graphc.backends.cuda.sim.device import Simulator
from graphc.backends.cuda.sim.sanitize import watched
from graphc.errors import CompilerBug
from graphc.graph import Array, Graph
from graphc.stages import Stages

ORDERS = (0, 1, 7)
"""Seeds of the order of threads: as counted, reversed, random."""

WAITS = (
    r"sync|sync_warp|sync_some|copy_commit|copy_wait<\d+>|barrier_init|barrier_fence"
    r"|barrier_arrive|barrier_expect|barrier_wait|wgmma_fence|wgmma_commit|wgmma_wait<\d+>"
)
_WAIT = re.compile(rf"\bgc_(?:{WAITS})\(")
_HELPER = re.compile(
    r"^(?:template <.*>\n)?DEVICE .*?\b(gc_\w+)\(.*\n(?:.*\n)*?^\}\n", re.MULTILINE
)


# Programs -----------------------------------------------------------------------------------------
class Program(Protocol):
    """What has units, and results that show what they do."""

    limits: Limits

    @property
    def units(self) -> list[Unit]: ...

    def results(self, changed: Mapping[str, Unit], device: Simulator) -> list[bytes]:
        """The bits of the results, some units ``changed``. Raises `CompilerBug`."""
        ...


@dataclass
class Generated:
    """A graph, what it is given, and for which GPU it is compiled."""

    graph: Graph
    arrays: Sequence[Array]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.stages = Stages(self.graph, {}, TAKES)
        self.forms = forms(self.stages.program, self.limits)

    @property
    def units(self) -> list[Unit]:
        return [*{p.unit.name: p.unit for form in self.forms for p in form.phases}.values()]

    def results(self, changed: Mapping[str, Unit], device: Simulator) -> list[bytes]:
        made = [_changed(form, changed) for form in self.forms]
        calls = library_of(self.stages.source, device)
        run = Executable(self.stages.program, device, calls, made).run
        return [array.tobytes() for array in outcome(self.graph, run, self.arrays)]


def _changed(form: Form, changed: Mapping[str, Unit]) -> Form:
    if form.code is None:
        return form
    phases = tuple(replace(p, unit=changed.get(p.unit.name, p.unit)) for p in form.code.phases)
    return replace(form, code=replace(form.code, phases=phases))


@dataclass
class Written:
    """A unit written by hand; its first array holds 0, 1, 2 ..., the others 0."""

    unit: Unit
    grid: int
    threads: int
    shared_bytes: int
    sizes: tuple[int, ...]
    limits: Limits = field(default_factory=Limits)

    @property
    def units(self) -> list[Unit]:
        return [self.unit]

    def results(self, changed: Mapping[str, Unit], device: Simulator) -> list[bytes]:
        (function,) = device.load([changed.get(self.unit.name, self.unit)])
        arrays = [np.zeros(size, np.float32) for size in self.sizes]
        arrays[0][:] = range(self.sizes[0])
        memory = [device.allocate(array.nbytes) for array in arrays]
        for place, array in zip(memory, arrays, strict=True):
            device.write(place.address, array)
        addresses = tuple(place.address for place in memory)
        device.run(
            [Launch(function, (self.grid, 1, 1), self.threads, self.shared_bytes, addresses)]
        )
        for place, array in zip(memory, arrays, strict=True):
            device.read(place.address, array)
        return [array.tobytes() for array in arrays]


# Mutants ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Mutant:
    """Number ``number`` of a program: a unit without the wait in a line of it, or of a helper."""

    number: int
    unit: Unit
    wait: str
    line: int
    helper: str

    def __str__(self) -> str:
        return f"{self.wait} in line {self.line} of {self.helper or self.unit.name}"

    @cached_property
    def renamed(self) -> Unit:
        """With a name that no other unit has."""
        name = f"{self.unit.name}_without_{self.number}"
        return Unit(name, re.sub(rf"\b{self.unit.name}\b", name, self.unit.text))


def helpers() -> dict[str, str]:
    """The functions of the prelude that wait, with their texts."""
    functions = _HELPER.finditer(part("meaning.h"))
    return {found[1]: found[0] for found in functions if _WAIT.search(found[0])}


def without_waits(text: str) -> Iterator[tuple[str, int, str]]:
    """The text without each of its waits: what was left out, its line, what is left."""
    for found in _WAIT.finditer(text):
        end, depth = found.end(), 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        line = text.count("\n", 0, found.start()) + 1
        yield text[found.start() : end], line, f"{text[: found.start()]}(void)0{text[end:]}"


def texts(unit: Unit) -> Iterator[tuple[str, str, int, str]]:
    """The unit's text without a wait, which one, and its line, of the unit or of a helper."""
    for call, line, text in without_waits(unit.text):
        yield text, call, line, ""
    for name, helper in helpers().items():
        if re.search(rf"\b{name}\b", unit.text):
            own = re.sub(rf"\b{name}\b", f"{name}_mutant", unit.text)
            for call, line, text in without_waits(helper):
                copy = re.sub(rf"\b{name}\b", f"{name}_mutant", text)
                yield copy + own, call, line, name


def mutants(program: Program) -> list[Mutant]:
    found = [(unit, *rest) for unit in program.units for rest in texts(unit)]
    return [
        Mutant(n, replace(unit, text=text), call, line, helper)
        for n, (unit, text, call, line, helper) in enumerate(found)
    ]


# What notices them --------------------------------------------------------------------------------
def survivors(program: Program) -> tuple[list[Mutant], list[Mutant]]:
    """The mutants, and those of them with the right results in each order of threads and without
    a report.
    """
    made = mutants(program)
    devices = [Simulator(program.limits, seed) for seed in ORDERS]
    devices[0].load([*program.units, *(mutant.unit for mutant in made)])
    right = program.results({}, devices[0])
    assert all(program.results({}, device) == right for device in devices), "not repeatable"
    return made, [m for m in made if not _is_caught(program, m, devices, right)]


def _is_caught(
    program: Program, mutant: Mutant, devices: Sequence[Simulator], right: list[bytes]
) -> bool:
    changed = {mutant.unit.name: mutant.unit}
    try:
        return any(program.results(changed, device) != right for device in devices)
    except CompilerBug as bug:
        if "breaks a rule" not in str(bug):
            raise
        return True


def print_survivors(programs: Mapping[str, Program], names: Sequence[str]) -> None:
    """A line for each program: its name, how many mutants it has, and the numbers of those left.
    Nothing is cleaned up at the end: a mutant may have written anywhere.
    """
    for name in names:
        made, left = survivors(programs[name])
        print(json.dumps([name, len(made), [m.number for m in left]]), flush=True)
    os._exit(0)


def survivors_apart(
    programs: Mapping[str, Program], module: str
) -> dict[str, tuple[list[Mutant], list[Mutant]]]:
    """`survivors` of the ``PROGRAMS`` of a module, found in processes of their own: a mutant that
    takes garbage for a place writes into memory that is not its own. Where one dies of it another
    goes on, once for each program.
    """
    found: dict[str, tuple[list[Mutant], list[Mutant]]] = {}
    for _ in range(1 + len(programs)):
        rest = [name for name in programs if name not in found]
        if not rest:
            return found
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                _script(module, f"print_survivors({module}.PROGRAMS, {rest!r})"),
            ],
            capture_output=True,
            text=True,
        )
        for name, count, numbers in map(json.loads, done.stdout.splitlines()):
            made = mutants(programs[name])
            assert len(made) == count
            found[name] = made, [made[n] for n in numbers]
        assert done.returncode <= 0, done.stderr
    raise AssertionError(f"no process lives through {rest}")


def _script(module: str, call: str) -> str:
    """A program that imports a module of the tests and calls a function of this one."""
    return f"import sys; sys.path[:0] = {sys.path!r}\nimport mutation, {module}\nmutation.{call}"


def run_watched(programs: Mapping[str, Program], chosen: Sequence[tuple[str, int]]) -> None:
    """Run these mutants of programs, under names of their own."""
    for name in dict(chosen):
        program, numbers = programs[name], {n for other, n in chosen if other == name}
        device = Simulator(program.limits, ORDERS[-1])
        for mutant in mutants(program):
            if mutant.number in numbers:
                program.results({mutant.unit.name: mutant.renamed}, device)


def racing(chosen: Sequence[tuple[str, Mutant]], module: str) -> list[tuple[str, Mutant]]:
    """Those mutants of the ``PROGRAMS`` of a module that ThreadSanitizer reports. Raises
    `UserError` GC0403 where there is none.
    """
    numbers = [(name, mutant.number) for name, mutant in chosen]
    script = _script(module, f"run_watched({module}.PROGRAMS, {numbers!r})")
    outcome_ = watched("race", [sys.executable, "-c", script])
    assert outcome_.status == 0, outcome_.output
    kernels = {finding.kernel for finding in outcome_.findings}
    return [(name, mutant) for name, mutant in chosen if mutant.renamed.name in kernels]
