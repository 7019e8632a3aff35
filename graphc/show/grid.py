"""The first half of the layout: a row and a column for every box.

Comes in: a picture. Goes out: cells of a grid in four lanes, left to right: leaves, forward,
gradient, update. The forward lane runs down; in the mirror arrangement the gradient lane runs up,
each gradient box in the rows of the forward box it differentiates. Linear in boxes and edges, and
deterministic: equal pictures get equal cells. A separate step because rows and columns say what a
reader understands, while coordinates only keep lines apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from graphc.show.picture import Picture

LEAF, FORWARD, GRADIENT, UPDATE = range(4)
STACK = 6
"""More leaves than this beside one row stand in several columns."""


@dataclass(frozen=True)
class Grid:
    """``row[k]`` and ``column[k]`` of box k, counted over all lanes; its ``lane[k]``.

    ``first_column[lane]`` is where a lane begins; a fifth entry ends the last lane.
    """

    row: Sequence[int]
    column: Sequence[int]
    lane: Sequence[int]
    first_column: Sequence[int]

    @cached_property
    def rows(self) -> int:
        return max(self.row, default=-1) + 1

    @property
    def columns(self) -> int:
        return self.first_column[-1]

    @cached_property
    def by_row(self) -> list[list[int]]:
        """The boxes of each row, from left to right."""
        found: list[list[int]] = [[] for _ in range(self.rows)]
        for box in sorted(range(len(self.row)), key=lambda k: self.column[k]):
            found[self.row[box]].append(box)
        return found


def place(picture: Picture, *, mirror: bool) -> Grid:
    """The cells of a picture. Without ``mirror``, and where gradients have no partner to stand
    beside, everything computed runs down one lane."""
    return _Placing(picture, mirror and picture.has_pairs).grid()


class _Placing:
    def __init__(self, picture: Picture, mirror: bool) -> None:
        self.boxes = picture.boxes
        self.sources = [[p.source for p in b.ports if p.source is not None] for b in self.boxes]
        lanes = {"forward": FORWARD, "gradient": GRADIENT, "update": UPDATE} if mirror else {}
        self.lane = [LEAF if b.is_leaf else lanes.get(b.role, FORWARD) for b in self.boxes]
        self.readers: list[list[int]] = [[] for _ in self.boxes]
        for target, sources in enumerate(self.sources):
            for source in sources:
                self.readers[source].append(target)
        self.before = [
            [s for s in sources if self.lane[s] == lane]
            for sources, lane in zip(self.sources, self.lane, strict=True)
        ]
        self._follow()

    def members(self, lane: int) -> Iterable[int]:
        return (k for k, found in enumerate(self.lane) if found == lane)

    def _follow(self) -> None:
        """How many boxes of its lane still follow each box, and its heir.

        The heir is the reader with the longest path; it follows in the same column, and the others
        step aside, so that the lines on the longest path run straight.
        """
        self.height = [0] * len(self.boxes)
        self.heir = [-1] * len(self.boxes)
        for box in reversed(range(len(self.boxes))):
            height = self.height[box] + 1
            for source in self.before[box]:
                if height >= self.height[source]:
                    self.height[source], self.heir[source] = height, box

    def grid(self) -> Grid:
        level = self._levels()
        band, above = self._bands(level)
        waiting = self._leaves(band)
        depth = [1] * (max(band, default=0) + 1)
        across = max(1, -(-max(map(len, waiting.values()), default=0) // STACK))
        for box in self.members(GRADIENT):
            depth[band[box]] = max(depth[band[box]], above[box] + 1)
        for number, leaves in waiting.items():
            depth[number] = max(depth[number], -(-len(leaves) // across))
        bottom = _sums(depth)
        row = [bottom[band[k]] - above[k] for k in range(len(self.boxes))]
        columns = self._columns(row)
        self._stack_leaves(waiting, across, row, columns)
        return self._joined(row, columns)

    # Rows -----------------------------------------------------------------------------------------
    def _levels(self) -> list[int]:
        """The longest path to each forward box; a box with slack moves down, next to its reader."""
        level = [0] * len(self.boxes)
        for box in self.members(FORWARD):
            level[box] = 1 + max((level[s] for s in self.before[box]), default=-1)
        for box in reversed(list(self.members(FORWARD))):
            after = [level[r] for r in self.readers[box] if self.lane[r] == FORWARD]
            level[box] = min(after, default=level[box] + 1) - 1
        return level

    def _bands(self, level: Sequence[int]) -> tuple[list[int], list[int]]:
        """For each box its band, the level it stands beside, and how far above its floor."""
        last = max((level[k] for k in self.members(FORWARD)), default=0)
        band, above = list(level), [0] * len(self.boxes)
        for box in self.members(GRADIENT):
            before = self.before[box]
            partner = self.boxes[box].partner
            band[box] = (
                level[partner]
                if partner is not None
                else min((band[s] for s in before), default=last)
            )
            above[box] = 1 + max((above[s] for s in before if band[s] == band[box]), default=-1)
        self._beside_gradients(band, above)
        return band, above

    def _beside_gradients(self, band: list[int], above: list[int]) -> None:
        """An update stands in the row of the gradient it reads, what only it reads beside it."""
        updates = list(self.members(UPDATE))
        placed = set(self.members(GRADIENT))
        around = [(box, self.sources[box]) for box in updates]
        around += [(box, self.readers[box]) for box in reversed(updates)]
        for box, neighbours in around:
            known = [k for k in neighbours if k in placed]
            if known and box not in placed:
                band[box], above[box] = band[known[0]], above[known[0]]
                placed.add(box)

    def _leaves(self, band: list[int]) -> dict[int, list[int]]:
        """The leaves beside each band: a leaf stands where it is read first."""
        waiting: dict[int, list[int]] = {}
        for leaf in self.members(LEAF):
            forward = [band[r] for r in self.readers[leaf] if self.lane[r] == FORWARD]
            readers = forward or [band[r] for r in self.readers[leaf]]
            band[leaf] = min(readers, default=0)
            waiting.setdefault(band[leaf], []).append(leaf)
        return waiting

    # Columns --------------------------------------------------------------------------------------
    def _columns(self, row: Sequence[int]) -> list[int]:
        """Columns within each lane: below (gradients: above) an operand."""
        column = [0] * len(self.boxes)
        for lane in (FORWARD, GRADIENT, UPDATE):
            rows: dict[int, list[int]] = {}
            for box in self.members(lane):
                rows.setdefault(row[box], []).append(box)
            for number in sorted(rows, reverse=lane == GRADIENT):
                self._fill(rows[number], row, column)
        return column

    def _fill(self, boxes: list[int], row: Sequence[int], column: list[int]) -> None:
        """One row from left to right; of boxes that want one column, the longest path has it."""

        def wish(box: int) -> int:
            before = self.before[box]
            inherited = [column[s] for s in before if self.heir[s] == box and row[s] != row[box]]
            aside = [column[s] + 1 for s in before]
            return min(inherited or aside, default=0)

        def claim(box: int) -> tuple[int, bool, int, int]:
            return wish(box), not self.before[box], -self.height[box], box

        free = 0
        chained = self.lane[boxes[0]] == UPDATE
        ordered = boxes if chained else sorted(boxes, key=claim)
        for box in ordered:
            column[box] = max(free, wish(box))
            free = column[box] + 1

    def _stack_leaves(
        self, waiting: dict[int, list[int]], across: int, row: list[int], column: list[int]
    ) -> None:
        """Leaves of one band, the one read leftmost and last nearest to its reader."""

        def wish(leaf: int) -> tuple[int, int, int]:
            readers = [r for r in self.readers[leaf] if self.lane[r] == FORWARD]
            reader = min(readers or self.readers[leaf], key=lambda r: (row[r], column[r]))
            return column[reader], -self.sources[reader].index(leaf), leaf

        for leaves in waiting.values():
            ordered = sorted(leaves, key=lambda k: wish(k) if self.readers[k] else (0, 0, k))
            stack = -(-len(leaves) // across)
            for position, leaf in enumerate(ordered):
                row[leaf] -= position % stack
                column[leaf] = across - 1 - position // stack

    def _joined(self, row: list[int], column: list[int]) -> Grid:
        width = [0] * 4
        for lane, position in zip(self.lane, column, strict=True):
            width[lane] = max(width[lane], position + 1)
        first = [sum(width[:lane]) for lane in range(5)]
        total = [position + first[lane] for lane, position in zip(self.lane, column, strict=True)]
        return Grid(row, total, self.lane, first)


def _sums(depth: Sequence[int]) -> list[int]:
    """The last row of each band."""
    ends: list[int] = []
    for size in depth:
        ends.append(size + (ends[-1] if ends else -1))
    return ends
