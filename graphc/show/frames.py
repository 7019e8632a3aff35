"""Frames: which cells of the grid a name scope or a kernel covers, as rectangles.

Comes in: a picture and its grid. Goes out: rectangles of rows and columns that hold members only. A
scope that does not fit one rectangle gets several: by lane, else by runs of rows. A separate step
because a frame around a stranger would tell a lie.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from graphc.show.grid import Grid
from graphc.show.picture import Picture


@dataclass(frozen=True)
class Frame:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``, ends included.

    ``key`` is the index of the scope, or the kernel's number; ``depth`` counts from 1, outside in.
    """

    key: int
    depth: int
    top: int
    bottom: int
    left: int
    right: int


class _Cells:
    """Counts boxes in rectangles of the grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.columns = [[grid.column[box] for box in boxes] for boxes in grid.by_row]

    def count(self, frame: Frame) -> int:
        rows = self.columns[frame.top : frame.bottom + 1]
        return sum(bisect_right(row, frame.right) - bisect_left(row, frame.left) for row in rows)

    def around(self, key: int, depth: int, members: Sequence[int]) -> Frame:
        rows = [self.grid.row[box] for box in members]
        columns = [self.grid.column[box] for box in members]
        return Frame(key, depth, min(rows), max(rows), min(columns), max(columns))

    def pieces(self, key: int, depth: int, members: Sequence[int]) -> list[tuple[Frame, list[int]]]:
        """Rectangles that hold ``members`` and nothing else, as large as the simple cuts allow."""
        found: list[tuple[Frame, list[int]]] = []
        waiting: list[tuple[list[int], int]] = [(list(members), 0)]
        while waiting:
            part, cuts = waiting.pop()
            frame = self.around(key, depth, part)
            if self.count(frame) == len(part):
                found.append((frame, part))
            else:
                waiting += [(piece, cuts + 1) for piece in self._cut(part, cuts)]
        return sorted(found, key=lambda piece: (piece[0].top, piece[0].left))

    def _cut(self, members: list[int], cuts: int) -> Iterable[list[int]]:
        """By lanes, then into runs of rows, then into single boxes of one row."""
        grid = self.grid
        if cuts == 0:
            return _split(members, lambda box: grid.lane[box]).values()
        rows = sorted({grid.row[box] for box in members})
        if len(rows) == 1:
            return self._runs(members)
        return self._bands(members, rows)

    def _bands(self, members: list[int], rows: Sequence[int]) -> Iterable[list[int]]:
        """Grow a band of rows as long as it stays clean; the first row alone may be unclean."""
        by_row = _split(members, lambda box: self.grid.row[box])
        band = by_row[rows[0]]
        for row in rows[1:]:
            longer = band + by_row[row]
            if self.count(self.around(0, 0, longer)) == len(longer):
                band = longer
            else:
                yield band
                band = by_row[row]
        yield band

    def _runs(self, members: list[int]) -> Iterable[list[int]]:
        """Neighbours in one row."""
        row = self.columns[self.grid.row[members[0]]]
        ordered = sorted(members, key=lambda box: self.grid.column[box])
        place = [row.index(self.grid.column[box]) - k for k, box in enumerate(ordered)]
        pairs = list(zip(ordered, place, strict=True))
        return [[b for b, _ in run] for _, run in groupby(pairs, key=lambda pair: pair[1])]


def _split(members: Iterable[int], part: Callable[[int], int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for box in members:
        found.setdefault(part(box), []).append(box)
    return found


def frames_of(picture: Picture, grid: Grid) -> list[Frame]:
    """The frames of the picture's scopes, outer before inner; inner ones lie within outer ones."""
    cells = _Cells(grid)
    inside: dict[int, list[list[int]]] = {-1: [list(range(len(picture.boxes)))]}
    depth = {-1: 0}
    members = _members(picture)
    frames: list[Frame] = []
    for key, scope in enumerate(picture.scopes):
        depth[key] = depth[scope.parent] + 1
        inside[key] = []
        own = set(members[key])
        for outer in inside[scope.parent]:
            part = [box for box in outer if box in own]
            pieces = cells.pieces(key, depth[key], part) if part else []
            frames += [frame for frame, _ in pieces]
            inside[key] += [boxes for _, boxes in pieces]
    return frames


def _members(picture: Picture) -> list[list[int]]:
    """The boxes in each scope and the scopes inside it."""
    found: list[list[int]] = [[] for _ in picture.scopes]
    for number, box in enumerate(picture.boxes):
        scope = box.scope
        while scope >= 0:
            found[scope].append(number)
            scope = picture.scopes[scope].parent
    return found


def hulls_of(picture: Picture, grid: Grid) -> list[Frame]:
    """The rectangles behind the boxes of each fused kernel."""
    cells = _Cells(grid)
    kernels = _split(
        (k for k, box in enumerate(picture.boxes) if box.kernel >= 0),
        lambda k: picture.boxes[k].kernel,
    )
    return [
        frame
        for number, members in kernels.items()
        for frame, _ in cells.pieces(number, 1, members)
    ]
