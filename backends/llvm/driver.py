"""The one native call of an executable: a loop over its steps.

Comes in: a table of steps in memory. Goes out: every kernel run, in order. It is native code so
that a call crosses from Python once, and a table rather than generated code so that it is compiled
once for all programs.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.emitter import Module

STEP = 4
"""Words per step: function, slots, extent, grain."""

Driver = Callable[[int, int, int, int], None]


def source() -> str:
    """The IR of ``graphc_run(steps, count, pool, parallel_for)``: calls each step's function,
    through the pool if grain < extent.
    """
    module = Module()
    f = module.function(
        "graphc_run", [("ptr", "steps"), ("i64", "count"), ("ptr", "pool"), ("ptr", "parallel")]
    )
    steps, count, pool, parallel = f.parameters
    with f.loop(0, count) as loop:
        step = steps.element(loop.index * STEP, "i64")
        function, slots = f.load(step, "ptr"), f.load(step.element(1, "ptr"), "ptr")
        extent = f.load(step.element(2, "i64"), "i64")
        size = f.load(step.element(3, "i64"), "i64")
        alone = size.compare("sge", extent)
        with f.when(alone):
            f.call(function, [slots, f.constant(0, "i64"), extent])
        with f.when(alone ^ True):
            f.call(parallel, [pool, function, slots, extent, size])
        loop.carry()
    f.ret()
    return module.text()


@functools.cache
def driver_address() -> int:
    """Where ``graphc_run`` is, for native code."""
    return jit.link([cache.object_code(source())], ["graphc_run"])["graphc_run"]


@functools.cache
def driver() -> Driver:
    """``graphc_run`` for Python."""
    word = ctypes.c_int64
    return ctypes.CFUNCTYPE(None, word, word, word, word)(driver_address())
