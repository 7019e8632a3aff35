"""Everything needed to run a program, as plain data: its code, its steps, where its memory lies.

Comes in: a `Program`. Goes out: an `Image`, which can be kept on disk under the identity of the
graph, so that a known graph is neither optimised nor fused nor lowered again. A separate step from
the `Executable` made of it, because an image knows no address of this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.backends.llvm.choice import Choice
from graphc.backends.llvm.code import Code, Form, by_choice, codes, described, restored
from graphc.backends.llvm.packing import ints, packed, type_as_list, type_of_list, unpacked
from graphc.backends.llvm.panels import Panels, Place, Use, constants_of, place_of, shared_panels
from graphc.expr import Buffer
from graphc.graph import Array, Graph, Node
from graphc.kernels.calls import Signature, signature
from graphc.kernels.kernel import Program
from graphc.types import TensorType

Slot = tuple[str, int, int]
"""What a pointer points to: "input", "output", "leaf" or "constant" and its number, and the bytes
from its start; or "arena", the place in it, and 0.
"""
KINDS = ("input", "output", "leaf", "constant", "arena")


@dataclass(frozen=True)
class Step:
    """A kernel of the program: the number of its code, the slots it is given, the phases to run,
    and those to run ``once``, before the first call.
    """

    code: int
    slots: tuple[int, ...]
    phases: tuple[int, ...]
    once: tuple[int, ...] = ()


@dataclass(frozen=True)
class Called:
    """A code that is no code but a call of a library: the number of the call among those of the
    graph, and which of its results have memory.
    """

    code: int
    number: int
    kept: tuple[bool, ...]


@dataclass(frozen=True)
class Image:
    """A program without its addresses; ``constants`` are tables that its graph does not hold,
    ``choices`` what measuring found about each code, ``calls`` the codes that a library computes.
    """

    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    codes: tuple[Code, ...]
    steps: tuple[Step, ...]
    slots: tuple[Slot, ...]
    arena_bytes: int
    constants: tuple[Array, ...]
    choices: tuple[Choice | None, ...]
    calls: tuple[Called, ...] = ()

    def chosen(self, forms: Iterable[Form]) -> list[Form]:
        """The forms of the program's kernels, by the tiles that they run by."""
        choices = [self.choices[step.code] for step in self.steps]
        return [by_choice(form, choice) for form, choice in zip(forms, choices, strict=True)]


def leaves(graph: Graph) -> list[Array]:
    """The arrays that a graph holds, in order: of parameters and tables."""
    return [_value(n) for n in graph.nodes if n.op.kind == "leaf" and not n.op.is_input]


def _value(node: Node) -> Array:
    array: Array = node.op.storage.array if node.op.storage is not None else node.op.eval()
    return array


def image_of(
    program: Program,
    forms: Sequence[Form],
    held: Sequence[Array],
    calls: Sequence[Signature] = (),
) -> Image:
    """The image of a program, given the forms of its kernels, and the `leaves` and the calls of its
    graph.
    """
    known_by_key = codes(forms)
    known = [known_by_key[form.key] for form in forms]
    uses = [_use(form, c) for form, c in zip(forms, known, strict=True)]
    panels = shared_panels(uses, constants_of(program))
    homes, constants = _homes(program, held)
    slots: dict[Slot, int] = {}
    number = {key: n for n, key in enumerate(known_by_key)}
    top = program.plan.arena_bytes
    steps = []
    for k, (form, use) in enumerate(zip(forms, uses, strict=True)):
        places = [
            ("arena", top + panels.offsets[k, n], 0)
            if isinstance(place, TensorType)
            else _slot(homes, place)
            for n, place in enumerate(use.places)
        ]
        found = tuple(slots.setdefault(place, len(slots)) for place in places)
        steps.append(Step(number[form.key], found, *_phases(panels, k, known[k])))
    return Image(
        tuple(b.type for b in program.inputs),
        tuple(b.type for b in program.outputs),
        tuple(known_by_key.values()),
        tuple(steps),
        tuple(slots),
        top + panels.size,
        constants,
        tuple({form.key: form.choice for form in forms}.values()),
        tuple(_called({form.key: form for form in forms}.values(), calls)),
    )


def _phases(panels: Panels, kernel: int, of: Code) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The phases of a kernel to run in every call, and those to run before the first."""
    numbers = range(len(of.phases))
    run = tuple(p for p in numbers if (kernel, p) not in panels.needless)
    return run, tuple(p for p in numbers if (kernel, p) in panels.once)


def _called(forms: Iterable[Form], calls: Sequence[Signature]) -> Iterator[Called]:
    """The codes that are calls, given the distinct forms in the order of their codes."""
    for code, form in enumerate(forms):
        call = form.kernel.call
        if call is not None:
            kept = tuple(b is not None for b in call.results)
            yield Called(code, [*calls].index(signature(call)), kept)


def _use(form: Form, of: Code) -> Use:
    places = [place_of(form.buffers[a]) if isinstance(a, int) else a for a in of.arguments]
    return Use(of.fillings, places, of.written)


def _slot(homes: dict[Buffer, tuple[str, int]], place: Place) -> Slot:
    buffer, start = place
    kind, number = homes[buffer]
    shift = start * buffer.type.dtype.bytes
    return (kind, number + shift, 0) if kind == "arena" else (kind, number, shift)


def _homes(
    program: Program, held: Sequence[Array]
) -> tuple[dict[Buffer, tuple[str, int]], tuple[Array, ...]]:
    """Where each buffer lives, and the tables that are not among those ``held``."""
    homes = {b: ("arena", offset) for b, offset in program.plan.offsets.items()}
    homes.update((b, ("input", n)) for n, b in enumerate(program.inputs))
    homes.update((b, ("output", n)) for n, b in enumerate(program.outputs))
    place = {id(array): n for n, array in enumerate(held)}
    constants: list[Array] = []
    for node, buffer in program.leaves:
        array = _value(node)
        if id(array) in place:
            homes[buffer] = ("leaf", place[id(array)])
        else:
            homes[buffer] = ("constant", len(constants))
            constants.append(array)
    return homes, tuple(constants)


# As bytes -----------------------------------------------------------------------------------------
def write(of: Image) -> bytes:
    """The image as bytes, for `read`."""
    head = {
        "inputs": [type_as_list(t) for t in of.inputs],
        "outputs": [type_as_list(t) for t in of.outputs],
        "codes": [described(c) for c in of.codes],
        "steps": [[s.code, s.slots, s.phases, s.once] for s in of.steps],
        "slots": of.slots,
        "arena": of.arena_bytes,
        "constants": [[str(a.dtype), *a.shape] for a in of.constants],
        "calls": [[c.code, c.number, c.kept] for c in of.calls],
        "choices": [choice and [choice.tile, choice.gain, choice.tried] for choice in of.choices],
    }
    return packed(head, [*(c.binary for c in of.codes), *(a.tobytes() for a in of.constants)])


def read(data: bytes) -> Image:
    """What `write` wrote. Raises `ValueError` for anything else."""
    head, parts = unpacked(data)
    try:
        count = len(head["codes"])
        codes = tuple(restored(h, b) for h, b in zip(head["codes"], parts[:count], strict=True))
        tables = zip(head["constants"], parts[count:], strict=True)
        found = Image(
            tuple(map(type_of_list, head["inputs"])),
            tuple(map(type_of_list, head["outputs"])),
            codes,
            tuple(Step(int(code), *map(ints, rest)) for code, *rest in head["steps"]),
            tuple((str(kind), int(number), int(shift)) for kind, number, shift in head["slots"]),
            int(head["arena"]),
            tuple(_table(type_of_list(t), part) for t, part in tables),
            tuple(choice and choice_of(choice) for choice in head["choices"]),
            tuple(Called(int(c), int(n), tuple(map(bool, kept))) for c, n, kept in head["calls"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no image: {error}") from error
    _check(found)
    return found


def choice_of(values: Any) -> Choice:
    """The choice whose fields are ``values``. Raises `ValueError` or `TypeError`."""
    tile, gain, tried = values
    return Choice(str(tile), float(gain), int(tried))


def _table(type_: TensorType, data: bytes) -> Array:
    return np.frombuffer(data, type_.dtype.numpy).reshape(type_.static_shape).copy()


def _check(of: Image) -> None:
    """Raises `ValueError` where a number names nothing."""
    limits: dict[str, Any] = {
        "input": len(of.inputs), "output": len(of.outputs), "constant": len(of.constants),
        "arena": max(of.arena_bytes, 1),
    }  # fmt: skip
    for kind, number, shift in of.slots:
        _require(kind in KINDS and 0 <= number < limits.get(kind, 1 << 31) and shift >= 0)
    _require(len(of.choices) == len(of.codes))
    _require(_all_below((c.code for c in of.calls), len(of.codes)))
    numbers = {c.code for c in of.calls}
    _require(all((n in numbers) == (not c.binary) for n, c in enumerate(of.codes)))
    for step in of.steps:
        _require(0 <= step.code < len(of.codes))
        called = of.codes[step.code]
        _require(len(step.slots) == len(called.arguments))
        _require(_all_below(step.slots, len(of.slots)))
        _require(_all_below((*step.phases, *step.once), len(called.phases)))


def _all_below(values: Iterable[int], limit: int) -> bool:
    return all(0 <= v < limit for v in values)


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("a number in an image names nothing")
