"""Machine code kept on disk between processes, by a hash of all that it depends on.

Comes in: a key (any text that determines the code), and later the code. Goes out: the code, if it
is there and whole. A separate step because compiling is a hundred times dearer than reading; what
keys are made of is the business of each backend.

An entry is a digest and the code. It is written to a temporary file and renamed, so a reader sees
all of it or nothing, and several processes may write the same one. What does not match its digest
is deleted and made again, and never linked. The least recently used entries go when the folder
outgrows its limit.

    GRAPHC_CACHE_DIR     the folder; else $XDG_CACHE_HOME/graphc, else ~/.cache/graphc
    GRAPHC_CACHE_BYTES   the limit; else 1 GiB
    GRAPHC_CACHE=0       no cache
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

FORMAT = b"graphc object 1\n"
"""The first bytes of an entry; change the number when the meaning of keys or entries changes."""

LIMIT = 1 << 30
STALE = 3600.0
"""Seconds after which a temporary file was left behind by a process that died."""

log = logging.getLogger("graphc.cache")
T = TypeVar("T")


def _digest(key: str, data: bytes) -> bytes:
    """Covers the key too, so that an entry under another name does not pass."""
    return hashlib.sha256(key.encode() + b"\0" + data).digest()


class Cache:
    """A folder of at most `limit` bytes of code; trouble with the disk is logged, not raised."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self._written: int | None = None
        self._usable: bool | None = None

    @property
    def usable(self) -> bool:
        """Whether the folder is there, ours, and closed to others: code out of it will run."""
        if self._usable is None:
            self._usable = self._open()
        return self._usable

    def _open(self) -> bool:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
            if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                raise PermissionError("it belongs to another user")
            if status.st_mode & stat.S_IWOTH:
                raise PermissionError("everybody may write to it")
            if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
                raise PermissionError("it cannot be written")
        except OSError as error:
            log.warning("compiled code is not kept: %s: %s", self.folder, error)
            return False
        return True

    def path(self, key: str) -> Path:
        """Where the entry of a key lies."""
        return self.folder / f"{hashlib.sha256(FORMAT + key.encode()).hexdigest()}.object"

    def get(self, key: str) -> bytes | None:
        """The code of a key, or None; a damaged entry is deleted."""
        if not self.usable:
            return None
        path = self.path(key)
        try:
            entry = path.read_bytes()
            os.utime(path)  # the time of its last use, for eviction
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("cannot read %s: %s", path, error)
            return None
        head, data = entry[: len(FORMAT) + 32], entry[len(FORMAT) + 32 :]
        if head == FORMAT + _digest(key, data):
            return data
        log.warning("a damaged entry is deleted and compiled again: %s", path)
        self._delete(path)
        return None

    def put(self, key: str, data: bytes) -> None:
        """Keep the code of a key."""
        if not self.usable:
            return
        try:
            handle, name = tempfile.mkstemp(prefix=".writing-", dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(FORMAT + _digest(key, data) + data)
                os.replace(name, self.path(key))
            except BaseException:
                self._delete(Path(name))
                raise
        except OSError as error:
            log.warning("compiled code is not kept any more: %s", error)
            self._usable = False
            return
        self._account(len(data))

    def _account(self, written: int) -> None:
        """Look at the whole folder at a process's first entry, then every 64th of the limit."""
        if self._written is None or self._written + written > self.limit // 64:
            self._evict()
            self._written = 0
        else:
            self._written += written

    def _evict(self) -> None:
        """Delete leftovers of dead processes, and the entries longest unused, to nine tenths."""
        found: list[tuple[float, int, Path]] = []
        now = time.time()
        for path in self.folder.iterdir():
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # another process was faster
            if path.name.startswith(".writing-"):
                if now - status.st_mtime > STALE:
                    self._delete(path)
            elif path.suffix == ".object":
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, path in sorted(found):
            self._delete(path)
            total -= size
            if total <= self.limit * 9 // 10:
                return

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot delete %s: %s", path, error)


@functools.cache
def _at(folder: Path, limit: int) -> Cache:
    return Cache(folder, limit)


def default() -> Cache | None:
    """The cache that the environment asks for; None if it asks for none."""
    if os.environ.get("GRAPHC_CACHE") == "0":
        return None
    chosen = os.environ.get("GRAPHC_CACHE_DIR")
    parent = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(parent) / "graphc"
    return _at(folder, int(os.environ.get("GRAPHC_CACHE_BYTES") or LIMIT))


def get(key: str, read: Callable[[bytes], T]) -> T | None:
    """What ``read`` makes of the entry of a key in the default cache, or None. An entry that
    ``read`` refuses by `ValueError` counts as none.
    """
    cache = default()
    data = None if cache is None else cache.get(key)
    if data is None:
        return None
    try:
        return read(data)
    except ValueError as error:
        log.warning("an entry is not what its name says, and made again: %s", error)
        return None


def put(key: str, data: bytes) -> None:
    """Keep an entry in the default cache."""
    cache = default()
    if cache is not None:
        cache.put(key, data)
