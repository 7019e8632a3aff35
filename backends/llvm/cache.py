"""What this backend keeps on disk (`graphc.cache`), and the keys of it.

Comes in: a key that names no machine, and later the code. Goes out: the code, if it is there and
whole. There are three kinds of entry: object code under its IR (`object_code`), a kernel under its
identity (`code`), a program under the identity of its graph (`image`).
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from graphc import cache, errors
from graphc.backends.llvm import jit
from graphc.backends.llvm.machine import Machine, host

T = TypeVar("T")


def get(key: str, read: Callable[[bytes], T], machine: Machine | None = None) -> T | None:
    """What ``read`` makes of the entry of a key for `machine`, or None; `key` need not name the
    machine. An entry that ``read`` refuses by `ValueError` counts as none.
    """
    return cache.get(_on(machine, key), read)


def put(key: str, data: bytes, machine: Machine | None = None) -> None:
    """Keep an entry in the default cache."""
    cache.put(_on(machine, key), data)


def _on(machine: Machine | None, key: str) -> str:
    return f"{(machine or host()).fingerprint}\n{key}"


def object_code(text: str, pipeline: str = "short", machine: Machine | None = None) -> bytes:
    """`jit.object_code`, by way of the default cache: the IR itself is the key."""
    key = f"{pipeline}\n{text}"
    found = get(key, bytes, machine)
    if found is None:
        found = jit.object_code(text, pipeline, machine)
        put(key, found, machine)
    return found


# The compiler as part of keys ---------------------------------------------------------------------
_FOLDERS = (Path(errors.__file__).parent, Path(__file__).parent)
_LOADED = time.time()
_ASIDE = {"cli", "show"}
"""What stands beside the compiler: no code depends on it."""
_RECENT = 2.0
"""Seconds before it was loaded in which a changed file may not be what was loaded."""


@functools.cache
def compiler() -> str:
    """Changes when the compiler does: part of every key above the IR.

    Sizes and times of its files are as good as their contents, and read in a millisecond. If one
    changed while this process was starting or since, nobody knows what is running: such a process
    shares with itself only.
    """
    files = [
        path
        for folder in _FOLDERS
        for path in sorted(folder.rglob("*.py"))
        if _ASIDE.isdisjoint(path.relative_to(folder).parts)
    ]
    states = [(str(path), path.stat()) for path in files]
    text = "\n".join(f"{path} {s.st_size} {s.st_mtime_ns}" for path, s in states)
    if max(s.st_mtime for _, s in states) > _LOADED - _RECENT:
        text += f"\n{os.getpid()} {_LOADED}"
    return hashlib.sha256(text.encode()).hexdigest()
