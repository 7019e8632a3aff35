"""Strided vectors: the right lanes, nothing else written, nothing touched outside the buffer."""

from __future__ import annotations

import ctypes
import mmap
import sys

import numpy as np
import pytest

from graphc.backends.llvm import jit
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.strided import STEPS, strided_load, strided_store

LANES = 16
KINDS = {"float": np.float32, "double": np.float64, "i8": np.int8, "i1": np.bool_, "i64": np.int64}


def copier(base: str, step: int, *, masked: bool, stores: bool):
    """``run(x, y, n)``: n lanes from every step-th element of x to y, or from x to those of y."""
    module = Module()
    f = module.function("run", [("ptr", "x"), ("ptr", "y"), ("i64", "n")])
    x, y, count = f.parameters
    mask = f.lanes_below(f.constant(0, "i64"), count, LANES) if masked else None
    if stores:
        strided_store(f, f.load(x, base, LANES, mask=mask), y, step, mask)
    else:
        f.store(strided_load(f, x, step, base, LANES, mask), y, mask=mask)
    f.ret()
    address = jit.compile_module(module.text(), ["run"])["run"]
    return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)


def fenced(values: np.ndarray) -> tuple[mmap.mmap, np.ndarray]:
    """A copy of ``values`` that ends where memory may no longer be touched."""
    page = mmap.PAGESIZE
    size = -(-values.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    assert protect(ctypes.c_void_p(start + size), ctypes.c_size_t(page), 0) == 0
    array = np.frombuffer(memory, values.dtype, values.size, size - values.nbytes)
    array[:] = values
    return memory, array


def numbers(base: str, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 100, count).astype(KINDS[base])


@pytest.mark.skipif(sys.platform == "win32", reason="mprotect")
@pytest.mark.parametrize("base", KINDS)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("active", [None, 1, 7, LANES])
def test_load_and_store(base, step, active):
    count = LANES if active is None else active
    source = numbers(base, (count - 1) * step + 1)
    _, x = fenced(source)
    found = np.zeros(LANES, KINDS[base])
    load = copier(base, step, masked=active is not None, stores=False)
    load(x.ctypes.data, found.ctypes.data, count)
    np.testing.assert_array_equal(found[:count], source[::step])
    _, y = fenced(source)
    new = numbers(base, LANES)
    store = copier(base, step, masked=active is not None, stores=True)
    store(new.ctypes.data, y.ctypes.data, count)
    wanted = source.copy()
    wanted[::step] = new[:count]
    np.testing.assert_array_equal(y, wanted)
