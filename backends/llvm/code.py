"""The machine code of a kernel and how to call it, kept under the identity of the kernel.

Comes in: a kernel. Goes out: its `Form`, by which equal kernels are known, and `Code`: plain data,
which a process before this one may have left on disk. A separate step because the identity is taken
before the schedule: a kernel whose code is known is not scheduled, unless somebody asks to see it.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.choice import Choice
from graphc.backends.llvm.emit import Interface, emit, interface
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.packing import ints, packed, type_as_list, type_of_list, unpacked
from graphc.backends.llvm.panels import Filling, fillings, written
from graphc.backends.llvm.schedule import schedule, served
from graphc.backends.llvm.summary import summary
from graphc.backends.llvm.threads import thread_count
from graphc.expr import Buffer
from graphc.identity import attribute_text
from graphc.kernels.calls import call_text
from graphc.kernels.flat import collapse, flatten, rebased
from graphc.kernels.identity import kernel_identity
from graphc.kernels.kernel import Call, Kernel
from graphc.loops.ir import Statement
from graphc.loops.text import loops_text
from graphc.types import TensorType


@dataclass(frozen=True)
class Phase:
    """What the driver must know of a phase: the extent threads share, what a chunk of it is a
    multiple of, and the price in element operations.
    """

    extent: int
    unit: int
    price: float


@dataclass(frozen=True)
class Code:
    """Machine code with the functions ``name.0``, ``name.1``, ..., one per phase.

    ``arguments`` says for each slot which of the kernel's buffers it points to; or of which type
    the scratch is that it points to. ``written`` are the slots that are written, ``fillings`` the
    phases that only fill scratch, ``checks`` the number of checked indices.
    """

    name: str
    phases: tuple[Phase, ...]
    arguments: tuple[int | TensorType, ...]
    written: tuple[int, ...]
    fillings: tuple[Filling, ...]
    checks: int
    binary: bytes

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(f"{self.name}.{n}" for n in range(len(self.phases)))


@dataclass(frozen=True, eq=False)
class Form:
    """A kernel in its normal form, and its buffers as its identity numbers them.

    ``uses`` are the kernels that one copy of an operand serves, ``choice`` is what measuring found.
    """

    kernel: Kernel
    uses: Mapping[Buffer, int]
    key: str
    buffers: tuple[Buffer, ...]
    choice: Choice | None = None

    @property
    def name(self) -> str:
        return f"kernel_{self.key[:16]}"

    @functools.cached_property
    def loops(self) -> tuple[Statement, ...]:
        """The phases: scheduled when somebody asks."""
        return schedule(self.kernel, host(), self.uses, self.choice.tile if self.choice else "")

    @functools.cached_property
    def interface(self) -> Interface:
        return interface(self.name, self.loops)

    @property
    def text(self) -> str:
        """The loops, under a line that sums them up; of a call what is called."""
        if self.kernel.call is not None:
            return f"# a library computes it\n{call_text(self.kernel.call)}"
        uses = served(self.kernel, self.uses)
        line = summary(self.kernel, self.loops, host(), uses, self.choice)
        return f"# {line}\n{loops_text(self.loops)}"

    @property
    def ir(self) -> str:
        """The LLVM IR, written anew: a kernel from the cache never needed any."""
        return emit(self.name, self.loops, host())


def form(kernel: Kernel, uses: Mapping[Buffer, int] | None = None) -> Form:
    """The form of a kernel: equal kernels have equal keys, on one machine."""
    if kernel.call is not None:
        return _call_form(kernel, kernel.call)
    known = uses or {}
    kernel = rebased(collapse(flatten(kernel)))
    text, buffers = kernel_identity(kernel, served(kernel, known))
    made_by = f"{cache.compiler()}\n{host().fingerprint}"
    key = hashlib.sha256(f"{made_by}\n{text}".encode()).hexdigest()
    return Form(kernel, known, key, buffers)


def _call_form(kernel: Kernel, call: Call) -> Form:
    results = tuple(b for b in call.results if b is not None)
    kept = [b is not None for b in call.results]
    text = f"{attribute_text(call.op)} of {[str(x.type) for x in call.operands]} keeps {kept}"
    key = hashlib.sha256(text.encode()).hexdigest()
    return Form(kernel, {}, key, (*call.operands, *results))


def by_choice(form: Form, choice: Choice | None) -> Form:
    """The form by a tile that was measured: another code, unless it is the estimate's own."""
    if choice is None or not choice.tile:
        return replace(form, choice=choice)
    key = hashlib.sha256(f"{form.key}\n{choice.tile}".encode()).hexdigest()
    return replace(form, key=key, choice=choice)


_CODES: dict[str, Code] = {}
_LINKED: dict[str, tuple[int, ...]] = {}
_LOCK = threading.Lock()


LONG = 1e6
"""The price of a call, in element operations: nobody knows it."""

SWITCH = 1e-4
"""Seconds after which Python passes on its lock while code is made. A thread asks for it some 20
times per kernel, between two calls of LLVM; by Python's own 5 ms it would mostly wait.
"""


def codes(forms: Iterable[Form]) -> dict[str, Code]:
    """The code of each form by its key: known in this process, left on disk, or made.

    Threads generate machine code while the next kernels are scheduled and emitted.
    """
    forms = [*forms]
    calls = {form.key: _called(form) for form in forms if form.kernel.call is not None}
    wanted = {form.key: form for form in forms if form.key not in calls}
    with _LOCK:
        for key in wanted.keys() - _CODES.keys():
            found = cache.get(key, read)
            if found is not None:
                _CODES[key] = found
        missing = [form for key, form in wanted.items() if key not in _CODES]
        with _brisk(), ThreadPoolExecutor(thread_count()) as workers:
            made = [(form, workers.submit(jit.object_code, form.ir)) for form in missing]
            for form, binary in made:
                _CODES[form.key] = _described(form, binary.result())
                cache.put(form.key, write(_CODES[form.key]))
        return {form.key: calls.get(form.key) or _CODES[form.key] for form in forms}


@contextmanager
def _brisk() -> Iterator[None]:
    """Threads are soon given Python's lock."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _called(of: Form) -> Code:
    """What stands for the code of a call: it has none, takes long, and may fail."""
    assert of.kernel.call is not None
    count, given = len(of.buffers), len(of.kernel.call.operands)
    places, phase = tuple(range(count)), Phase(1, 1, LONG)
    return Code(of.name, (phase,), places, places[given:], (), 1, b"")


def _described(of: Form, binary: bytes) -> Code:
    """The machine code of a form and what its callers must know."""
    called = of.interface
    place = {b: k for k, b in enumerate(of.buffers)}
    changed = written(of.loops)
    return Code(
        of.name,
        tuple(map(Phase, called.extents, called.units, called.prices)),
        tuple(b.type if b.scope == "scratch" else place[b] for b in called.buffers),
        tuple(k for k, b in enumerate(called.buffers) if b in changed),
        tuple(fillings(of.loops, called.buffers)),
        len(called.owners),
        binary,
    )


def addresses(codes: Iterable[Code]) -> dict[str, tuple[int, ...]]:
    """The functions of each code by its name; what is not in the process yet is linked, at once."""
    wanted = {c.name: c for c in codes}
    with _LOCK:
        new = [c for name, c in wanted.items() if name not in _LINKED]
        found = jit.link([c.binary for c in new], [s for c in new for s in c.symbols])
        _LINKED.update((c.name, tuple(found[s] for s in c.symbols)) for c in new)
        return {name: _LINKED[name] for name in wanted}


# As bytes -----------------------------------------------------------------------------------------
def write(of: Code) -> bytes:
    """The code as bytes, for `read`."""
    return packed(described(of), [of.binary])


def read(data: bytes) -> Code:
    """What `write` wrote. Raises `ValueError` for anything else."""
    head, (binary,) = unpacked(data)
    return restored(head, binary)


def described(of: Code) -> dict[str, Any]:
    """All but the binary, as JSON knows it."""
    return {
        "name": of.name,
        "phases": [[p.extent, p.unit, p.price] for p in of.phases],
        "arguments": [a if isinstance(a, int) else type_as_list(a) for a in of.arguments],
        "written": list(of.written),
        "fillings": [[f.scratch, f.phases, f.text, f.sources] for f in of.fillings],
        "checks": of.checks,
    }


def restored(head: Any, binary: bytes) -> Code:
    """The code that `described` describes. Raises `ValueError`."""
    try:
        return Code(
            str(head["name"]),
            tuple(Phase(int(e), int(u), float(p)) for e, u, p in head["phases"]),
            tuple(a if isinstance(a, int) else type_of_list(a) for a in head["arguments"]),
            ints(head["written"]),
            tuple(
                Filling(int(s), ints(phases), str(text), ints(sources))
                for s, phases, text, sources in head["fillings"]
            ),
            int(head["checks"]),
            binary,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no description of code: {error}") from error
