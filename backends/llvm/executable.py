"""A program ready to run natively: compiled kernels, memory, and the table of steps that the driver
walks.

Comes in: a `Program`. Goes out: an object with ``run``. Kernels with one loop text are compiled
once, in this program and, through the disk cache, in every later one.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.driver import STEP, driver
from graphc.backends.llvm.emit import Interface, emit, interface
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.schedule import View, schedule
from graphc.backends.llvm.threads import pool
from graphc.errors import UserError
from graphc.expr import Buffer
from graphc.graph import Array, describe, toposort
from graphc.kernels.kernel import Kernel, Program
from graphc.loops.ir import Statement
from graphc.loops.text import Names, loops_text

VERSION = "2"
"""Changes when the same loops give other machine code: part of every cache key."""


@dataclass(frozen=True)
class Compiled:
    """A kernel's loops, how to call it, and the addresses of its phases."""

    name: str
    loops: tuple[Statement, ...]
    interface: Interface
    addresses: tuple[int, ...]

    @property
    def ir(self) -> str:
        """The LLVM IR, written anew: a kernel from the cache never needed any."""
        return emit(self.name, self.loops, host())


_LINKED: dict[str, tuple[int, ...]] = {}
_LOCK = threading.Lock()


def compile_kernel(kernel: Kernel) -> Compiled:
    """Schedule, emit and link a kernel, or find one with equal loops in the process or on disk."""
    loops = schedule(kernel, host())
    names = Names()
    text = loops_text(loops, names)
    types = (f"{name}: {x.type}" for x, name in names.known.items() if isinstance(x, Buffer))
    key = hashlib.sha256("\n".join([VERSION, text, *types]).encode()).hexdigest()
    name = f"kernel_{key[:16]}"
    called = interface(name, loops)
    with _LOCK:
        if key not in _LINKED:
            binary = cache.fetch(key, lambda: jit.object_code(emit(name, loops, host())))
            found = jit.link([binary], called.symbols)
            _LINKED[key] = tuple(found[s] for s in called.symbols)
    return Compiled(name, loops, called, _LINKED[key])


def _place(buffer: Buffer) -> tuple[Buffer, int]:
    """The memory a kernel's buffer is a view of, and the element it begins at."""
    if isinstance(buffer, View) and buffer.base is not None:
        return buffer.base, buffer.start
    return buffer, 0


class Executable:
    """Runs a program. Calls from several threads are safe; they take turns, because they share one
    arena.
    """

    TEXTS = ("loops", "llvm", "asm")

    def __init__(self, program: Program) -> None:
        self.program = program
        self.compiled = [compile_kernel(k) for k in program.kernels]
        self.lock = threading.Lock()
        self._lay_out()
        self.driver, self.pool = driver(), pool()

    def _lay_out(self) -> None:
        """Slots (one pointer per buffer), slot tables (one per kernel) and steps, all in memory
        that stays put.
        """
        program = self.program
        wanted = [_place(b) for c in self.compiled for b in c.interface.buffers]
        self.slot_of = {place: k for k, place in enumerate(dict.fromkeys(wanted))}
        self.slots = (ctypes.c_void_p * max(len(self.slot_of), 1))()
        first = ctypes.addressof(self.slots)
        self.slots_of: dict[Buffer, list[tuple[int, int]]] = {}  # slot, and bytes from the start
        for (buffer, start), slot in self.slot_of.items():
            shift = start * buffer.type.dtype.bytes
            self.slots_of.setdefault(buffer, []).append((slot, shift))
        scratch = [b for b in self.slots_of if b.scope == "scratch"]
        room = max((b.type.bytes for b in scratch), default=0)  # kernels run one after another
        self.arena = np.empty(program.plan.arena_bytes + room + 64, np.uint8)
        base = self.arena.ctypes.data + (-self.arena.ctypes.data) % 64
        for buffer in scratch:
            self._point(buffer, base + program.plan.arena_bytes)
        for buffer, offset in program.plan.offsets.items():
            self._point(buffer, base + offset)
        self.held = [
            (b, np.asarray(n.op.storage.array if n.op.storage else n.op.eval()))
            for n, b in program.leaves
        ]
        for buffer, array in self.held:
            self._point(buffer, array.ctypes.data)
        self.faults = np.zeros(max(len(self.compiled), 1), np.int64)
        self._write_steps(first)
        self.outputs = [(b, b.shape, b.type.dtype.numpy) for b in program.outputs]
        self.has_faults = any(c.interface.owners for c in self.compiled)

    def _point(self, buffer: Buffer, address: int) -> None:
        """Say where a buffer is."""
        for slot, shift in self.slots_of.get(buffer, ()):
            self.slots[slot] = address + shift

    def _write_steps(self, first: int) -> None:
        self.tables, steps = [], []
        for number, compiled in enumerate(self.compiled):
            code = compiled.interface
            places = [first + 8 * self.slot_of[_place(b)] for b in code.buffers]
            table = (ctypes.c_int64 * (len(places) + 1))(
                *places, self.faults.ctypes.data + 8 * number
            )
            self.tables.append(table)
            for address, extent, size in zip(
                compiled.addresses, code.extents, code.grains, strict=True
            ):
                steps += [address, ctypes.addressof(table), max(extent, 1), size]
        self.steps = (ctypes.c_int64 * max(len(steps), 1))(*steps)
        self.count = len(steps) // STEP

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run on dense arrays of the right types, in the order of the graph's inputs."""
        with self.lock:
            outputs = self._bind(arrays)
            self._execute(0, self.count)
            if self.has_faults and self.faults.any():
                raise self._fault()
        return outputs

    def _bind(self, arrays: Sequence[Array]) -> list[Array]:
        """Point the slots at the inputs and at fresh outputs, which go out."""
        for buffer, array in zip(self.program.inputs, arrays, strict=True):
            self._point(buffer, array.ctypes.data)
        outputs = []
        for buffer, shape, dtype in self.outputs:
            outputs.append(np.empty(shape, dtype))
            self._point(buffer, outputs[-1].ctypes.data)
        return outputs

    def _execute(self, first: int, count: int) -> None:
        start = ctypes.addressof(self.steps) + 8 * STEP * first
        self.pool.ready()
        self.driver(start, count, self.pool.state, self.pool.parallel_for)

    def profile(self, arrays: Sequence[Array], repeats: int = 10) -> list[float]:
        """The median seconds of each kernel, run one after another ``repeats`` times; updates are
        applied.
        """
        phases = [len(c.addresses) for c in self.compiled]
        seconds = np.zeros((repeats, len(phases)))
        with self.lock:
            outputs = self._bind(arrays)
            for line in seconds:
                first = 0
                for kernel, count in enumerate(phases):
                    start = time.perf_counter()
                    self._execute(first, count)
                    line[kernel] = time.perf_counter() - start
                    first += count
            del outputs
        return [float(x) for x in np.median(seconds, axis=0)] if repeats else []

    def _fault(self) -> UserError:
        """The error of the first checked index that missed."""
        step = int(np.flatnonzero(self.faults)[0])
        owner = self.compiled[step].interface.owners[int(self.faults[step]) - 1]
        self.faults[:] = 0
        error = UserError(
            "GC0306", f"{owner}: an index is out of bounds", fix="check the indices passed in"
        )
        nodes = self.program.kernels[step].nodes
        node = next((n for n in nodes if n.op is owner), nodes[-1])
        return error.located(str(node.site))

    def source(self, level: str, kernel: int | None = None) -> str:
        """Text of every distinct kernel, or of number ``kernel``: "loops", "llvm" or "asm"."""
        makers: dict[str, Callable[[Compiled], str]] = {
            "loops": lambda c: loops_text(c.loops),
            "llvm": lambda c: c.ir,
            "asm": lambda c: jit.assembly(c.ir),
        }
        if kernel is not None and kernel not in range(len(self.compiled)):
            raise UserError(
                "GC0104",
                f"there is no kernel {kernel!r}",
                why=f"the program has {len(self.compiled)} kernels, counted from 0",
                fix="see them with source('kernels')",
            )
        chosen = self.compiled if kernel is None else [self.compiled[kernel]]
        distinct = {c.name: c for c in chosen}
        return "\n\n".join(makers[level](c) for c in distinct.values())


def check_dtypes(program: Program) -> None:
    """Refuse what this backend has no code for. Raises `UserError` GC0401."""
    for node in toposort(node for kernel in program.kernels for node in kernel.nodes):
        if node.dtype.name == "bfloat16":
            raise UserError(
                "GC0401", "the llvm backend cannot run bfloat16 yet", fix="cast to float32"
            ).located(str(node.site), [describe(node)])
