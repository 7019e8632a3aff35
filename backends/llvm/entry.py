"""The way in from Python: a function made of machine code that checks arrays and runs the steps.

Comes in: the types of a program's inputs and outputs, where their slots are, and its steps. Goes
out: a Python function of arrays that costs a few hundred nanoseconds. It answers None, and has done
nothing, when an argument is not exactly as declared: the ordinary way then converts it, or says
what is wrong. A separate step because it is the only code that looks into objects of Python and
NumPy. `obstacle` compares their layout with real arrays first; if it finds one, all calls go the
ordinary way.

The convention is CPython's METH_FASTCALL, and ``self`` an array of `WORDS`, so that this code, like
the driver's, is compiled once for all programs. All but reading fields of arrays is done through
Python's C interface. Python's lock is held, except while a program runs that is long enough to
share.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.driver import driver_address
from graphc.backends.llvm.emitter import Emitter, Module
from graphc.backends.llvm.threads import FIELDS, Pool
from graphc.backends.llvm.value import Value
from graphc.graph import Array
from graphc.types import TensorType

Entry = Callable[..., list[Array] | None]
Place = tuple[int, int, int]
"""The number of an argument or result, the address of a slot, and bytes to add to its data."""

LAYOUT = {"type": 8, "data": 16, "rank": 24, "shape": 32, "dtype": 56, "flags": 64}
"""Where an array object of a 64-bit CPython keeps what, in bytes."""

DENSE = 1
"""The flag of an array without gaps in row-major order."""

WORDS = (
    "none", "ndarray", "empty", "acquire", "release", "report", "inputs", "input_count",
    "outputs", "output_count", "places", "place_count", "result_places", "result_place_count",
    "faults", "fault_count", "steps", "step_count", "pool", "parallel_for", "long",
)  # fmt: skip
"""What stands behind ``self``: objects, tables and counts, a word each."""

PYTHON = (
    "Py_IncRef", "Py_DecRef", "PyList_New", "PyList_GetItem", "PyList_SetItem",
    "PyObject_CallNoArgs", "PyObject_CallOneArg", "PyObject_Vectorcall", "PyLong_FromLongLong",
    "PyEval_SaveThread", "PyEval_RestoreThread", "PyCFunction_NewEx",
)  # fmt: skip
"""The functions of Python's C interface that are used."""


# The code -----------------------------------------------------------------------------------------
class _Writer:
    """The function under construction."""

    def __init__(self, f: Emitter) -> None:
        self.f = f
        itself, self.arguments, self.given = f.parameters
        self.table = f.load(_field(itself, "data"), "ptr")

    def word(self, name: str, base: str = "ptr") -> Value:
        return self.f.load(self.table.element(WORDS.index(name), "ptr"), base)

    def require(self, condition: Value, otherwise: str = "refuse") -> None:
        """Go on if ``condition`` holds."""
        following = self.f.fresh("fine")
        self.f.branch(condition, following, otherwise)
        self.f.label(following)

    def exists(self, made: Value, otherwise: str) -> None:
        """Go on unless Python answered with no object, which means an exception."""
        self.require(made.convert("ptrtoint", "i64").compare("ne", 0), otherwise)

    def body(self) -> None:
        """Check, make the results, and with the executable's lock: point, run, look for faults."""
        self.check()
        results = self.results()
        token = self.f.call("PyObject_CallNoArgs", [self.word("acquire")], "ptr")
        self.exists(token, "drop")
        self.f.call("Py_DecRef", [token])
        self.point("place", lambda k: self.f.load(self.arguments.element(k, "ptr"), "ptr"))
        self.point("result_place", lambda k: self.f.call("PyList_GetItem", [results, k], "ptr"))
        self.execute()
        fault = self.fault()
        token = self.f.call("PyObject_CallNoArgs", [self.word("release")], "ptr")
        self.f.call("Py_DecRef", [token])
        self.require(fault.compare("eq", 0), "report")
        self.f.ret(results)
        self.endings(results, fault)

    def endings(self, results: Value, fault: Value) -> None:
        """The other ways out: nothing done, a fault, an exception."""
        f = self.f
        f.label("refuse")
        f.call("Py_IncRef", [self.word("none")])
        f.ret(self.word("none"))
        f.label("report")
        number = f.call("PyLong_FromLongLong", [fault], "ptr")
        f.call("PyObject_CallOneArg", [self.word("report"), number], "ptr")  # raises
        f.call("Py_DecRef", [number])
        f.jump("drop")
        f.label("drop")
        f.call("Py_DecRef", [results])
        f.jump("fail")
        f.label("fail")
        f.effect("ret ptr null")

    def check(self) -> None:
        """As many arguments as inputs, each an array of the declared dtype and shape, dense."""
        f = self.f
        self.require(self.given.compare("eq", self.word("input_count", "i64")))
        ready = f.load(self.word("pool").element(FIELDS["ready"], "i8"), "i32")
        self.require(ready.compare("ne", 0))
        with f.loop(0, self.given) as loop:
            array = f.load(self.arguments.element(loop.index, "ptr"), "ptr")
            declared = self.word("inputs").element(loop.index * 3, "i64")
            dtype, rank, shape = (f.load(declared.element(k, "i64"), "i64") for k in range(3))
            kind = f.load(_field(array, "type"), "i64")
            self.require(kind.compare("eq", self.word("ndarray", "i64")))
            self.require(f.load(_field(array, "dtype"), "i64").compare("eq", dtype))
            found = f.load(_field(array, "rank"), "i32").convert("sext", "i64")
            self.require(found.compare("eq", rank))
            flags = f.load(_field(array, "flags"), "i32")
            self.require((flags & DENSE).compare("ne", 0))
            sizes, wanted = f.load(_field(array, "shape"), "ptr"), shape.convert("inttoptr", "ptr")
            with f.loop(0, rank) as axis:
                size = f.load(sizes.element(axis.index, "i64"), "i64")
                self.require(size.compare("eq", f.load(wanted.element(axis.index, "i64"), "i64")))
                axis.carry()
            loop.carry()

    def results(self) -> Value:
        """A list of new arrays."""
        f, count = self.f, self.word("output_count", "i64")
        results = f.call("PyList_New", [count], "ptr")
        self.exists(results, "fail")
        with f.loop(0, count) as loop:
            type_ = self.word("outputs").element(loop.index * 2, "ptr")
            two, no_names = f.constant(2, "i64"), f.constant(0, "i64").convert("inttoptr", "ptr")
            arguments = [self.word("empty"), type_, two, no_names]
            array = f.call("PyObject_Vectorcall", arguments, "ptr")
            self.exists(array, "drop")
            f.call("PyList_SetItem", [results, loop.index, array], "i32")
            loop.carry()
        return results

    def point(self, kind: str, object_at: Callable[[Value], Value]) -> None:
        """Write the addresses of arrays into the slots."""
        f = self.f
        with f.loop(0, self.word(f"{kind}_count", "i64")) as loop:
            place = self.word(f"{kind}s").element(loop.index * 3, "i64")
            data = f.load(_field(object_at(f.load(place, "i64")), "data"), "i64")
            slot = f.load(place.element(1, "i64"), "ptr")
            f.store(data + f.load(place.element(2, "i64"), "i64"), slot)
            loop.carry()

    def execute(self) -> None:
        """Run the steps; other Python threads may go on meanwhile if it takes long."""
        f, thread = self.f, self.f.alloca("ptr")
        long = self.word("long", "i64").compare("ne", 0)
        with f.when(long):
            f.store(f.call("PyEval_SaveThread", [], "ptr"), thread)
        count = self.word("step_count", "i64")
        run = [self.word("steps"), count, self.word("pool"), self.word("parallel_for")]
        f.call("graphc_run", run)
        with f.when(long):
            f.call("PyEval_RestoreThread", [f.load(thread, "ptr")])

    def fault(self) -> Value:
        """``kernel << 32 | number`` of the first fault, else 0; the cells are cleared."""
        f = self.f
        with f.loop(0, self.word("fault_count", "i64"), carry=[f.constant(0, "i64")]) as loop:
            cell = self.word("faults").element(loop.index, "i64")
            number = f.load(cell, "i64")
            f.store(f.constant(0, "i64"), cell)
            (first,) = loop.carried
            new = number.compare("ne", 0) & first.compare("eq", 0)
            loop.carry(new.select((loop.index << 32) | number, first))
        return loop.results[0]


def _field(array: Value, name: str) -> Value:
    return array.element(LAYOUT[name], "i8")


def source() -> str:
    """The IR of ``graphc_entry(ptr self, ptr arguments, i64 given)``."""
    module = Module()
    parameters = [("ptr", "self"), ("ptr", "arguments"), ("i64", "given")]
    _Writer(module.function("graphc_entry", parameters, "ptr")).body()
    return module.text()


class _Method(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


@functools.cache
def _method() -> _Method:
    """The definition that all entries share; it lives as long as the process."""
    symbols = {name: _address_of(getattr(ctypes.pythonapi, name)) for name in PYTHON}
    symbols["graphc_run"] = driver_address()
    code = jit.link([cache.object_code(source())], ["graphc_entry"], symbols)
    fastcall = 0x80
    return _Method(b"graphc_entry", code["graphc_entry"], fastcall, None)


def _address_of(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


# Whether it may be used ---------------------------------------------------------------------------
@functools.cache
def obstacle() -> str:
    """What keeps entries from being used here; empty if nothing does."""
    if sys.implementation.name != "cpython" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return "this is no 64-bit CPython"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "Python runs without its lock"
    missing = [name for name in PYTHON if not hasattr(ctypes.pythonapi, name)]
    if missing:
        return f"Python has no {missing[0]}"
    wide = np.zeros((3, 4), np.float32)
    samples = (wide, wide.T, wide[:, ::2], np.zeros((), np.int64), np.zeros((2, 0, 5), np.bool_))
    known = all(_is_laid_out(array) for array in samples)
    return "" if known else "NumPy's arrays have another layout"


def _is_laid_out(array: Array) -> bool:
    """Whether the fields of an array are where native code will read them."""
    if np.ndarray.__basicsize__ < max(LAYOUT.values()) + 4:
        return False
    word, half = ctypes.c_int64.from_address, ctypes.c_int32.from_address
    at = {name: id(array) + offset for name, offset in LAYOUT.items()}
    objects = (word(at["type"]).value, word(at["data"]).value, word(at["dtype"]).value)
    if objects != (id(np.ndarray), array.ctypes.data, id(array.dtype)):
        return False
    if (half(at["rank"]).value, half(at["flags"]).value) != (array.ndim, array.flags.num):
        return False
    sizes = word(at["shape"]).value
    return tuple(word(sizes + 8 * k).value for k in range(array.ndim)) == array.shape


# Making one ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Call:
    """What an entry does. ``report`` is called with `_Writer.fault`'s number and raises; ``memory``
    holds all that the addresses lead to.
    """

    inputs: Sequence[TensorType]
    outputs: Sequence[TensorType]
    places: Sequence[Place]
    result_places: Sequence[Place]
    faults: Array
    steps: int
    step_count: int
    is_long: bool
    pool: Pool
    lock: Any
    report: Callable[[int], None]
    empty: Callable[..., Array]
    memory: tuple[object, ...]


class _Table(np.ndarray[Any, Any]):
    """Words, and what they are the addresses of."""

    kept: list[object]


def entry(call: Call) -> Entry:
    """A function of arrays: the outputs of ``call``, or None when they are not as declared.

    Raises what ``report`` raises, MemoryError, and TypeError for arguments by name.
    """
    if obstacle():
        return _refuse
    kept: list[object] = [call]

    def address(value: object) -> int:
        kept.append(value)
        return id(value)

    def table(rows: Sequence[Sequence[int]]) -> int:
        words = np.array([word for row in rows for word in row] or [0], np.int64)
        kept.append(words)
        return int(words.ctypes.data)

    inputs = [(id(t.dtype.numpy), t.rank, table([t.static_shape])) for t in call.inputs]
    outputs = [(address(t.static_shape), address(t.dtype.numpy)) for t in call.outputs]
    words = {
        "none": id(None), "ndarray": id(np.ndarray), "empty": address(call.empty),
        "acquire": address(call.lock.acquire), "release": address(call.lock.release),
        "report": address(call.report), "inputs": table(inputs), "input_count": len(inputs),
        "outputs": table(outputs), "output_count": len(outputs),
        "places": table(call.places), "place_count": len(call.places),
        "result_places": table(call.result_places), "result_place_count": len(call.result_places),
        "faults": call.faults.ctypes.data, "fault_count": call.faults.size,
        "steps": call.steps, "step_count": call.step_count, "pool": call.pool.state,
        "parallel_for": call.pool.parallel_for, "long": int(call.is_long),
    }  # fmt: skip
    itself = np.array([words[name] for name in WORDS], np.int64).view(_Table)
    itself.kept = kept
    return _function(itself)


def _function(itself: _Table) -> Entry:
    """The built-in function whose ``self`` is a table."""
    any_object, pointer = ctypes.py_object, ctypes.c_void_p
    kind = ctypes.PYFUNCTYPE(any_object, pointer, any_object, pointer)
    made: Entry = kind(("PyCFunction_NewEx", ctypes.pythonapi))(
        ctypes.addressof(_method()), itself, None
    )
    return made


def _refuse(*arrays: Array) -> None:
    """The entry where there can be none."""
