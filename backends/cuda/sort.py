"""A stable sort of numbers in memory, by counting and by merging.

Comes in: how many keys there are. Goes out: kernels and phases that leave them in order, with where
each came from. A separate step because it is a sort of anything. In a chunk each key counts those
that come before it, which is one number for each pair and needs no exchange; sorted chunks are
merged in pairs, where each key looks for its place in the other chunk by halving.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.points import THREADS, guarded
from graphc.backends.cuda.stages import ONLY, number
from graphc.expr import Bounded, Buffer, Expr, Iter, Lit, Load, Select, apply, cast
from graphc.index import linear
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Alloc, Put, Statement, When
from graphc.loops.nest import Nest
from graphc.types import BOOL, INT32, INT64, TensorType

AT_ONCE, CHUNK = 16_384, 4_096
"""As many keys are sorted by counting alone; more of them in chunks of this size first."""


@dataclass(frozen=True)
class Numbers:
    """Keys, and the number that each had at first."""

    keys: Buffer
    places: Buffer


def numbers(count: int) -> Numbers:
    """Room for so many."""
    keys, places = (Buffer(TensorType(INT32, (count,)), "scratch") for _ in range(2))
    return Numbers(keys, places)


def counted(keys: Buffer, found: Numbers) -> tuple[Kernel, ...]:
    """The kernels that sort each chunk of ``keys``."""
    (count,) = keys.shape
    if count <= AT_ONCE:
        return (_ranked(keys, found, 0, 1, count),)
    whole, rest = divmod(count, CHUNK)
    kernels = (_ranked(keys, found, 0, whole, CHUNK),)
    return (*kernels, _ranked(keys, found, whole * CHUNK, 1, rest)) if rest else kernels


def _ranked(keys: Buffer, found: Numbers, start: int, chunks: int, length: int) -> Kernel:
    """Each key goes where as many are before it as are smaller, or equal and before it now."""
    chunk, mine, other = Iter(chunks), Iter(length), Iter(length)
    base = linear([(chunk, length)], start)
    key, theirs = Load(keys, (base + mine,)), Load(keys, (base + other,))
    earlier = apply("logical_and", apply("equal", theirs, key), apply("less", other, mine))
    before = apply("logical_or", apply("less", theirs, key), earlier)
    total = number(INT32)
    count = Stage((other,), (Store(total, ONLY, cast(before, INT32), "add"),))
    place = (base + Bounded(cast(Load(total, ONLY), INT64), length),)
    leave = (Store(found.keys, place, key), Store(found.places, place, cast(base + mine, INT32)))
    return Kernel((chunk, mine), (count, Stage((), leave)))


def merged(found: Numbers) -> tuple[Numbers, tuple[tuple[Statement, ...], ...]]:
    """The phases that merge sorted chunks until there is one, and where it is."""
    (count,), phases = found.keys.shape, list[tuple[Statement, ...]]()
    width = count if count <= AT_ONCE else CHUNK
    while width < count:
        target = numbers(count)
        phases.append(_merge(found, target, width))
        found, width = target, 2 * width
    return found, tuple(phases)


def _merge(source: Numbers, target: Numbers, width: int) -> tuple[Statement, ...]:
    """Pairs of chunks of ``width`` keys become chunks of twice as many, a thread for each key."""
    (count,) = source.keys.shape
    block, thread = Iter(-(-count // THREADS)), Iter(THREADS)
    item = linear([(block, THREADS), (thread, 1)])
    found = Buffer(TensorType(INT64, (THREADS, 1)), "register")
    builder = Nest()
    builder.open(block, "block")
    builder.open(thread, "thread")

    def place() -> None:
        builder.append(Alloc(found))
        smaller = (thread, Lit(0, INT64))
        builder.append(Put(found, smaller, Lit(0, INT64)))
        mine = builder.define(Load(source.keys, (item,)), builder.depth_now)
        pair, second = item // (2 * width) * (2 * width), item // width % 2
        other = pair + width - second * width
        known = Bounded(Load(found, smaller), width + 1)
        step = 1 << (width.bit_length() - 1)
        while step:
            last = known + (step - 1)
            inside = apply(
                "logical_and", apply("less", last, width), apply("less", other + last, count)
            )
            theirs = Load(source.keys, (other + last,))
            is_before = Select(inside, _is_before(theirs, mine, second), Lit(False, BOOL))
            builder.append(When(is_before, (Put(found, smaller, known + step),), ()))
            step //= 2
        where = (pair + item % width + known,)
        builder.append(Put(target.keys, where, mine))
        builder.append(Put(target.places, where, Load(source.places, (item,))))

    guarded(builder, item, count, count % THREADS != 0, place)
    return builder.close_all()


def _is_before(theirs: Load, mine: Expr, second: Expr) -> Expr:
    """Whether a key of the other chunk comes first; of equals that of the first chunk does."""
    tie = apply("logical_and", apply("equal", theirs, mine), apply("equal", second, 1))
    return apply("logical_or", apply("less", theirs, mine), tie)
