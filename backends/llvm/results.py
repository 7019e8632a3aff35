"""The memory of large results: aligned, and used again when nobody looks at it any more.

Comes in: a shape and a dtype. Goes out: an array like NumPy's ``empty``. A separate step because
large arrays cost more than their contents: the system hands out memory page by page and clears it,
which for 64 MiB takes twice as long as the kernel that fills them.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc.backends.llvm.pages import LARGE, block
from graphc.graph import Array
from graphc.types import TensorType


class _Memory:
    """A block on loan: it returns when the last array that looks at it is gone."""

    def __init__(
        self, block: Array, shelf: deque[Array], shape: tuple[int, ...], kind: str
    ) -> None:
        self.block, self.shelf = block, shelf
        self.__array_interface__ = {
            "version": 3, "shape": shape, "typestr": kind, "data": (block.ctypes.data, False)
        }  # fmt: skip

    def __del__(self) -> None:
        self.shelf.append(self.block)


class Results:
    """The results of one executable, of these ``types``. As many blocks of a size as one call makes
    wait for the next one at most: a large one that is given back costs as much as a kernel to get.
    """

    def __init__(self, types: Iterable[TensorType]) -> None:
        made = Counter(t.bytes for t in types)
        self.shelves = {size: deque[Array](maxlen=count) for size, count in made.items()}

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An uninitialised array; a large one begins on a cache line."""
        size = math.prod(shape) * dtype.itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        shelf = self.shelves[size]
        try:
            found = shelf.pop()
        except IndexError:
            found = block(size)
        return np.asarray(_Memory(found, shelf, shape, dtype.str))
