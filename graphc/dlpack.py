"""DLPack: arrays of other libraries, and ours for them, where they lie in memory.

Comes in: an object with ``__dlpack__``, or the address of an array of ours. Goes out: a `Borrowed`
array, or a capsule that another library takes over. A separate file because it is the only one that
knows C's picture of it (``dlpack.h`` 1.x and the "Python specification for DLPack"; the array API
standard 2024.12 under ``__dlpack__``).

Who lends memory hands out a function that is called once when the borrower is done.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.types import DTYPES, DType

VERSION = (1, 0)
"""The newest version whose structures are made here."""
PLAIN, VERSIONED = b"dltensor", b"dltensor_versioned"
"""Names of capsules before and since version 1.0."""
CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
BFLOAT = 4
READ_ONLY = 1
"""The flag of memory that must not be written to."""
Device = tuple[int, int]
"""Kind and number of a device."""
CPU, CUDA, PINNED = 1, 2, 3
HOSTS = (CPU, PINNED)
"""Kinds of memory that the host reads like its own."""


@dataclass(frozen=True)
class Place:
    """Where a backend takes arrays without a trip through the host, and the stream (none on the
    host) on which it will read them: who lends them makes that stream wait for their numbers.
    """

    device: Device
    stream: int | None = None


HOST = Place((CPU, 0))


# C's picture --------------------------------------------------------------------------------------
class _Tensor(ctypes.Structure):
    """DLTensor; strides are in elements, and a null pointer for a dense array."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_kind", ctypes.c_int32),
        ("device_number", ctypes.c_int32),
        ("rank", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("offset", ctypes.c_uint64),
    )


class _Plain(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("tensor", _Tensor),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


def _python(name: str, result: Any, *parameters: Any) -> Callable[..., Any]:
    """A function of Python's C interface. Capsules are passed by address."""
    return ctypes.PYFUNCTYPE(result, *parameters)((name, ctypes.pythonapi))


_address, _text = ctypes.c_void_p, ctypes.c_char_p
_new = _python("PyCapsule_New", ctypes.py_object, _address, _text, _address)
_is_valid = _python("PyCapsule_IsValid", ctypes.c_int, _address, _text)
_pointer = _python("PyCapsule_GetPointer", _address, _address, _text)
_rename = _python("PyCapsule_SetName", ctypes.c_int, _address, _text)
_USED = {PLAIN: b"used_dltensor", VERSIONED: b"used_dltensor_versioned"}


# Borrowing ----------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Borrowed:
    """An array of another library: ``strides`` in elements. It is given back when nobody holds
    ``loan`` any more.
    """

    device: Device
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DType
    is_read_only: bool
    loan: object = field(repr=False)

    @property
    def is_dense(self) -> bool:
        """Whether it has no gaps in row-major order."""
        axes = zip(self.shape, self.strides, _dense(self.shape), strict=True)
        return 0 in self.shape or all(n == 1 or stride == dense for n, stride, dense in axes)

    def numpy(self) -> NDArray[Any]:
        """The same memory as a NumPy array; it must be the host's. NumPy's own ``from_dlpack`` does
        the same, but for bfloat16, which it does not know.
        """
        kind = self.dtype.numpy
        if 0 in self.shape:
            return np.empty(self.shape, kind)
        view: NDArray[Any] = np.asarray(_Memory(self)).view(kind)
        return view


class _Memory:
    """What NumPy makes an array of; the array holds it, and it the loan."""

    def __init__(self, lent: Borrowed) -> None:
        kind = lent.dtype.numpy
        self.lent = lent
        self.__array_interface__ = {
            "version": 3,
            "shape": lent.shape,
            "strides": tuple(stride * kind.itemsize for stride in lent.strides),
            "typestr": kind.str,
            "data": (lent.address, lent.is_read_only),
        }


class _Loan:
    """Memory of somebody else, until it is forgotten."""


def borrow(value: Any, stream: int | None = None) -> Borrowed:
    """The memory of an object with ``__dlpack__``, whose numbers are there for work on ``stream``.

    Raises BufferError where it is not lent, or in a form that nobody knows here.
    """
    capsule = _capsule(value, stream)
    name = next((n for n in (VERSIONED, PLAIN) if _is_valid(id(capsule), n)), None)
    if name is None:
        raise BufferError(f"{type(value).__name__}.__dlpack__ gave no fresh capsule")
    pointer = _pointer(id(capsule), name)
    made = (_Versioned if name == VERSIONED else _Plain).from_address(pointer)
    _rename(id(capsule), _USED[name])
    loan = _Loan()
    weakref.finalize(loan, _give_back, made.deleter, pointer).atexit = False
    if isinstance(made, _Versioned) and made.major != VERSION[0]:
        raise BufferError(f"version {made.major} of DLPack is unknown")
    flags = made.flags if isinstance(made, _Versioned) else 0
    return _borrowed(made.tensor, bool(flags & READ_ONLY), loan)


def _capsule(value: Any, stream: int | None) -> object:
    options = {} if stream is None else {"stream": stream}
    try:
        return value.__dlpack__(max_version=VERSION, **options)
    except TypeError:  # from before version 1.0
        return value.__dlpack__(**options)


def _give_back(deleter: int | None, pointer: int) -> None:
    if deleter:
        ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(deleter)(pointer)


def _borrowed(tensor: _Tensor, is_read_only: bool, loan: object) -> Borrowed:
    shape = tuple(tensor.shape[: tensor.rank])
    return Borrowed(
        (tensor.device_kind, tensor.device_number),
        (tensor.data or 0) + tensor.offset,
        shape,
        tuple(tensor.strides[: tensor.rank]) if tensor.strides else _dense(shape),
        _dtype(tensor.code, tensor.bits, tensor.lanes),
        is_read_only,
        loan,
    )


def _dtype(code: int, bits: int, lanes: int) -> DType:
    for dtype in DTYPES.values():
        if lanes == 1 and (_code(dtype), dtype.bits) == (code, bits):
            return dtype
    raise BufferError(f"arrays hold numbers or bools, not DLPack's type {code} of {bits} bits")


def _code(dtype: DType) -> int:
    return BFLOAT if dtype.name == "bfloat16" else CODES[dtype.kind]


def _dense(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a dense array, in elements."""
    sizes = accumulate(shape[:0:-1], lambda a, b: a * b, initial=1)
    return tuple(sizes)[::-1] if shape else ()


# Lending ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Lent:
    """What a borrower holds: a structure, its capsule, and all that it leads to. ``first`` is the
    first word of the structure, which `SIGN` overwrites.
    """

    capsule: object
    made: _Plain | _Versioned
    first: int
    kept: tuple[object, ...]

    @property
    def is_over(self) -> bool:
        """Whether the borrower is done, or there will be none: nobody else has the capsule."""
        if _first_word(self.made) != self.first:
            return True
        is_fresh = any(_is_valid(id(self.capsule), name) for name in (PLAIN, VERSIONED))
        return is_fresh and sys.getrefcount(self.capsule) == UNHELD


UNHELD = 2
"""References to a capsule that only a `_Lent` has, while they are counted."""
SIGN = ctypes.cast(ctypes.CDLL(None).time, ctypes.c_void_p)
"""What a borrower calls when it is done, with the structure: the C library's ``time``, which
overwrites the first word. It cannot be Python code, which must not run while an error is on its way
through a frame that is being left, and that is when arrays go.
"""
_LENT: list[_Lent] = []
_ALONE = threading.RLock()
"""Held by who changes the list."""


def lend(
    owner: object,
    address: int,
    shape: tuple[int, ...],
    dtype: DType,
    device: Device,
    max_version: tuple[int, int] | None = None,
) -> object:
    """A capsule of a dense array at ``address``, in the newest form up to ``max_version`` (none:
    the old one). ``owner`` is held until a `sweep` finds the borrower done.
    """
    sizes, strides = ((ctypes.c_int64 * len(shape))(*x) for x in (shape, _dense(shape)))
    whole = ctypes.POINTER(ctypes.c_int64)
    tensor = _Tensor(
        data=None if 0 in shape else address,
        device_kind=device[0],
        device_number=device[1],
        rank=len(shape),
        code=_code(dtype),
        bits=dtype.bits,
        lanes=1,
        shape=ctypes.cast(sizes, whole),
        strides=ctypes.cast(strides, whole),
    )
    made: _Plain | _Versioned
    if max_version is None or max_version[0] < VERSION[0]:
        name, made = PLAIN, _Plain(tensor=tensor, deleter=SIGN)
    else:
        name = VERSIONED
        made = _Versioned(major=VERSION[0], minor=VERSION[1], deleter=SIGN, tensor=tensor)
    sweep()
    capsule = _new(ctypes.addressof(made), name, None)  # no destructor, for the reason of `SIGN`
    with _ALONE:
        _LENT.append(_Lent(capsule, made, _first_word(made), (sizes, strides, owner)))
    return capsule


def _first_word(made: ctypes.Structure) -> int:
    return ctypes.c_int64.from_address(ctypes.addressof(made)).value


def sweep() -> None:
    """Take back what borrowers are done with."""
    if _LENT:
        with _ALONE:
            _LENT[:] = [lent for lent in _LENT if not lent.is_over]
