"""A program ready to run on a device: functions, memory, launches in order.

Comes in: a program, the code of its kernels and a device. Goes out: an object with ``run``.
Launches are recorded, so that a call costs the host little; where a library computes a step, its
operands come to the host and its results go back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from graphc.backends.cuda.code import Form, Shared, forms
from graphc.backends.cuda.device import Device, Launch, Memory
from graphc.backends.cuda.layout import Layout, rounded
from graphc.backends.cuda.residents import Residents, resident
from graphc.backends.cuda.results import Shelf
from graphc.backends.cuda.together import shares
from graphc.dlpack import Borrowed
from graphc.errors import UserError
from graphc.expr import Buffer
from graphc.graph import Array
from graphc.kernels.calls import Library, call_text, signature
from graphc.kernels.flat import View
from graphc.kernels.kernel import Call, Kernel, Program
from graphc.loops.text import loops_text
from graphc.ops.library import Track, loop_in_python
from graphc.results import Result
from graphc.runner import of_kernel
from graphc.types import INT64, TensorType

FAULT = 8
"""Bytes of a fault cell."""
Work = Callable[[], None]


class Executable:
    """Runs a program. Calls from several threads are safe; they take turns."""

    TEXTS = ("loops", "cuda", "ptx", "sass", "usage")
    HAS_MEMORY = True

    def __init__(
        self, program: Program, device: Device, calls: Library, made: Sequence[Form] = ()
    ) -> None:
        self.program, self.device, self.calls = program, device, calls
        self.lock = threading.Lock()
        self.forms = [*made] or forms(program, device.limits)
        self._place()
        self._load()

    # Making ---------------------------------------------------------------------------------------
    def _place(self) -> None:
        """Memory for everything."""
        program, allocate = self.program, self.device.allocate
        self.arena = allocate(max(program.plan.arena_bytes, 1))
        self.scratch = allocate(max([1, *(_room(form) for form in self.forms)]))
        self._place_leaves()
        self._place_mail()
        base = self.arena.address
        self.addresses |= {b: base + offset for b, offset in program.plan.offsets.items()}
        self.tables: dict[Shared, Memory] = {}
        for form in self.forms:
            if form.shared is not None and form.shared not in self.tables:
                self.tables[form.shared] = self._table(form.shared)

    def _table(self, shared: Shared) -> Memory:
        """What tells the blocks of a launch that kernels share where their parts are."""
        starts = [[self._address(b) for b in p.own] for p in shared.group.patterns]
        rows = shared.parts.rows(starts)
        memory = self.device.allocate(rows.nbytes)
        self.device.write(memory.address, rows)
        return memory

    def _place_mail(self) -> None:
        """Inputs, results and cells of faults, each kind one behind another, and what carries them
        there and back. The cells come back where there is something to check.
        """
        program, device = self.program, self.device
        cells = TensorType(INT64, (len(self.forms),))
        inputs, outputs = ([b.type for b in bs] for bs in (program.inputs, program.outputs))
        ins, outs, all_outs = (Layout.of(ts) for ts in (inputs, outputs, [*outputs, cells]))
        self.is_checked = any(p.owners for form in self.forms for p in form.phases)
        self.mail = [device.allocate(max(layout.size, 1)) for layout in (ins, all_outs)]
        for memory, layout, buffers in zip(
            self.mail, (ins, outs), (program.inputs, program.outputs), strict=True
        ):
            places = (memory.address + offset for offset in layout.offsets)
            self.addresses |= dict(zip(buffers, places, strict=True))
        start, home = (memory.address for memory in self.mail)
        self.faults = home + all_outs.offsets[-1]
        device.write(self.faults, np.zeros(len(self.forms), np.int64))
        shown = all_outs if self.is_checked else outs
        self.inbox, self.outbox = device.inbox(start, ins), device.outbox(home, shown)
        check = self._check_later if self.is_checked else None
        self.shelf = Shelf(device, home, shown, check)
        self.fitting = [*zip(ins.dtypes, ins.shapes, strict=True)]

    def _place_leaves(self) -> None:
        """Constants, and the addresses of parameters, which other programs share."""
        leaves = self.program.leaves
        changed = {b for kernel in self.program.kernels for b in kernel.written}
        states = [(n.op.storage, b) for n, b in leaves if n.op.storage is not None]
        self.residents = Residents(self.device, [(s, b in changed) for s, b in states])
        self.addresses = {b: resident(self.device, s).address for s, b in states}
        self.constants = []
        for node, buffer in leaves:
            if node.op.storage is None:
                self.constants.append(self.device.allocate(max(buffer.type.bytes, 1)))
                self.addresses[buffer] = self.constants[-1].address
                self.device.write(self.addresses[buffer], node.op.eval())

    def _load(self) -> None:
        """Functions, and what runs them: recorded stretches between calls of libraries."""
        units = {p.unit.name: p.unit for form in self.forms for p in form.phases}
        self.functions = dict(zip(units, self.device.load([*units.values()]), strict=True))
        steps: list[Launch | Work] = []
        for number, form in enumerate(self.forms):
            call = form.kernel.call
            steps += self._launches(number) if call is None else [partial(self._call, number, call)]
        self.runs = [*_stretches(steps, self.device)]

    def _launches(self, number: int) -> list[Launch]:
        """The launches of a kernel, those that several kernels share with the last of them."""
        form = self.forms[number]
        if form.code is None or (form.shared is not None and number != form.shared.group.last):
            return []
        places = {
            b: self._address(own) for b, own in zip(form.code.buffers, form.buffers, strict=True)
        }
        if form.shared is not None:
            places[form.shared.parts.table] = self.tables[form.shared].address
        end = self.scratch.address
        for buffer in form.code.scratch:
            places[buffer] = end
            end += rounded(buffer.type.bytes)
        fault = self.faults + FAULT * number
        return [
            Launch(
                self.functions[p.unit.name],
                p.grid,
                p.threads,
                p.shared_bytes,
                (
                    *(places[b] for b in p.buffers),
                    *(m.tensor(places[m.buffer]) for m in p.maps),
                    fault,
                ),
            )
            for p in form.phases
        ]

    def _address(self, buffer: Buffer) -> int:
        if isinstance(buffer, View) and buffer.base is not None:
            return self.addresses[buffer.base] + buffer.start * buffer.type.dtype.bytes
        return self.addresses.get(buffer, 0)  # a row of a thread has no address

    def _call(self, number: int, call: Call) -> None:
        """What a library computes: on the host, with copies there and back."""
        place = self.calls.signatures.index(signature(call))
        operands = [self._read(b) for b in call.operands]
        results = [
            None if b is None else np.empty(b.shape, b.type.dtype.numpy) for b in call.results
        ]
        try:
            self.calls.functions[place](operands, results)
        except UserError as error:
            raise error.located(str(self.forms[number].kernel.nodes[0].site)) from None
        for buffer, array in zip(call.results, results, strict=True):
            if buffer is not None and array is not None:
                self.device.write(self.addresses[buffer], array)

    def _read(self, buffer: Buffer) -> Array:
        array = np.empty(buffer.shape, buffer.type.dtype.numpy)
        self.device.read(self.addresses[buffer], array)
        return array

    # Running --------------------------------------------------------------------------------------
    def attempt(self, *arrays: Any) -> list[Array] | None:
        """The usual call: as many arrays as there are inputs, each of the right type; the order of
        their elements in memory does not matter.
        """
        return self.run(arrays) if self._fits(arrays) else None

    def attempt_later(self, *arrays: Any) -> list[Result] | None:
        """`later`, as `attempt`."""
        return self.later(arrays) if self._fits(arrays) else None

    def _fits(self, arrays: Sequence[Any]) -> bool:
        if len(arrays) != len(self.fitting):
            return False
        for array, (dtype, shape) in zip(arrays, self.fitting, strict=True):
            if type(array) is not np.ndarray or array.dtype is not dtype or array.shape != shape:
                return False
        return True

    def run(self, arrays: Sequence[Array | Borrowed]) -> list[Array]:
        """Run on arrays of the right types, in the order of the graph's inputs."""
        with self.lock:
            self._start(arrays)
            outputs = self.outbox()
            if self.is_checked:
                self._check(outputs.pop())
        return outputs

    def later(self, arrays: Sequence[Array | Borrowed]) -> list[Result]:
        """`run` that does not wait: the results do."""
        lent = [array for array in arrays if isinstance(array, Borrowed)]
        with self.lock:
            self._start(arrays)
            return self.shelf.results(lent)

    def _start(self, arrays: Sequence[Array | Borrowed]) -> None:
        """Ask for all the work of a call."""
        self._enter(arrays)
        for work in self.runs:
            work()

    def _enter(self, arrays: Sequence[Any]) -> None:
        """Bring inputs to their places; those that are on the device are copied there."""
        if Borrowed in map(type, arrays):
            for buffer, array in zip(self.program.inputs, arrays, strict=True):
                place = self.addresses[buffer]
                if isinstance(array, Borrowed):
                    self.device.copy(place, array.address, buffer.type.bytes)
                else:
                    self.device.write(place, array)
        else:
            self.inbox(arrays)
        self.residents.gather()

    def loop(self, reads: Sequence[Track], writes: Sequence[Track]) -> None:
        """Run once for each step of these tracks."""
        loop_in_python(self.run, reads, writes)

    def _check(self, cells: Array) -> None:
        """Raise the first fault of what ran, if there was any, and forget them all."""
        if not cells.any():
            return
        self.device.write(self.faults, np.zeros_like(cells))
        number = int(np.flatnonzero(cells)[0])
        owners = [o for p in self.forms[number].phases for o in p.owners]
        raise missed(self.forms[number].kernel, owners[int(cells[number]) - 1])

    def _check_later(self, cells: Array) -> None:
        """`_check` for somebody who looks at a result of `later`."""
        with self.lock:
            self._check(cells)

    # Looking --------------------------------------------------------------------------------------
    def profile(self, arrays: Sequence[Array], repeats: int = 10) -> list[float]:
        """The median seconds of each kernel, run one after another ``repeats`` times; updates are
        applied. Kernels that share a launch share its time in proportion to their elements.
        """
        with self.lock:
            self._enter(arrays)
            found = [[self._seconds(k) for k in range(len(self.forms))] for _ in range(repeats)]
            outputs = self.outbox()
            if self.is_checked:
                self._check(outputs.pop())
        seconds = [float(x) for x in np.median(found, axis=0)]
        return shares(seconds, {f.shared.group for f in self.forms if f.shared is not None})

    def _seconds(self, number: int) -> float:
        call = self.forms[number].kernel.call
        if call is not None:
            start = time.perf_counter()
            self._call(number, call)
            return time.perf_counter() - start
        return self.device.seconds(partial(self.device.run, self._launches(number)))

    def source(self, level: str, kernel: int | None = None) -> str:
        """Text of every distinct kernel, or of number ``kernel``: one of `TEXTS`."""
        texts = (self._text(form, level) for form in of_kernel(self.forms, kernel))
        return "\n\n".join(dict.fromkeys(texts))

    def _text(self, form: Form, level: str) -> str:
        if form.code is None:
            assert form.kernel.call is not None, "a kernel without code is a call"
            return f"# a library computes it\n{call_text(form.kernel.call)}"
        if level == "loops":
            parts = (f"# {p.how}\n{loops_text(p.phase)}" for p in form.code.plan)
            return "\n\n".join(parts)
        if level == "usage":
            told = (self.device.resources(p.unit, p.threads, p.shared_bytes) for p in form.phases)
            return "\n".join(told)
        head = "" if form.shared is None else f"// {form.shared.parts}\n"
        return head + "\n\n".join(self.device.text(p.unit, level) for p in form.phases)


def _room(form: Form) -> int:
    """Bytes of scratch that a kernel needs."""
    buffers = form.code.scratch if form.code is not None else ()
    return sum(rounded(b.type.bytes) for b in buffers)


def _stretches(steps: Sequence[Launch | Work], device: Device) -> Iterator[Work]:
    """Launches between calls of libraries, recorded; and these calls."""
    for is_launch, group in groupby(steps, lambda step: isinstance(step, Launch)):
        if is_launch:
            yield device.recorded([*group])  # type: ignore[list-item]
        else:
            yield from group  # type: ignore[misc]


def missed(kernel: Kernel, owner: object) -> UserError:
    """The error of a checked index that missed."""
    error = UserError(
        "GC0306", f"{owner}: an index is out of bounds", fix="check the indices passed in"
    )
    node = next((n for n in kernel.nodes if n.op is owner), kernel.nodes[-1])
    return error.located(str(node.site))
