"""Units to machine code of this computer, by its C++ compiler.

Comes in: units. Goes out: for each the address of its entry. A separate step because compiling is
what the simulator's time goes to: most of it is spent on starting compilers and reading the
prelude, so new units of one call are compiled together, in as many parts as there are cores.

A shared object is kept on disk under a hash of all that it depends on, and for each unit the key of
the object that has it: so a unit is found again in other company.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from graphc import cache
from graphc.backends.cuda.device import Unit
from graphc.backends.cuda.prelude import around, part
from graphc.errors import CompilerBug, UserError

PACKAGE = "graphc.backends.cuda.sim"
RUNTIME = ("runtime.cpp", "machine.h", "fibres.h", "copies.h", "matrices.h", "faults.h")
COMPILERS = ("g++", "clang++", "c++")
PRELUDE = 1_000_000
"""Lines from this one on are those of the prelude, not of a unit."""
TOGETHER = 32
"""Units that one compiler reads at most: by then its start is paid for."""

SHARED = ("-std=c++17", "-shared", "-fPIC", "-w", "-U_FORTIFY_SOURCE")
EXACT = ("-ffp-contract=off", "-fno-math-errno", "-fno-strict-aliasing", "-fwrapv")
"""The text's own meaning: only what it calls ``gc_fma`` is fused; memory has no type."""
SANITIZERS = {
    "race": ("-fsanitize=thread", "-g1", "-fno-omit-frame-pointer"),
    "address": ("-fsanitize=address", "-g1", "-fno-omit-frame-pointer"),
}
"""What watches over accesses, and its flags: see `sanitize`."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler, and flags for the processor at hand."""

    program: str
    version: str
    processor: tuple[str, ...]

    def built(self, text: str, flags: Sequence[str], name: str) -> bytes:
        """A shared object. Raises `CompilerBug` with what the compiler says."""
        with tempfile.TemporaryDirectory(prefix="graphc-") as folder:
            made = Path(folder, "made.so")
            command = [
                self.program,
                *SHARED,
                *self.processor,
                *flags,
                "-xc++",
                "-",
                "-o",
                f"{made}",
            ]
            # a sanitizer watches over kernels, not over the compiler
            environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, env=environment
            )
            if done.returncode:
                raise CompilerBug(f"{self.program} refuses {name}:\n{done.stderr[:4000]}")
            return made.read_bytes()

    def key(self, text: str, flags: Sequence[str]) -> str:
        """All that a shared object depends on."""
        made_by = f"{self.program} {self.version} {' '.join((*self.processor, *flags))}"
        return f"simulator\n{made_by}\n{hashlib.sha256(text.encode()).hexdigest()}"


@functools.cache
def compiler() -> Compiler:
    """The C++ compiler of this computer: CXX, or the first that is found. Raises `UserError`
    GC0403 where there is none.
    """
    wanted = os.environ.get("CXX")
    for program in (wanted,) if wanted else COMPILERS:
        found = shutil.which(program)
        if found:
            told = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
            return Compiler(found, told.stdout.splitlines()[0], _processor())
    missing = f"CXX names {wanted}" if wanted else f"none of {', '.join(COMPILERS)} is on the PATH"
    raise UserError(
        "GC0403",
        "the simulator needs a C++ compiler, and there is none",
        why=missing,
        fix="install one, on Debian and Ubuntu by: apt install g++",
    )


def _processor() -> tuple[str, ...]:
    """Flags for instructions that this processor has and others of its kind may lack."""
    known = Path("/proc/cpuinfo")
    if platform.machine() not in ("x86_64", "AMD64") or not known.exists():
        return ()
    features = known.read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    return ("-mfma",) if "fma" in features else ()


# Loading ------------------------------------------------------------------------------------------
def loaded(binary: bytes, folder: Path | None = None, everywhere: bool = False) -> ctypes.CDLL:
    """A shared object from memory. ``everywhere`` lets others find its symbols; with a ``folder``
    its file stays, for those who look up lines in it.
    """
    mode = ctypes.RTLD_GLOBAL if everywhere else ctypes.RTLD_LOCAL
    if folder is not None:
        path = folder / f"{hashlib.sha256(binary).hexdigest()[:16]}.so"
        path.write_bytes(binary)
        return ctypes.CDLL(str(path), mode)
    with tempfile.TemporaryDirectory(prefix="graphc-") as passing:
        path = Path(passing, "made.so")
        path.write_bytes(binary)
        return ctypes.CDLL(str(path), mode)


@functools.cache
def runtime() -> ctypes.CDLL:
    """The simulator's runtime, which is compiled once. Raises `UserError` GC0403."""
    text = part(RUNTIME[0], PACKAGE)
    for name in RUNTIME[1:]:
        text = text.replace(f'#include "{name}"', f'#line 1 "{name}"\n{part(name, PACKAGE)}')
    made, flags = compiler(), ("-O2",)
    key = made.key(text, flags)
    binary = cache.get(key, bytes)
    if binary is None:
        binary = made.built(text, flags, "the simulator's runtime")
        cache.put(key, binary)
    return loaded(binary, everywhere=True)


# Units --------------------------------------------------------------------------------------------
class Units:
    """The units of a process that are compiled one way; what is loaded stays loaded.

    With a ``folder``, their texts and objects are kept there.
    """

    def __init__(self, sanitize: str = "", folder: Path | None = None) -> None:
        self.flags = (
            "-O1",
            "-nostdlib",
            "-fstack-clash-protection",
            *EXACT,
            *SANITIZERS.get(sanitize, ()),
        )
        self.folder = folder
        self.before = around(part("host.h", PACKAGE), PRELUDE)
        self.key = compiler().key(self.before, self.flags)
        self.addresses: dict[str, int] = {}
        self.open: dict[str, ctypes.CDLL] = {}

    def compiled(self, units: Sequence[Unit]) -> list[int]:
        """The address of the entry of each unit. Raises `CompilerBug` for text that does not
        compile.
        """
        runtime()
        distinct = {self.entry(unit): unit for unit in units}
        if self.folder is not None:
            for entry, unit in distinct.items():
                (self.folder / _file(unit, entry)).write_text(unit.text)
        unknown = [entry for entry in distinct if entry not in self.addresses]
        new = {entry: distinct[entry] for entry in unknown if not self._recalled(entry)}
        if new:
            self._compile(new)
        return [self.addresses[self.entry(unit)] for unit in units]

    def entry(self, unit: Unit) -> str:
        """The name of a unit's entry: a hash of all that its code depends on."""
        text = f"{self.key}\n{unit.name}\n{unit.text}"
        return f"gc_{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def _recalled(self, entry: str) -> bool:
        """Whether the disk knows the unit of this entry; then it is loaded."""
        key = cache.get(f"unit {entry}", bytes.decode)
        binary = None if key is None or key in self.open else cache.get(key, bytes)
        if key is None or (binary is None and key not in self.open):
            return False
        self._load(key, binary, [entry])
        return True

    def _load(self, key: str, binary: bytes | None, entries: Sequence[str]) -> None:
        if binary is not None:
            self.open[key] = loaded(binary, self.folder)
        for entry in entries:
            found = ctypes.cast(self.open[key][entry], ctypes.c_void_p).value
            self.addresses[entry] = found or 0

    def _compile(self, units: Mapping[str, Unit]) -> None:
        cores = os.cpu_count() or 1
        count = max(min(cores, len(units)), -(-len(units) // TOGETHER))
        items = sorted(units.items(), key=lambda item: len(item[1].text))
        parts = [dict(items[first::count]) for first in range(count)]
        with ThreadPoolExecutor(cores) as pool:
            binaries = list(pool.map(self._build, parts))
        for some, binary in zip(parts, binaries, strict=True):
            key = "\n".join(["units", *some])
            cache.put(key, binary)
            for entry in some:
                cache.put(f"unit {entry}", key.encode())
            self._load(key, binary, [*some])

    def _build(self, units: Mapping[str, Unit]) -> bytes:
        texts = (self._named(entry, unit) for entry, unit in units.items())
        names = ", ".join(unit.name for unit in units.values())
        return compiler().built("\n".join([self.before, *texts]), self.flags, names)

    def _named(self, entry: str, unit: Unit) -> str:
        """A unit among others: nothing in it meets what is in them."""
        return (
            f"#define GC_ENTRY {entry}\nnamespace {entry}_text {{\n"
            f'#line 1 "{_file(unit, entry)}"\n{unit.text}\n}}\n#undef GC_ENTRY'
        )


def _file(unit: Unit, entry: str) -> str:
    """What compilers and sanitizers call the text of a unit."""
    return f"{unit.name}.{entry[-8:]}.cu"
