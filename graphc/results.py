"""Results that may still be on their way: a device computes while Python goes on.

Comes in: what holds the numbers of a call. Goes out: a `Result`, which waits when somebody looks. A
separate step because a call that returns arrays has to wait for the device each time, and a step of
training has results, such as the loss, that are wanted now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from graphc.dlpack import HOST, Device, lend
from graphc.graph import Array
from graphc.types import DType, dtype


class Holder(Protocol):
    """The results of one call, by number: dense arrays in the memory of a device."""

    @property
    def device(self) -> Device:
        """Whose memory it is."""
        ...

    def address(self, number: int) -> int:
        """Where a result lies."""
        ...

    def read(self, number: int) -> Array:
        """A result, when it is there. Raises what went wrong in the call."""
        ...

    def lend(self, stream: int | None) -> None:
        """Let another library have the memory: work on its ``stream`` (none: the legacy default
        one, -1: it waits itself) finds the numbers there.
        """
        ...


@dataclass(frozen=True)
class Arrived:
    """Arrays of the host that are there."""

    arrays: Sequence[Array]
    device: Device = HOST.device

    def address(self, number: int) -> int:
        """Where an array lies."""
        return int(self.arrays[number].ctypes.data)

    def read(self, number: int) -> Array:
        """The array itself."""
        return self.arrays[number]

    def lend(self, stream: int | None) -> None:
        """Nobody needs to wait."""


class Result:
    """A result of ``later``: an array of ``shape`` and ``dtype`` that may not be there yet.

    `numpy`, ``np.asarray`` and ``float`` wait for it. Other libraries take it where it lies by
    ``from_dlpack``, without waiting, and so do other compiled functions of its backend.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: DType, holder: Holder, number: int = 0
    ) -> None:
        self.shape, self.dtype, self._holder, self._number = shape, dtype, holder, number

    @cached_property
    def _array(self) -> Array:
        return self._holder.read(self._number)

    def numpy(self) -> Array:
        """The array, when it is there. Raises `UserError` GC0306 and all else that went wrong."""
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self._array, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self._array)

    def __repr__(self) -> str:
        state = repr(self._array) if "_array" in self.__dict__ else "not looked at yet"
        return f"<result {self.dtype.short}{list(self.shape)}: {state}>"

    # Other libraries ------------------------------------------------------------------------------
    def __dlpack_device__(self) -> Device:
        return self._holder.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: Device | None = None,
        copy: bool | None = None,
    ) -> object:
        """A capsule (array API standard). Raises BufferError for a copy on the device."""
        holder, number = self._holder, self._number
        if dl_device not in (None, holder.device) or copy:
            if copy is False or dl_device not in (None, HOST.device):
                raise BufferError(f"the result is on device {holder.device}, not {dl_device}")
            if dl_device is None and holder.device != HOST.device:
                raise BufferError("pass copy=None; whoever wants a copy can make it of the result")
            holder, number = Arrived([self._array.copy() if copy else self._array]), 0
        holder.lend(stream)
        place = holder.address(number)
        return lend(holder, place, self.shape, self.dtype, holder.device, max_version)


def arrived(arrays: Sequence[Array]) -> list[Result]:
    """The results of a backend that has computed them when it returns."""
    holder = Arrived(arrays)
    return [Result(a.shape, dtype(a.dtype), holder, number) for number, a in enumerate(arrays)]
