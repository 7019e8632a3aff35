"""Checkpoints: the state of models, optimisers and generators in one file.

Comes in: whatever has a ``named_state``, and NumPy's random generators. Goes out: a file, complete
or not there at all; and back. A separate step because a file can be cut short, come from another
model, or from a stranger: it is written under another name first, checked before anything changes,
and holds numbers only. A path that ends with ``.safetensors`` has that format, any other NumPy's
``.npz``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from graphc.errors import UserError
from graphc.files import replacing
from graphc.frontends.dsl.state import read_state, write_state
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.training import safetensors
from graphc.frontends.training.reading import read_arrays
from graphc.frontends.training.sources import Source


class Stateful(Protocol):
    """A model, an optimiser, an average, a callback: anything that can name its parameters."""

    def named_state(self) -> Mapping[str, Tensor]: ...


Part = Stateful | np.random.Generator


def save(path: str | Path, **parts: Part) -> None:
    """Write the state of ``parts``, e.g. ``save(path, model=model, optimiser=optimiser)``.

    The file is replaced in one step: a process killed in between leaves the old one.
    """
    arrays = read_state(_parameters(_stateful(parts)))
    target = Path(path)
    with replacing(target) as file:
        if target.suffix == ".safetensors":
            safetensors.write(file, arrays)
        else:
            np.savez(file, **arrays)


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
