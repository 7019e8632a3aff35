"""What the tests of the LLVM runtime share: running a scalar function over arrays."""

import ctypes

import numpy as np
import pytest

from graphc.backends.llvm import jit, spelling
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.machine import host
from graphc.types import DTYPES


def entry(address, count):
    """A compiled function of `count` pointers and a number."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * count, ctypes.c_int64)(address)


def build(write, sources, target, lanes=16, machine=None, pipeline="short"):
    """What `write(emitter, *values)` spells, as a function of arrays; 0 lanes for scalar code."""
    module = Module(machine or host())
    names = [("ptr", f"p{k}") for k in range(len(sources) + 1)]
    f = module.function("run", [*names, ("i64", "count")])
    *pointers, count = f.parameters
    bases = [spelling.base_of(DTYPES[name]) for name in sources]
    with f.loop(0, count, max(lanes, 1)) as loop:
        values = [
            f.load(p.element(loop.index, base), base, lanes)
            for p, base in zip(pointers[1:], bases, strict=True)
        ]
        result = write(f, *values)
        f.store(result, pointers[0].element(loop.index, result.base))
    f.ret()
    code = jit.object_code(module.text(), pipeline, machine)
    run = entry(jit.link([code], ["run"])["run"], len(names))

    def call(*arrays):
        size = arrays[0].size
        padded = [np.zeros(-(-size // 64) * 64, a.dtype) for a in arrays]
        for array, full in zip(arrays, padded, strict=True):
            full[:size] = array
        out = np.empty(padded[0].size, DTYPES[target].numpy)
        run(out.ctypes.data, *(full.ctypes.data for full in padded), out.size)
        return out[:size]

    return call


def scalar_function(name, dtype, arity, result, **options):
    """A row of the spelling table as a NumPy function of operands that all have `dtype`."""
    kind = DTYPES[dtype]
    return build(
        lambda f, *values: spelling.SPELLING[name](f, kind, *values),
        [dtype] * arity,
        result,
        **options,
    )


class Tools:
    """The helpers above, for tests, which cannot import this file."""

    build = staticmethod(build)
    scalar = staticmethod(scalar_function)


@pytest.fixture(scope="session")
def tools():
    return Tools
