"""Plain data as bytes and back, for what is kept on disk.

Comes in: a head of numbers, texts and lists, and parts that are bytes already. Goes out: one string
of bytes. It is JSON and lengths, so reading it can build nothing but plain data; whoever reads it
checks that it is the data he wants.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from graphc.errors import UserError
from graphc.types import TensorType, dtype


def type_as_list(type_: TensorType) -> list[Any]:
    """A type of known sizes as JSON knows it."""
    return [type_.dtype.name, *type_.static_shape]


def type_of_list(values: Any) -> TensorType:
    """The type that `type_as_list` wrote. Raises `ValueError`."""
    name, *shape = values
    try:
        return TensorType(dtype(str(name)), ints(shape))
    except UserError as error:
        raise ValueError(f"no type: {error}") from error


def packed(head: Any, parts: Sequence[bytes]) -> bytes:
    """A head of plain data and parts of bytes as one string of bytes."""
    text = json.dumps({"head": head, "sizes": [len(p) for p in parts]}).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def unpacked(data: bytes) -> tuple[Any, list[bytes]]:
    """The head and the parts. Raises `ValueError` where `packed` did not write this."""
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        known = json.loads(data[8:start])
        head, sizes = known["head"], ints(known["sizes"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a packed string: {error}") from error
    if min(sizes, default=0) < 0 or start + sum(sizes) != len(data):
        raise ValueError("the parts do not fill the string")
    parts = []
    for size in sizes:
        parts.append(data[start : start + size])
        start += size
    return head, parts


def ints(values: Iterable[Any]) -> tuple[int, ...]:
    """The values as numbers. Raises `ValueError` or `TypeError`."""
    return tuple(map(int, values))
