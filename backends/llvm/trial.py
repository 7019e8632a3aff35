"""Kernels timed alone, on random data of their own shapes.

Comes in: several forms of one kernel. Goes out: the least seconds that each took. A separate step
because it is the only place where the compiler runs what it makes: the forms take turns, on the
same memory, so that a busy minute or a lucky address falls to all of them alike.

In a program most operands were left by other kernels some time ago: they lie in far caches, and
partly in another core's. So a kernel with small operands meets them in several places by turns,
which together are too large for near caches. Timed on one place again and again, tiles that read
badly looked good: an LSTM's step that was tuned so took 12.6 ms instead of 11.3.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from statistics import median

import numpy as np

from graphc.backends.llvm.code import Code, Form, codes
from graphc.backends.llvm.executable import Executable, Listing
from graphc.backends.llvm.image import Image, Slot, Step
from graphc.backends.llvm.pages import block
from graphc.backends.llvm.panels import ALIGNMENT, Filling, place_of
from graphc.backends.llvm.schedule import served
from graphc.errors import CompilerBug
from graphc.expr import Buffer
from graphc.graph import Array
from graphc.kernels.kernel import Program
from graphc.types import TensorType

TURNS, LEAST = 12, 3
"""Turns of each form at most; and at least, however long they take."""
SECONDS = 1.5
"""Of running, after which there are no more turns."""
FAR = 8 << 20
"""Bytes of operands that do not stay in near caches."""
PLACES = 16
"""Places of operands at most, and runs per turn at most."""
TURN = 0.002
"""Seconds of a turn, if so many runs last that long."""
SLACK = 0.5
"""A form whose best is this much above the best of all gets no second turn; half as much no third;
and so on. Compared with one that hardly differs it needs many turns, and who is far off none.
"""

Run = Callable[[], float]


def race(forms: Sequence[Form]) -> list[float]:
    """The least seconds of each form on random data. The first stays to the end, as the others are
    compared with it.
    """
    made = codes(forms)
    memory = [*_memories(forms[0])]
    runs = [_Alternating([_alone(form, made[form.key], m) for m in memory]) for form in forms]
    return take_turns(runs, time.monotonic)


class _Alternating:
    """Runs a kernel in one place after another."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = cycle(runs)

    def __call__(self) -> float:
        return next(self.runs)()


def take_turns(runs: Sequence[Run], clock: Callable[[], float]) -> list[float]:
    """The seconds of each of ``runs``, which run once and say how long it took: the least over all
    turns of the median over a turn.
    """
    first = [min(run() for _ in range(2)) for run in runs]  # the very first meets cold pages
    counts = [max(1, min(PLACES, int(TURN / max(seconds, 1e-9)))) for seconds in first]
    running, end = [*range(len(runs))], clock() + SECONDS
    best = [math.inf] * len(runs)
    for turn in range(TURNS):
        for k in running:
            runs[k]()  # the one before left its code and its operands in the caches
            best[k] = min(best[k], median(runs[k]() for _ in range(counts[k])))
        limit = min(best) * (1 + SLACK / (turn + 1))
        running = [k for k in running if k == 0 or best[k] <= limit]
        if turn + 1 >= LEAST and clock() > end:
            break
    return best


def _memories(form: Form) -> Iterator[dict[Buffer, Array]]:
    """Arrays for all that a kernel reads and writes, some times over: random floats, and zeros,
    which are places in any table.
    """
    rng = np.random.default_rng(0)
    bases = dict.fromkeys(place_of(b)[0] for b in form.buffers if b.scope == "global")
    size = sum(base.type.bytes for base in bases)
    for _ in range(max(1, min(PLACES, -(-FAR // max(size, 1))))):
        yield {base: _random(base.type, rng) for base in bases}


def _random(type_: TensorType, rng: np.random.Generator) -> Array:
    values = block(max(type_.bytes, 8)).view(type_.dtype.numpy)
    values[...] = rng.random(values.size, np.float32) if type_.dtype.is_float else 0
    return values


def _alone(form: Form, code: Code, memory: dict[Buffer, Array]) -> Run:
    """Runs the kernel, and says the seconds; of panels that serve several kernels its share."""
    shares = dict(_shares(form, code))
    steps = [(phases, share) for phases, share in _parts(len(code.phases), shares) if phases]
    places, end = _slots(form, code, [*memory])
    slots = tuple(dict.fromkeys(places))
    given = tuple(slots.index(place) for place in places)
    image = Image(
        inputs=(),
        outputs=(),
        codes=(code,),
        steps=tuple(Step(0, given, phases) for phases, _ in steps),
        slots=slots,
        arena_bytes=end,
        constants=(),
        choices=(form.choice,),
    )
    executable = Executable(image, [*memory.values()], Listing(_no_program))

    def run() -> float:
        seconds = executable.profile([], 1)
        return sum(s * share for s, (_, share) in zip(seconds, steps, strict=True))

    return run


def _parts(count: int, shares: dict[int, float]) -> Iterator[tuple[tuple[int, ...], float]]:
    """(phases, share): those that fill panels for several kernels, and the rest."""
    for share in sorted(set(shares.values())):
        yield tuple(p for p, its in shares.items() if its == share), share
    yield tuple(p for p in range(count) if p not in shares), 1.0


def _shares(form: Form, code: Code) -> Iterator[tuple[int, float]]:
    """(phase, share): which part of a phase that fills panels is this kernel's own."""
    uses = served(form.kernel, form.uses)
    for filling in code.fillings:
        kernels = min((uses.get(b, 1) for b in _sources(form, code, filling)), default=1)
        if kernels > 1:
            yield from ((phase, 1 / kernels) for phase in filling.phases)


def _sources(form: Form, code: Code, filling: Filling) -> Iterator[Buffer]:
    for slot in filling.sources:
        number = code.arguments[slot]
        if isinstance(number, int):
            yield form.buffers[number]


def _slots(form: Form, code: Code, bases: Sequence[Buffer]) -> tuple[list[Slot], int]:
    """Where each argument lies: in the shared memory, or in scratch of its own; the scratch's
    bytes.
    """
    places: list[Slot] = []
    end = 0
    for argument in code.arguments:
        if isinstance(argument, TensorType):
            places.append(("arena", end, 0))
            end += -(-argument.bytes // ALIGNMENT) * ALIGNMENT
        else:
            base, start = place_of(form.buffers[argument])
            places.append(("leaf", bases.index(base), start * base.type.dtype.bytes))
    return places, end


def _no_program() -> Program:
    raise CompilerBug("a kernel on trial belongs to no program")
