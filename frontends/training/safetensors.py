"""The safetensors format: named arrays in one file that holds numbers only and runs nothing.

Comes in: arrays by name, or a file. Goes out: the other. A separate step because such a file may
come from a stranger: everything its header claims is checked before a single number is used. The
layout is that of the format's description, version 0.4: the length of the header (8 bytes, little
endian), the header (JSON: dtype, shape and place of each array), then the numbers without gaps.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from graphc.frontends.training.stored import Array, is_sizes, numbers

NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
"""graphc's names of dtypes and the format's."""
KNOWN = {short: name for name, short in NAMES.items()}
LONGEST_HEADER = 100_000_000
ALIGNMENT = 8


def write(file: BinaryIO, arrays: Mapping[str, Array]) -> None:
    """Write ``arrays`` by name, the widest dtypes first, each at a multiple of its size.

    Raises ValueError for a dtype that the format lacks.
    """
    dense = {name: np.ascontiguousarray(a).reshape(np.shape(a)) for name, a in arrays.items()}
    ordered = sorted(dense.items(), key=lambda item: (-item[1].itemsize, item[0]))
    entries: dict[str, Any] = {}
    start = 0
    for name, array in ordered:
        if array.dtype.name not in NAMES:
            raise ValueError(f"{name} is {array.dtype.name}, which safetensors cannot hold")
        entries[name] = {
            "dtype": NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    file.write(struct.pack("<Q", len(header)) + header)
    for _, array in ordered:
        file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())


def is_safetensors(start: bytes) -> bool:
    """Whether a file that begins with these bytes, at least 9, can have the format.

    The length of the header may look like the beginning of other formats: it comes first.
    """
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LONGEST_HEADER


def read(path: Path) -> dict[str, Array]:
    """The arrays in the file at ``path``.

    Raises OSError for a file that cannot be opened, ValueError for one that breaks the format.
    """
    content = np.fromfile(path, np.uint8)
    header, data = _divided(content)
    entries = [_entry(name, claim) for name, claim in header.items() if name != "__metadata__"]
    _check_no_gaps(entries, len(data))
    return {entry.name: _array(entry, data) for entry in entries}


@dataclass(frozen=True)
class _Entry:
    """What the header says about one array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def _divided(content: Array) -> tuple[dict[str, Any], Array]:
    """The header as a dict, and the bytes behind it."""
    if len(content) < ALIGNMENT:
        raise ValueError("it is too short for a safetensors file")
    (length,) = struct.unpack("<Q", content[:8].tobytes())
    if length > min(LONGEST_HEADER, len(content) - 8):
        raise ValueError(f"its header of {length} bytes is not all there, or no header")
    text = content[8 : 8 + length].tobytes()
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_doubles)
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    if not isinstance(header, dict) or not text.startswith(b"{"):
        raise ValueError("its header is no JSON object")
    return header, content[8 + length :]


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header has a name twice")
    return found


def _entry(name: str, claim: Any) -> _Entry:
    if not isinstance(claim, dict) or set(claim) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its header does not describe {name!r}")
    shape, offsets, dtype = claim["shape"], claim["data_offsets"], claim["dtype"]
    if not is_sizes(shape) or not is_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name!r} has no proper shape or place")
    if not isinstance(dtype, str) or dtype not in KNOWN:
        raise ValueError(f"{name!r} has a dtype that is unknown or no name")
    return _Entry(name, KNOWN[dtype], tuple(shape), offsets[0], offsets[1])


def _check_no_gaps(entries: Sequence[_Entry], size: int) -> None:
    place = 0
    for entry in sorted(entries, key=lambda e: (e.start, e.stop)):
        if entry.start != place or entry.stop < place:
            raise ValueError(f"{entry.name!r} does not begin where the array before it ends")
        place = entry.stop
    if place != size:
        raise ValueError(f"its arrays need {place} bytes, and it has {size}")


def _array(entry: _Entry, data: Array) -> Array:
    try:
        return numbers(data[entry.start : entry.stop], entry.dtype, entry.shape)
    except ValueError as error:
        raise ValueError(f"{entry.name!r}: {error}") from error
