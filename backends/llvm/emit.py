"""From loops to LLVM IR.

Comes in: the phases of a kernel (`schedule`). Goes out: a module with one function per phase and
what its caller must know. A separate step because every decision has been made: this file only says
how each statement is spelled.

Calling convention of a phase: ``void phase(ptr slots, i64 low, i64 high)``. ``slots`` is a table of
addresses of pointers, one per buffer in order of `Interface.buffers`, then the address of the fault
cell. ``low`` and ``high`` bound the phase's top loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.writer import Writer
from graphc.expr import Apply, Bounded, Buffer, Expr, Load, walk
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    Define,
    Local,
    Loop,
    Put,
    Statement,
    When,
    expressions,
    statements,
)
from graphc.scalars import SCALARS


@dataclass(frozen=True)
class Interface:
    """How to call a kernel: per phase a symbol, the extent threads share, what a chunk of it is a
    multiple of, and the price in element operations.

    ``owners`` are the makers of checked indices; a fault cell holds 1 + the position of the one
    that failed.
    """

    symbols: tuple[str, ...]
    extents: tuple[int, ...]
    units: tuple[int, ...]
    prices: tuple[float, ...]
    buffers: tuple[Buffer, ...]
    owners: tuple[object, ...]


def interface(name: str, phases: Sequence[Statement]) -> Interface:
    """What callers of the functions ``name.0``, ``name.1``, ... must know; no code is made."""
    groups = phase_groups(phases)
    prices = tuple(work(g) for g in groups)
    return Interface(
        tuple(f"{name}.{n}" for n in range(len(groups))),
        tuple(shared_extent(g) for g in groups),
        tuple(map(unit, groups)),
        prices,
        *touched(phases),
    )


def touched(phases: Sequence[Statement]) -> tuple[tuple[Buffer, ...], tuple[object, ...]]:
    """The global buffers and the owners of checked indices, both in order of appearance."""
    buffers: dict[Buffer, None] = {}
    owners: list[object] = []
    for statement in statements(tuple(phases)):
        for part in walk(*expressions(statement)):
            if isinstance(part, Load):
                buffers[part.buffer] = None
            elif isinstance(part, Bounded):
                owners.append(part.owner)
        if isinstance(statement, Put):
            buffers[statement.buffer] = None
    return tuple(b for b in buffers if b.scope in ("global", "scratch")), tuple(owners)


def emit(name: str, phases: Sequence[Statement], machine: Machine) -> str:
    """The IR of a kernel whose functions are called ``name.0``, ``name.1``, ..."""
    module = Module(machine)
    buffers, owners = touched(phases)
    for number, group in enumerate(phase_groups(phases)):
        _emit_phase(module, f"{name}.{number}", group, buffers, owners)
    return module.text()


def phase_groups(phases: Sequence[Statement]) -> list[tuple[Statement, ...]]:
    """Top-level statements as phases: a shared loop takes the definitions before it along.

    What one loop adds up into a local a later loop may read, so that all stays one phase.
    """
    loops = tuple(p for p in phases if isinstance(p, Loop))
    lead = tuple(p for p in phases if not isinstance(p, Loop))
    together = any(isinstance(p, Accumulate | Alloc | Put) for p in lead)
    together = together or _accumulates(lead, loops)
    if len(loops) <= 1 or together:
        return [tuple(phases)]
    return [(*lead, p) for p in loops]


def shared_extent(group: Sequence[Statement]) -> int:
    """The iterations that threads may share; 0 when the phase runs on one thread."""
    shared = shared_loops(group)
    return math.prod(loop.iter.extent for loop in shared) if shared else 0


ENOUGH = 64
"""Iterations that share evenly; a loop with fewer is shared together with the one inside it."""


def shared_loops(group: Sequence[Statement]) -> list[Loop]:
    """The loops whose iterations, in row-major order, threads share: the outermost, and those
    directly inside while there are few iterations. None when the phase runs on one thread.
    """
    *lead, last = group
    independent = isinstance(last, Loop) and last.kind in ("parallel", "vector")
    if not independent or not all(isinstance(s, Define) for s in lead):
        return []
    assert isinstance(last, Loop)
    if _accumulates(lead, (last,)):
        return []
    found = [last]
    while math.prod(loop.iter.extent for loop in found) < ENOUGH:
        *rest, inside = found[-1].body
        if rest or not isinstance(inside, Loop) or {last.kind, inside.kind} != {"parallel"}:
            break
        found.append(inside)
    return found if all(loop.iter.extent for loop in found) else []


def _accumulates(lead: Sequence[Statement], loops: tuple[Statement, ...]) -> bool:
    """Whether the loops add to a local that ``lead`` defines."""
    defined = _defined(lead)
    return any(isinstance(s, Accumulate) and s.local in defined for s in statements(loops))


def _defined(body: Sequence[Statement]) -> set[Local]:
    return {s.local for s in body if isinstance(s, Define)}


def work(body: Sequence[Statement]) -> float:
    """A rough price of a body in additions and loads; lanes count as one eighth."""
    total = 0.0
    for statement in body:
        if isinstance(statement, Loop):
            inner = work(statement.body) * statement.iter.extent
            total += inner / 8 if statement.kind == "vector" else inner
        elif isinstance(statement, When):
            total += max(work(statement.body), work(statement.other))
        else:
            total += 1 + sum(_price(e) for x in expressions(statement) for e in walk(x))
    return total


def _price(e: Expr) -> int:
    if isinstance(e, Apply):
        return SCALARS[e.function].cost if e.function in SCALARS else 1
    return int(isinstance(e, Load))


SHARE_ABOVE = 60_000
"""Operations below which a phase is not worth sharing: about 20 microseconds."""


LEAST_CHUNKS, CHUNKS = 16, 8
"""Chunks of a large loop: as many for each thread, so that one who starts late takes fewer."""


def unit(group: Sequence[Statement]) -> int:
    """What chunks of the shared loop are multiples of, so that only the last one has a tail."""
    last = group[-1]
    return 64 if isinstance(last, Loop) and last.kind == "vector" else 1


def grain(extent: int, unit: int, total: float, threads: int) -> int:
    """Iterations of a shared loop that one thread takes at a time; the whole extent when sharing
    does not pay for ``total`` operations.
    """
    if extent == 0 or total < SHARE_ABOVE:
        return max(extent, 1)
    most = max(LEAST_CHUNKS, CHUNKS * threads)
    pieces = int(min(max(total / SHARE_ABOVE * 2, 2), most))
    size = -(-extent // pieces)
    return max(unit, -(-size // unit) * unit)


def _emit_phase(
    module: Module,
    name: str,
    group: Sequence[Statement],
    buffers: Sequence[Buffer],
    owners: Sequence[object],
) -> None:
    f = module.function(name, [("ptr", "slots"), ("i64", "low"), ("i64", "high")])
    slots, low, high = f.parameters
    pointers = [f.load(f.load(slots.element(k, "ptr"), "ptr"), "ptr") for k in range(len(buffers))]
    fault = f.load(slots.element(len(buffers), "ptr"), "ptr")
    memory = dict(zip(buffers, f.scoped(pointers), strict=True)) if buffers else {}
    writer = Writer(f, memory, fault, list(owners))
    shared = shared_loops(group)
    if shared:
        writer.body(group[:-1])
        writer.loops(shared, low, high)
    else:
        writer.body(group)
    f.ret()
