"""Several arrays in one piece of memory, so that one copy moves all of them.

Comes in: types. Goes out: where each array begins. A separate step because host and device must
agree about it: a copy costs the host some microseconds however small it is, and a step of training
has several inputs and results.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph import Array
from graphc.types import TensorType

ALIGNMENT = 256
"""What every piece of memory of a device begins at a multiple of, in bytes."""


@dataclass(frozen=True)
class Layout:
    """Dense arrays one behind another, at ``offsets`` in bytes; ``size`` is that of all."""

    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype[Any], ...]
    offsets: tuple[int, ...]
    size: int

    @staticmethod
    def of(types: Iterable[TensorType]) -> Layout:
        """That of arrays of these types."""
        types = tuple(types)
        places = [0]
        for type_ in types:
            places.append(places[-1] + rounded(max(type_.bytes, 1)))
        shapes = tuple(t.static_shape for t in types)
        return Layout(shapes, tuple(t.dtype.numpy for t in types), tuple(places[:-1]), places[-1])

    def views(self, data: Array, start: int = 0) -> list[Array]:
        """The arrays in the bytes of ``data`` from ``start``."""
        parts = zip(self.shapes, self.dtypes, self.offsets, strict=True)
        return [np.ndarray(shape, dtype, data, start + offset) for shape, dtype, offset in parts]


def rounded(size: int) -> int:
    """Bytes up to the next aligned place."""
    return -(-size // ALIGNMENT) * ALIGNMENT
