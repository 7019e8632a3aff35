"""The arguments of a call: as many as there are inputs, of the declared dtypes and shapes.

Comes in: what a user passes: arrays of NumPy and of other libraries, numbers, lists. Goes out:
dense arrays, and numbers for the named sizes; or a message that says which argument is wrong, and
how. A separate step because a usual call, of arrays that fit, needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphc.dims import Dim, Size
from graphc.dlpack import CUDA, HOSTS, Borrowed, Place, borrow
from graphc.errors import UserError
from graphc.graph import Array, Node
from graphc.types import TensorType, is_known


class Arguments:
    """The inputs of a graph. ``place`` says where arrays may lie besides the host's memory."""

    def __init__(self, inputs: Sequence[Node], place: Callable[[], Place]) -> None:
        self.place = place
        self.names = [x.name for x in inputs]
        self.types = [x.type for x in inputs]
        self.dtypes = [t.dtype.numpy for t in self.types]
        self.symbols = sorted({name for t in self.types for name in _symbols(t)})

    def by_position(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        """All arguments in the order of the inputs. Raises `UserError` GC0302."""
        rest = self.names[len(arrays) :]
        missing = [n for n in rest if n not in named]
        extra = [n for n in named if n not in rest]
        if missing or extra or len(arrays) > len(self.names):
            raise self._misfit(len(arrays), missing, extra)
        return (*arrays, *(named[n] for n in rest))

    def _misfit(self, places: int, missing: Sequence[str], extra: Sequence[str]) -> UserError:
        """What is wrong with a call that passes ``places`` arrays by place and others by name."""
        count = len(self.names)
        crowd = [f"{places} arrays are given for {count} inputs"] if places > count else []
        odd = [f"{n} is {'given twice' if n in self.names else 'no input'}" for n in extra]
        return UserError(
            "GC0302",
            "; ".join([*crowd, *(f"{n} is missing" for n in missing), *odd]),
            why=f"the inputs are: {', '.join(self.names) or 'none'}",
            fix="pass one array for each, by place or by name",
        )

    def dense(self, arrays: Sequence[Any]) -> list[Array | Borrowed]:
        """The arguments as dense arrays of the declared dtypes, by safe casts only; those in a
        backend's own memory stay there. Raises `UserError` GC0107, GC0302, GC0304.
        """
        if len(arrays) != len(self.names):
            raise self._misfit(len(arrays), self.names[len(arrays) :], [])
        return [self._dense(k, a) for k, a in enumerate(arrays)]

    def hosted(self, arrays: Sequence[Any]) -> list[Array]:
        """`dense`, all of them on the host. Raises `UserError` GC0107 where one is elsewhere."""
        found = self.dense(arrays)
        for name, array in zip(self.names, found, strict=True):
            if isinstance(array, Borrowed):
                raise _no_array(name, array, "it is needed on the host", "pass a NumPy array")
        return found  # type: ignore[return-value]

    def _dense(self, position: int, value: Any) -> Array | Borrowed:
        wanted, found = self.dtypes[position], self._found(position, value)
        if isinstance(found, Borrowed):
            if found.dtype != wanted:
                raise self._other_dtype(position, found)
            return found
        if found.dtype != wanted:
            if not np.can_cast(found.dtype, wanted, "safe"):
                raise self._other_dtype(position, found)
            found = found.astype(wanted)
        return found if found.flags.c_contiguous else np.ascontiguousarray(found)

    def _found(self, position: int, value: Any) -> Array | Borrowed:
        """The numbers of an argument, of any dtype and order."""
        if type(value) is np.ndarray:
            return value
        name = self.names[position]
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
            return _foreign(value, name, self.place)
        return _array_of(value, self.dtypes[position], name)

    def _other_dtype(self, position: int, value: Any) -> UserError:
        name, type_ = self.names[position], self.types[position]
        if isinstance(value, Borrowed):
            why, fix = "on a device nothing is converted", f"convert it to {type_.dtype.name} first"
        else:
            why = "graphc converts only where nothing can be lost"
            fix = f"pass {name}.astype({type_.dtype.name!r})"
        what = f"{name} is {value.dtype}, expected {type_}"
        return UserError("GC0304", what, why=why, fix=fix)

    def sizes(self, arrays: Sequence[Array | Borrowed]) -> dict[str, int]:
        """Numbers for the named sizes. Raises `UserError` GC0303 where shapes do not fit."""
        given = zip(self.names, self.types, arrays, strict=True)
        open_shapes = [(n, t, a.shape) for n, t, a in given if a.shape != t.shape]
        if not open_shapes:
            return {}
        sizes = learned([(t.shape, shape) for _, t, shape in open_shapes])
        for name, type_, shape in open_shapes:
            _check_shape(name, type_, shape, sizes)
        return sizes


def _foreign(value: Any, name: str, place: Callable[[], Place]) -> Array | Borrowed:
    """The memory of another library's array: as NumPy's where it is the host's."""
    try:
        kind, number = map(int, value.__dlpack_device__())
        if kind in HOSTS:
            return _view(value)
        mine = place()
        if (kind, number) == mine.device:
            return _on_device(borrow(value, mine.stream))
    except UserError:  # there is no such device
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        fix = "pass a dense array of numbers, without a gradient to follow"
        raise _no_array(name, value, str(error), fix) from None
    lies = f"CUDA device {number}" if kind == CUDA else f"device {number} of kind {kind}"
    why = f"it lies on {lies}, where this function does not run"
    raise _no_array(name, value, why, "copy it to the host first")


def _view(value: Any) -> Array:
    try:
        return np.from_dlpack(value)
    except (BufferError, RuntimeError):  # bfloat16, or something that nobody knows
        return borrow(value).numpy()


def _on_device(lent: Borrowed) -> Borrowed:
    if not lent.is_dense:
        raise BufferError("it has gaps, or another order than row by row")
    return lent


def _array_of(value: Any, wanted: np.dtype[Any], name: str) -> Array:
    """An argument that is no array yet; Python's own numbers become ``wanted`` where they fit."""
    try:
        array = np.asarray(value)
    except UserError:  # a tensor has no value, and says so
        raise
    except (TypeError, ValueError) as error:  # NumPy does not know it, or rows differ in length
        raise _no_array(name, value, str(error)) from None
    if not is_known(array.dtype):
        raise _no_array(name, value, "arrays hold numbers or bools")
    plain = isinstance(value, bool | int | float | list | tuple)
    if not plain or not np.can_cast(array.dtype, wanted, "same_kind"):
        return array
    cast = array.astype(wanted)
    return array if wanted.kind in "iu" and (cast != array).any() else cast


FIX = "pass a NumPy array, a number, or lists of numbers in rows of equal length"


def _no_array(name: str, value: Any, why: str, fix: str = FIX) -> UserError:
    what = f"{name} cannot be made of {type(value).__name__} {str(value)[:40]!r}"
    return UserError("GC0107", what, why=why, fix=fix)


def _symbols(type_: TensorType) -> set[str]:
    return {n for s in type_.shape if isinstance(s, Dim) for n in s.names}


def learned(shapes: Sequence[tuple[tuple[Size, ...], tuple[int, ...]]]) -> dict[str, int]:
    """Numbers for the named sizes of declared shapes, from the shapes of the arrays."""
    sizes: dict[str, int] = {}
    for _ in range(2):  # a size made of several names waits for the others
        for declared, shape in shapes:
            for size, actual in zip(declared, shape, strict=False):
                rest = size.substitute(sizes) if isinstance(size, Dim) else actual
                if isinstance(rest, Dim):
                    sizes |= rest.solved(actual)
    return sizes


def _check_shape(
    name: str, type_: TensorType, shape: tuple[int, ...], sizes: dict[str, int]
) -> None:
    """Raises `UserError` GC0303 when an array does not fit its input, given the named sizes."""
    wanted = [s.substitute(sizes) if isinstance(s, Dim) else s for s in type_.shape]
    fits = len(wanted) == len(shape) and all(
        size == actual or (isinstance(size, Dim) and len(size.names) > 1)  # nobody can know
        for size, actual in zip(wanted, shape, strict=True)
    )
    if not fits:
        known = ", ".join(f"{k}={v}" for k, v in sizes.items())
        raise UserError(
            "GC0303",
            f"{name} has shape {shape}, expected {type_}" + (f" with {known}" if known else ""),
            fix="reshape the array, or declare the input with a named size",
        )
