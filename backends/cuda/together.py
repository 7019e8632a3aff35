"""Which kernels share a launch: those that do the same to each element of different arrays.

Comes in: the kernels of a program. Goes out: groups of them, and what the kernels of a group have
in common. A separate step because it looks at all kernels at once: a group runs where its last
kernel stands, so nothing in between may touch what it touches.

The update of all parameters by an optimiser is what this is for, which a GPU's libraries call
"fused" or "foreach". It pays for two kernels already, whatever their size: at the end of every
launch multiprocessors wait for the last blocks, some microseconds in which a GPU moves megabytes,
and small arrays do not fill it at all. The price is one row of a table that each block reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from graphc.backends.cuda.parts import LONGEST, lanes_of
from graphc.expr import Affine, Bounded, Buffer, Expr, Iter, Lit, Load, Reduce
from graphc.kernels.flat import View, map_kernel, offsets
from graphc.kernels.identity import kernel_identity
from graphc.kernels.kernel import Kernel, Program, Stage, Store
from graphc.types import TensorType


# What kernels have in common ----------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Pattern:
    """What is done to each element: a ``kernel`` over ``arrays`` that stand for any others; equal
    patterns have one ``text``. Here it is done to ``count`` elements of ``own`` arrays.
    """

    text: str
    kernel: Kernel
    arrays: tuple[Buffer, ...]
    own: tuple[Buffer, ...]
    count: int

    @property
    def counts(self) -> dict[Buffer, int]:
        """How many elements there are of its own arrays, without those that only one is read of."""
        pairs = zip(self.own, self.arrays, strict=True)
        return {own: self.count for own, stand in pairs if isinstance(stand, View)}


def pattern_of(kernel: Kernel) -> Pattern | None:
    """The pattern of a kernel in its normal form; None if it has none.

    It has one index, which every array follows or does not depend on, and which is not used as a
    number; it stores at that index.
    """
    if len(kernel.iters) != 1 or kernel.points == 0 or not _is_plain(kernel):
        return None
    (index,) = kernel.iters
    places: dict[Buffer, set[Expr]] = {}
    for access, offset in offsets(kernel):
        places.setdefault(access.buffer, set()).add(offset)
    moving = [b for b, found in places.items() if found == {index}]
    if not moving or any(s.buffer not in moving for s in kernel.stores):
        return None
    lanes = lanes_of(moving)
    stands: dict[Buffer, Buffer] = {}
    for buffer, found in places.items():
        stand = _stand_in(buffer, found, lanes)
        if stand is None:
            return None
        stands[buffer] = stand
    return _pattern(kernel, stands)


def _is_plain(kernel: Kernel) -> bool:
    """Whether one value is computed for each point and stored, by nothing but the elements of
    arrays in global memory.
    """
    if len(kernel.stages) != 1 or kernel.stages[0].iters:
        return False
    if any(s.combine or s.buffer.scope != "global" for s in kernel.stores):
        return False
    stack, seen = [s.value for s in kernel.stores], set[int]()
    while stack:
        e = stack.pop()
        if isinstance(e, Iter | Affine | Bounded | Reduce):
            return False
        if isinstance(e, Load):
            if e.buffer.scope != "global":
                return False
        elif id(e) not in seen:
            seen.add(id(e))
            stack += e.children
    return True


def _stand_in(buffer: Buffer, places: set[Expr], lanes: int) -> Buffer | None:
    """What stands for an array that is accessed at ``places``: one of any length at the index, its
    vectors aligned or not by where it starts; else one that is long enough.
    """
    dtype, size = buffer.type.dtype, math.prod(buffer.shape)
    if all(isinstance(place, Iter) for place in places):
        apart = isinstance(buffer, View) and buffer.start % lanes != 0
        return View(TensorType(dtype, (LONGEST,)), "global", None, int(apart))
    last = max(int(e.value) if isinstance(e, Lit) else size for e in places)
    return Buffer(TensorType(dtype, (last + 1,))) if last < size else None


def _pattern(kernel: Kernel, stands: dict[Buffer, Buffer]) -> Pattern:
    (old,), new = kernel.iters, Iter(LONGEST)

    def stand(e: Expr) -> Expr | None:
        if isinstance(e, Load):
            return Load(stands[e.buffer], (new,) if e.index[0] is old else e.index)
        return None

    kernel_ = map_kernel(kernel, stand)
    stores = tuple(Store(stands[s.buffer], (new,), s.value) for s in kernel_.stores)
    made = Kernel((new,), (Stage((), stores),), kernel.nodes)
    notes: dict[Buffer, object] = {b: b.start for b in stands.values() if isinstance(b, View)}
    text, arrays = kernel_identity(made, notes)
    own = {b: a for a, b in stands.items()}
    return Pattern(text, made, arrays, tuple(own[b] for b in arrays), old.extent)


# Order --------------------------------------------------------------------------------------------
Span = tuple[int, int]
"""The first byte, and the one behind the last."""
Home = object
"""What bytes are counted in: the arena, the storage of a parameter, any other buffer."""


@dataclass(frozen=True)
class Touched:
    """What is ``read`` and what is ``written``, in which home."""

    read: dict[Home, list[Span]] = field(default_factory=dict)
    written: dict[Home, list[Span]] = field(default_factory=dict)

    def add(self, other: Touched) -> None:
        """`other` as well."""
        for mine, more in ((self.read, other.read), (self.written, other.written)):
            for home, spans in more.items():
                mine.setdefault(home, []).extend(spans)

    def meets(self, other: Touched) -> bool:
        """Whether it matters which of the two is first."""
        pairs = (
            (self.written, other.written),
            (self.written, other.read),
            (self.read, other.written),
        )
        return any(_overlap(a, b) for a, b in pairs)


def _overlap(a: dict[Home, list[Span]], b: dict[Home, list[Span]]) -> bool:
    return any(
        first < end and start < last
        for home in a.keys() & b.keys()
        for first, last in a[home]
        for start, end in b[home]
    )


Where = Callable[[Buffer, int | None], tuple[Home, Span]]


def spans_of(program: Program) -> Where:
    """Where the bytes of a buffer are, or so many of its elements from where a `View` begins.
    Temporaries that share bytes of the arena share them here.
    """
    homes: dict[Buffer, tuple[Home, int]] = {
        b: (n.op.storage, 0) for n, b in program.leaves if n.op.storage is not None
    }
    homes |= {b: ("arena", offset) for b, offset in program.plan.offsets.items()}

    def span(buffer: Buffer, count: int | None) -> tuple[Home, Span]:
        base = buffer.base if isinstance(buffer, View) and buffer.base is not None else buffer
        home, place = homes.get(base, (base, 0))
        if count is None:
            return home, (place, place + base.type.bytes)
        start = buffer.start if isinstance(buffer, View) else 0
        size = base.type.dtype.bytes
        return home, (place + start * size, place + (start + count) * size)

    return span


@dataclass(frozen=True, eq=False)
class Group:
    """Kernels of a program, by their numbers in order, and their patterns, which are equal."""

    members: list[int] = field(default_factory=list)
    patterns: list[Pattern] = field(default_factory=list)

    @property
    def last(self) -> int:
        """The member in whose place all of them run."""
        return self.members[-1]

    @property
    def sizes(self) -> list[int]:
        """Elements of the arrays of each member."""
        return [p.count for p in self.patterns]


def groups(program: Program, kernels: Sequence[Kernel]) -> list[Group]:
    """The kernels of ``program``, here in their normal form, that share launches; two at least.

    A group is open until a kernel comes that touches what a member does.
    """
    span = spans_of(program)
    opened: dict[str, tuple[Group, Touched]] = {}
    closed: list[Group] = []
    for number, kernel in enumerate(kernels):
        pattern = pattern_of(kernel)
        touched = _touched(kernel, pattern, span)
        for text, (group, before) in [*opened.items()]:
            if before.meets(touched):
                closed.append(group)
                del opened[text]
        if pattern is not None:
            group, before = opened.setdefault(pattern.text, (Group(), Touched()))
            group.members.append(number)
            group.patterns.append(pattern)
            before.add(touched)
    closed += [group for group, _ in opened.values()]
    return [group for group in closed if len(group.members) > 1]


def _touched(kernel: Kernel, pattern: Pattern | None, span: Where) -> Touched:
    counts = pattern.counts if pattern is not None else {}
    found = Touched()
    pairs = ((found.read, kernel.read), (found.written, kernel.written))
    for touched, buffers in pairs:
        for buffer in buffers:
            home, part = span(buffer, counts.get(buffer))
            touched.setdefault(home, []).append(part)
    return found


def shares(seconds: Sequence[float], groups: Iterable[Group]) -> list[float]:
    """Seconds of each kernel, where those of a group were measured as one, in its last member's
    place: divided by how many elements each has.
    """
    found = [*seconds]
    for group in groups if found else ():
        whole = found[group.last] / sum(group.sizes)
        for number, size in zip(group.members, group.sizes, strict=True):
            found[number] = whole * size
    return found
