"""Reads IDX files, the format of MNIST and its successors.

Comes in: the path of an IDX file, plain or gzipped. Goes out: a NumPy array. A separate step
because a file from outside is checked once, here, and everything behind may trust the array.

Source: "The IDX file format" on the MNIST page of LeCun, Cortes and Burges: two zero bytes, one
byte for the dtype, one for the rank, one big-endian 32-bit size per axis, then the values,
big-endian.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import UserError

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
MAX_BYTES = 2**31
MAX_RANK = 32


def read_idx(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> Array:
    """Returns the array stored in an IDX file, in native byte order.

    Args:
        path: the file, plain or gzipped (told by its first two bytes, not by its name).
        max_bytes: the largest array accepted; guards against a file that unpacks without end.

    Raises:
        UserError: GC0501 where the file cannot be opened, is not IDX, is larger than `max_bytes`,
            or holds more or fewer values than its header says.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _read(file, path, max_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, str(error)) from error


def _open(path: Path) -> io.BufferedIOBase:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")


def _read(file: io.BufferedIOBase, path: Path, max_bytes: int) -> Array:
    dtype, shape = _header(file, path)
    expected = math.prod(shape) * dtype.itemsize
    if expected > max_bytes:
        raise _unreadable(path, f"it holds {expected} bytes, more than the {max_bytes} allowed")
    body = file.read(expected + 1)
    if len(body) != expected:
        found = f"only {len(body)}" if len(body) < expected else "more"
        raise _unreadable(path, f"its header promises {expected} bytes of values, it has {found}")
    values = np.frombuffer(body, dtype).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def _header(file: io.BufferedIOBase, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in DTYPES:
        raise _unreadable(path, f"an IDX file does not begin with the bytes {start.hex(' ')!r}")
    rank = start[3]
    sizes = file.read(4 * rank)
    if rank > MAX_RANK or len(sizes) < 4 * rank:
        raise _unreadable(path, f"the sizes of its {rank} axes are cut off, or too many")
    return np.dtype(DTYPES[start[2]]), struct.unpack(f">{rank}I", sizes)


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        "GC0501",
        f"{path} cannot be read as an IDX file: {reason}",
        fix="give the path of a complete IDX file, such as train-images-idx3-ubyte.gz",
    )
