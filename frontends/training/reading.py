"""Files of arrays, of whatever format: which one, their first bytes say.

Comes in: a path. Goes out: arrays by name. A separate step because an ending is a claim of whoever
named the file, and what all readers raise about broken files becomes one error here.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from graphc.errors import UserError
from graphc.frontends.training import npz, pytorch, safetensors
from graphc.frontends.training.archive import opened
from graphc.frontends.training.pickled import Refused
from graphc.frontends.training.stored import LIMIT, Array

BROKEN = (
    *(OSError, EOFError, ValueError, OverflowError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)
"""What the readers raise about a file that is not what it claims to be."""
ARCHIVE = b"PK"
PICKLE = b"\x80"
START = 16
"""How many bytes tell the formats apart."""


def read_arrays(
    path: str | Path, *, part: str | None = None, max_bytes: int = LIMIT
) -> dict[str, Array]:
    """The arrays in a file by name, e.g. for `Module.load_state_dict`.

    Reads safetensors, NumPy's ``.npz``, and the state dicts that PyTorch's `torch.save` writes
    (version 1.6 and later), told apart by their content. Nothing in a file is run: a pickle in it
    may describe tensors and nothing else. Where a PyTorch checkpoint holds more than a state dict,
    ``part`` is the key of it; the usual ones, such as "state_dict" and "model", are found without.

    Raises `UserError` GC0501 for a file that is none of these, is broken, or is compressed and
    unpacks to more than ``max_bytes``.
    """
    try:
        return _read(Path(path), part, max_bytes)
    except BROKEN as error:
        why = "it must be a complete .safetensors, .npz or .pt file of plain arrays"
        raise _unreadable(path, why, error) from error


def read_array(path: str | Path) -> Array:
    """The array in NumPy's ``.npy`` file. Raises `UserError` GC0501."""
    try:
        with open(path, "rb") as file:
            if file.read(len(npz.MAGIC)) != npz.MAGIC:
                raise ValueError("it does not begin like one")
        return npz.array(np.fromfile(path, np.uint8))
    except BROKEN as error:
        raise _unreadable(path, "it must be a complete .npy file of numbers", error) from error


def _read(path: Path, part: str | None, limit: int) -> dict[str, Array]:
    with open(path, "rb") as file:
        start = file.read(START)
    if safetensors.is_safetensors(start):
        return safetensors.read(path)
    if start.startswith(ARCHIVE):
        with opened(path, limit) as archive:
            theirs = pytorch.is_pytorch(archive.namelist())
            return pytorch.read(archive, limit, part) if theirs else npz.read(archive)
    if start.startswith(PICKLE):
        old = start.startswith(pytorch.OLD)
        what = "a checkpoint of PyTorch before 1.6" if old else "a pickle"
        raise Refused(f"it is {what}: a program, which is not run")
    raise ValueError("it does not begin like any of these" if start else "it is empty")


def _unreadable(path: str | Path, why: str, error: BaseException) -> UserError:
    fix = "check the path; if the file was cut short, use an older one"
    if isinstance(error, Refused):
        fix = "write the tensors alone, in PyTorch: torch.save(model.state_dict(), path)"
    what = f"{path} cannot be read: {error or type(error).__name__}"
    return UserError("GC0501", what, why=why, fix=fix)
