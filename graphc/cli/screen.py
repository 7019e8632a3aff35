"""What the command line prints on: tables and text, for people and for pipes.

Comes in: rows and lines. Goes out: coloured tables on a terminal, aligned plain text anywhere else.
A separate step so that no command asks twice where its output goes. NO_COLOR is respected.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Screen:
    """Standard output, with the two ways to use it."""

    console: Console = field(default_factory=_console)

    @property
    def is_terminal(self) -> bool:
        return self.console.is_terminal

    def say(self, text: str = "") -> None:
        """Print ``text`` as it is."""
        self.console.print(Text(text))

    def note(self, text: str) -> None:
        """A remark that is not part of the output: it goes to standard error."""
        print(text, file=sys.stderr)

    def heading(self, text: str) -> None:
        """A line that begins a part of the output."""
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def page(self, markdown: str) -> None:
        """A page of Markdown, set on a terminal and as it is elsewhere."""
        if self.is_terminal:
            self.console.print(Markdown(markdown), soft_wrap=False)
        else:
            self.say(markdown.rstrip())

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Rows below ``columns``; a column whose name starts with ">" is set flush right."""
        cells = [[str(cell) for cell in row] for row in rows]
        right = [name.startswith(">") for name in columns]
        names = [name.removeprefix(">") for name in columns]
        if self.is_terminal:
            self.console.print(_framed(names, right, cells))
        else:
            self.say("\n".join(_aligned(names, right, cells)))


def _framed(names: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]) -> Table:
    table = Table()
    for name, flush in zip(names, right, strict=True):
        table.add_column(name, justify="right" if flush else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _aligned(
    names: Sequence[str], right: Sequence[bool], rows: Sequence[Sequence[str]]
) -> list[str]:
    lines = [names, *rows]
    widths = [max(len(line[k]) for line in lines) for k in range(len(names))]
    return [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    ]


def duration(seconds: float) -> str:
    """A time in the unit that suits it: ``12.3 us``, ``4.56 ms``, ``7.89 s``."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
