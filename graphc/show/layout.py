"""The layout: every box, line and frame with its coordinates.

Comes in: a picture. Goes out: rectangles and paths in pixels, the same for the same picture. The
steps: cells (`grid`), routes (`route`), frames (`frames`), then widths from what has to fit. Linear
up to sorting. A separate step because a drawing in any format needs the same places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from graphc.show.frames import Frame, frames_of, hulls_of
from graphc.show.grid import GRADIENT, Grid, place
from graphc.show.label import box_size
from graphc.show.picture import Edge, Picture
from graphc.show.route import Route, Router, Tracks, channel_tracks, offsets

Point = tuple[float, float]

ROW_GAP, CHANNEL, LANE_GAP, TRACK = 22.0, 18.0, 44.0, 9.0
MARGIN, PAD, TITLE = 24.0, 9.0, 15.0
HULL = 6.0
HEAD = 6.0
"""Room for the tips of arrows, beside what the tracks need."""


class Rectangle(NamedTuple):
    """Left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> Point:
        return self.x + self.width / 2, self.y + self.height / 2


class Line(NamedTuple):
    """An edge as a path of corners, from the source's border to the target's."""

    edge: Edge
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """The places of all parts of a picture; indices are those of the picture's tuples."""

    boxes: tuple[Rectangle, ...]
    lines: tuple[Line, ...]
    frames: tuple[tuple[int, Rectangle], ...]
    hulls: tuple[tuple[int, Rectangle], ...]
    size: Point
    grid: Grid


def layout(picture: Picture, *, arrangement: str = "mirror") -> Layout:
    """Place a picture. ``arrangement`` is "mirror" or "layered"."""
    grid = place(picture, mirror=arrangement == "mirror")
    return _Layout(picture, grid).result()


@dataclass
class _Layout:
    picture: Picture
    grid: Grid
    routes: list[Route] = field(init=False)
    frames: list[Frame] = field(init=False)

    def __post_init__(self) -> None:
        self.routes = Router(self.grid).routes(self.picture.edges)
        self.frames = frames_of(self.picture, self.grid)

    def result(self) -> Layout:
        lines = tuple(Line(r.edge, tuple(self._points(k, r))) for k, r in enumerate(self.routes))
        frames = tuple((f.key, self._framed(f)) for f in self.frames)
        hulls = tuple((f.key, self._hull(f)) for f in hulls_of(self.picture, self.grid))
        return Layout(tuple(self.boxes), lines, frames, hulls, self.size, self.grid)

    # Across ---------------------------------------------------------------------------------------
    @cached_property
    def sizes(self) -> list[Point]:
        return [box_size(box) for box in self.picture.boxes]

    @cached_property
    def widths(self) -> list[float]:
        """The width of each column: that of its widest box."""
        widths = [0.0] * self.grid.columns
        for box, column in enumerate(self.grid.column):
            widths[column] = max(widths[column], self.sizes[box][0])
        return widths

    @cached_property
    def tracks_across(self) -> list[dict[int, int]]:
        return channel_tracks(self.grid, self.routes)

    @cached_property
    def left(self) -> list[float]:
        """The left border of each column, and one more: the right end of the drawing."""
        position = MARGIN
        borders = []
        for column in range(self.grid.columns + 1):
            position += self._channel(column)
            borders.append(position)
            position += self.widths[column] if column < self.grid.columns else 0
        return borders

    def _channel(self, column: int) -> float:
        tracks = 1 + max(self.tracks_across[column].values(), default=-1)
        framing = PAD * (self.frames_left[column] + self.frames_right[column - 1])
        inner = 0 < column < self.grid.columns
        lane = column in self.grid.first_column[:4]
        needed = TRACK * (tracks + 1) + HEAD if tracks else 0.0
        return framing + max(needed, inner * (LANE_GAP if lane else CHANNEL))

    def _channel_x(self, column: int, track: int) -> float:
        """Tracks run from the right end of a channel to the left."""
        edge = self.left[column] - PAD * self.frames_left[column]
        return edge - HEAD - TRACK * (track + 1)

    # Down -----------------------------------------------------------------------------------------
    @cached_property
    def tracks_down(self) -> list[dict[int, int]]:
        """For each gap the track of each net in it."""
        tracks = [Tracks() for _ in range(self.grid.rows + 1)]
        for number, route in enumerate(self.routes):
            x_out, x_in = self._end_x(number, route)
            middle = () if route.channel is None else (self._route_x(route),)
            if route.gap_out is not None and (middle or x_out != x_in):
                tracks[route.gap_out].use(route.edge.source, x_out, *(middle or (x_in,)))
            if route.gap_in is not None and middle:
                tracks[route.gap_in].use(route.edge.source, x_in, *middle)
        return [each.assign() for each in tracks]

    @cached_property
    def top(self) -> list[float]:
        """The upper border of each row, and one more: the lower end of the drawing."""
        position = MARGIN
        borders = []
        for row in range(self.grid.rows + 1):
            position += self._gap(row)
            borders.append(position)
            position += self.heights[row] if row < self.grid.rows else 0
        return borders

    def _gap(self, row: int) -> float:
        tracks = 1 + max(self.tracks_down[row].values(), default=-1)
        framing = (PAD + TITLE) * self.frames_top[row] + PAD * self.frames_bottom[row - 1]
        inner = 0 < row < self.grid.rows
        return framing + max(TRACK * (tracks + 1) + HEAD if tracks else 0.0, inner * ROW_GAP)

    def _gap_y(self, row: int, track: int) -> float:
        edge = self.top[row] - (PAD + TITLE) * self.frames_top[row]
        return edge - HEAD - TRACK * (track + 1)

    @cached_property
    def heights(self) -> list[float]:
        heights = [0.0] * self.grid.rows
        for box, row in enumerate(self.grid.row):
            heights[row] = max(heights[row], self.sizes[box][1])
        return heights

    @cached_property
    def boxes(self) -> list[Rectangle]:
        found = []
        for box, (_, height) in enumerate(self.sizes):
            row, column = self.grid.row[box], self.grid.column[box]
            y = self.top[row] + (self.heights[row] - height) / 2
            found.append(Rectangle(self.left[column], y, self.widths[column], height))
        return found

    @cached_property
    def size(self) -> Point:
        return self.left[-1] + MARGIN, self.top[-1] + MARGIN

    # Lines ----------------------------------------------------------------------------------------
    @cached_property
    def shifts(self) -> list[float]:
        """For each route where it enters its target, relative to the middle of that side."""
        entering: dict[tuple[int, bool], list[int]] = {}
        for number, route in enumerate(self.routes):
            entering.setdefault((route.edge.target, route.into_side), []).append(number)
        shifts = [0.0] * len(self.routes)
        for (target, into_side), numbers in entering.items():
            if len(numbers) == 1 and self.routes[numbers[0]].straight:
                continue
            width, height = self.widths[self.grid.column[target]], self.sizes[target][1]
            span = height - 12 if into_side else width - 16
            found = offsets([self.routes[k] for k in numbers], span)
            for number, shift in zip(numbers, found, strict=True):
                shifts[number] = shift
        return shifts

    def _middle_x(self, box: int) -> float:
        column = self.grid.column[box]
        return self.left[column] + self.widths[column] / 2

    def _end_x(self, number: int, route: Route) -> Point:
        source, target = route.edge.source, route.edge.target
        return self._middle_x(source), self._middle_x(target) + self.shifts[number]

    def _route_x(self, route: Route) -> float:
        assert route.channel is not None
        track = self.tracks_across[route.channel][route.edge.source]
        return self._channel_x(route.channel, track)

    def _points(self, number: int, route: Route) -> list[Point]:
        first, last = self._start(route), self._end(route, self.shifts[number])
        if route.channel is None and first[0] == last[0]:
            return [first, last]
        return _simplified([first, *self._bends(route, first, last), last])

    def _start(self, route: Route) -> Point:
        box = route.edge.source
        place = self.boxes[box]
        if route.side:
            return place.right, place.y + place.height / 2
        upwards = self.grid.lane[box] == GRADIENT
        return place.x + place.width / 2, place.y if upwards else place.bottom

    def _end(self, route: Route, shift: float) -> Point:
        box = route.edge.target
        place = self.boxes[box]
        if route.into_side:
            return place.x, place.y + place.height / 2 + shift
        upwards = self.grid.lane[box] == GRADIENT
        return place.x + place.width / 2 + shift, place.bottom if upwards else place.y

    def _bends(self, route: Route, first: Point, last: Point) -> list[Point]:
        """The corners between the two ends."""
        at: list[float] = [first[1]]
        if route.gap_out is not None:
            track = self.tracks_down[route.gap_out].get(route.edge.source)
            at = [] if track is None else [self._gap_y(route.gap_out, track)]
        if route.channel is None:
            return [(x, y) for y in at for x in (first[0], last[0])]
        x = self._route_x(route)
        out = [(first[0], at[0]), (x, at[0])]
        if route.gap_in is None:
            return [*out, (x, last[1])]
        y = self._gap_y(route.gap_in, self.tracks_down[route.gap_in][route.edge.source])
        return [*out, (x, y), (last[0], y)]

    # Frames ---------------------------------------------------------------------------------------
    @cached_property
    def frames_top(self) -> Nests:
        return Nests((f.top, f.depth) for f in self.frames)

    @cached_property
    def frames_bottom(self) -> Nests:
        return Nests((f.bottom, f.depth) for f in self.frames)

    @cached_property
    def frames_left(self) -> Nests:
        return Nests((f.left, f.depth) for f in self.frames)

    @cached_property
    def frames_right(self) -> Nests:
        return Nests((f.right, f.depth) for f in self.frames)

    def _framed(self, frame: Frame) -> Rectangle:
        """Outer frames keep more distance from the boxes than the frames inside them."""
        cells = self._cells(frame)
        x = cells.x - PAD * self.frames_left.outside(frame.left, frame.depth)
        right = cells.right + PAD * self.frames_right.outside(frame.right, frame.depth)
        head = (PAD + TITLE) * self.frames_top.outside(frame.top, frame.depth)
        y = cells.y - head + PAD / 2
        bottom = cells.bottom + PAD * self.frames_bottom.outside(frame.bottom, frame.depth)
        return Rectangle(x, y, right - x, bottom - y)

    def _hull(self, frame: Frame) -> Rectangle:
        cells = self._cells(frame)
        width, height = cells.width + 2 * HULL, cells.height + 2 * HULL
        return Rectangle(cells.x - HULL, cells.y - HULL, width, height)

    def _cells(self, frame: Frame) -> Rectangle:
        x, y = self.left[frame.left], self.top[frame.top]
        right = self.left[frame.right] + self.widths[frame.right]
        bottom = self.top[frame.bottom] + self.heights[frame.bottom]
        return Rectangle(x, y, right - x, bottom - y)


class Nests:
    """How many frames lie one inside the other at each border of rows or columns."""

    def __init__(self, places: Iterable[tuple[int, int]]) -> None:
        self.depths: dict[int, tuple[int, int]] = {}
        for position, depth in places:
            least, most = self.depths.get(position, (depth, depth))
            self.depths[position] = (min(least, depth), max(most, depth))

    def __getitem__(self, position: int) -> int:
        """How many frames need room at this border."""
        least, most = self.depths.get(position, (1, 0))
        return most - least + 1

    def outside(self, position: int, depth: int) -> int:
        """The rank of a frame of this depth, counted from the boxes outwards, from 1."""
        return self.depths[position][1] - depth + 1


def _simplified(points: Sequence[Point]) -> list[Point]:
    """The path without corners that do not turn."""
    kept: list[Point] = []
    for point in points:
        if kept and point == kept[-1]:
            continue
        if len(kept) > 1 and (
            kept[-2][0] == kept[-1][0] == point[0] or kept[-2][1] == kept[-1][1] == point[1]
        ):
            kept.pop()
        kept.append(point)
    return kept
