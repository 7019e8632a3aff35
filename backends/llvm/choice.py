"""Which tile a contraction runs by: the cheapest by estimate, or one that was measured.

Comes in: a flat kernel, perhaps the name of a tile. Goes out: the tile. Separate from `tile`, which
lists tiles and prices them, because a tile that proved faster than its estimate must be found again
in another process: it is kept by a name, which says what it is and is looked up in the list. So a
name can choose, but never make up, a schedule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, combinations, product

from graphc.backends.llvm.machine import Machine
from graphc.backends.llvm.tile import Contraction, Tile, find, ranked
from graphc.backends.llvm.tile_order import ORDERS
from graphc.errors import CompilerBug
from graphc.expr import Buffer, Iter
from graphc.kernels.kernel import Kernel


@dataclass(frozen=True)
class Choice:
    """What measuring found: the name of the fastest tile ("" for the estimate's own), how many
    times as fast it is, and how many tiles were tried.
    """

    tile: str = ""
    gain: float = 1.0
    tried: int = 1

    def __str__(self) -> str:
        if not self.tile:
            return f"measured: the fastest of {self.tried}"
        return f"measured: {self.gain:.2f} times as fast as the estimate's choice of {self.tried}"


def tile_of(
    kernel: Kernel, machine: Machine, uses: Mapping[Buffer, int] | None = None, wanted: str = ""
) -> Tile | None:
    """The tile of a flat kernel: the one named ``wanted``, or the cheapest; None when the kernel is
    no contraction, or no index can fill lanes.
    """
    contraction = contraction_of(kernel, uses)
    if contraction is None:
        return None
    if not wanted:
        return next(iter(ranked(contraction, machine)), None)
    found = named(contraction, machine, wanted)
    if found is None:
        raise CompilerBug(f"there is no tile called {wanted!r}")
    return found


def contraction_of(kernel: Kernel, uses: Mapping[Buffer, int] | None = None) -> Contraction | None:
    """The contraction in a flat kernel, if there is anything to add up."""
    contraction = find(kernel, uses)
    return contraction if contraction is not None and contraction.depth else None


def named(contraction: Contraction, machine: Machine, name: str) -> Tile | None:
    """The tile of this name, if there is one."""
    tiles = (v for tile in ranked(contraction, machine) for v in (tile, *relatives(tile)))
    return next((t for t in tiles if name_of(t) == name), None)


def relatives(tile: Tile) -> Iterator[Tile]:
    """Tiles of the same shape: other operands in panels, other orders of the loops around."""
    if tile.mode != "columns":
        return
    packable = [] if tile.column is not None else ["second"]
    if packable and tile.row is not None:
        packable.insert(0, "first")
    counts = range(len(packable) + 1)
    packs = chain.from_iterable(combinations(packable, n) for n in counts)
    for chosen, order in product(packs, ("", *ORDERS)):
        if (chosen, order) != (tile.packs, tile.order):
            yield replace(tile, packs=chosen, order=order)


def name_of(tile: Tile) -> str:
    """All that tells a tile from others of its contraction; indices by their numbers."""
    c = tile.contraction
    places = enumerate((*c.kernel.iters, *c.total.iters))
    numbers: dict[Iter | None, int] = {iterator: number for number, iterator in places}
    down = f"{numbers.get(tile.row, '-')}x{tile.height}"
    across = f"{numbers.get(tile.column, '-')}x{tile.width}"
    along = f"{numbers[tile.lane]}x{tile.vectors}"
    name = f"{tile.mode} rows {down} columns {across} lanes {along}"
    panels = f" panels {'+'.join(tile.packs)}" if tile.packs else ""
    return name + panels + (f" order {tile.order}" if tile.order else "")
