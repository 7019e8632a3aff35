"""PyTorch's checkpoints (`.pt`, `.pth`), read without PyTorch and without running anything.

Comes in: an archive with a pickle, which describes tensors, and their numbers beside it. Goes out:
arrays by name. A separate step because tensors are views of storages, with offsets and strides that
must be checked; what the pickle may ask for is listed here, and it is made by functions of this
file.

Source: PyTorch's documentation, "Serialization semantics", and `torch/_utils.py` for the arguments.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from graphc.frontends.training import pickled
from graphc.frontends.training.archive import content
from graphc.frontends.training.pickled import Maker, Refused
from graphc.frontends.training.stored import DEEPEST, Array, Order, is_sizes, numbers
from graphc.types import DTYPES

PICKLE = "data.pkl"
OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files begin that PyTorch wrote before version 1.6: a number, itself pickled."""
USUAL = ("state_dict", "model_state_dict", "model", "module", "net", "params", "params_ema")
"""Under which keys trainings keep the state of the model, among other things."""
MANY = 20
"""How many keys an error lists."""
ORDERS: Mapping[bytes, Order] = {b"little": "<", b"big": ">"}
STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
"""PyTorch's names of storages and graphc's of dtypes."""


@dataclass(frozen=True)
class _Kind:
    """A dtype, or None for a storage of bytes."""

    dtype: str | None


@dataclass(frozen=True)
class _Storage:
    """The key of an entry with numbers, and their dtype; None for bytes."""

    key: str
    dtype: str | None


def is_pytorch(names: Sequence[str]) -> bool:
    """Whether an archive with entries of these names is one of PyTorch's."""
    return any(name.endswith(f"/{PICKLE}") for name in names)


def read(file: zipfile.ZipFile, limit: int, part: str | None = None) -> dict[str, Array]:
    """The state dict in an archive, or in the dict under the key ``part`` there.

    No tensor is larger than its storage or ``limit`` bytes. Raises ValueError and zipfile's errors
    for a file that cannot be read.
    """
    names = file.namelist()
    (folder, *more) = [name.removesuffix(PICKLE) for name in names if is_pytorch([name])]
    if more or f"{folder}constants.pkl" in names:
        raise Refused("it holds a program (TorchScript), not a state dict alone")
    stored = _Numbers(file, folder, limit)
    text = content(file, folder + PICKLE).tobytes()
    return _chosen(pickled.read(text, stored.names(), _storage), part)


def _chosen(found: Any, part: str | None) -> dict[str, Array]:
    """The state dict in what a checkpoint holds."""
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, no state dict")
    inner = [found.get(key) for key in (USUAL if part is None else (part,))]
    for state in [found, *inner] if part is None else inner:
        if _is_state(state):
            return dict(state)
    place = "under the usual keys" if part is None else f"under {part!r}"
    raise ValueError(f"it has no state dict at its top or {place}; its keys: {_listed(found)}")


def _is_state(found: Any) -> TypeGuard[dict[str, Array]]:
    """Whether it is a dict of tensors by name."""
    if not isinstance(found, dict):
        return False
    return all(isinstance(n, str) and isinstance(a, np.ndarray) for n, a in found.items())


def _listed(keys: Iterable[Any]) -> str:
    shown = [repr(key[:60]) for key in keys if isinstance(key, str)]
    return ", ".join(shown[:MANY]) + (", ..." if len(shown) > MANY else "")


# What a pickle may ask for ------------------------------------------------------------------------
def _storage(described: Any) -> _Storage:
    """The storage that a pickle describes: ("storage", kind, key, device, count)."""
    if not isinstance(described, tuple) or len(described) != 5:
        raise Refused("it keeps something elsewhere that is no storage")
    word, kind, key, _, _ = described
    if not isinstance(kind, _Kind) or not isinstance(key, str) or word != "storage":
        raise Refused("it keeps something elsewhere that is no storage of a known dtype")
    return _Storage(key, kind.dtype)


class _Numbers:
    """The numbers in a file, each storage read once, and the names its pickle may use."""

    def __init__(self, file: zipfile.ZipFile, folder: str, limit: int) -> None:
        self.file, self.folder, self.limit = file, folder, limit
        self.order = self._order()
        self.read: dict[_Storage, Array] = {}

    def _order(self) -> Order:
        """The order of bytes, little endian in files that do not say."""
        name = f"{self.folder}byteorder"
        if name not in self.file.namelist():
            return "<"
        said = content(self.file, name).tobytes()
        if said not in ORDERS:
            raise ValueError("its order of bytes is neither little nor big")
        return ORDERS[said]

    def names(self) -> dict[str, Any]:
        """The globals that plain checkpoints name."""
        kinds = {f"torch.{name}Storage": _Kind(dtype) for name, dtype in STORAGES.items()}
        kinds |= {f"torch.{dtype}": _Kind(dtype) for dtype in DTYPES}
        return {
            **kinds,
            "torch.storage.UntypedStorage": _Kind(None),
            "collections.OrderedDict": Maker(_ordered_dict),
            "torch._utils._rebuild_tensor_v2": Maker(self._tensor),
            "torch._utils._rebuild_tensor_v3": Maker(self._tensor_of_dtype),
            "torch._utils._rebuild_parameter": Maker(_parameter),
        }

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Array:
        """A view of a storage; the rest of the arguments has to do with gradients."""
        if not isinstance(storage, _Storage) or not (is_sizes(shape) and is_sizes(strides)):
            raise Refused("a tensor has no storage, or no proper shape")
        if not is_sizes((offset,)):
            raise Refused("a tensor has no place in its storage")
        return _view(self._typed(storage), offset, tuple(shape), tuple(strides), self.limit)

    def _tensor_of_dtype(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any
    ) -> Array:
        """The same for dtypes that have no storage of their own: the third of the rest."""
        if not isinstance(storage, _Storage) or len(rest) < 3 or not isinstance(rest[2], _Kind):
            raise Refused("a tensor has no known dtype")
        return self._tensor(replace(storage, dtype=rest[2].dtype), offset, shape, strides)

    def _typed(self, storage: _Storage) -> Array:
        """All numbers of a storage."""
        if storage.dtype is None:
            raise Refused("a tensor has no dtype")
        if storage not in self.read:
            raw = content(self.file, f"{self.folder}data/{storage.key}")
            count = len(raw) // DTYPES[storage.dtype].bytes
            self.read[storage] = numbers(raw, storage.dtype, (count,), self.order)
        return self.read[storage]


def _ordered_dict(*pairs: Any) -> dict[Any, Any]:
    """Always empty in what `torch.save` writes: items are set by instructions of their own."""
    if pairs:
        raise Refused("a dict is made of something else than its items")
    return {}


def _parameter(data: Any, *rest: Any) -> Any:
    """A trainable tensor; the rest of the arguments has to do with gradients."""
    return data


def _view(
    flat: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], limit: int
) -> Array:
    """The tensor in a storage. Raises `Refused` for one that does not lie inside."""
    if len(shape) != len(strides) or len(shape) > DEEPEST:
        raise Refused(f"a tensor of {len(shape)} axes has {len(strides)} strides")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if count * flat.itemsize > max(limit, flat.nbytes) or (count and last >= len(flat)):
        raise Refused(f"a tensor of shape {list(shape)} reaches out of its storage")
    if not count:
        return np.zeros(shape, flat.dtype)
    steps = [step * flat.itemsize for step in strides]
    return np.ndarray(shape, flat.dtype, flat, offset * flat.itemsize, steps)
