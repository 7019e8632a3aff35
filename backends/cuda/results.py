"""Results that stay on the device until somebody looks at them.

Comes in: where a program leaves its results, each time in the same place. Goes out: `Result`s whose
numbers are in memory of their own, to where the device copies them behind the work of the call. A
separate step because the next call may then begin before anybody has looked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np

from graphc.backends.cuda.device import Device, Mark, Memory
from graphc.backends.cuda.layout import Layout
from graphc.dlpack import sweep
from graphc.graph import Array
from graphc.results import Result
from graphc.types import dtype

SPARE = 32
"""Pieces of memory that wait for the next calls at most."""


class Slot:
    """Memory for the results of one call; ``mark`` is set behind its work. ``inputs`` are arrays of
    others that this work reads; ``is_lent``: another library may have the memory still.
    """

    def __init__(self, memory: Memory, mark: Mark) -> None:
        self.memory, self.mark = memory, mark
        self.inputs: Sequence[object] = ()
        self.is_lent = False

    def settle(self) -> None:
        """Wait until arrays of others are read."""
        if self.inputs:
            self.mark.wait()
            self.inputs = ()


class Shelf:
    """Makes the results of calls of one program, and keeps memory for the next ones.

    ``home`` is where the program leaves ``layout``; ``check``, where the last array of it is the
    cells of faults, is given them before a result is, and raises.
    """

    def __init__(
        self, device: Device, home: int, layout: Layout, check: Callable[[Array], None] | None
    ) -> None:
        self.device, self.home, self.layout, self.check = device, home, layout, check
        self.free: deque[Slot] = deque()
        kinds = map(dtype, layout.dtypes)
        self.types = [*zip(layout.shapes, kinds, count(), strict=False)]
        if check is not None:
            self.types.pop()

    def results(self, inputs: Sequence[object]) -> list[Result]:
        """Those of the call that was asked for just now, which reads ``inputs`` of others."""
        slot = self._slot()
        slot.inputs = inputs
        self.device.copy(slot.memory.address, self.home, self.layout.size)
        slot.mark.put()
        kept = Kept(self, slot)
        return [Result(shape, kind, kept, number) for shape, kind, number in self.types]

    def _slot(self) -> Slot:
        """Memory that nobody looks at. Raises `UserError` GC0405."""
        while self.free and (self.free[0].is_lent or len(self.free) > SPARE):
            self.free.popleft().settle()
        if not self.free:
            sweep()  # other libraries may be done with memory
            return Slot(self.device.allocate(max(self.layout.size, 1)), self.device.mark())
        found = self.free.popleft()
        found.settle()
        return found


class Kept:
    """The results of one call: `graphc.results.Holder`."""

    def __init__(self, shelf: Shelf, slot: Slot) -> None:
        self.shelf, self.slot = shelf, slot

    def __del__(self) -> None:
        self.shelf.free.append(self.slot)

    @property
    def device(self) -> tuple[int, int]:
        """In DLPack's words."""
        return self.shelf.device.place.device

    def address(self, number: int) -> int:
        """Where a result lies."""
        return self.slot.memory.address + self.shelf.layout.offsets[number]

    def read(self, number: int) -> Array:
        """A result, when it is there. Raises `UserError` GC0306 where an index has missed since a
        fault was told last, and GC0406.
        """
        if self.shelf.check is not None:
            self.shelf.check(self._fetched(-1))
        return self._fetched(number)

    def _fetched(self, number: int) -> Array:
        layout = self.shelf.layout
        array: Array = np.empty(layout.shapes[number], layout.dtypes[number])
        self.shelf.device.read(self.address(number), array, self.slot.mark)
        return array

    def lend(self, stream: int | None) -> None:
        """Another library may look from now on, and nobody knows until when."""
        self.slot.is_lent = True
        self.slot.mark.hold(stream)
