"""Leaves: inputs, parameters, constants, counters. Everything else is computed from these.

Comes in: names, types, arrays. Goes out: ops without inputs. Separate because a leaf is where the
outside world enters.
"""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar, Protocol

import numpy as np

from graphc.dims import Dim, Size, evaluate
from graphc.errors import UserError
from graphc.expr import Expr, Lit, cast
from graphc.graph import Array, Node, Op, Read, as_array
from graphc.types import INT64, DType, Scalar, TensorType


@dataclass(frozen=True)
class Input(Op):
    """A value passed at every call. ``serial`` keeps two inputs of one name apart."""

    kind: ClassVar[str] = "leaf"
    is_input: ClassVar[bool] = True
    label: str = field()
    type: TensorType
    serial: int = field(default=0, repr=False)

    def infer(self) -> TensorType:
        return self.type


_serials = count()


def new_input(name: str, type_: TensorType) -> Node:
    """An input that is equal to no other, whatever its name."""
    return Input(name, type_, next(_serials))()


class Replica(Protocol):
    """A copy of a parameter in the memory of a device."""

    def push(self, array: Array) -> None:
        """Copy ``array`` to the device."""
        ...

    def pull(self, array: Array) -> None:
        """Copy from the device into ``array``."""
        ...


class Storage:
    """The memory of a parameter: one array that outlives every call, shared by all executables.

    ``array`` is dense, C-contiguous and never moved; executables of the host write updates into it
    in place. An executable of a device keeps the numbers there (`lend`), and whoever asks for
    ``array`` gets them back; as it may be written to, the replica counts as old from then on.

    For all parameters together: ``moves`` counts how often the host has asked a device for numbers;
    while it stays the same, no replica has become old. ``loans`` counts how often numbers went to
    a device; each time all ``users`` are told by ``parameters_left``.
    """

    moves: ClassVar[int] = 0
    loans: ClassVar[int] = 0
    users: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

    def __init__(self, value: Any, dtype: DType) -> None:
        self._array: Array = np.array(value, dtype.numpy, order="C", copy=True)
        self._replica: Replica | None = None
        self._is_behind = False

    @property
    def array(self) -> Array:
        """The numbers, to be read and written."""
        if self._replica is not None:
            self.peek()
            self._replica = None
            Storage.moves += 1
        return self._array

    def peek(self) -> Array:
        """The numbers as they are now, only to be read: a replica stays as good as they are."""
        if self._is_behind and self._replica is not None:
            self._replica.pull(self._array)
            self._is_behind = False
            Storage.moves += 1
        return self._array

    def lend(self, replica: Replica, changes: bool) -> None:
        """From now on the numbers are those of ``replica``, which ``changes`` them or not."""
        if self._replica is not replica:
            replica.push(self.array)
            self._replica = replica
            Storage.loans += 1
            for user in [*Storage.users]:
                user.parameters_left()
        self._is_behind = self._is_behind or changes

    def assign(self, value: Any) -> None:
        """Copy ``value`` in; raises `UserError` GC0303 when its shape differs."""
        new = np.asarray(value)
        if new.shape != self.array.shape:
            raise UserError(
                "GC0303",
                f"a value of shape {new.shape} for a parameter of shape {self.array.shape}",
            )
        self.array[...] = new


@dataclass(frozen=True)
class Parameter(Op):
    """A leaf with storage: weights, running statistics, optimiser moments, counters.

    ``advances`` marks the state of a random generator: compiling adds an update that counts its
    calls.
    """

    kind: ClassVar[str] = "leaf"
    label: str = field()
    type: TensorType
    storage: Storage = field(repr=False)
    trainable: bool = True
    advances: bool = False

    def infer(self) -> TensorType:
        return self.type

    @property
    def name(self) -> str:
        return "param"


@dataclass(frozen=True)
class Constant(Op):
    """One number, possibly a named size (the divisor of a mean); broadcasting makes tensors."""

    kind: ClassVar[str] = "free"
    value: Scalar | Dim
    dtype: DType

    @property
    def number(self) -> Scalar | Dim:
        return self.value

    def infer(self) -> TensorType:
        return TensorType(self.dtype, ())

    def eval(self) -> Array:
        value = evaluate(self.value, {}) if isinstance(self.value, Dim) else self.value
        return np.array(value, self.dtype.numpy)

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        return Lit(self.eval().item(), self.dtype.computing)

    def __eq__(self, other: object) -> bool:
        # 0.0 and -0.0 are different constants, and a nan equals itself: compare their text
        return isinstance(other, Constant) and (repr(self.value), self.dtype) == (
            repr(other.value),
            other.dtype,
        )

    def __hash__(self) -> int:
        return hash((repr(self.value), self.dtype))

    def __str__(self) -> str:
        return f"{self.value}"


@dataclass(frozen=True, eq=False)
class Table(Op):
    """A constant array. Compared by content, so that equal tables are merged."""

    kind: ClassVar[str] = "leaf"
    array: Array = field(repr=False, compare=False)
    dtype: DType = field(repr=False)
    digest: str = field(repr=False, default="")

    @staticmethod
    def of(value: Any, dtype: DType) -> Table:
        """The table of ``value``, copied and frozen."""
        array = as_array(value, dtype).copy()
        array.flags.writeable = False
        content = hashlib.sha256(array.tobytes() + repr((array.shape, dtype.name)).encode())
        return Table(array, dtype, content.hexdigest())

    def infer(self) -> TensorType:
        return TensorType(self.dtype, self.array.shape)

    def eval(self) -> Array:
        return self.array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True)
class Iota(Op):
    """0, 1, 2, ... along ``axis`` of a tensor of ``shape``."""

    kind: ClassVar[str] = "free"
    shape: tuple[Size, ...]
    axis: int
    dtype: DType = INT64

    def infer(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    def eval(self) -> Array:
        shape = tuple(evaluate(s, {}) for s in self.shape)
        column = [1] * len(shape)
        column[self.axis] = shape[self.axis]
        counter = np.arange(shape[self.axis]).astype(self.dtype.numpy)
        return np.broadcast_to(counter.reshape(column), shape)

    def at(self, index: tuple[Expr, ...], *xs: Read) -> Expr:
        return cast(index[self.axis], self.dtype)


def constant(value: Scalar | Dim, dtype: DType) -> Node:
    """A 0-d constant node."""
    return Constant(value, dtype)()
