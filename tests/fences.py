"""Fences around the memory of native code: who writes beside his array is found, and where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from graphc.backends.llvm import executable
from graphc.backends.llvm.results import Results
from graphc.graph import Array

WIDTH, POST = 256, 0xA5
"""Bytes of a fence on each side, a multiple of a cache line, and what they hold."""


@contextmanager
def fenced() -> Iterator[None]:
    """Results and temporaries of programs that are built inside have fences, which are looked at
    in the end.
    """
    made: list[Array] = []

    def block(size: int) -> Array:
        whole = np.full(size + 3 * WIDTH, POST, np.uint8)
        start = WIDTH + -whole.ctypes.data % WIDTH
        made.append(whole[start - WIDTH : start + size + WIDTH])
        return whole[start : start + size]

    def empty(self: Results, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        data = block(int(np.prod(shape)) * dtype.itemsize)
        return np.ndarray(shape, dtype, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executable, "block", block)
        patch.setattr(Results, "empty", empty)
        yield
    for whole in made:
        beside = np.concatenate([whole[:WIDTH], whole[-WIDTH:]]) != POST
        places = np.flatnonzero(beside) - WIDTH
        assert not beside.any(), f"bytes {places} beside an array were written"
