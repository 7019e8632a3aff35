"""Panels that several kernels fill alike are filled once, and those of constants before any call.

Comes in: the kernels of a program, in order, and how each fills its scratch. Goes out: where each
kernel's scratch lies, and which of its phases need not run. A separate step because it looks across
kernels: every time step of a recurrent network multiplies by the same weights, and copying these
into panels costs as much as multiplying 32 rows by them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from graphc.backends.llvm.emit import phase_groups
from graphc.expr import Buffer, Load, Reduce, walk
from graphc.kernels.flat import View
from graphc.kernels.kernel import Kernel, Program
from graphc.loops.ir import Put, Statement, expressions, statements
from graphc.loops.text import Names, loops_text
from graphc.types import TensorType

ALIGNMENT = 64
ALWAYS = 1 << 20
"""The kernels that one copy of a constant serves: those of all calls."""

Place = tuple[Buffer, int]
"""Memory, and the element at which a kernel's view of it begins."""

Slot = tuple[int, int]
"""The number of a kernel, and of one of its slots."""

Key = tuple[object, ...]
"""The text of loops that fill a panel, its type, and the memory they read."""


@dataclass(frozen=True)
class Filling:
    """The ``phases`` of a kernel that do nothing but fill the slot ``scratch`` from the slots
    ``sources``, and the text of these loops.
    """

    scratch: int
    phases: tuple[int, ...]
    text: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Use:
    """A kernel of a program, as far as panels go: its fillings, the memory behind each slot (of
    scratch: its type), and the slots it writes.
    """

    fillings: Sequence[Filling]
    places: Sequence[Place | TensorType]
    written: Sequence[int]


@dataclass(frozen=True)
class Panels:
    """Byte offsets of the scratch behind every (kernel, slot) in ``size`` bytes, the (kernel,
    phase) to leave out of every call, and those of them to run ``once``, before the first.

    Scratch that one kernel uses begins at 0, because kernels run one after another; scratch that a
    later kernel or call reads again has a place of its own.
    """

    offsets: dict[tuple[int, int], int]
    size: int
    needless: frozenset[tuple[int, int]]
    once: frozenset[tuple[int, int]]


def place_of(buffer: Buffer) -> Place:
    """The memory a kernel's buffer is a view of, and the element it begins at."""
    if isinstance(buffer, View) and buffer.base is not None:
        return buffer.base, buffer.start
    return buffer, 0


def shared_panels(kernels: Sequence[Use], constants: Collection[Buffer] = ()) -> Panels:
    """Where the scratch of each kernel lies.

    A kernel finds its panels filled when an earlier one filled them by equal loops from the same
    memory, and nothing wrote to that memory since; or when that memory is one of ``constants``.
    """
    filled: dict[Key, Slot] = {}
    read_by: dict[Buffer, list[Key]] = {}
    twin: dict[Slot, Slot] = {}
    lasting: set[Slot] = set()
    needless: set[tuple[int, int]] = set()
    once: set[tuple[int, int]] = set()
    for number, kernel in enumerate(kernels):
        twin.update({slot: slot for slot in _scratch(number, kernel)})
        for filling in kernel.fillings:
            sources = [_memory(kernel.places[k]) for k in filling.sources]
            key: Key = (filling.text, kernel.places[filling.scratch], *sources)
            slot = (number, filling.scratch)
            twin[slot] = filled.setdefault(key, slot)
            for memory, _ in sources:
                read_by.setdefault(memory, []).append(key)
            phases = {(number, phase) for phase in filling.phases}
            if twin[slot] != slot:
                needless |= phases
                lasting.add(twin[slot])
            elif all(memory in constants for memory, _ in sources):
                needless |= phases
                once |= phases
                lasting.add(slot)
        for k in kernel.written:
            place = kernel.places[k]
            if isinstance(place, tuple):
                for key in read_by.pop(place[0], ()):
                    filled.pop(key, None)
    offsets, size = _laid_out(kernels, twin, lasting)
    return Panels(offsets, size, frozenset(needless), frozenset(once))


def _scratch(number: int, kernel: Use) -> list[Slot]:
    return [(number, k) for k, p in enumerate(kernel.places) if isinstance(p, TensorType)]


def _memory(place: Place | TensorType) -> Place:
    assert isinstance(place, tuple), "panels are filled from memory that outlives the kernel"
    return place


def constants_of(program: Program) -> set[Buffer]:
    """The buffers that hold one value for ever."""
    return {buffer for node, buffer in program.leaves if node.op.storage is None}


def operand_uses(program: Program) -> list[dict[Buffer, int]]:
    """For each kernel, how many kernels one copy of each operand of its sums will serve: those of
    its form, which are scheduled alike; `ALWAYS` for a constant.
    """
    constants = constants_of(program)
    read = [(_form(kernel), _operands(kernel)) for kernel in program.kernels]
    count = Counter((form, b) for form, operands in read for b in operands)
    return [
        {b: ALWAYS if b in constants else count[form, b] for b in operands}
        for form, operands in read
    ]


def _form(kernel: Kernel) -> tuple[int, ...]:
    return tuple(i.extent for i in kernel.iters)


def _operands(kernel: Kernel) -> set[Buffer]:
    sums = (e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduce))
    return {x.buffer for e in sums for x in walk(e.body) if isinstance(x, Load)}


def fillings(loops: Sequence[Statement], slots: Sequence[Buffer]) -> Iterator[Filling]:
    """What fills the scratch among the ``slots`` of a kernel, where that can be told apart."""
    for k, scratch in enumerate(slots):
        found = _filling(loops, scratch) if scratch.scope == "scratch" else None
        if found is not None:
            phases, text, sources = found
            yield Filling(k, phases, text, tuple(map(slots.index, sources)))


def _filling(
    loops: Sequence[Statement], scratch: Buffer
) -> tuple[tuple[int, ...], str, list[Buffer]] | None:
    """The phases that do nothing but fill ``scratch`` from memory, their text, and the memory it
    names; None if it is filled in another way.
    """
    groups = phase_groups(loops)
    found = [n for n, group in enumerate(groups) if scratch in written(group)]
    text, names = [], Names()
    for number in found:
        group = groups[number]
        if written(group) != {scratch} or any(b.scope != "global" for b in _read(group)):
            return None
        text.append(loops_text(group, names))
    sources = [b for b in names.known if isinstance(b, Buffer) and b is not scratch]
    return (tuple(found), "\n".join(text), sources) if found else None


def written(loops: Iterable[Statement]) -> set[Buffer]:
    """The buffers that loops write to."""
    return {s.buffer for s in statements(tuple(loops)) if isinstance(s, Put)}


def _read(group: Iterable[Statement]) -> set[Buffer]:
    parts = (e for s in statements(tuple(group)) for e in walk(*expressions(s)))
    return {e.buffer for e in parts if isinstance(e, Load)}


def _laid_out(
    kernels: Sequence[Use], twin: dict[Slot, Slot], lasting: set[Slot]
) -> tuple[dict[Slot, int], int]:
    """The offset of each slot, and the bytes of all."""
    offsets: dict[Slot, int] = {}
    top = 0
    for number, kernel in enumerate(kernels):
        room = 0
        for slot in _scratch(number, kernel):
            if twin[slot] not in lasting:
                offsets[slot] = room
                room += _size(kernel, slot)
        top = max(top, room)
    for slot in twin:
        if slot in lasting:
            offsets[slot] = top
            top += _size(kernels[slot[0]], slot)
    offsets.update({slot: offsets[first] for slot, first in twin.items()})
    return offsets, top


def _size(kernel: Use, slot: Slot) -> int:
    type_ = kernel.places[slot[1]]
    assert isinstance(type_, TensorType)
    return -(-type_.bytes // ALIGNMENT) * ALIGNMENT
