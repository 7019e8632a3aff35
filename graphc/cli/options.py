"""Options that several commands share: targets, sizes, backends.

Comes in: a parser, or text a user typed. Goes out: checked values. A separate step so that
``--size batch=4`` means the same everywhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from graphc.cli.screen import Screen
from graphc.cli.target import Target, find_target
from graphc.errors import UserError
from graphc.runner import BACKENDS

SIZE = 8
"""The number for a named size that the user does not give."""


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare ``FILE.py:NAME`` and the types of a function's arguments."""
    parser.add_argument("target", metavar="FILE.py:NAME", help="tensors, or what returns them")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=TYPE",
        help="the type of a function's argument, e.g. x=f32[batch,784]",
    )


def add_sizes(parser: argparse.ArgumentParser) -> None:
    """Declare ``--size NAME=NUMBER``."""
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"a number for a named size (default: {SIZE})",
    )


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Declare ``--backend``."""
    parser.add_argument("--backend", default="llvm", choices=list(BACKENDS))


def target_of(options: argparse.Namespace) -> Target:
    """The target that the user named. Raises `UserError` GC0503."""
    return find_target(options.target, pairs(options.input))


def sizes_of(options: argparse.Namespace, target: Target, screen: Screen) -> dict[str, int]:
    """A number for every named size; those that nobody chose are said aloud."""
    given = {name: _number(name, text) for name, text in pairs(options.size).items()}
    unknown = [name for name in given if name not in target.symbols]
    if unknown:
        known = ", ".join(target.symbols) or "none"
        raise UserError("GC0305", f"there is no size {unknown[0]!r}", fix=f"known sizes: {known}")
    assumed = [name for name in target.symbols if name not in given]
    if assumed:
        screen.note(f"with {', '.join(f'{name}={SIZE}' for name in assumed)} (choose with --size)")
    return {**dict.fromkeys(assumed, SIZE), **given}


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """``NAME=VALUE`` texts as a dict. Raises `UserError` GC0503."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise UserError("GC0503", f"{text!r} is not NAME=VALUE", fix="write e.g. batch=4")
        found[name.strip()] = value.strip()
    return found


def _number(name: str, text: str) -> int:
    if not text.isdigit():
        raise UserError("GC0503", f"{text!r} is no number for {name}", fix=f"write {name}=4")
    return int(text)
