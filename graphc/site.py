"""Where a node came from: the user's line, its name, the scope, which rule or gradient made it.

Comes in: the Python frames of the caller. Goes out: a `Site` per node, cheap to make (no text is
read until someone asks). A separate file because provenance is carried by the driver, never by the
author of an op or a rule.
"""

from __future__ import annotations

import contextlib
import dis
import linecache
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphc.graph import Node

_ROOT = Path(__file__).resolve().parent
_FOLDERS = (_ROOT, _ROOT.parent / "frontends", _ROOT.parent / "backends")
_HOUSE = (*map(str, _FOLDERS), contextlib.__file__)
"""Frames that are not the user's; that of contextlib stands where `scope` decorates a function."""

_GUESTS = str(_ROOT / "cli")
"""The command line lives in the house, but it writes models as any user does."""

_STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF")


@dataclass(frozen=True)
class Site:
    """The origin of a node.

    ``code`` and ``instruction`` point into the user's function; ``scope`` is the path of open name
    scopes; ``gradient_of`` is the forward node a gradient node serves; ``made_by`` names the
    rewrite rule that made it.
    """

    code: CodeType | None = None
    instruction: int = -1
    line: int = 0
    scope: tuple[str, ...] = ()
    gradient_of: Node | None = None
    made_by: str = ""

    @property
    def file(self) -> str:
        return self.code.co_filename if self.code else ""

    @property
    def variable(self) -> str:
        """The variable the user's statement assigns this value to, or ""."""
        return _stored_names(self.code).get(self.instruction, "") if self.code else ""

    @property
    def columns(self) -> tuple[int, int] | None:
        """First and past-last column of the expression on its line, when Python knows them."""
        if self.code is None or self.instruction < 0:
            return None
        position = list(self.code.co_positions())[self.instruction // 2]
        line, end_line, start, end = position
        if start is None or end is None or line != self.line:
            return None
        return (start, end) if line == end_line else (start, len(self.text))

    @property
    def text(self) -> str:
        """The user's source line, or "" when it cannot be read."""
        return linecache.getline(self.file, self.line).rstrip("\n")

    def __str__(self) -> str:
        """``file:line``, the source line and carets below the expression."""
        if self.code is None:
            return ""
        lines = [f"{self.file}:{self.line}"]
        if text := self.text:
            stripped = text.lstrip()
            lines.append(f"    {stripped}")
            if span := self.columns:
                shift = len(text) - len(stripped)
                lines.append("    " + " " * (span[0] - shift) + "^" * max(span[1] - span[0], 1))
        return "\n".join(lines)


@lru_cache(maxsize=1024)
def _stored_names(code: CodeType) -> dict[int, str]:
    """Instruction offset -> name, for every instruction whose result is assigned at once."""
    names: dict[int, str] = {}
    previous: int | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname in _STORES and previous is not None:
            # a frame inside a call may point at the cache entries that follow the call
            name = str(instruction.argval)
            if name.isidentifier():  # pytest stores what an assertion compares in "@py_assert1"
                names.update(dict.fromkeys(range(previous, instruction.offset, 2), name))
        if instruction.opname not in ("CACHE", "NOP", "EXTENDED_ARG"):
            previous = instruction.offset
    return names


_scope: ContextVar[tuple[str, ...]] = ContextVar("scope", default=())
_served: ContextVar[Site | None] = ContextVar("served", default=None)


def _user_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _in_house(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


@lru_cache(maxsize=4096)
def _in_house(filename: str) -> bool:
    if filename.startswith(_GUESTS):
        return False
    return filename.startswith(_HOUSE) or filename.startswith("<frozen")


def here() -> Site:
    """The site of a node made now: the served node's, else the nearest line outside graphc."""
    served = _served.get()
    if served is not None:
        return served
    frame = _user_frame()
    if frame is None:
        return Site(scope=_scope.get())
    return Site(frame.f_code, frame.f_lasti, frame.f_lineno, _scope.get())


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Nodes made inside belong to the scope ``name``; scopes nest and are drawn as boxes."""
    token = _scope.set((*_scope.get(), name))
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def serving(node: Node, *, gradient: bool = False, rule: str = "") -> Iterator[None]:
    """Nodes made inside inherit the site of ``node``, as its gradient or as made by ``rule``."""
    site = node.site
    if gradient:
        site = replace(site, gradient_of=node)
    if rule:
        site = replace(site, made_by=rule)
    token = _served.set(site)
    try:
        yield
    finally:
        _served.reset(token)
