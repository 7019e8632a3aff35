"""The processor that code is generated for: triple, CPU name, features and what follows from them.

Comes in: nothing but the host and the variable GRAPHC_CPU. Goes out: a frozen `Machine`, from which
schedules read the width of a vector, the emitter whether there is a fused multiply-add, and the
cache its fingerprint. A separate step so that code for another processor is compiled, and looked
at, by passing another `Machine`.
"""

from __future__ import annotations

import functools
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

LINE = 64
"""Bytes of a cache line, on every processor there is code for."""

BASELINE = {"x86_64": "+sse,+sse2", "aarch64": "+neon"}
"""Features that every processor of an architecture has; all that is known of a named CPU's family.
"""

AVX = "+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt"
AVX512 = f"{AVX},+avx512f,+avx512bw,+avx512cd,+avx512dq,+avx512vl"
FEATURES = {
    "haswell": AVX,
    "x86-64-v3": AVX,
    "znver3": AVX,
    "skylake-avx512": AVX512,
    "x86-64-v4": AVX512,
}
"""What `Machine` must know about CPUs that GRAPHC_CPU may name; LLVM itself knows far more of each.
"""


@dataclass(frozen=True)
class Machine:
    """A processor in LLVM's words; ``features`` is LLVM's list, such as "+avx2,+fma,-sse4a"."""

    triple: str
    cpu: str
    features: str
    last_cache: int = 32 << 20
    """Bytes of the cache before memory."""

    @property
    def architecture(self) -> str:
        """x86_64, aarch64, ..."""
        name = self.triple.split("-")[0]
        return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)

    def has(self, feature: str) -> bool:
        """Whether the feature is among those switched on."""
        return f"+{feature}" in self.features.split(",")

    @property
    def vector_bytes(self) -> int:
        """Bytes of the widest vector register that is worth using."""
        if self.has("avx512f") and self.has("avx512vl"):
            return 64
        return 32 if self.has("avx") else 16

    @property
    def registers(self) -> int:
        """The number of vector registers."""
        return 32 if self.vector_bytes == 64 or self.architecture == "aarch64" else 16

    @property
    def has_fma(self) -> bool:
        """Whether a fused multiply-add is one instruction, and no call of the C library."""
        return self.has("fma") or self.architecture == "aarch64"

    @property
    def has_half(self) -> bool:
        """Whether float16 and float32 are converted by one instruction."""
        return self.has("f16c") or self.architecture == "aarch64"

    @property
    def pause(self) -> str:
        """What tells the core that it is spinning; inline assembly would need a parser."""
        if self.architecture == "x86_64":
            return "call void @llvm.x86.sse2.pause()"
        if self.architecture == "aarch64":
            return "call void @llvm.aarch64.hint(i32 1)"
        return "fence seq_cst"

    @property
    def fingerprint(self) -> str:
        """All that machine code depends on beside the IR: part of every cache key."""
        version = ".".join(str(part) for part in llvm.llvm_version_info)
        caches = f"last cache {self.last_cache}"
        return f"llvm {version} | {self.triple} | {self.cpu} | {self.features} | {caches}"


@functools.cache
def _initialise() -> None:
    """Register the native target with LLVM, once."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@functools.cache
def named(cpu: str) -> Machine:
    """A machine with the host's triple and another CPU, for example ``haswell`` or ``x86-64``."""
    machine = Machine(llvm.get_process_triple(), cpu, "")
    known = (BASELINE.get(machine.architecture, ""), FEATURES.get(cpu, ""))
    return Machine(machine.triple, cpu, ",".join(filter(None, known)))


@functools.cache
def _native() -> Machine:
    features = llvm.get_host_cpu_features().flatten()
    cpu = llvm.get_host_cpu_name()
    return Machine(llvm.get_process_triple(), cpu, features, _last_cache() or Machine.last_cache)


def _last_cache() -> int:
    """Bytes of the host's largest cache, 0 where the system does not tell."""
    found = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    sizes = [path.read_text("ascii").strip() for path in found]
    return max((int(s[:-1]) << 10 for s in sizes if s.endswith("K")), default=0)


def host() -> Machine:
    """The machine that code is generated for: this one, or the CPU named by GRAPHC_CPU."""
    cpu = os.environ.get("GRAPHC_CPU", "")
    return named(cpu) if cpu else _native()


_MINE = threading.local()


def target_machine(machine: Machine, level: int = 2) -> Any:
    """LLVM's code generator for `machine`, at code generation level 0 to 3.

    One is kept for each thread, because generators are dear to make and must not be shared.
    """
    _initialise()
    kept: dict[tuple[Machine, int], Any] = _MINE.__dict__.setdefault("kept", {})
    if (machine, level) not in kept:
        target = llvm.Target.from_triple(machine.triple)
        kept[machine, level] = target.create_target_machine(
            cpu=machine.cpu, features=machine.features, opt=level, reloc="pic", codemodel="default"
        )
    return kept[machine, level]
