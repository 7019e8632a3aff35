"""One system with one workload, in a process of its own.

Comes in: one line of JSON after another on standard input. Goes out: one line for each. A separate
process because systems must share neither threads nor memory nor a warm cache.

    {"do": "limits", "quick"}
        what the machine can do: {"single", "double", "copied", "core_to_core"}, see
        `results.Roofline`
    {"do": "core_to_core"}
        {"rate": bytes a second that one core reads of what another has just written}
    {"do": "warm", "system"}
        import a system and run something trivial; {}
    {"do": "expect", "workload", "quick", "file", "right"}
        the system ``right`` writes its results into ``file``; {"nodes", "flops", "bytes", "wide":
        whether it computes in float64}
    {"do": "start", "workload", "quick", "system", "threads", "file"}
        prepare, call, compare; {"first": seconds until the first result, "peak": bytes, "plan"}
    {"do": "turn", "seconds", "least", "most"}
        {"samples": seconds of each call, "peak": most bytes resident since ``start``, "host": the
        seconds of each that the host was busy, where a GPU did the work}

Anything that goes wrong is {"failed": one line}. What libraries print goes to standard error.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from graphc.cli.bench.compare import mismatch, sampled
from graphc.cli.bench.memory import peak_bytes, reset_peak
from graphc.cli.bench.results import GPU
from graphc.cli.bench.systems import SYSTEMS, System
from graphc.cli.bench.systems.job import Job, Prepared, job_of
from graphc.cli.bench.systems.native import cost_of
from graphc.cli.bench.workload import Arrays, Train, Update
from graphc.cli.bench.workloads import workload_of
from graphc.errors import UserError
from graphc.runner import load_backend

Answer = dict[str, Any]

WARM = 2
"""Calls at the beginning of a turn that do not count."""

STEPS = 2
"""Steps of training that are compared: the second one sees what the first one changed."""

MOMENT = 2e-5
"""Seconds that a sample takes at least; shorter calls are timed several at once, so that reading
the clock is not what is measured.
"""
DEVICE_MOMENT = 2e-3
"""The same on a GPU, which is asked for many calls before it has done the first: how long the way
to it is must not be measured either.
"""


class Worker:
    """What stays between two requests: the program under test."""

    def __init__(self) -> None:
        self.program: Prepared | None = None

    def answer(self, request: Answer) -> Answer:
        """Do what is asked; a failure is an answer too."""
        actions: dict[str, Callable[..., Answer]] = {
            "limits": self.limits,
            "core_to_core": self.core_to_core,
            "warm": self.warm,
            "expect": self.expect,
            "start": self.start,
            "turn": self.turn,
        }
        action = actions[request.pop("do")]
        try:
            return action(**request)
        except Exception as error:  # whatever fails in somebody else's system is one line here
            return {"failed": _in_one_line(error)}

    def limits(self, quick: bool) -> Answer:
        """Measure the machine."""
        found: Answer = load_backend("llvm").limits(quick)
        return found

    def core_to_core(self) -> Answer:
        """Measure how near the cores are."""
        return {"rate": load_backend("llvm").core_to_core()}

    def warm(self, system: str) -> Answer:
        """Import what a system needs, and run something trivial."""
        modules_of(SYSTEMS[system])
        return {}

    def expect(self, workload: str, quick: bool, file: str, right: str) -> Answer:
        """Compute the right results, and what they must cost."""
        job = job_of(workload_of(workload), quick, 1)
        oracle = SYSTEMS[right]
        program = oracle.prepare(job, *modules_of(oracle))
        np.savez(file, **first_results(program, job, program.step()))  # type: ignore[arg-type]
        nodes, cost = cost_of(job, importlib.import_module("graphc"))
        wide = any(x.dtype == np.float64 for x in (*job.inputs.values(), *job.parameters.values()))
        return {"nodes": nodes, "flops": cost.flops, "bytes": cost.bytes, "wide": wide}

    def start(self, workload: str, quick: bool, system: str, threads: int, file: str) -> Answer:
        """Prepare, call the first time, compare with the right results."""
        chosen = SYSTEMS[system]
        modules = modules_of(chosen)
        job = job_of(workload_of(workload), quick, threads)
        begin = time.perf_counter()
        self.program = chosen.prepare(job, *modules)
        if threads != GPU:  # whole calls are timed, with their copies
            self.program = replace(self.program, repeat=None)
        made = self.program.step()
        first = time.perf_counter() - begin
        found = first_results(self.program, job, made)
        with np.load(file) as expected:
            wrong = mismatch(found, expected, job.model.tolerance) if self.program.read else ""
        peak = peak_bytes()
        if wrong:
            return {"failed": wrong}
        answer = {"first": first, "peak": peak, "plan": self.program.plan()}
        del made, found
        reset_peak()
        return answer

    def turn(self, seconds: float, least: int, most: int) -> Answer:
        """Call again and again."""
        assert self.program is not None
        repeat = self.program.repeat or partial(_calls, self.program.step)
        moment = DEVICE_MOMENT if self.program.repeat else MOMENT
        if self.program.repeat:
            repeat(WARM)  # the first calls after a pause say nothing about how many to ask for
        once = repeat(WARM)[0] / WARM
        pairs = _samples(repeat, max(1, round(moment / once)), seconds, least, most)
        samples, host = zip(*pairs, strict=True)
        return {"samples": samples, "peak": peak_bytes()} | (
            {"host": host} if self.program.repeat else {}
        )


def _in_one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.what
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0]}"


def modules_of(system: System) -> list[Any]:
    """The modules of a system, which has run something trivial."""
    modules = [importlib.import_module(name) for name in system.modules]
    system.warm(*modules)
    return modules


def _calls(step: Callable[[], Any], number: int) -> tuple[float, float]:
    """Seconds of ``number`` calls in a row, for which the host is busy all the time."""
    clock = time.perf_counter
    begin = clock()
    for _ in range(number):
        step()
    taken = clock() - begin
    return taken, taken


def _samples(
    repeat: Callable[[int], tuple[float, float]],
    number: int,
    seconds: float,
    least: int,
    most: int,
) -> list[tuple[float, float]]:
    """Seconds of one call, and of the host for it, each the mean of ``number`` calls in a row."""
    clock = time.perf_counter
    samples: list[tuple[float, float]] = []
    end = clock() + seconds
    while len(samples) < least or (len(samples) < most and clock() < end):
        taken, busy = repeat(number)
        samples.append((taken / number, busy / number))
    return samples


def first_results(program: Prepared, job: Job, made: Any) -> Arrays:
    """What the first call made; of training what the second made, and the parameters then."""
    if program.read is None:
        return {}
    for _ in range(1, STEPS if isinstance(job.task, Train | Update) else 1):
        made = program.step()
    return {name: sampled(array) for name, array in program.read(made).items()}


PR_SET_PDEATHSIG = 1
"""Linux, prctl(2): the signal that a process gets when its parent dies."""


def main() -> None:
    """Answer until standard input ends. Who is held still does not see that end, so on Linux a
    worker is killed with its parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on nobody else writes among the answers
    worker = Worker()
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
