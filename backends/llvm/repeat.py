"""Steps of a program run again and again, with other memory each time: a loop over a graph.

Comes in: the steps of an executable, and for each round where its slots point to. Goes out: every
round run, in order. It is native code, as the driver is, so that a round costs no Python.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.driver import driver_address
from graphc.backends.llvm.emitter import Module

Repeat = Callable[[int, int, int, int, int, int, int, int], None]

ROUNDS = 256
"""At most so many at a time; between them Ctrl-C and faults are seen."""


def source() -> str:
    """The IR of ``graphc_repeat(steps, count, pool, parallel_for, slots, moved, addresses,
    rounds)``.

    ``slots [moved]`` are the places that hold addresses; ``addresses [rounds, moved]`` what to
    write there before each round.
    """
    module = Module()
    names = ("steps", "count", "pool", "parallel", "slots", "moved", "addresses", "rounds")
    kinds = {"count": "i64", "moved": "i64", "rounds": "i64"}
    f = module.function("graphc_repeat", [(kinds.get(name, "ptr"), name) for name in names])
    steps, count, pool, parallel, slots, moved, addresses, rounds = f.parameters
    with f.loop(0, rounds) as turn:
        row = addresses.element(turn.index * moved, "i64")
        with f.loop(0, moved) as loop:
            place = f.load(slots.element(loop.index, "i64"), "ptr")
            f.store(f.load(row.element(loop.index, "i64"), "i64"), place)
            loop.carry()
        f.call("graphc_run", [steps, count, pool, parallel])
        turn.carry()
    f.ret()
    return module.text()


@functools.cache
def repeat() -> Repeat:
    """``graphc_repeat`` for Python."""
    symbols = {"graphc_run": driver_address()}
    code = jit.link([cache.object_code(source())], ["graphc_repeat"], symbols)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 8)(code["graphc_repeat"])
