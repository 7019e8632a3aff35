"""``graphc explain CODE``: the page of an error code.

Comes in: a code such as GC0101. Goes out: its page, which lies beside this file: what it means, a
program that fails with it, the program repaired, the rule. The tests run both programs of every
page. Without a code, all of them are listed.
"""

from __future__ import annotations

import argparse
from importlib import resources
from typing import Any

from graphc.cli.screen import Screen
from graphc.errors import CODES, UserError


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("explain", help="what an error code means, and what to do")
    parser.add_argument("code", nargs="?", metavar="CODE", help="e.g. GC0101 (default: list all)")
    parser.set_defaults(command=explain)


def page(code: str) -> str:
    """The Markdown page of ``code``. Raises `UserError` GC0503 for a code that does not exist."""
    if code not in CODES:
        raise UserError(
            "GC0503",
            f"there is no error code {code!r}",
            fix="graphc explain, without a code, lists all of them",
        )
    return resources.files(__package__).joinpath(f"{code}.md").read_text("utf-8")


def explain(options: argparse.Namespace, screen: Screen) -> int:
    """Print one page, or the list."""
    if options.code:
        screen.page(page(options.code.upper()))
    else:
        screen.table(("code", "meaning"), list(CODES.items()))
    return 0
