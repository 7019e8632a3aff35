"""Checkpoints: the state of models, optimisers and generators in one ``.npz`` file.

Comes in: whatever has a ``named_state``. Goes out: a file, complete or not there at all; and back.
A separate step because a file can be cut short, come from another model, or from a stranger: it is
written under another name first, checked before anything changes, and holds numbers only.
"""

from __future__ import annotations

import os
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.state import read_state, write_state
from graphc.frontends.dsl.tensor import Tensor


class Stateful(Protocol):
    """A model, an optimiser, a generator: anything that can name its parameters."""

    def named_state(self) -> Mapping[str, Tensor]: ...


def save(path: str | Path, **parts: Stateful) -> None:
    """Write the state of ``parts``, e.g. ``save(path, model=model, optimiser=optimiser)``.

    The file is replaced in one step: a process killed in between leaves the old one.
    """
    arrays = read_state(_parameters(parts))
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:  # not mkstemp, whose files only their owner may read
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | Path, **parts: Stateful) -> None:
    """Read what `save` wrote with the same names back into ``parts``.

    An optimiser makes its memory when it makes its updates: build the step first, then load. Raises
    `UserError` GC0501 for an unreadable file, GC0502 when it does not fit; nothing changes then.
    """
    write_state(_parameters(parts), _arrays(Path(path)))


def _parameters(parts: Mapping[str, Stateful]) -> dict[str, Tensor]:
    for part, owner in parts.items():
        if not hasattr(owner, "named_state"):
            raise UserError(
                "GC0107",
                f"{part} is a {type(owner).__name__}, which has no named state",
                why="a checkpoint holds the parameters of models, optimisers and generators",
                fix="make it an attribute of an nn.Module, and save the module",
            )
    return {
        f"{part}.{name}": parameter
        for part, owner in parts.items()
        for name, parameter in owner.named_state().items()
    }


def _arrays(path: Path) -> dict[str, Any]:
    try:
        if path.exists() and not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it is no .npz file, or not all of one")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            "GC0501",
            f"{path} cannot be read: {error}",
            why="a checkpoint is a .npz file of plain arrays, written by save",
            fix="check the path; if the file was cut short, use an older one",
        ) from error
