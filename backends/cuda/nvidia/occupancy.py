"""How many blocks of a kernel one multiprocessor can hold at a time.

Comes in: what the compiler says of a kernel, its threads, its dynamic shared memory. Goes out: a
number of blocks. A separate file because it needs neither compiler nor GPU.

The rules are those of NVIDIA's occupancy calculator (``cuda_occupancy.h`` of the CUDA toolkit), the
numbers those of the table "Technical specifications per compute capability" of the CUDA C++
programming guide.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.device import WARP, Limits, Usage

PARTITIONS = 4
"""Parts of a multiprocessor, each with its own registers and scheduler."""
REGISTER_UNIT = 256
"""Registers are given to warps by this many."""
SHARED_UNIT = 128
"""Bytes by which shared memory is given to blocks (256 on compute capability 7.5)."""


@dataclass(frozen=True)
class Multiprocessor:
    """What the blocks on one multiprocessor share. ``reserved`` are the bytes of shared memory that
    the system takes of every block.
    """

    blocks: int
    warps: int
    shared_bytes: int
    reserved: int = 1024
    shared_unit: int = SHARED_UNIT


MULTIPROCESSORS = {
    75: Multiprocessor(16, 32, 64 << 10, reserved=0, shared_unit=256),
    80: Multiprocessor(32, 64, 164 << 10),
    86: Multiprocessor(16, 48, 100 << 10),
    87: Multiprocessor(16, 48, 164 << 10),
    89: Multiprocessor(24, 48, 100 << 10),
    90: Multiprocessor(32, 64, 228 << 10),
    100: Multiprocessor(32, 64, 228 << 10),
    120: Multiprocessor(24, 48, 100 << 10),
}
"""By compute capability, ten times major plus minor."""


def multiprocessor(architecture: int) -> Multiprocessor:
    """That of the newest known architecture that is not newer."""
    return MULTIPROCESSORS[max(a for a in MULTIPROCESSORS if a <= max(architecture, 75))]


def blocks_at_a_time(limits: Limits, usage: Usage, threads: int, dynamic: int = 0) -> int:
    """Blocks of ``threads`` threads and ``dynamic`` bytes of dynamic shared memory that run on one
    multiprocessor together; 0 for a block that fits none.
    """
    machine = multiprocessor(limits.architecture)
    shared = dynamic + (usage.shared or 0)
    if shared > limits.shared_bytes:
        return 0
    taken = _up(shared + machine.reserved, machine.shared_unit)
    by_shared = machine.shared_bytes // taken if taken else machine.blocks
    warps = -(-threads // WARP)
    return min(
        machine.blocks, machine.warps // warps, by_shared, _by_registers(limits, usage, warps)
    )


def _by_registers(limits: Limits, usage: Usage, warps: int) -> int:
    """Blocks of ``warps`` warps that find registers: a warp takes them from one partition."""
    of_warp = _up(max(usage.registers or 1, 1) * WARP, REGISTER_UNIT)
    if of_warp * _up(warps, PARTITIONS) > limits.registers:
        return 0
    return limits.registers // PARTITIONS // of_warp * PARTITIONS // warps


def occupancy(limits: Limits, usage: Usage, threads: int, dynamic: int = 0) -> float:
    """The part of the warps that a multiprocessor can hold which this kernel fills, 0 to 1."""
    blocks = blocks_at_a_time(limits, usage, threads, dynamic)
    return blocks * -(-threads // WARP) / multiprocessor(limits.architecture).warps


def _up(size: int, unit: int) -> int:
    return -(-size // unit) * unit
