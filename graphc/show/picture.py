"""The picture: what a drawing shows, before anything has a place.

Comes in: roots of a graph. Goes out: plain frozen data, boxes and edges in execution order, with
constants, broadcasts, reshapes and casts folded into the box that reads them. A separate step
because the built-in drawing, Graphviz, NetworkX and the text must show the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from graphc.graph import Node

LEAVES = ("input", "param", "const", "saved")
"""Roles of boxes that nothing in the picture computes."""


@dataclass(frozen=True)
class Chip:
    """An operand written inside its reader: a number, a leaf that many read, or a folded cast."""

    text: str
    role: str
    detail: str = ""


@dataclass(frozen=True)
class Port:
    """One operand of a box: ``source`` is the box it comes from, or None when ``chip`` says it all.

    With both, the chip is a folded operation on the way (a broadcast, a reshape, a cast).
    """

    source: int | None
    chip: Chip | None = None


@dataclass(frozen=True)
class Box:
    """A node, or a folded group of ``count`` nodes. Indices count in `Picture.boxes`.

    ``role`` is input, param, const, saved, forward, gradient or update; ``partner`` is the forward
    box that a gradient box differentiates; ``scope`` counts in `Picture.scopes`, -1 for none;
    ``kernel`` is the number of the fused kernel, -1 for none.
    """

    title: str
    name: str
    type: str
    role: str
    ports: tuple[Port, ...] = ()
    partner: int | None = None
    scope: int = -1
    kernel: int = -1
    count: int = 1
    output: bool = False
    attributes: str = ""
    call: str = ""
    place: str = ""
    code: str = ""
    value: str = ""

    @property
    def is_leaf(self) -> bool:
        return self.role in LEAVES

    @property
    def chips(self) -> bool:
        """Whether any operand is written inside the box."""
        return any(port.chip for port in self.ports)


class Edge(NamedTuple):
    """From box ``source`` to operand ``port`` of box ``target``. Parallel edges are two edges."""

    source: int
    target: int
    port: int


@dataclass(frozen=True)
class Scope:
    """A name scope; ``parent`` counts in `Picture.scopes`, -1 for none, and precedes it."""

    name: str
    parent: int
    path: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """Boxes in an order where operands precede readers; ``notes`` say what is not shown."""

    boxes: tuple[Box, ...]
    scopes: tuple[Scope, ...] = ()
    kernels: Mapping[int, str] = field(default_factory=dict)
    title: str = "graph"
    notes: tuple[str, ...] = ()
    members: tuple[tuple[Node, ...], ...] = field(default=(), repr=False, compare=False)

    @cached_property
    def edges(self) -> list[Edge]:
        """Every edge, by target and operand."""
        return [
            Edge(port.source, target, k)
            for target, box in enumerate(self.boxes)
            for k, port in enumerate(box.ports)
            if port.source is not None
        ]

    @property
    def has_pairs(self) -> bool:
        """Whether forward and gradient boxes stand opposite each other: the mirror layout fits."""
        partners = [b.partner for b in self.boxes if b.role == "gradient"]
        return bool(partners) and all(
            p is not None and self.boxes[p].role == "forward" for p in partners
        )


def scope_table(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """A number for every scope path and its parents, in order of appearance."""
    numbers: dict[tuple[str, ...], int] = {}
    for path in paths:
        for depth in range(1, len(path) + 1):
            numbers.setdefault(path[:depth], len(numbers))
    return numbers
