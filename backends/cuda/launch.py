"""What a launch needs to know of its loops: parameters, grid, threads.

Comes in: the body of a phase. Goes out: numbers and buffers. A separate step from `emit` because
no text is written here.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda.device import WARP
from graphc.errors import CompilerBug
from graphc.expr import Bounded, Buffer, Load, walk
from graphc.loops.fragments import ROWS
from graphc.loops.ir import (
    Alloc,
    Barrier,
    Locate,
    Loop,
    Multiply,
    Pipeline,
    Put,
    Statement,
    bodies,
    expressions,
    statements,
)

REGISTERS = 65_536
"""Of 32 bits, of one multiprocessor."""
BESIDE = 30
"""Registers of a thread for addresses and what else is not in the loops."""
TEAMS = {"warp": WARP, "warpgroup": 4 * WARP}
"""Threads that take an iteration of such a loop together."""


def together(body: tuple[Statement, ...], threads: int) -> int:
    """Blocks that are to fit on one multiprocessor: two, where threads keep many numbers in
    registers and there is room; while one waits at a barrier the other computes.
    """
    rows = [s.buffer for s in statements(body) if isinstance(s, Alloc)]
    kept = sum(b.type.bytes // b.shape[0] for b in rows if b.scope == "register") // 4
    if any(isinstance(s, Pipeline) and s.apart for s in statements(body)):
        return 1  # one part of a block computes while another waits
    if any(isinstance(s, Loop) and s.kind == "warp" and _waits(s) for s in statements(body)):
        return 1  # the others go on while a warp waits for itself
    kept += max((_fragments(s) for s in statements(body) if isinstance(s, Multiply)), default=0)
    return 2 if kept and 2 * threads * (kept + BESIDE) <= REGISTERS else 1


def _waits(loop: Loop) -> bool:
    """Whether there is a barrier inside."""
    return any(isinstance(s, Barrier) for s in statements((loop,)))


def _fragments(product: Multiply) -> int:
    """Registers of a thread for the factors of one step of a warp's product, and of the next."""
    rows, columns, _ = product.shape
    return 2 * (rows + columns) * 4 // ROWS


def touched(
    body: tuple[Statement, ...],
) -> tuple[tuple[Buffer, ...], frozenset[Buffer], tuple[object, ...]]:
    """The buffers in global memory, those of them that are written, and the owners of checked
    indices, in order of appearance; not the buffers that are located on the way.
    """
    located = {s.buffer for s in statements(body) if isinstance(s, Locate)}
    buffers: dict[Buffer, None] = {}
    written: dict[Buffer, None] = {}
    owners: list[object] = []
    for statement in statements(body):
        for part in walk(*expressions(statement)):
            if isinstance(part, Load):
                buffers[part.buffer] = None
            elif isinstance(part, Bounded) and part.owner is not None:
                owners.append(part.owner)
        if isinstance(statement, Put):
            buffers[statement.buffer] = written[statement.buffer] = None
    outside = tuple(b for b in buffers if is_outside(b) and b not in located)
    return outside, frozenset(written).intersection(outside), tuple(owners)


def is_outside(buffer: Buffer) -> bool:
    """Whether a buffer is in global memory."""
    return buffer.scope in ("global", "scratch")


def grid_of(body: tuple[Statement, ...]) -> tuple[list[Loop], tuple[Statement, ...]]:
    """The block loops, innermost first, and what is inside all of them."""
    found: list[Loop] = []
    while len(body) == 1 and isinstance(body[0], Loop) and body[0].kind == "block":
        found.insert(0, body[0])
        body = body[0].body
    if len(found) > 3:
        raise CompilerBug("a grid has three axes")
    return found, body


def block_threads(body: tuple[Statement, ...]) -> int:
    """Threads of a block: what its loops ask for, in whole warps."""
    return -(-max(_threads(body), 1) // WARP) * WARP


def _threads(body: Sequence[Statement]) -> int:
    most = 0
    for s in body:
        if isinstance(s, Loop):
            inside = _threads(s.body)
            if s.kind in TEAMS:
                inside = s.iter.extent * TEAMS[s.kind]
            elif s.kind in ("thread", "lane"):
                inside = s.iter.extent
            most = max(most, inside)
        else:
            most = max([most, *map(_threads, bodies(s))])
    return most
