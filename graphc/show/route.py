"""The second part of the layout: on which tracks every edge runs, so that none runs behind a box.

Comes in: a grid of boxes. Goes out: for each edge the sequence of free spaces it uses: the gap
between two rows, the channel between two columns, or a part of a column without boxes. A separate
step because rows and columns alone decide it; only then is it known how wide a space must be.

Edges of one source share their tracks, so a value that many read is one line with branches. This is
channel routing (Hashimoto and Stevens 1971): by the left-edge rule each net gets a free track.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from graphc.show.grid import GRADIENT, Grid
from graphc.show.picture import Edge

Span = tuple[float, float]


class Route(NamedTuple):
    """The way of one edge.

    It leaves its source at the end where results come out (``side`` False) or at the right side,
    runs along ``gap_out``, down or up ``channel``, along ``gap_in``, and enters the target at the
    end where operands go in (``into_side`` False) or at the left side. None: that part is not used.
    ``straight``: source and target stand opposite each other, with nothing between.
    """

    edge: Edge
    side: bool
    gap_out: int | None
    channel: int | None
    gap_in: int | None
    into_side: bool
    straight: bool = False


@dataclass
class Router:
    """Finds the routes of a grid's edges."""

    grid: Grid
    above: dict[int, int] = field(default_factory=dict)
    below: dict[int, int] = field(default_factory=dict)
    left: dict[int, int] = field(default_factory=dict)
    right: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Notes the next box in each direction."""
        last: dict[int, int] = {}
        for boxes in self.grid.by_row:
            for one, other in pairwise(boxes):
                self.right[one], self.left[other] = other, one
            for box in boxes:
                higher = last.get(self.grid.column[box])
                if higher is not None:
                    self.above[box], self.below[higher] = higher, box
                last[self.grid.column[box]] = box

    def routes(self, edges: Iterable[Edge]) -> list[Route]:
        """One route per edge, in the same order."""
        return [self._route(edge) for edge in edges]

    def _route(self, edge: Edge) -> Route:
        grid = self.grid
        source, target = edge.source, edge.target
        if grid.lane[source] != grid.lane[target]:
            return self._across(edge)
        column = grid.column[source]
        if grid.row[target] == grid.row[source] and grid.column[target] == column + 1:
            return Route(edge, True, None, column + 1, None, True, True)
        leaving, entering = self._gap_out(source), self._gap_in(target)
        if self._free(source, target):
            straight = grid.column[target] == column
            return Route(edge, False, leaving, None, entering, False, straight)
        return Route(edge, False, leaving, self._beside(source, target), entering, False)

    def _gap_out(self, box: int) -> int:
        """The gap at the end where results come out: below, in the gradient lane above."""
        return self.grid.row[box] + (self.grid.lane[box] != GRADIENT)

    def _gap_in(self, box: int) -> int:
        return self.grid.row[box] + (self.grid.lane[box] == GRADIENT)

    def _free(self, source: int, target: int) -> bool:
        """Whether the column of the target is empty from the row of the source on."""
        row, start = self.grid.row[target], self.grid.row[source]
        if self.grid.lane[target] == GRADIENT:
            lower = self.below.get(target)
            return row < start and (lower is None or start <= self.grid.row[lower])
        upper = self.above.get(target)
        return start < row and (upper is None or self.grid.row[upper] <= start)

    def _beside(self, source: int, target: int) -> int:
        """The channel nearest to the target on the way; a skip in one column goes outside."""
        from_column, column = self.grid.column[source], self.grid.column[target]
        if from_column == column:
            return column + (self.grid.lane[target] == GRADIENT)
        return column if from_column < column else column + 1

    def _across(self, edge: Edge) -> Route:
        """From one lane to another: through the channel before the target's lane."""
        grid = self.grid
        source, target = edge.source, edge.target
        channel = grid.first_column[grid.lane[target]]
        if grid.lane[source] > grid.lane[target]:
            channel = grid.first_column[grid.lane[target] + 1]
        side = channel > grid.column[source] and self._clear(source, channel, right=True)
        into_side = channel <= grid.column[target] and self._clear(target, channel, right=False)
        leaving = None if side else self._gap_out(source)
        entering = None if into_side else self._gap_in(target)
        straight = side and into_side and grid.row[source] == grid.row[target]
        return Route(edge, side, leaving, channel, entering, into_side, straight)

    def _clear(self, box: int, channel: int, *, right: bool) -> bool:
        """Whether no box stands in the row between ``box`` and the channel."""
        other = (self.right if right else self.left).get(box)
        return other is None or (self.grid.column[other] >= channel) == right


# Tracks -------------------------------------------------------------------------------------------
class Tracks:
    """The parallel tracks of one gap or channel: nets whose spans touch get different ones."""

    def __init__(self) -> None:
        self.spans: dict[int, Span] = {}

    def use(self, net: int, *points: float) -> None:
        """The net of source box ``net`` needs the space between ``points``."""
        low, high = self.spans.get(net, (points[0], points[0]))
        self.spans[net] = (min(low, *points), max(high, *points))

    def assign(self) -> dict[int, int]:
        """A track number for each net, by the left-edge rule."""
        free: list[tuple[float, int]] = []
        track: dict[int, int] = {}
        for net, (low, high) in sorted(self.spans.items(), key=lambda item: (item[1], item[0])):
            reused = free and free[0][0] < low
            track[net] = heappop(free)[1] if reused else len(free)
            heappush(free, (high, track[net]))
        return track


def channel_tracks(grid: Grid, routes: Sequence[Route]) -> list[dict[int, int]]:
    """For each channel the track of each net in it. Rows count double: a gap is even, a row odd."""
    tracks = [Tracks() for _ in range(grid.columns + 1)]
    for route in routes:
        if route.channel is not None:
            source, target = route.edge.source, route.edge.target
            start = 2 * grid.row[source] + 1 if route.gap_out is None else 2 * route.gap_out
            end = 2 * grid.row[target] + 1 if route.gap_in is None else 2 * route.gap_in
            tracks[route.channel].use(source, start, end)
    return [each.assign() for each in tracks]


def offsets(routes: Sequence[Route], span: float) -> list[float]:
    """Where the edges into one side of a box end, relative to its middle.

    One edge that comes straight from its neighbour has the middle, which no other edge may use: so
    lines of different nets cannot run on top of each other.
    """
    straight = [k for k, route in enumerate(routes) if route.straight]
    step = min(14.0, span / (2 * len(routes)))
    if len(straight) == 1:
        return [(k - straight[0]) * step for k in range(len(routes))]
    even = len(routes) + len(routes) % 2
    return [(k - (even - 1) / 2) * step for k in range(len(routes))]
