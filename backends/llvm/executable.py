"""A program ready to run natively: linked code, memory, and the steps that the driver walks.

Comes in: an `Image` and the arrays its graph holds. Goes out: an object with ``run``. The program
itself is needed only to look at, or to name the operation that failed.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.backends.llvm import jit
from graphc.backends.llvm.code import Form, addresses, form
from graphc.backends.llvm.driver import STEP, driver
from graphc.backends.llvm.emit import SHARE_ABOVE, grain
from graphc.backends.llvm.entry import Call, entry
from graphc.backends.llvm.image import Called, Image
from graphc.backends.llvm.library import entry as library_entry
from graphc.backends.llvm.pages import LARGE, block
from graphc.backends.llvm.panels import operand_uses
from graphc.backends.llvm.repeat import ROUNDS, repeat
from graphc.backends.llvm.results import Results
from graphc.backends.llvm.threads import pool
from graphc.errors import UserError
from graphc.graph import Array
from graphc.kernels.calls import Library
from graphc.kernels.kernel import Program
from graphc.ops.library import Track
from graphc.results import Result, arrived
from graphc.runner import of_kernel

Choose = Callable[[list[Form]], list[Form]]


class Listing:
    """The program and the forms of its kernels, which somebody may want to see: made when asked.

    ``choose`` gives the forms their tiles, where these were measured.
    """

    def __init__(self, make: Callable[[], Program], choose: Choose = list) -> None:
        self.make, self.choose = make, choose

    @functools.cached_property
    def program(self) -> Program:
        return self.make()

    @functools.cached_property
    def forms(self) -> list[Form]:
        program = self.program
        return self.choose([*map(form, program.kernels, operand_uses(program))])

    def report(self, fault: int) -> None:
        """Raise the error of a checked index that missed: ``kernel << 32 | number of check``."""
        kernel, number = fault >> 32, fault & 0xFFFFFFFF
        owner = self.forms[kernel].interface.owners[number - 1]
        error = UserError(
            "GC0306", f"{owner}: an index is out of bounds", fix="check the indices passed in"
        )
        nodes = self.program.kernels[kernel].nodes
        node = next((n for n in nodes if n.op is owner), nodes[-1])
        raise error.located(str(node.site))


class Executable:
    """Runs a program. Calls from several threads are safe; they take turns, because they share one
    arena. So are forks while another thread is inside a call; what that call was about to update
    may be half written in the child.
    """

    TEXTS = ("loops", "llvm", "asm")
    HAS_MEMORY = False

    def __init__(
        self,
        made: Image,
        held: Sequence[Array],
        listing: Listing,
        calls: Library = Library(),  # noqa: B008  it is frozen
    ) -> None:
        self.image, self.held, self.listing, self.calls = made, [*held], listing, calls
        self.failures: dict[int, BaseException] = {}
        self.lock = threading.Lock()
        self.results = Results(self.image.outputs)
        self.driver, self.pool = driver(), pool()
        self._lay_out()
        self._drive(self.beforehand, 0, len(self.beforehand) // STEP)
        self.attempt = entry(self._call())
        _LIVING.add(self)

    @property
    def program(self) -> Program:
        return self.listing.program

    @property
    def compiled(self) -> list[Form]:
        """The kernels in order; equal ones have equal names."""
        return self.listing.forms

    def _lay_out(self) -> None:
        """Slots (one pointer per place in memory), slot tables (one per kernel) and steps, all in
        memory that stays put.
        """
        made = self.image
        self.slots = (ctypes.c_void_p * max(len(made.slots), 1))()
        self.arena = block(max(made.arena_bytes, 1))
        base = self.arena.ctypes.data
        starts = {("leaf", n): a.ctypes.data for n, a in enumerate(self.held)}
        starts |= {("constant", n): a.ctypes.data for n, a in enumerate(made.constants)}
        for slot, (kind, number, shift) in enumerate(made.slots):
            start = base + number if kind == "arena" else starts.get((kind, number), 0)
            self.slots[slot] = start + shift
        self.faults = np.zeros(max(len(made.steps), 1), np.int64)
        self._write_steps()
        self.inputs, self.results_at = self._places("input"), self._places("output")

    def _write_steps(self) -> None:
        self.tables = []
        steps: list[int] = []
        beforehand: list[int] = []
        self.functions: dict[int, Any] = {}
        found = addresses(c for c in self.image.codes if c.binary)
        called = {c.code: c for c in self.image.calls}
        first = ctypes.addressof(self.slots)
        for number, step in enumerate(self.image.steps):
            fault = self.faults.ctypes.data + 8 * number
            table = (ctypes.c_int64 * (len(step.slots) + 1))(
                *(first + 8 * slot for slot in step.slots), fault
            )
            self.tables.append(table)
            phases = self.image.codes[step.code].phases
            dearest = max(phase.price for phase in phases)  # each core copies what it will read
            entries = found.get(self.image.codes[step.code].name, ())
            if step.code in called:
                entries = (self._library(number, called[step.code]),)
            for written, chosen in ((beforehand, step.once), (steps, step.phases)):
                for n in chosen:
                    phase, entered = phases[n], entries[n]
                    chunk = grain(phase.extent, phase.unit, dearest, self.pool.threads)
                    written += [entered, ctypes.addressof(table), max(phase.extent, 1), chunk]
        self.steps = (ctypes.c_int64 * max(len(steps), 1))(*steps)
        self.beforehand = (ctypes.c_int64 * len(beforehand))(*beforehand)
        self.count = len(steps) // STEP

    def _library(self, number: int, called: Called) -> int:
        """The address of a function that does what a library does in step ``number``."""

        def failed(error: BaseException) -> None:
            self.failures[number] = error
            self.faults[number] = 1

        made = library_entry(self.calls, called.number, called.kept, failed)
        self.functions[number] = made
        return ctypes.cast(made, ctypes.c_void_p).value or 0

    def report(self, fault: int) -> None:
        """Raise the error of a fault: ``kernel << 32 | number``."""
        kernel = fault >> 32
        error = self.failures.pop(kernel, None)
        if isinstance(error, UserError):
            error = error.located(str(self.program.kernels[kernel].nodes[0].site))
        if error is not None:
            raise error
        self.listing.report(fault)

    def _call(self) -> Call:
        """What `attempt` does, which is what `run` does."""
        made = self.image
        codes = [made.codes[s.code] for s in made.steps]
        return Call(
            inputs=made.inputs,
            outputs=made.outputs,
            places=self.inputs,
            result_places=self.results_at,
            faults=self.faults if any(c.checks for c in codes) else self.faults[:0],
            steps=ctypes.addressof(self.steps),
            step_count=self.count,
            is_long=sum(p.price for c in codes for p in c.phases) > SHARE_ABOVE,
            pool=self.pool,
            lock=self.lock,
            report=self.report,
            empty=self.results.empty if self._has_large_results() else np.empty,
            memory=(
                self.slots,
                self.arena,
                self.held,
                self.tables,
                self.steps,
                self.functions,
                made,
            ),
        )

    def _has_large_results(self) -> bool:
        return any(t.bytes >= LARGE for t in self.image.outputs)

    def _places(self, kind: str) -> list[tuple[int, int, int]]:
        """For each slot of the inputs or outputs: the number, the slot's address, the shift."""
        first = ctypes.addressof(self.slots)
        return [
            (number, first + 8 * slot, shift)
            for slot, (found, number, shift) in enumerate(self.image.slots)
            if found == kind
        ]

    def begin_again(self) -> None:
        """In the child of a fork: a call that another thread was inside never ends here."""
        if self.lock.locked():  # released, not replaced: the entry holds its methods
            self.lock.release()
        self.faults[:] = 0

    def attempt_later(self, *arrays: Array) -> None:
        """Leaves every call to `later`."""

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Run on dense arrays of the right types, in the order of the graph's inputs."""
        self.pool.ready()
        found = self.attempt(*arrays)
        return self._run_slowly(arrays) if found is None else found

    def later(self, arrays: Sequence[Array]) -> list[Result]:
        """`run`: the results are there."""
        return arrived(self.run(arrays))

    def _run_slowly(self, arrays: Sequence[Array]) -> list[Array]:
        """The same through ctypes: for a dtype object that only equals NumPy's own, and wherever
        there are no entries.
        """
        with self.lock:
            outputs = self._bind(arrays)
            self._drive(self.steps, 0, self.count)
        self._check()
        return outputs

    def _check(self) -> None:
        """Raise the first fault of what ran, if there was any."""
        cells = self.faults.copy()
        self.faults[:] = 0
        if cells.any():
            kernel = int(np.flatnonzero(cells)[0])
            self.report(kernel << 32 | int(cells[kernel]))

    def loop(self, reads: Sequence[Track], writes: Sequence[Track]) -> None:
        """Run once for each step of these tracks, which stand for the inputs and the outputs."""
        moves = [
            (slot, tracks[number].addresses + shift)
            for places, tracks in ((self.inputs, reads), (self.results_at, writes))
            for number, slot, shift in places
        ]
        if not moves:  # nothing has any elements
            return
        slots = np.array([slot for slot, _ in moves], np.int64)
        addresses = np.stack([found for _, found in moves], axis=1)
        for first in range(0, len(addresses), ROUNDS):
            with self.lock:
                self._repeat(slots, addresses[first : first + ROUNDS])
            self._check()

    def _repeat(self, slots: Array, addresses: Array) -> None:
        self.pool.ready()
        driven = (self.count, self.pool.state, self.pool.parallel_for)
        moved = (slots.ctypes.data, len(slots), addresses.ctypes.data, len(addresses))
        repeat()(ctypes.addressof(self.steps), *driven, *moved)

    def _bind(self, arrays: Sequence[Array]) -> list[Array]:
        """Point the slots at the inputs and at fresh outputs, which go out."""
        outputs = [self.results.empty(t.static_shape, t.dtype.numpy) for t in self.image.outputs]
        for places, given in ((self.inputs, arrays), (self.results_at, outputs)):
            for number, slot, shift in places:
                address = given[number].ctypes.data + shift
                ctypes.c_int64.from_address(slot).value = address
        return outputs

    def _drive(self, steps: ctypes.Array[ctypes.c_int64], first: int, count: int) -> None:
        """Run some of the ``steps``."""
        start = ctypes.addressof(steps) + 8 * STEP * first
        self.pool.ready()
        self.driver(start, count, self.pool.state, self.pool.parallel_for)

    def profile(self, arrays: Sequence[Array], repeats: int = 10) -> list[float]:
        """The median seconds of each kernel, run one after another ``repeats`` times; updates are
        applied.
        """
        phases = [len(step.phases) for step in self.image.steps]
        seconds = np.zeros((repeats, len(phases)))
        with self.lock:
            outputs = self._bind(arrays)
            for line in seconds:
                first = 0
                for kernel, count in enumerate(phases):
                    start = time.perf_counter()
                    self._drive(self.steps, first, count)
                    line[kernel] = time.perf_counter() - start
                    first += count
            del outputs
        return [float(x) for x in np.median(seconds, axis=0)]

    def source(self, level: str, kernel: int | None = None) -> str:
        """Text of every distinct kernel, or of number ``kernel``: "loops", "llvm" or "asm"."""
        makers: dict[str, Callable[[Form], str]] = {
            "loops": lambda c: c.text,
            "llvm": lambda c: c.ir if c.kernel.call is None else c.text,
            "asm": lambda c: jit.assembly(c.ir) if c.kernel.call is None else c.text,
        }
        distinct = {c.name: c for c in of_kernel(self.compiled, kernel)}
        return "\n\n".join(makers[level](c) for c in distinct.values())


_LIVING: weakref.WeakSet[Executable] = weakref.WeakSet()
"""All executables: what is registered for forks stays registered, so it must not be they."""


def _begin_again() -> None:
    for each in _LIVING:
        each.begin_again()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_again)
