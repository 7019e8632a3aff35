"""Checkpoints: the state of models, optimisers and generators in one file.

Comes in: whatever has a ``named_state``, and NumPy's random generators. Goes out: a file, complete
or not there at all; and back. A separate step because a file can be cut short, come from another
model, or from a stranger: it is written under another name first, checked before anything changes,
and holds numbers only. A path that ends with ``.safetensors`` has that format, any other NumPy's
``.npz``.
"""

from __future__ import annotations

import lzma
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.state import read_state, write_state
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.training import safetensors
from graphc.frontends.training.sources import Source


class Stateful(Protocol):
    """A model, an optimiser, an average, a callback: anything that can name its parameters."""

    def named_state(self) -> Mapping[str, Tensor]: ...


Part = Stateful | np.random.Generator
BROKEN = (
    *(OSError, EOFError, ValueError, AttributeError, KeyError, OverflowError, MemoryError),
    *(RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)
"""What NumPy, zipfile and the readers here raise about a file that is not what it claims to be."""


def save(path: str | Path, **parts: Part) -> None:
    """Write the state of ``parts``, e.g. ``save(path, model=model, optimiser=optimiser)``.

    The file is replaced in one step: a process killed in between leaves the old one.
    """
    arrays = read_state(_parameters(_stateful(parts)))
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:  # not mkstemp, whose files only their owner may read
            if _is_safetensors(target):
                safetensors.write(file, arrays)
            else:
                np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | Path, **parts: Part) -> None:
    """Read what `save` wrote with the same names back into ``parts``.

    An optimiser makes its memory when it makes its updates: build the step first, then load. Raises
    `UserError` GC0501 for an unreadable file, GC0502 when it does not fit; nothing changes then.
    """
    owners = _stateful(parts)
    write_state(_parameters(owners), read_arrays(path))
    for owner in owners.values():
        if isinstance(owner, Source):
            owner.restore()


def read_arrays(path: str | Path) -> dict[str, Any]:
    """The arrays in a ``.safetensors`` or ``.npz`` file by name, e.g. for `Module.load_state_dict`.

    bfloat16 becomes float32, which holds it exactly. Raises `UserError` GC0501.
    """
    place = Path(path)
    try:
        return safetensors.read(place) if _is_safetensors(place) else _read_npz(place)
    except BROKEN as error:
        raise UserError(
            "GC0501",
            f"{path} cannot be read: {error}",
            why="a checkpoint is a .safetensors or .npz file of plain arrays, written by save",
            fix="check the path; if the file was cut short, use an older one",
        ) from error


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _read_npz(path: Path) -> dict[str, Any]:
    if path.exists() and not zipfile.is_zipfile(path):
        raise zipfile.BadZipFile("it is no .npz file, or not all of one")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _stateful(parts: Mapping[str, Part]) -> dict[str, Stateful]:
    """The parts, NumPy's generators as `Source`s. Raises `UserError` GC0107 for anything else."""
    found: dict[str, Stateful] = {}
    for name, part in parts.items():
        if isinstance(part, np.random.Generator):
            found[name] = Source(part)
        elif hasattr(part, "named_state"):
            found[name] = part
        else:
            raise UserError(
                "GC0107",
                f"{name} is a {type(part).__name__}, which has no named state",
                why="a checkpoint holds the parameters of models, optimisers and generators",
                fix="make it an attribute of an nn.Module, and save the module",
            )
    return found


def _parameters(owners: Mapping[str, Stateful]) -> dict[str, Tensor]:
    return {
        f"{name}.{inner}": parameter
        for name, owner in owners.items()
        for inner, parameter in owner.named_state().items()
    }
