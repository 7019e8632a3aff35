"""CUDA C to machine code by NVRTC, with what the compiler says of it.

Comes in: the prelude, the text of a kernel, a target such as ``sm_90a``. Goes out: a cubin and the
compiler's log. A separate step because it needs neither GPU nor driver: every machine can compile,
and look at registers, spills and PTX.

Machine code, not PTX, is what runs and what is kept: a driver may be older than the compiler, and
such a driver loads cubins of the same major version but refuses PTX (CUDA compatibility guide,
"minor version compatibility").

One product and one sum are fused only where the text says ``gc_fma``: so the same text means the
same numbers on every device.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from graphc.backends.cuda.device import Unit, Usage
from graphc.backends.cuda.nvidia.bindings import nvrtc
from graphc.errors import CompilerBug

OPTIONS = (
    "--std=c++17",
    "--fmad=false",
    "--ptxas-options=-v",
    "--diag-suppress=177",  # a kernel need not use all of the prelude
)
AROUND = 2
"""Lines shown before and after one that does not compile."""

_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_STACK = re.compile(r"(\d+) bytes stack frame")
_SHARED = re.compile(r"(\d+) bytes smem")
_REMARK = re.compile(r"\((C\d+)\) (.*)")


@dataclass(frozen=True)
class Compiled:
    """Machine code and the log of its compilation."""

    cubin: bytes
    log: str

    @cached_property
    def usage(self) -> Usage:
        """Registers of a thread, bytes of spill stores and loads, bytes of static shared memory."""
        registers, shared = _number(_USED, self.log), _number(_SHARED, self.log)
        return Usage(registers, _number(_SPILLED, self.log), shared)

    @cached_property
    def stack(self) -> int:
        """Bytes of local memory of a thread: spilled registers, and arrays that are indexed by what
        the compiler does not know.
        """
        return _number(_STACK, self.log)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """What the assembler remarks about speed: C7508 setmaxnreg was ignored, C7510 and C7511
        wgmma instructions wait for each other, C7517 a wait was added. None in a good kernel.
        """
        return tuple(f"{code}: {text}" for code, text in _REMARK.findall(self.log))

    def packed(self) -> bytes:
        """As an entry of the cache."""
        return json.dumps(self.log).encode() + b"\n" + self.cubin

    @staticmethod
    def unpacked(entry: bytes) -> Compiled:
        """What `packed` made. Raises ValueError for anything else."""
        log, mark, cubin = entry.partition(b"\n")
        text = json.loads(log)
        if not (mark and cubin and isinstance(text, str)):
            raise ValueError("no machine code with a log")
        return Compiled(cubin, text)


def _number(pattern: re.Pattern[str], log: str) -> int:
    """The sum of the numbers that the log gives: a kernel may have functions beside it."""
    return sum(int(number) for found in pattern.finditer(log) for number in found.groups())


def version() -> tuple[int, int]:
    """NVRTC's version, major and minor. Raises `UserError` GC0403 where there is none."""
    major, minor = _checked(nvrtc(), "nvrtcVersion")
    return int(major), int(minor)


def key(prelude: str, unit: Unit, target: str) -> str:
    """All that machine code depends on."""
    text = hashlib.sha256(f"{len(prelude)}\n{prelude}{unit.text}".encode()).hexdigest()
    major, minor = version()
    return f"nvrtc {major}.{minor} {target} {' '.join(OPTIONS)} {unit.name} {text}"


def compiled(prelude: str, unit: Unit, target: str) -> Compiled:
    """Machine code of a kernel for a ``target`` such as ``sm_90a``.

    Raises `CompilerBug` with the compiler's log and the lines where it does not compile,
    `UserError` GC0403 where there is no compiler.
    """
    api = nvrtc()
    program, log = _translated(api, prelude, unit, target)
    try:
        return Compiled(_text_of(api, program, "CUBIN"), log)
    finally:
        _checked(api, "nvrtcDestroyProgram", program)


def ptx(prelude: str, unit: Unit, target: str) -> str:
    """The PTX of a kernel; raises as `compiled` does."""
    api = nvrtc()
    program, _ = _translated(api, prelude, unit, target)
    try:
        return _text_of(api, program, "PTX").rstrip(b"\0").decode()
    finally:
        _checked(api, "nvrtcDestroyProgram", program)


def _translated(api: Any, prelude: str, unit: Unit, target: str) -> tuple[Any, str]:
    """A program that has been compiled, and its log. Lines are counted from the unit's first."""
    text = f'{prelude}\n#line 1 "{unit.name}"\n{unit.text}'
    program = _checked(api, "nvrtcCreateProgram", text.encode(), unit.name.encode(), 0, [], [])
    options = [option.encode() for option in (f"--gpu-architecture={target}", *OPTIONS)]
    (status,) = api.nvrtcCompileProgram(program, len(options), options)
    log = _text_of(api, program, "ProgramLog").rstrip(b"\0").decode(errors="replace").strip()
    if int(status) != 0:
        _checked(api, "nvrtcDestroyProgram", program)
        said = log or _checked(api, "nvrtcGetErrorString", status).decode()
        raise CompilerBug(
            f"the kernel {unit.name} does not compile for {target}:\n{said}{_lines(unit, said)}"
        )
    return program, log


def _lines(unit: Unit, log: str) -> str:
    """The lines around the first error."""
    found = re.search(rf"^{re.escape(unit.name)}\((\d+)\): .*error", log, re.MULTILINE)
    if found is None:
        return ""
    lines, number = unit.text.splitlines(), int(found[1])
    first = max(number - AROUND, 1)
    shown = enumerate(lines[first - 1 : number + AROUND], first)
    return "\n" + "".join(f"\n{'>' if n == number else ' '}{n:5} | {line}" for n, line in shown)


def _text_of(api: Any, program: Any, what: str) -> bytes:
    """What NVRTC writes into memory of the size that it tells."""
    buffer = bytearray(int(_checked(api, f"nvrtcGet{what}Size", program)))
    _checked(api, f"nvrtcGet{what}", program, buffer)  # not bytes: Python shares short ones
    return bytes(buffer)


def _checked(api: Any, name: str, *arguments: Any) -> Any:
    """The result of a function of NVRTC, or its results. Raises `CompilerBug`."""
    status, *results = getattr(api, name)(*arguments)
    if int(status) != 0:
        raise CompilerBug(f"{name} failed: {api.nvrtcGetErrorString(status)[1].decode()}")
    return results[0] if len(results) == 1 else tuple(results)
