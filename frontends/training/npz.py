"""NumPy's files: `.npy`, one array, and `.npz`, an archive with one in each entry.

Comes in: bytes, or an archive. Goes out: an array, or several by name. A separate step because
NumPy's own reader parses each header as a Python literal, makes room for whatever shape is claimed,
and knows dtypes that are no numbers. Here a header must have the one form that NumPy writes, and
fit the bytes behind it.

Source: NumPy Enhancement Proposal 1, "A simple file format for NumPy arrays".
"""

from __future__ import annotations

import re
import zipfile

from graphc.frontends.training.archive import content
from graphc.frontends.training.stored import Array, Order, numbers
from graphc.types import DTYPES

MAGIC = b"\x93NUMPY"
ENDING = ".npy"
LONGEST_HEADER = 10_000
HEADER = re.compile(
    r"\s*\{\s*'descr':\s*'([<>|]?)(\w+)',"
    r"\s*'fortran_order':\s*(True|False),"
    r"\s*'shape':\s*\(([0-9, ]*)\),?\s*\}\s*"
)
KNOWN = {dtype.numpy.str[1:]: name for name, dtype in DTYPES.items()}
"""What NumPy writes for each dtype, without the order of bytes, and graphc's names. bfloat16, which
NumPy does not know, is "V2", two bytes of anything."""


def read(file: zipfile.ZipFile) -> dict[str, Array]:
    """The arrays in an archive. Raises ValueError and zipfile's errors where one cannot be read."""
    found = {}
    for entry in file.namelist():
        if not entry.endswith(ENDING):
            raise ValueError(f"its entry {entry!r} is no array: its name does not end in {ENDING}")
        try:
            found[entry.removesuffix(ENDING)] = array(content(file, entry))
        except ValueError as error:
            raise ValueError(f"its entry {entry!r} is no array of numbers: {error}") from error
    return found


def array(raw: Array) -> Array:
    """The array in the bytes of a `.npy` file. Raises ValueError."""
    order, dtype, columns, shape, start = _header(raw)
    found = numbers(raw[start:], dtype, shape[::-1] if columns else shape, order)
    return found.T if columns else found


def _header(raw: Array) -> tuple[Order, str, bool, tuple[int, ...], int]:
    """Order of bytes, dtype, whether columns lie together, shape, and where the numbers begin."""
    start = raw[:12].tobytes()
    if not start.startswith(MAGIC) or start[6:7] not in (b"\1", b"\2", b"\3"):
        raise ValueError(f"it begins with {start.hex(' ')!r}")
    wide = 2 if start[6] == 1 else 4
    end = 8 + wide + int.from_bytes(start[8 : 8 + wide], "little")
    if end > min(len(raw), LONGEST_HEADER):
        raise ValueError("its header is cut short, or too long")
    text = raw[8 + wide : end].tobytes().decode("latin-1")
    found = HEADER.fullmatch(text)
    if found is None:
        raise ValueError("its header is not of the form that NumPy writes")
    order, dtype, columns, sizes = found.groups()
    if dtype not in KNOWN:
        what = "Python objects, which are never unpacked" if dtype == "O" else f"dtype {dtype!r}"
        raise ValueError(f"it holds {what}")
    shape = tuple(int(size) for size in sizes.rstrip(" ,").split(",") if sizes)
    return (">" if order == ">" else "<"), KNOWN[dtype], columns == "True", shape, end
