"""A picture as SVG text, drawn without any package or program.

Comes in: a picture and its layout. Goes out: a complete SVG document without scripts, the same
bytes for the same picture. A separate step because places are pixels only here.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from graphc.show.grid import Grid
from graphc.show.label import SPACE, Word, label, line_height, line_width, text_width
from graphc.show.layout import Layout, Line, Point, Rectangle
from graphc.show.picture import Box, Picture
from graphc.show.style import ROLES, accent, style_sheet

_ILLEGAL = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
HEADER, LEGEND, CORNER = 26.0, 34.0, 6.0
_MEANING = {
    "input": "input",
    "param": "parameter",
    "saved": "saved value",
    "forward": "forward",
    "gradient": "gradient",
    "update": "update",
}


def svg(picture: Picture, layout: Layout) -> str:
    """The drawing as an SVG document."""
    body = "\n".join(_body(picture, layout))
    prefix = "g" + hashlib.sha256(body.encode()).hexdigest()[:10]
    body = body.replace("url(#head-", f"url(#{prefix}-head-")
    width, height = _canvas(picture, layout)
    size = f'width="{number(width)}" height="{number(height)}"'
    box = f'viewBox="0 0 {number(width)} {number(height)}"'
    roles = "aria-labelledby" + f'="{prefix}-title {prefix}-desc"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" id="{prefix}" {size} {box} role="img" '
            f'{roles} style="max-width:100%;height:auto">',
            f'<title id="{prefix}-title">{text(picture.title)}</title>',
            f'<desc id="{prefix}-desc">{text(_description(picture))}</desc>',
            f"<style>{style_sheet(prefix)}</style>",
            _markers(prefix),
            f'<rect class="paper" width="{number(width)}" height="{number(height)}" rx="8"/>',
            body,
            "</svg>\n",
        ]
    )


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def text(value: str) -> str:
    """Text safe between tags and in attributes; characters that XML forbids are replaced."""
    return escape(_ILLEGAL.sub("\N{REPLACEMENT CHARACTER}", value))


def _canvas(picture: Picture, layout: Layout) -> Point:
    needed = max(text_width(_heading(picture), 12) + 48, _legend_width(picture) + 24)
    return max(layout.size[0], needed), HEADER + layout.size[1] + LEGEND


def _description(picture: Picture) -> str:
    counts = {role: sum(b.role == role for b in picture.boxes) for role in ROLES}
    listed = ", ".join(f"{count} {role}" for role, count in counts.items() if count)
    return f"A computation graph with {len(picture.boxes)} boxes ({listed})."


def _heading(picture: Picture) -> str:
    return " — ".join((picture.title, *picture.notes))


def _markers(prefix: str) -> str:
    shape = '<path class="head {0}" d="M0 0L7 3.5L0 7z"/>'
    head = (
        '<marker id="{1}-head-{0}" viewBox="0 0 7 7" refX="6.5" refY="3.5" '
        'markerUnits="userSpaceOnUse" markerWidth="7" markerHeight="7" orient="auto">' + shape
    )
    return f"<defs>{''.join(head.format(r, prefix) + '</marker>' for r in ROLES)}</defs>"


def _body(picture: Picture, layout: Layout) -> Iterator[str]:
    yield f'<text class="heading" x="24" y="22">{text(_heading(picture))}</text>'
    yield f'<g transform="translate(0 {number(HEADER)})">'
    for key, place in layout.frames:
        yield from _frame(picture.scopes[key].name, place)
    for kernel, place in layout.hulls:
        yield _hull(kernel, picture.kernels.get(kernel, f"kernel {kernel}"), place)
    for line in layout.lines:
        yield _edge(picture, line)
    pairs = pair_numbers(picture, layout.grid)
    for k, (box, place) in enumerate(zip(picture.boxes, layout.boxes, strict=True)):
        yield "".join(_box(box, place, pairs.get(k)))
    yield "</g>"
    yield from _legend(picture, HEADER + layout.size[1])


def pair_numbers(picture: Picture, grid: Grid | None = None) -> dict[int, int]:
    """A number for each forward box that has gradients, and the same number for those.

    Numbers count in execution order, on a grid from the top.
    """
    partners = {b.partner for b in picture.boxes if b.partner is not None}
    ordered = sorted(partners, key=lambda k: (grid.row[k], grid.column[k]) if grid else (k, 0))
    numbers = {box: position + 1 for position, box in enumerate(ordered)}
    served = {k: numbers[b.partner] for k, b in enumerate(picture.boxes) if b.partner is not None}
    return numbers | served


# Boxes --------------------------------------------------------------------------------------------
def _box(box: Box, place: Rectangle, pair: int | None) -> Iterator[str]:
    round_corners = place.height / 2 if box.is_leaf else 5
    style = "node output" if box.output else "node"
    yield f'<g class="{style}"><title>{text(tooltip(box))}</title>'
    yield _rectangle(f"box {box.role}", place, min(round_corners, 16))
    lines = label(box)
    y = place.y + (place.height - sum(map(line_height, lines))) / 2
    for words in lines:
        yield from _words(words, box, place.middle[0], y)
        y += line_height(words)
    if pair is not None:
        yield from _badge(box, place, pair)
    yield "</g>"


def tooltip(box: Box) -> str:
    """All that is known about a box, line by line."""
    called = f"{box.name} = {box.call}" if box.name and box.call else box.call or box.title
    counted = f"{box.title}: {box.count} operations" if box.count > 1 else f"{called}: {box.type}"
    source = f"{box.place}   {box.code}".rstrip()
    kernel = f"kernel {box.kernel}" if box.kernel >= 0 else ""
    return "\n".join(filter(None, (counted, box.role, source, kernel, box.value)))


def _rectangle(style: str, place: Rectangle, round_corners: float) -> str:
    x, y, width, height = map(number, (place.x, place.y, place.width, place.height))
    size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<rect class="{style}" {size} rx="{number(round_corners)}"/>'


def _words(words: Sequence[Word], box: Box, middle: float, top: float) -> Iterator[str]:
    """One line of words, centred. Plain words are set by the viewer, which knows its font."""
    if not any(word.is_chip for word in words):
        yield _plain(words, box, middle, top)
        return
    x = middle - line_width(tuple(words)) / 2
    for word in words:
        centre = x + word.width / 2
        yield _chip(word, x, top) if word.is_chip else _plain([word], box, centre, top)
        x += word.width + SPACE


def _plain(words: Sequence[Word], box: Box, middle: float, top: float) -> str:
    baseline = {"title": 12.0, "name": 12.0, "type": 9.5, "note": 9.5, "dot": 11.0}
    at = f'x="{number(middle)}" y="{number(top + baseline[words[0].style])}"'
    if len(words) == 1:
        return f'<text class="{_style(words[0], box)}" {at}>{text(words[0].text)}</text>'
    parts = (f'<tspan class="{_style(w, box)}">{text(w.text)}</tspan>' for w in words)
    return f"<text {at}>{' '.join(parts)}</text>"


def _style(word: Word, box: Box) -> str:
    return f"name {box.role}" if word.style == "name" else word.style


def _chip(word: Word, x: float, top: float) -> str:
    role = word.style.removeprefix("chip ")
    pill = _rectangle(f"chip {role}", Rectangle(x, top + 1.5, word.width, 14), 7)
    place = f'x="{number(x + word.width / 2)}" y="{number(top + 12)}"'
    hint = f"<title>{text(word.detail)}</title>" if word.detail else ""
    words = text(word.text).replace("●", '<tspan class="dot">●</tspan>')
    return f'<g>{hint}{pill}<text class="chip-text" {place}>{words}</text></g>'


def _badge(box: Box, place: Rectangle, pair: int) -> Iterator[str]:
    """The number that a forward box shares with its gradients, on the facing sides."""
    x = place.x if box.role == "gradient" else place.right
    colour = accent(pair)
    yield f'<circle cx="{number(x)}" cy="{number(place.y)}" r="8" fill="{colour}"/>'
    yield f'<text class="badge" x="{number(x)}" y="{number(place.y + 3.2)}">{pair}</text>'


# Lines and frames ---------------------------------------------------------------------------------
def _edge(picture: Picture, line: Line) -> str:
    role = edge_role(picture, line.edge.source, line.edge.target)
    head = f'marker-end="url(#head-{role})"'
    name = f'data-edge="{line.edge.source}-{line.edge.target}-{line.edge.port}"'
    return f'<path class="edge {role}" {name} d="{path(line.points)}" {head}/>'


def edge_role(picture: Picture, source: int, target: int) -> str:
    """What flows along an edge; a forward value read by a gradient is a saved value."""
    role = picture.boxes[source].role
    served = picture.boxes[target].role in ("gradient", "update")
    return "saved" if role in ("forward", "saved") and served else role


def path(points: Sequence[Point]) -> str:
    """Lines through the corners, which are rounded."""
    steps = [f"M{_point(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _towards(corner, before), _towards(corner, after)
        steps.append(f"L{_point(start)}Q{_point(corner)} {_point(end)}")
    return "".join([*steps, f"L{_point(points[-1])}"])


def _point(point: Point) -> str:
    return f"{number(point[0])} {number(point[1])}"


def _towards(corner: Point, other: Point) -> Point:
    """The point where the rounding of a corner begins, on the way to ``other``."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)
    part = min(CORNER, length / 2) / length
    return corner[0] + dx * part, corner[1] + dy * part


def _frame(name: str, place: Rectangle) -> Iterator[str]:
    yield _rectangle("frame", place, 8)
    at = f'x="{number(place.x + 8)}" y="{number(place.y + 13)}"'
    yield f'<text class="scope" {at}>{text(name)}</text>'


def _hull(kernel: int, name: str, place: Rectangle) -> str:
    colour = accent(kernel)
    x, y, width, height = map(number, (place.x, place.y, place.width, place.height))
    return (
        f'<g><title>{text(name)}</title><rect x="{x}" y="{y}" width="{width}" height="{height}" '
        f'rx="9" fill="{colour}" fill-opacity="0.13" stroke="{colour}" stroke-opacity="0.55"/>'
        f'<text class="kernel" x="{number(place.right - 5)}" y="{number(place.y - 2)}" '
        f'style="fill:{colour}">{text(name)}</text></g>'
    )


# Legend -------------------------------------------------------------------------------------------
def _legend_roles(picture: Picture) -> list[str]:
    present = {box.role for box in picture.boxes}
    present |= {"saved"} & {edge_role(picture, e.source, e.target) for e in picture.edges}
    return [role for role in _MEANING if role in present]


def _legend_width(picture: Picture) -> float:
    entries = sum(text_width(_MEANING[role], 12) + 42 for role in _legend_roles(picture))
    return entries + (220 if picture.has_pairs else 0)


def _legend(picture: Picture, y: float) -> Iterable[str]:
    x = 24.0
    for role in _legend_roles(picture):
        if role == "saved":
            shape = (
                f'<path class="edge saved" d="M{_point((x, y + 12))}L{_point((x + 20, y + 12))}"/>'
            )
        else:
            shape = _rectangle(f"box {role}", Rectangle(x, y + 6, 20, 12), 3)
        at = f'x="{number(x + 26)}" y="{number(y + 16)}"'
        yield f'{shape}<text class="legend" {at}>{_MEANING[role]}</text>'
        x += text_width(_MEANING[role], 12) + 42
    if picture.has_pairs:
        yield f'<circle cx="{number(x + 8)}" cy="{number(y + 12)}" r="8" fill="{accent(1)}"/>'
        yield f'<text class="badge" x="{number(x + 8)}" y="{number(y + 15.2)}">1</text>'
        meaning = "operation and its gradient"
        yield f'<text class="legend" x="{number(x + 22)}" y="{number(y + 16)}">{meaning}</text>'
