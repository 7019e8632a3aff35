"""Options that several commands share: targets, sizes, backends.

Comes in: a parser, or text a user typed. Goes out: checked values. A separate step so that
``--size batch=4`` means the same everywhere.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from graphc.arguments import learned
from graphc.cli.screen import Screen
from graphc.cli.target import TYPE, Target, find_target
from graphc.errors import UserError
from graphc.frontends.training.reading import read_array
from graphc.graph import Array
from graphc.runner import BACKENDS

SIZE = 8
"""The number for a named size that the user does not give."""


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declare ``FILE.py:NAME`` or ``MODEL.onnx``, and what is known of its inputs."""
    parser.add_argument(
        "target", metavar="TARGET", help="FILE.py:NAME of tensors or what returns them; MODEL.onnx"
    )
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="[NAME=]WHAT",
        help="the type of a function's argument, e.g. x=f32[batch,784], or the value of an input: "
        "x=FILE.npy, or FILE.npy for the first, the second, ...",
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
    """The target that the user named. Raises `UserError` GC0503, GC0501 and what `find_target`
    does.
    """
    types: dict[str, str] = {}
    files: dict[str | int, Array] = {}
    for key, text in _keyed(options.input):
        if text.endswith(".npy"):
            files[key] = read_array(text)
        elif isinstance(key, str) and TYPE.fullmatch(text):
            types[key] = text
        else:
            raise UserError(
                "GC0503",
                f"{text!r} is neither a type nor a file of an array",
                fix="write e.g. --input x=f32[batch,784] or --input x=FILE.npy",
            )
    return find_target(options.target, types, files)


def _keyed(texts: Iterable[str]) -> Iterator[tuple[str | int, str]]:
    """Texts with their names, or, where these are left out, with their places."""
    place = 0
    for text in texts:
        name, equals, value = text.partition("=")
        yield (name, value) if equals else (place, text)
        place += not equals


def sizes_of(options: argparse.Namespace, target: Target, screen: Screen) -> dict[str, int]:
    """A number for every named size; those that nobody chose are said aloud."""
    given = numbers(options.size)
    given |= {name: n for name, n in _known(target).items() if name not in given}
    unknown = [name for name in given if name not in target.symbols]
    if unknown:
        known = ", ".join(target.symbols) or "none"
        raise UserError("GC0305", f"there is no size {unknown[0]!r}", fix=f"known sizes: {known}")
    assumed = [name for name in target.symbols if name not in given]
    if assumed:
        screen.note(f"with {', '.join(f'{name}={SIZE}' for name in assumed)} (choose with --size)")
    return {**dict.fromkeys(assumed, SIZE), **given}


def numbers(texts: Iterable[str]) -> dict[str, int]:
    """``NAME=NUMBER`` texts as a dict. Raises `UserError` GC0503."""
    return {name: _number(name, text) for name, text in pairs(texts).items()}


def _known(target: Target) -> dict[str, int]:
    """The sizes that the shapes of given inputs tell."""
    given = [(x.shape, target.arrays.get(x.name)) for x in target.graph.inputs]
    return learned([(shape, array.shape) for shape, array in given if array is not None])


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
