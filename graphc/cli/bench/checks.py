"""Is it right? Checks that a GPU must pass before its times mean anything.

Comes in: a run. Goes out: a `Check` each. They are programs of their own, with a limit of time, so
a device that stops answering costs one line. NVIDIA's compute-sanitizer watches every access of
chosen kernels (memcheck: out of bounds, racecheck: shared memory without a barrier); the suite is
that of the repository's own tests, run on the device. What is not there is said.

Source: NVIDIA, Compute Sanitizer user manual, "memcheck tool" and "racecheck tool".
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from graphc.cli.bench.results import FAILED, GPU, GRAPHC, LEFT_OUT, PASSED, Check, Run
from graphc.errors import UserError

DEVICE_VARIABLE = "GRAPHC_TEST_BACKEND"
"""Tells the tests of the cuda backend which device they run on."""
ON_ANY = "from simulated import"
"""What a file of tests that run on any device begins with."""
LIMIT = 240.0
"""Seconds that a check may take."""
SANITIZER = "compute-sanitizer"
WATCHED = "graphc.cli.bench.watched"
"""The program that it watches."""
FOUND = 9
"""The exit status by which the sanitizer says that it found something."""

Command = list[str]


def known(names: Iterable[str]) -> None:
    """Raises `UserError` GC0503 for a name that no check has."""
    for name in names:
        if name not in CHECKS:
            raise UserError("GC0503", f"no check {name!r}", fix=f"known: {', '.join(CHECKS)}")


def checked(options: argparse.Namespace, run: Run) -> Iterator[Check]:
    """The checks that were asked for, of every backend that was measured on a GPU."""
    usual = CHECKS if GPU in run.plan.threads else ()
    names = usual if options.verify is None else options.verify
    done = {check.name for check in run.checks}
    for system in run.plan.systems:
        backend = system.removeprefix(GRAPHC)
        for name in names if system.startswith(GRAPHC) else ():
            if f"{name}, {backend}" not in done:
                yield CHECKS[name](f"{name}, {backend}", backend, run.plan.quick)


def suite(name: str, backend: str, quick: bool) -> Check:
    """The tests of the cuda backend that run on any of its devices."""
    tests = Path(__file__).resolve().parents[3] / "tests" / "backends" / "cuda"
    if not tests.is_dir():
        return Check(name, LEFT_OUT, "the tests are in the repository, not in the package")
    if find_spec("pytest") is None:
        return Check(name, LEFT_OUT, "pytest is not installed: pip install 'graphc[test]'")
    if quick:
        return Check(name, LEFT_OUT, "--quick leaves it out")
    files = [f for f in sorted(tests.glob("test_*.py")) if ON_ANY in f.read_text("utf-8")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, files)]
    return ended(name, command, {DEVICE_VARIABLE: backend})


def sanitized(tool: str) -> Callable[[str, str, bool], Check]:
    """A check by a tool of the sanitizer."""

    def check(name: str, backend: str, quick: bool) -> Check:
        if backend != "cuda":
            return Check(name, LEFT_OUT, "it watches GPUs; see graphc run --sanitize")
        if shutil.which(SANITIZER) is None:
            return Check(name, LEFT_OUT, f"{SANITIZER} is not installed; it comes with CUDA")
        watched = [SANITIZER, "--tool", tool, "--error-exitcode", str(FOUND)]
        return ended(name, [*watched, sys.executable, "-P", "-m", WATCHED, backend], {})

    return check


def ended(name: str, command: Command, variables: dict[str, str], limit: float = LIMIT) -> Check:
    """What became of a program: status 0 is right."""
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            command, env={**os.environ, **variables}, capture_output=True, text=True,
            timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Check(name, FAILED, f"no end within {limit:g} s", time.perf_counter() - begin)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    state = FAILED if done.returncode else PASSED
    return Check(name, state, said[-1] if said else "", time.perf_counter() - begin)


CHECKS: dict[str, Callable[[str, str, bool], Check]] = {
    "suite": suite,
    "memcheck": sanitized("memcheck"),
    "racecheck": sanitized("racecheck"),
}
"""Checks by name."""
