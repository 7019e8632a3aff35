"""A library that lends arrays by DLPack, and what it has lent."""

from __future__ import annotations

from graphc import dlpack
from graphc.dlpack import CPU, lend
from graphc.types import dtype


class Owner:
    """Lends ``array``, perhaps as another version (none: from before there were any) would, or as
    if it were on another device; remembers the streams it was asked for.
    """

    def __init__(self, array, device=(CPU, 0), is_old=False):
        self.array, self.device, self.is_old, self.streams = array, device, is_old, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **options):
        if self.is_old and "max_version" in options:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.streams.append(options.get("stream"))
        array, version = self.array, options.get("max_version")
        place, kind = array.ctypes.data, dtype(array.dtype)
        return lend(array, place, array.shape, kind, self.device, version)


def lent() -> int:
    """How many arrays of ours others hold."""
    dlpack.sweep()
    return len(dlpack._LENT)
