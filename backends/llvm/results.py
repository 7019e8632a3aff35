"""The memory of large results: aligned, and used again when nobody looks at it any more.

Comes in: a shape and a dtype. Goes out: an array like NumPy's ``empty``. A separate step because
large arrays cost more than their contents: the system hands out memory page by page and clears it,
which for 64 MiB takes twice as long as the kernel that fills them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphc.backends.llvm.pages import LARGE, block
from graphc.graph import Array


class _Memory:
    """A block on loan: it returns when the last array that looks at it is gone."""

    def __init__(self, block: Array, shelf: list[Array], shape: tuple[int, ...], kind: str) -> None:
        self.block, self.shelf = block, shelf
        self.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": kind, "data": (block.ctypes.data, False)
        }  # fmt: skip

    def __del__(self) -> None:
        if not self.shelf:
            self.shelf.append(self.block)


class Results:
    """The results of one executable. One block of each size waits for the next call at most."""

    def __init__(self) -> None:
        self.shelves: dict[int, list[Array]] = {}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An uninitialised array; a large one begins on a cache line."""
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        shelf = self.shelves.setdefault(size, [])
        try:
            found = shelf.pop()
        except IndexError:
            found = block(size)
        return np.asarray(_Memory(found, shelf, shape, dtype.str))
