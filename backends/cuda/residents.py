"""Parameters that stay on a device between calls.

Comes in: the storages of a program's parameters, and which of them it changes. Goes out: where they
are on the device. A separate step because all executables of a device share one replica of each
parameter: a step of training and an evaluation see the same numbers, and nothing is copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

from graphc.backends.cuda.device import Device, Memory
from graphc.graph import Array
from graphc.ops.leaves import Storage


class Resident:
    """The replica of a parameter on a device."""

    def __init__(self, device: Device, size: int) -> None:
        self.device = device
        self.memory: Memory = device.allocate(max(size, 1))

    @property
    def address(self) -> int:
        """Where it is."""
        return self.memory.address

    def push(self, array: Array) -> None:
        """Copy ``array`` to the device."""
        self.device.write(self.address, array)

    def pull(self, array: Array) -> None:
        """Copy from the device into ``array``, when all that was asked for is done."""
        self.device.read(self.address, array)


Replicas = weakref.WeakKeyDictionary[Storage, Resident]
_KNOWN: weakref.WeakKeyDictionary[Device, Replicas] = weakref.WeakKeyDictionary()
"""The replicas on each device; they go when their parameters, or the device, do."""


def resident(device: Device, storage: Storage) -> Resident:
    """The replica of a parameter on ``device``. Raises `UserError` GC0405."""
    known = _KNOWN.setdefault(device, weakref.WeakKeyDictionary())
    if storage not in known:
        known[storage] = Resident(device, storage.peek().nbytes)
    return known[storage]


class Residents:
    """The parameters of one program, on its device, each with whether the program changes it."""

    def __init__(self, device: Device, storages: Sequence[tuple[Storage, bool]]) -> None:
        self.all = [(storage, resident(device, storage), changes) for storage, changes in storages]
        self.moves = -1

    def gather(self) -> None:
        """Bring those to the device that are newer elsewhere; before each run."""
        if self.moves == Storage.moves:
            return
        for storage, replica, changes in self.all:
            storage.lend(replica, changes)
        self.moves = Storage.moves
