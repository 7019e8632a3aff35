"""What is written on a box, and how wide that is.

Comes in: a box. Goes out: lines of words with their styles and widths. A separate step because the
layout needs the widths before anything is drawn, and no font is at hand to ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from graphc.show.picture import Box, Port

# Widths in thousandths of the font size, for the widest of the usual sans-serif fonts.
_NARROW, _NORMAL, _WIDE, _FULL = 360, 620, 900, 1000
_WIDTHS = dict.fromkeys(" !'(),.:;I[]`fijlrt|·", _NARROW) | dict.fromkeys("%@MWmw—∂", _WIDE)
MONO = 602
"""Every character of a monospaced font has this width, in thousandths of the font size."""

LONGEST = 34
"""Longer words are cut on the box; the tooltip has them whole."""


@dataclass(frozen=True)
class Word:
    """A piece of text in one style; ``style`` is name, title, type, note, dot, or a chip's role."""

    text: str
    style: str
    detail: str = ""

    @property
    def is_chip(self) -> bool:
        return self.style.startswith("chip")

    @property
    def width(self) -> float:
        """In pixels, with the rim of a chip."""
        return text_width(self.text, SIZES[self.style.split()[0]], self.mono) + 10 * self.is_chip

    @property
    def mono(self) -> bool:
        return self.style in ("type", "note")


SIZES = {"name": 12.0, "title": 12.0, "type": 10.0, "note": 9.5, "dot": 7.0, "chip": 9.5}
HEIGHTS = {"title": 16.0, "name": 16.0, "type": 13.0, "note": 13.0, "dot": 17.0, "chip": 17.0}
SPACE = 4.0


def text_width(text: str, size: float, mono: bool = False) -> float:
    """An upper estimate of the width of a line of text, in pixels."""
    if mono:
        return sum(_FULL if ord(c) > 0x2E7F else MONO for c in text) * size / 1000
    return sum(_FULL if ord(c) > 0x2E7F else _WIDTHS.get(c, _NORMAL) for c in text) * size / 1000


def cut(text: str) -> str:
    """``text`` at a length that fits a box, on one line."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def label(box: Box) -> tuple[tuple[Word, ...], ...]:
    """The lines on a box: ``name = operation``, type, operands that have no edge, attributes."""
    lines: list[tuple[Word, ...]] = [_heading(box)]
    if box.type:
        lines.append((Word(cut(box.type), "type"),))
    if box.chips:
        lines.append(tuple(word for port in box.ports for word in _operand(port)))
    if box.attributes:
        lines.append((Word(cut(box.attributes), "note"),))
    if box.value:
        lines.append((Word(cut(box.value), "note"),))
    return tuple(lines)


def _heading(box: Box) -> tuple[Word, ...]:
    if box.is_leaf and box.role != "saved":
        return (Word(cut(box.name or box.title), "title"),)
    named = (Word(cut(f"{box.name} ="), "name"),) if box.name and box.count == 1 else ()
    counted = (Word(cut(box.name), "name"),) if box.count > 1 else ()
    return (*named, Word(cut(box.title), "title"), *counted)


def _operand(port: Port) -> tuple[Word, ...]:
    """A dot for an operand with a line, a chip for what is written inside."""
    if port.chip is None:
        return (Word("●", "dot"),)
    dot = "" if port.source is None else "● "
    return (Word(dot + cut(port.chip.text), f"chip {port.chip.role}", port.chip.detail),)


def line_width(words: tuple[Word, ...]) -> float:
    """The width of one line with the spaces between its words."""
    return sum(w.width for w in words) + SPACE * (len(words) - 1)


def line_height(words: tuple[Word, ...]) -> float:
    """The height of one line."""
    return max(HEIGHTS[w.style.split()[0]] for w in words)


def box_size(box: Box) -> tuple[float, float]:
    """Width and height that the label of a box needs."""
    if box.chips or box.value or box.count > 1:
        return _size(box)
    return _repeated_size(box.title, box.name, box.type, box.role, box.attributes)


def _size(box: Box) -> tuple[float, float]:
    lines = label(box)
    return max(map(line_width, lines)) + 20, sum(map(line_height, lines)) + 10


@lru_cache(maxsize=4096)
def _repeated_size(
    title: str, name: str, type: str, role: str, attributes: str
) -> tuple[float, float]:
    """Large graphs have few different labels."""
    return _size(Box(title, name, type, role, attributes=attributes))
