"""The second part of the layout: on which tracks every edge runs, so that none runs behind a box.

Comes in: a grid of boxes. Goes out: for each edge the sequence of free spaces it uses: the gap
between two rows, the channel between two columns, or a part of a column without boxes. A separate
step because it is decided by rows and columns alone; only then is it known how wide a space must be.

Edges of one source share their tracks, so a value that many read is one line with branches. This is
channel routing (Hashimoto and Stevens 1971): the left-edge rule gives each net the first free track.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from graphc.show.grid import FORWARD, GRADIENT, Grid
from graphc.show.picture import Edge

Span = tuple[float, float]


class Route(NamedTuple):
    """The way of one edge.

    It leaves its source at the end where results come out (``side`` False) or at the right side,
    runs along ``gap_out``, down or up ``channel``, along ``gap_in``, and enters the target at the
    end where operands go in (``into_side`` False) or at the left side. None: that part is not used.
    """

    edge: Edge
    side: bool
    gap_out: int | None
    channel: int | None
    gap_in: int | None
    into_side: bool

    @property
    def is_main(self) -> bool:
        """Whether it runs straight from the neighbour: such an edge enters in the middle."""
        return self.channel is None or (self.side and self.into_side)


@dataclass
class Router:
    """Finds the routes of a grid's edges."""

    grid: Grid
    above: dict[tuple[int, int], int] = field(init=False)
    below: dict[tuple[int, int], int] = field(init=False)

    def __post_init__(self) -> None:
        """Notes for each cell with a box the next box above and below in its column."""
        self.above, self.below = {}, {}
        last: dict[int, int] = {}
        for row, boxes in enumerate(self.grid.by_row):
            for box in boxes:
                column = self.grid.column[box]
                if column in last:
                    self.above[row, column] = last[column]
                    self.below[last[column], column] = row
                last[column] = row

    def routes(self, edges: Iterable[Edge]) -> list[Route]:
        """One route per edge, in the same order."""
        return [self._route(edge) for edge in edges]

    def _route(self, edge: Edge) -> Route:
        grid = self.grid
        source, target = edge.source, edge.target
        if grid.lane[source] != grid.lane[target]:
            return self._across(edge)
        row, column = grid.row[source], grid.column[source]
        if grid.row[target] == row and grid.column[target] == column + 1:
            return Route(edge, True, None, column + 1, None, True)
        leaving, entering = self._gap_out(source), self._gap_in(target)
        if leaving == entering or self._free(source, target):
            return Route(edge, False, leaving, None, entering, False)
        return Route(edge, False, leaving, self._beside(source, target), entering, False)

    def _gap_out(self, box: int) -> int:
        """The gap at the end where results come out: below, in the gradient lane above."""
        return self.grid.row[box] + (self.grid.lane[box] != GRADIENT)

    def _gap_in(self, box: int) -> int:
        return self.grid.row[box] + (self.grid.lane[box] == GRADIENT)

    def _free(self, source: int, target: int) -> bool:
        """Whether the column of the target is empty from the row of the source on."""
        row, column = self.grid.row[target], self.grid.column[target]
        if self.grid.lane[target] == GRADIENT:
            start = self.grid.row[source]
            return row < start <= self.below.get((row, column), start)
        start = self.grid.row[source]
        return row > start >= self.above.get((row, column), start)

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
        return Route(
            edge,
            side,
            None if side else self._gap_out(source),
            channel,
            None if into_side else self._gap_in(target),
            into_side,
        )

    def _clear(self, box: int, channel: int, *, right: bool) -> bool:
        """Whether no box stands in the row between ``box`` and the channel."""
        column = self.grid.column[box]
        row = self.row_columns(self.grid.row[box])
        position = row.index(column)
        if right:
            return position + 1 == len(row) or row[position + 1] >= channel
        return position == 0 or row[position - 1] < channel

    def row_columns(self, row: int) -> list[int]:
        """The columns with boxes in a row, ascending."""
        return [self.grid.column[box] for box in self.grid.by_row[row]]


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
        ends: list[float] = []
        track: dict[int, int] = {}
        for net, (low, high) in sorted(self.spans.items(), key=lambda item: (item[1], item[0])):
            chosen = next((k for k, end in enumerate(ends) if end < low), len(ends))
            ends[chosen:] = [high, *ends[chosen + 1 :]]
            track[net] = chosen
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

    One edge that comes straight from a neighbour has the middle, which no other edge may use: so
    lines of different nets cannot run on top of each other.
    """
    main = [k for k, route in enumerate(routes) if route.is_main]
    sources = {routes[k].edge.source for k in main}
    step = min(14.0, span / (len(routes) + 1))
    if len(sources) == 1 and len(main) == 1:
        return [(k - main[0]) * step for k in range(len(routes))]
    even = len(routes) + len(routes) % 2
    return [(k - (even - 1) / 2) * step for k in range(len(routes))]


assert FORWARD < GRADIENT, "the forward lane is left of the gradient lane"
