"""A kernel at every level below CUDA C, and what it takes of a GPU, on any machine.

Comes in: a unit and a target. Goes out: machine code, kept on disk; PTX; SASS; registers, shared
memory, occupancy. A separate step because looking needs no GPU: the simulator's kernels are shown
by it too.
"""

from __future__ import annotations

from graphc import cache
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.nvidia import compiler
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.disassembler import sass
from graphc.backends.cuda.nvidia.occupancy import blocks_at_a_time, occupancy
from graphc.backends.cuda.prelude import prelude
from graphc.errors import UserError

LEVELS = ("cuda", "ptx", "sass")


def machine_code(unit: Unit, target: str) -> Compiled:
    """Machine code for a target such as ``sm_90a``: known from disk, or compiled. Raises
    `CompilerBug`, `UserError` GC0403.
    """
    before = prelude(unit.text)
    key = compiler.key(before, unit, target)
    found = cache.get(key, Compiled.unpacked)
    if found is None:
        found = compiler.compiled(before, unit, target)
        cache.put(key, found.packed())
    return found


def resources(unit: Unit, threads: int, shared_bytes: int, limits: Limits) -> str:
    """What a kernel takes of a multiprocessor, launched with so many threads in a block and bytes
    of dynamic shared memory, in one line; and what the assembler remarks. Raises as `machine_code`.
    """
    made = machine_code(unit, limits.target)
    usage = made.usage
    blocks = blocks_at_a_time(limits, usage, threads, shared_bytes)
    part = occupancy(limits, usage, threads, shared_bytes)
    said = (
        f"{unit.name}: {usage.registers} registers, {usage.spilled} bytes spilled, "
        f"{shared_bytes + (usage.shared or 0)} bytes of shared memory; "
        f"{blocks} blocks of {threads} threads at a time, {part:.0%} of the warps ({limits.target})"
    )
    return "\n    ".join([said, *made.remarks])


def text(unit: Unit, level: str, target: str) -> str:
    """A unit as "cuda", "ptx" or "sass". Raises `UserError` GC0104 for another level, GC0403 where
    the compiler or the disassembler is missing.
    """
    if level == "cuda":
        return unit.text
    if level == "ptx":
        return compiler.ptx(prelude(unit.text), unit, target)
    if level == "sass":
        return sass(machine_code(unit, target).cubin)
    raise UserError("GC0104", f"no text called {level!r}", fix=f"use one of {', '.join(LEVELS)}")
