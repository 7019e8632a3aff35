"""A schedule in one line.

Comes in: a flat kernel and its loops. Goes out: what was chosen, and what it is expected to cost. A
separate step because loops say everything, and a reader first wants to know one thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from graphc.backends.llvm.choice import Choice, tile_of
from graphc.backends.llvm.emit import work
from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.tile import Tile
from graphc.expr import Buffer
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Loop, Statement, When


def summary(
    kernel: Kernel,
    loops: Sequence[Statement],
    machine: Machine,
    uses: Mapping[Buffer, int] | None = None,
    choice: Choice | None = None,
) -> str:
    """One line: tile, registers, panels and cycles of a contraction, and what ``choice`` says of
    it; the loops of anything else.
    """
    tile = tile_of(kernel, machine, uses, choice.tile if choice else "")
    if tile is not None:
        measured = f"; {choice}" if choice else ""
        return f"{_tile(tile, machine)}, about {_rounded(tile.cycles)} cycles{measured}"
    phases = "; ".join(" ".join(_nest(loop)) for loop in loops if isinstance(loop, Loop))
    return f"{phases or 'no loop'}, about {_rounded(work(loops))} operations"


def _tile(tile: Tile, machine: Machine) -> str:
    if tile.mode == "streamed":
        return f"{tile.height} rows of sums in the cache, the other operand streams by"
    lanes = machine.vector_bytes // tile.contraction.total.dtype.bytes
    registers = tile.height * tile.width * tile.vectors
    if tile.mode == "inner":
        sums, along = f"{tile.height} x {tile.width}", "an inner index"
    else:
        sums, along = f"{tile.height} x {tile.width * tile.vectors * lanes}", "the columns"
    packs = f", {' and '.join(tile.packs)} operand in panels" if tile.packs else ""
    return f"tiles of {sums} sums in {registers} registers, lanes along {along}{packs}"


def _nest(loop: Loop) -> Iterator[str]:
    """Kinds and extents along the first of the loops one in another."""
    inside: Statement | None = loop
    while isinstance(inside, Loop | When):
        if isinstance(inside, Loop):
            yield f"{inside.kind} {inside.iter.extent}"
        inside = next((s for s in inside.body if isinstance(s, Loop | When)), None)


def _rounded(number: float) -> str:
    """Two digits are more than an estimate is worth."""
    for size, name in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if number >= size:
            return (
                f"{number / size:.2g}{name}"
                if number < 100 * size
                else f"{number / size:.0f}{name}"
            )
    return f"{number:.0f}"
