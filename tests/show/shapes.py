"""Pictures made at random, and geometry to check layouts with."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from random import Random

from graphc.grad import gradients
from graphc.show.build import Request, picture
from graphc.show.layout import Layout, Rectangle
from graphc.show.picture import Box, Picture, Port, Scope
from show import models

MODELS = ["mlp", "residual", "lstm", "attention", "convnet"]


def drawn(name: str, **options) -> Picture:
    """The picture of a model with the gradients of its loss."""
    loss, weights = getattr(models, name)()
    slopes = gradients(loss, weights)
    return picture(Request((loss, *slopes), **options))


def box(role: str, *sources: int, **options) -> Box:
    return Box("op", "", "f32[8]", role, tuple(Port(s) for s in sources), **options)


def random_picture(seed: int, size: int) -> Picture:
    """Forward boxes with random operands, then gradients in reverse order, and scopes."""
    random = Random(seed)
    boxes: list[Box] = []
    scopes = tuple(Scope(f"s{k}", -1 if k < 3 else k - 3, (f"s{k}",)) for k in range(6))
    for k in range(size):
        leaf = k < 2 or random.random() < 0.2
        sources = random.sample(range(k), min(k, random.choice([1, 1, 2, 3])))
        scope = random.choice([-1, 3 * k // size, 3 + 3 * k // size])
        boxes.append(box("input") if leaf else box("forward", *sources, scope=scope))
    served: dict[int, list[int]] = {}
    for partner in reversed(range(size)):
        if boxes[partner].role != "forward":
            continue
        scope = boxes[partner].scope
        readers = [k for k in range(size) if any(p.source == partner for p in boxes[k].ports)]
        arriving = [box for k in readers for box in served.get(k, [])[:2]]
        for _ in range(random.choice([0, 1, 1, 2, 3])):
            saved = [partner, *(p.source for p in boxes[partner].ports)]
            operands = [random.choice(saved), *arriving, *served.get(partner, [])[-1:]]
            served.setdefault(partner, []).append(len(boxes))
            boxes.append(box("gradient", *operands, partner=partner, scope=scope))
    return replace(Picture(tuple(boxes)), scopes=scopes)


def overlap(a: Rectangle, b: Rectangle) -> bool:
    return a.x < b.right and b.x < a.right and a.y < b.bottom and b.y < a.bottom


def segments(layout: Layout) -> Iterator[tuple[int, Rectangle]]:
    """The straight parts of every line, as thin rectangles, with the number of the line."""
    for number, line in enumerate(layout.lines):
        for (x0, y0), (x1, y1) in pairwise(line.points):
            assert x0 == x1 or y0 == y1, "lines are horizontal or vertical"
            low, high = (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
            yield number, Rectangle(*low, high[0] - low[0], high[1] - low[1])


def crosses(part: Rectangle, box: Rectangle) -> bool:
    """Whether a part of a line runs through the inside of a box; touching the border is no harm."""
    inner = Rectangle(box.x + 1, box.y + 1, box.width - 2, box.height - 2)
    across = part.x < inner.right and inner.x < part.right + 0.01
    down = part.y < inner.bottom and inner.y < part.bottom + 0.01
    return across and down


def inside(outer: Rectangle, inner: Rectangle) -> bool:
    return (
        outer.x <= inner.x
        and outer.y <= inner.y
        and inner.right <= outer.right
        and inner.bottom <= outer.bottom
    )
