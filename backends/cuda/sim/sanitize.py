"""Watching over every access of a kernel: races between threads, and memory that is not theirs.

Comes in: a command line of graphc. Goes out: its exit status, and the lines of kernels that broke a
rule. A separate step because the sanitizers of C++ compilers, which do the watching, must be in a
process from its start: so the command runs once more, in a process of its own.

Fibres, barriers and atomic counters are told to ThreadSanitizer (`machine.h`), so two accesses race
if nothing orders them, even if they happened to come one after the other. ThreadSanitizer takes a
millisecond for each thread: small sizes will do.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from graphc.backends.cuda.sim.compiler import compiler
from graphc.errors import UserError

LIBRARIES = {"race": "libtsan.so", "address": "libasan.so"}
MARKS = {"race": "__tsan_init", "address": "__asan_init"}
"""A function that each of them has."""
KIND, FOLDER = "GRAPHC_SIM_SANITIZE", "GRAPHC_SIM_FOLDER"
"""Variables that tell the process what is watched, and where to leave the texts of kernels."""
SETTINGS = {
    "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:suppress_equal_addresses=0:exitcode=0:"
    "symbolize=0:log_path={log}",
    "ASAN_OPTIONS": "detect_leaks=0:exitcode=66:symbolize=0:log_path={log}",
}
AGAIN = "import sys; from graphc.cli import main; sys.exit(main())"

_ACCESS = re.compile(r"^\s*(?:Previous )?(?:atomic )?(read|write) of size (\d+)", re.I | re.M)
_FRAME = re.compile(r"^\s*#\d+ .*\((?:\S*/)?([0-9a-f]{16}\.so)\+(0x[0-9a-f]+)\)", re.M)
_WHAT = re.compile(r"\w+Sanitizer: ([\w -]+?)(?: \(|:? on | in |$)", re.M)
_PLACE = re.compile(r"(\S+\.cu):(\d+)")


@dataclass(frozen=True)
class Access:
    """One of the accesses that a report is about."""

    how: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"  {self.how} in line {self.line}: {self.text.strip()}"


@dataclass(frozen=True)
class Finding:
    """What a sanitizer says of a kernel, and the accesses it names."""

    what: str
    kernel: str
    accesses: tuple[Access, ...]

    def __str__(self) -> str:
        return "\n".join([f"{self.kernel}: {self.what}", *map(str, self.accesses)])


@dataclass(frozen=True)
class Outcome:
    """How the command ended, and what was found."""

    status: int
    output: str
    findings: tuple[Finding, ...]


def library(kind: str) -> Path:
    """The library of a sanitizer. Raises `UserError` GC0403 where the compiler has none."""
    command = [compiler().program, f"-print-file-name={LIBRARIES[kind]}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    if not found.is_absolute() or not found.exists():
        raise UserError(
            "GC0403",
            f"the C++ compiler has no {LIBRARIES[kind]}",
            why="it is what finds races and accesses outside of memory",
            fix="install g++ with its sanitizers, and set CXX=g++",
        )
    return found.resolve()


def sanitized(kind: str, arguments: Sequence[str]) -> Outcome:
    """Run ``graphc`` with these ``arguments`` while "race" or "address" is watched. Raises
    `UserError` GC0403.
    """
    return watched(kind, [sys.executable, "-c", AGAIN, *arguments])


def watched(kind: str, command: Sequence[str]) -> Outcome:
    """Run a Python program whose simulated kernels are watched. Raises `UserError` GC0403."""
    addresses_to_lines()
    with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
        log = Path(folder, "log")
        told = {name: value.format(log=log) for name, value in SETTINGS.items()}
        extra = {"LD_PRELOAD": str(library(kind)), KIND: kind, FOLDER: folder, **told}
        done = subprocess.run(
            [*_fixed_addresses(), *command],
            env=os.environ | extra,
            capture_output=True,
            text=True,
        )
        logs = sorted(Path(folder).glob("log.*"))
        report = "\n".join(path.read_text(errors="replace") for path in logs)
        found = tuple(findings(report, Path(folder)))
        return Outcome(done.returncode, done.stdout + done.stderr, found)


def _fixed_addresses() -> list[str]:
    """ThreadSanitizer wants memory where it expects it, which some systems place at random."""
    setarch = Path("/usr/bin/setarch")
    return [str(setarch), os.uname().machine, "-R"] if setarch.exists() else []


def findings(report: str, folder: Path) -> Iterator[Finding]:
    """The distinct findings of a sanitizer's report on objects in ``folder``, as lines of kernels.

    The sanitizers' own way from addresses to lines knows only what was loaded before their first
    report.
    """
    seen = set()
    for part in re.split(r"^(?==+\n)", report, flags=re.MULTILINE):
        what, found = _WHAT.search(part), [*_accesses(part, folder)]
        if what is None or not found:
            continue
        finding = Finding(what[1], found[0][0], tuple(sorted({a for _, a in found}, key=str)))
        if finding not in seen:
            seen.add(finding)
            yield finding


def _accesses(part: str, folder: Path) -> Iterator[tuple[str, Access]]:
    """For each access the kernel and its innermost line."""
    heads = list(_ACCESS.finditer(part))
    ends = [head.start() for head in heads[1:]]
    for head, end in zip(heads, [*ends, len(part)], strict=False):
        frame = _FRAME.search(part, head.end(), end)
        place = frame and _PLACE.search(_looked_up(folder / frame[1], frame[2]))
        if place:
            path, line = folder / Path(place[1]).name, int(place[2])
            text = path.read_text().splitlines()[line - 1]
            yield path.name.split(".")[0], Access(f"{head[1].lower()}s {head[2]} bytes", line, text)


@functools.cache
def _looked_up(binary: Path, offset: str) -> str:
    """The lines of an address, those that were put in place of calls first."""
    command = [addresses_to_lines(), "-i", "-e", str(binary), offset]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def addresses_to_lines() -> str:
    """The program that knows which line an address is of. Raises `UserError` GC0403."""
    for name in ("addr2line", "llvm-addr2line"):
        found = shutil.which(name)
        if found:
            return found
    raise UserError(
        "GC0403",
        "there is no addr2line",
        why="it finds the lines that a sanitizer's report is about",
        fix="install binutils",
    )
