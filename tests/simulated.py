"""Runs many small graphs on the simulated GPU: their kernels are compiled together, which costs a
fraction of compiling one after another.

    GRAPHC_TEST_BACKEND   "cuda": on a GPU instead
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from execute import interpreted, outcome
from graphc.backends.cuda import TAKES, library_of
from graphc.backends.cuda.code import Form, forms
from graphc.backends.cuda.executable import Executable
from graphc.compile import build
from graphc.errors import CompilerBug, GraphcError
from graphc.graph import Array, Graph
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.runner import load_backend
from graphc.stages import Stages

BACKEND = os.environ.get("GRAPHC_TEST_BACKEND", "cuda-sim")
device = load_backend(BACKEND).device
ORDERS = (1, 7) if BACKEND == "cuda-sim" else (0,)
"""Seeds of the order of threads: reversed, and random. A GPU has its own order."""


@dataclass(frozen=True)
class Case:
    """A graph, what it is given, and how near the results must be to NumPy's: one tolerance,
    relative and absolute, or the largest error of each result. ``optimised``: after the passes.
    """

    name: str
    graph: Graph
    arrays: Sequence[Array]
    tolerance: float | Sequence[float]
    optimised: bool = True

    def compiled(self) -> tuple[Program, Graph]:
        """The kernels, and the graph whose libraries they call."""
        if not self.optimised:
            return lower(self.graph), self.graph
        stages = Stages(self.graph, {}, TAKES)
        return stages.program, stages.source

    def wanted(self) -> list[Array]:
        """What NumPy makes of it, after the same passes."""
        if not self.optimised:
            return interpreted(self.graph, self.arrays)
        return outcome(self.graph, build(self.graph, "numpy", {}).runner.run, self.arrays)

    def near(self, result: int) -> dict[str, float]:
        """The tolerances of a result."""
        if isinstance(self.tolerance, float | int):
            return {"rtol": self.tolerance, "atol": self.tolerance}
        return {"rtol": 0, "atol": self.tolerance[result]}


def failures(cases: Iterable[Case]) -> list[str]:
    """What differs from the numpy backend, each with the name of its case, in any order of
    threads.
    """
    made = [_made(case) for case in cases]
    with suppress(CompilerBug):  # text that does not compile fails again, with its case
        device().load([p.unit for _, _, _, fs in made for f in fs for p in f.phases])
    return [failure for each in made for failure in _failures(*each)]


def _made(case: Case) -> tuple[Case, Program, Graph, list[Form]]:
    program, source = case.compiled()
    return case, program, source, forms(program, device().limits)


def _failures(case: Case, program: Program, source: Graph, fs: list[Form]) -> list[str]:
    wanted = case.wanted()
    calls = library_of(source, device())
    found = []
    for seed in ORDERS:
        device().seed = seed  # before launches are recorded
        try:
            runner = Executable(program, device(), calls, fs)
            ours = outcome(case.graph, runner.run, case.arrays)
        except GraphcError as error:
            found.append(f"{case.name}, order {seed}: {error}")
        else:
            found += [f"{case.name}, order {seed}: {x}" for x in _differences(ours, wanted, case)]
    return found


def _differences(ours: Sequence[Array], wanted: Sequence[Array], case: Case) -> list[str]:
    found = []
    for number, (a, b) in enumerate(zip(ours, wanted, strict=True)):
        if a.dtype != b.dtype:
            found.append(f"result {number} is {a.dtype}, not {b.dtype}")
            continue
        try:
            np.testing.assert_allclose(a, b, **case.near(number))
        except AssertionError as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            found.append(f"result {number}: {'; '.join(lines[1:4])}")
    return found
