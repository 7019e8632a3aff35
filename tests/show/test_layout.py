"""Properties of the layout: nothing overlaps, nothing hides, pairs stand on one row."""

from itertools import combinations

import pytest

from graphc.show.layout import layout
from graphc.show.picture import Picture
from show.shapes import MODELS, box, crosses, drawn, inside, overlap, random_picture, segments

PICTURES = [*MODELS, *range(12)]
ARRANGEMENTS = ["mirror", "layered"]


def picture_of(which: str | int) -> Picture:
    return drawn(which) if isinstance(which, str) else random_picture(which, 6 + 5 * which)


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("which", PICTURES)
def test_boxes_do_not_overlap_and_lines_do_not_cross_boxes(which, arrangement):
    picture = picture_of(which)
    found = layout(picture, arrangement=arrangement)
    assert not any(overlap(a, b) for a, b in combinations(found.boxes, 2))
    hidden = [
        (found.lines[number].edge, k)
        for number, part in segments(found)
        for k, place in enumerate(found.boxes)
        if crosses(part, place)
    ]
    assert not hidden


@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
@pytest.mark.parametrize("which", PICTURES)
def test_every_edge_joins_its_boxes(which, arrangement):
    picture = picture_of(which)
    found = layout(picture, arrangement=arrangement)
    assert [line.edge for line in found.lines] == picture.edges
    for line in found.lines:
        for box_number, (x, y) in (
            (line.edge.source, line.points[0]),
            (line.edge.target, line.points[-1]),
        ):
            place = found.boxes[box_number]
            assert place.x <= x <= place.right
            assert place.y <= y <= place.bottom
            assert x in (place.x, place.right) or y in (place.y, place.bottom)


@pytest.mark.parametrize("which", PICTURES)
def test_lines_of_different_sources_never_run_on_top_of_each_other(which):
    found = layout(picture_of(which))
    parts = [(found.lines[n].edge.source, part) for n, part in segments(found)]
    flat = [(s, p) for s, p in parts if p.height == 0 and p.width > 0]
    upright = [(s, p) for s, p in parts if p.width == 0 and p.height > 0]
    for (one, a), (two, b) in combinations(flat, 2):
        assert one == two or abs(a.y - b.y) > 0.5 or a.right < b.x or b.right < a.x
    for (one, a), (two, b) in combinations(upright, 2):
        assert one == two or abs(a.x - b.x) > 0.5 or a.bottom < b.y or b.bottom < a.y


@pytest.mark.parametrize("which", PICTURES)
def test_pairs_stand_on_one_row(which):
    picture = picture_of(which)
    found = layout(picture)
    partners = {b.partner for b in picture.boxes if b.partner is not None}
    for partner in partners:
        served = [k for k, b in enumerate(picture.boxes) if b.partner == partner]
        level = found.boxes[partner].middle[1]
        assert any(found.boxes[k].middle[1] == pytest.approx(level) for k in served)
        assert all(found.boxes[k].x > found.boxes[partner].right for k in served)


@pytest.mark.parametrize("which", PICTURES)
def test_forward_runs_down(which):
    picture = picture_of(which)
    found = layout(picture)
    for edge in picture.edges:
        roles = {picture.boxes[edge.source].role, picture.boxes[edge.target].role}
        if roles == {"forward"}:
            assert found.boxes[edge.source].bottom < found.boxes[edge.target].y


@pytest.mark.parametrize("which", PICTURES)
def test_frames_hold_their_members_and_no_stranger(which):
    picture = picture_of(which)
    found = layout(picture)
    for k, b in enumerate(picture.boxes):
        around = set()
        scope = b.scope
        while scope >= 0:
            around.add(scope)
            scope = picture.scopes[scope].parent
        touched = {key for key, frame in found.frames if overlap(frame, found.boxes[k])}
        held = {key for key, frame in found.frames if inside(frame, found.boxes[k])}
        assert touched == held == around


@pytest.mark.parametrize("which", PICTURES)
def test_everything_lies_on_the_paper(which):
    found = layout(picture_of(which))
    for place in (*found.boxes, *(frame for _, frame in found.frames)):
        assert place.x >= 0
        assert place.y >= 0
        assert place.right <= found.size[0]
        assert place.bottom <= found.size[1]


def test_equal_pictures_have_equal_layouts():
    assert layout(drawn("attention")) == layout(drawn("attention"))


def test_an_empty_picture_and_a_single_box():
    assert layout(Picture(())).boxes == ()
    assert len(layout(Picture((box("input"),))).boxes) == 1


def test_parallel_edges_end_apart():
    found = layout(Picture((box("input"), box("forward", 0), box("forward", 1, 1))))
    ends = [line.points[-1] for line in found.lines if line.edge.target == 2]
    assert len(set(ends)) == 2


def test_a_skip_edge_takes_a_side_track():
    chain = [box("input"), *(box("forward", k) for k in range(5)), box("forward", 5, 1)]
    found = layout(Picture(tuple(chain)))
    skip = next(line for line in found.lines if (line.edge.source, line.edge.target) == (1, 6))
    column = found.boxes[3]
    assert any(x < column.x or x > column.right for x, _ in skip.points)


@pytest.mark.sweep
def test_a_hundred_thousand_boxes():
    size = 50_000
    forward = [box("forward", *({k - 1, max(0, k - 7)} if k else ())) for k in range(size)]
    back = [
        box("gradient", size - 1 - k, *([size + k - 1] if k else []), partner=size - 1 - k)
        for k in range(size)
    ]
    found = layout(Picture((*forward, *back)))
    assert len(found.boxes) == 2 * size
    rows = {found.grid.row[k] for k in range(size)}
    assert len(rows) == size


def test_kernels_have_hulls_around_their_boxes():
    boxes = [box("input"), box("forward", 0, kernel=1), box("forward", 1, kernel=1)]
    found = layout(Picture((*boxes, box("forward", 2, kernel=2))))
    held = {key: [k for k in range(4) if inside(hull, found.boxes[k])] for key, hull in found.hulls}
    assert held == {1: [1, 2], 2: [3]}
