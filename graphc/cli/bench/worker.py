"""One system with one workload, in a process of its own.

Comes in: one line of JSON after another on standard input. Goes out: one line for each. A separate
process because systems must share neither threads nor memory nor a warm cache.

    {"do": "limits", "quick"}
        what the machine can do: {"single", "double", "copied", "core_to_core"}, see
        `results.Roofline`
    {"do": "core_to_core"}
        {"rate": bytes a second that one core reads of what another has just written}
    {"do": "expect", "workload", "quick", "file"}
        graphc's numpy backend writes the right results into ``file``; {"nodes", "flops", "bytes",
        "wide": whether it computes in float64}
    {"do": "start", "workload", "quick", "system", "threads", "file"}
        prepare, call, compare; {"first": seconds until the first result, "peak": bytes, "plan"}
    {"do": "turn", "seconds", "least", "most"}
        {"samples": seconds of each call, "peak": most bytes resident since ``start``}

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
from typing import Any

import numpy as np

from graphc.cli.bench.compare import mismatch
from graphc.cli.bench.memory import peak_bytes, reset_peak
from graphc.cli.bench.systems import SYSTEMS
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


class Worker:
    """What stays between two requests: the program under test."""

    def __init__(self) -> None:
        self.program: Prepared | None = None

    def answer(self, request: Answer) -> Answer:
        """Do what is asked; a failure is an answer too."""
        actions: dict[str, Callable[..., Answer]] = {
            "limits": self.limits,
            "core_to_core": self.core_to_core,
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

    def expect(self, workload: str, quick: bool, file: str) -> Answer:
        """Compute the right results, and what they must cost."""
        job = job_of(workload_of(workload), quick, 1)
        oracle = SYSTEMS["graphc numpy"]
        modules = [importlib.import_module(name) for name in oracle.modules]
        program = oracle.prepare(job, *modules)
        np.savez(file, **first_results(program, job, program.step()))  # type: ignore[arg-type]
        nodes, cost = cost_of(job, *modules)
        wide = any(x.dtype == np.float64 for x in (*job.inputs.values(), *job.parameters.values()))
        return {"nodes": nodes, "flops": cost.flops, "bytes": cost.bytes, "wide": wide}

    def start(self, workload: str, quick: bool, system: str, threads: int, file: str) -> Answer:
        """Prepare, call the first time, compare with the right results."""
        chosen = SYSTEMS[system]
        modules = [importlib.import_module(name) for name in chosen.modules]
        job = job_of(workload_of(workload), quick, threads)
        chosen.warm(*modules)
        begin = time.perf_counter()
        self.program = chosen.prepare(job, *modules)
        made = self.program.step()
        first = time.perf_counter() - begin
        found = first_results(self.program, job, made)
        with np.load(file) as expected:
            wrong = mismatch(found, expected)
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
        step = self.program.step
        begin = time.perf_counter()
        for _ in range(WARM):
            step()
        once = (time.perf_counter() - begin) / WARM
        samples = _samples(step, max(1, round(MOMENT / once)), seconds, least, most)
        return {"samples": samples, "peak": peak_bytes()}


def _in_one_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.what
    said = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {said[0]}"


def _samples(step: Any, number: int, seconds: float, least: int, most: int) -> list[float]:
    """Seconds of one call, each the mean of ``number`` calls in a row."""
    clock = time.perf_counter
    samples: list[float] = []
    end = clock() + seconds
    while len(samples) < least or (len(samples) < most and clock() < end):
        begin = clock()
        for _ in range(number):
            step()
        samples.append((clock() - begin) / number)
    return samples


def first_results(program: Prepared, job: Job, made: Any) -> Arrays:
    """What the first call made; of training what the second made, and the parameters then."""
    for _ in range(1, STEPS if isinstance(job.task, Train | Update) else 1):
        made = program.step()
    return program.read(made)


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
