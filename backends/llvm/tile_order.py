"""The order of the loops around a register tile: what changes least from tile to tile is innermost.

Comes in: a tile and the loops around it. Goes out: the same loops, outermost first. A separate step
because a tile runs at full speed only from near caches, and which of its operands are still there
follows from the loop that stepped last: a place of an image moves by a few elements, while the next
panel of filters is a megabyte.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.llvm.machine import LINE
from graphc.backends.llvm.tile import Tile
from graphc.backends.llvm.tile_cost import NEAR
from graphc.expr import Expr, Iter, Load
from graphc.index import stride


@dataclass(frozen=True)
class Step:
    """A loop around the tile: by ``size`` of an index of the kernel."""

    loop: Iter
    index: Iter | None
    size: int = 1


ORDERS = ("given", "fresh", "rows")
"""Ways to order the loops: as they are, rows innermost; by the bytes that are new to a tile; rows
outside of columns.
"""


def ordered(tile: Tile, lanes: int, steps: Sequence[Step]) -> list[Iter]:
    """The loops of ``steps`` around a tile of ``lanes`` columns, outermost first, in the tile's
    order. Where it leaves that open: as they are when all that is read at one place of the other
    indices stays near, else by the bytes that a tile touches and the one before it in that loop did
    not.
    """
    order = tile.order or ("fresh" if _swept(tile) > NEAR else "given")
    if order == "fresh":
        steps = sorted(steps, key=lambda s: -_fresh(tile, lanes, s))
    elif order == "rows":
        steps = sorted(steps, key=lambda s: s.index in (tile.lane, tile.column))
    return [s.loop for s in steps]


def _swept(tile: Tile) -> int:
    """Bytes of the operands of all rows and columns at one place of the other indices."""
    c = tile.contraction
    sides = [(i, i.extent) for i in (tile.row, tile.column, tile.lane) if i is not None]
    inner = [(i, i.extent) for i in c.total.iters]
    sizes = [
        math.prod(n for _, n in _spans(operand.index[0], [*sides, *inner])) * operand.dtype.bytes
        for operand in (c.first, c.second)
    ]
    return sum(sizes)


def _fresh(tile: Tile, lanes: int, step: Step) -> float:
    """Bytes that are new when a loop steps."""
    c = tile.contraction
    within = [(tile.row, tile.height), (tile.column, tile.width), (tile.lane, lanes)]
    sides = [(i, n) for i, n in within if i is not None]
    inner = [(i, i.extent) for i in c.total.iters]
    read = sum(
        _read(operand, [*sides, *inner], step, packed=name in tile.packs)
        for name, operand in (("first", c.first), ("second", c.second))
    )
    return read + sum(
        _written(s.index[0], s.buffer.type.dtype.bytes, sides, step) for s in c.kernel.stores
    )


def _read(operand: Load, sides: Sequence[tuple[Iter, int]], step: Step, *, packed: bool) -> float:
    """New bytes of an operand; a window that moves by less than its size keeps the rest."""
    place = operand.index[0]
    far = _distance(place, step)
    if not far:
        return 0.0
    spans = _spans(place, sides)
    held = math.prod(n for _, n in spans) * operand.dtype.bytes
    fresh = [far / (apart * n) for apart, n in spans if far % apart == 0]
    return float(held) if packed else held * min(1.0, *fresh, 1.0)


def _spans(place: Expr, sides: Sequence[tuple[Iter, int]]) -> list[tuple[int, int]]:
    """(apart, count): the places that an access touches; steps of a window overlap its taps."""
    spans: list[tuple[int, int]] = []
    for apart, n in sorted((abs(stride(place, i) or 0), n) for i, n in sides):
        near, held = spans[-1] if spans else (0, 0)
        if apart and near and apart < near * held and apart % near == 0:
            spans[-1] = (near, (n - 1) * (apart // near) + held)
        elif apart:
            spans.append((apart, n))
    return spans


def _written(place: Expr, size: int, sides: Sequence[tuple[Iter, int]], step: Step) -> float:
    """New bytes of the lines that a store touches, which are read first and written later. Runs
    that do not continue the last ones touch a line more.
    """
    far, spans = _distance(place, step) * size, _spans(place, sides)
    if not far:
        return 0.0
    apart, run = spans[0] if spans else (1, 1)
    places = math.prod(n for _, n in spans)
    if apart > 1:
        return 2.0 * places * min(LINE, apart * size, far)
    more = LINE - size if far > run * size else 0
    return 2.0 * places / run * (min(run * size, far) + more)


def _distance(place: Expr, step: Step) -> int:
    """How many elements an access moves."""
    return abs(stride(place, step.index) or 0) * step.size if step.index is not None else 0
