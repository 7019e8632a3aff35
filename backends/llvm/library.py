"""Steps of a program that a library computes.

Comes in: a call, and the table of slots that a step is given. Goes out: the address of a function
like those that are generated, so that the driver runs both alike. A separate step because here
native code goes back to Python, and what fails there must come out at the end of the run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from graphc.graph import Array
from graphc.kernels.calls import Library
from graphc.types import TensorType

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
"""A kernel: the table of its slots, and the first and the last index of its part."""

Failed = Callable[[BaseException], None]


def entry(library: Library, number: int, kept: Sequence[bool], failed: Failed) -> Any:
    """A call as a function for the driver; keep it as long as its address is in use.

    ``kept`` says which results have memory. What the library raises is given to ``failed``, as
    nothing can be raised through native code.
    """
    (op, operands), call = library.signatures[number], library.functions[number]
    reads = [_view(type_, writeable=False) for type_ in operands]
    results = zip(op.results(*operands), kept, strict=True)
    writes = [_view(type_) if keep else None for type_, keep in results]

    def run(table: int, low: int, high: int) -> None:
        try:
            slots = iter(_addresses(table, len(reads) + sum(w is not None for w in writes)))
            arrays = [read(next(slots)) for read in reads]
            call(arrays, [write and write(next(slots)) for write in writes])
        except BaseException as error:  # Ctrl-C too
            failed(error)

    return FUNCTION(run)


def _addresses(table: int, count: int) -> Iterable[int]:
    """What the slots of a table point to; it holds their places."""
    places = (ctypes.c_int64 * count).from_address(table)
    return [ctypes.c_int64.from_address(place).value for place in places]


def _view(type_: TensorType, *, writeable: bool = True) -> Callable[[int], Array]:
    """What sees the memory at an address as an array; made once, as runs are many."""
    shape, dtype, size = type_.static_shape, type_.dtype.numpy, type_.bytes
    memory: Any = ctypes.c_char * size

    def view(address: int) -> Array:
        if not size:
            return np.empty(shape, dtype)
        found: Array = np.frombuffer(memory.from_address(address), dtype).reshape(shape)
        found.flags.writeable = writeable
        return found

    return view
