"""The code of a program's kernels: what is launched for each, equal ones alike.

Comes in: a program, the limits of a device. Goes out: for every kernel its phases as text, and its
buffers in the order in which these take them. A separate step because no memory has a place yet,
so that code is made once however often it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.emit import Phase, emit
from graphc.backends.cuda.packs import WIDEST
from graphc.backends.cuda.parts import Parts, in_parts, parts_of
from graphc.backends.cuda.schedule import Plan, Planned, normal, plan
from graphc.backends.cuda.together import Group, groups
from graphc.expr import Buffer
from graphc.kernels.flat import View
from graphc.kernels.identity import kernel_identity
from graphc.kernels.kernel import Kernel, Program


@dataclass(frozen=True, eq=False)
class Code:
    """What equal kernels share: loops, the text and the launch of each phase. ``buffers`` are those
    of the kernel it was made of, as the identity numbers them; ``scratch`` is memory besides.
    """

    plan: Plan
    phases: tuple[Phase, ...]
    buffers: tuple[Buffer, ...]
    scratch: tuple[Buffer, ...]


@dataclass(frozen=True, eq=False)
class Shared:
    """A launch of several kernels: which they are, and how their arrays are cut."""

    group: Group
    parts: Parts


@dataclass(frozen=True, eq=False)
class Form:
    """A kernel, its code (none: a library computes it), its buffers in the code's order, and the
    launch if others share it.
    """

    kernel: Kernel
    code: Code | None
    buffers: tuple[Buffer, ...]
    shared: Shared | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        return self.code.phases if self.code is not None else ()


def forms(program: Program, limits: Limits) -> list[Form]:
    """The kernels with their codes, of which equal kernels have one."""
    kernels = [k if k.call is not None else normal(k) for k in program.kernels]
    found: dict[int, Form] = {}
    for group in groups(program, kernels):
        found |= _joined(group, kernels, limits)
    known: dict[str, Code] = {}
    return [found.get(n) or _form(k, limits, known) for n, k in enumerate(kernels)]


def _form(kernel: Kernel, limits: Limits, known: dict[str, Code]) -> Form:
    if kernel.call is not None:
        results = tuple(b for b in kernel.call.results if b is not None)
        return Form(kernel, None, (*kernel.call.operands, *results))
    starts: dict[Buffer, object] = {
        b: b.start % WIDEST for b in (*kernel.read, *kernel.written) if isinstance(b, View)
    }
    text, buffers = kernel_identity(kernel, starts)  # vectors are aligned or not by the start
    key = _key(text)
    if key not in known:
        chosen = plan(kernel, limits)
        phases = tuple(_emitted(f"kernel_{key}", chosen))
        scratch = (b for p in phases for b in p.buffers if b.scope == "scratch")
        known[key] = Code(chosen, phases, buffers, tuple(dict.fromkeys(scratch)))
    return Form(kernel, known[key], buffers)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _emitted(name: str, chosen: Plan) -> Iterator[Phase]:
    """The phases of a kernel as text; their checked indices are numbered through."""
    before = 0
    for number, planned in enumerate(chosen):
        phase = emit(f"{name}_{number}", planned.phase, before)
        before += len(phase.owners)
        yield phase


def _joined(group: Group, kernels: list[Kernel], limits: Limits) -> dict[int, Form]:
    """The forms of the members of a group: they have one code, and its one phase."""
    pattern = group.patterns[0]
    parts = parts_of(pattern.kernel, pattern.arrays, group.sizes, limits)
    chosen = (Planned(str(parts), in_parts(parts)),)
    key = _key(f"{pattern.text}\n{parts.spread}")
    code = Code(chosen, tuple(_emitted(f"kernel_{key}", chosen)), pattern.arrays, ())
    shared = Shared(group, parts)
    pairs = zip(group.members, group.patterns, strict=True)
    return {n: Form(kernels[n], code, p.own, shared) for n, p in pairs}
