"""Memory of the GPU, and the pinned memory that arrays pass through on their way to it.

Comes in: sizes and arrays. Goes out: addresses. A separate file because memory is given back at
odd moments: when Python forgets an object, perhaps in another thread, in the child of a fork, or
while launches are being recorded, when the driver permits no such thing.
"""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.backends.cuda.layout import Layout, rounded
from graphc.backends.cuda.nvidia.driver import OUT_OF_MEMORY, SMALLER, Driver
from graphc.dlpack import sweep
from graphc.errors import UserError
from graphc.graph import Array

HALF = 16 << 20
"""Bytes of one half of the pinned memory: large enough for the bus, small beside any host's."""


class Allocation:
    """Memory on the device, which `Heap` gives back when nobody holds this."""

    __slots__ = ("__weakref__", "address", "size")

    def __init__(self, address: int, size: int) -> None:
        self.address, self.size = address, size


class Heap:
    """Gives out memory of the device. What Python forgets is noted, and given back at a safe
    moment: before more is asked for, or when the device has been waited for.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.forgotten: deque[tuple[str, Any]] = deque()

    def allocate(self, size: int) -> Allocation:
        """Memory of ``size`` bytes. Raises `UserError` GC0405."""
        self.give_back()
        error, address = self.driver.attempt("cuMemAlloc", max(size, 1))
        if error == OUT_OF_MEMORY:
            gc.collect()  # executables may hold each other
            sweep()
            self.give_back()
            error, address = self.driver.attempt("cuMemAlloc", max(size, 1))
        if error == OUT_OF_MEMORY:
            raise self._full(size)
        if error:
            self.driver("cuMemAlloc", max(size, 1))
        made = Allocation(int(address), size)
        self.keep(made, "cuMemFree", address)
        return made

    def keep(self, owner: Any, function: str, handle: Any) -> None:
        """Give ``handle`` back by ``function`` when nobody holds ``owner`` any more."""
        found = weakref.finalize(owner, self.forgotten.append, (function, handle))
        found.atexit = False  # the driver gives everything back when the process ends

    def give_back(self) -> None:
        """Give back what was forgotten."""
        while self.forgotten:
            function, handle = self.forgotten.popleft()
            self.driver(function, handle)

    def _full(self, size: int) -> UserError:
        free, total = self.driver("cuMemGetInfo")
        return UserError(
            "GC0405",
            f"the device has not enough memory: {_gib(size)} are wanted, {_gib(free)} of "
            f"{_gib(total)} are free",
            fix=SMALLER,
        )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"


class Pinned:
    """Memory of the host where the device leaves the arrays of a layout: ``views``."""

    def __init__(self, heap: Heap, layout: Layout) -> None:
        self.size = layout.size
        self.address = int(heap.driver("cuMemAllocHost", max(layout.size, 1)))
        heap.keep(self, "cuMemFreeHost", self.address)
        self.views = layout.views(_bytes(self.address, layout.size))


def _bytes(address: int, size: int) -> Array:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))


class Staging:
    """Two halves of pinned memory. Arrays are copied into one of them, from where the device takes
    them in its own time; a half is used again when the device has taken all of it.

    The driver copies from pageable memory only while the caller waits (CUDA driver API, "API
    synchronization behavior").
    """

    def __init__(self, driver: Driver, stream: Any, size: int = HALF) -> None:
        self.driver, self.stream, self.size = driver, stream, size
        self.addresses = [int(driver("cuMemAllocHost", size)) for _ in range(2)]
        self.halves = [_bytes(address, size) for address in self.addresses]
        flag = driver.api.CUevent_flags.CU_EVENT_DISABLE_TIMING
        self.taken = [driver("cuEventCreate", flag) for _ in range(2)]
        self.half, self.used = 0, 0

    def send(self, target: int, array: Array) -> None:
        """Copy an array to an address of the device, row by row; it may change at once."""
        data = array.reshape(-1).view(np.uint8)
        for first in range(0, data.size, self.size):
            piece = data[first : first + self.size]
            place = self._place(piece.size)
            self.halves[self.half][place : place + piece.size] = piece
            source = self.addresses[self.half] + place
            self.driver("cuMemcpyHtoDAsync", target + first, source, piece.size, self.stream)

    def send_all(self, target: int, layout: Layout, arrays: Sequence[Array]) -> None:
        """Copy arrays to their places behind an address of the device, by one copy if they fit."""
        if layout.size > self.size:
            for offset, array in zip(layout.offsets, arrays, strict=True):
                self.send(target + offset, array)
            return
        place = self._place(layout.size)
        for view, array in zip(layout.views(self.halves[self.half], place), arrays, strict=True):
            view[...] = array
        source = self.addresses[self.half] + place
        self.driver("cuMemcpyHtoDAsync", target, source, layout.size, self.stream)

    def _place(self, size: int) -> int:
        """Where ``size`` bytes are free; waits where the device has not taken what was there."""
        if self.used + size > self.size:
            self.driver("cuEventRecord", self.taken[self.half], self.stream)
            self.half, self.used = 1 - self.half, 0
            self.driver("cuEventSynchronize", self.taken[self.half])
        place = self.used
        self.used += rounded(size)
        return place
