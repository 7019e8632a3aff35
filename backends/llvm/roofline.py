"""What this machine can do at most: multiply-adds, bytes copied, bytes handed on, a second.

Comes in: nothing. Goes out: rates, measured on as many threads as kernels use. A separate step
because a time says how good code is only beside the limit of its machine (the roofline model:
Williams, Waterman and Patterson 2009).

Arithmetic: fused multiply-adds on as many independent vectors as fit into three quarters of the
registers, which is more than any latency times any number of units. Copies: loops of vector loads
and stores over footprints from a first-level cache to main memory, once plain and once with stores
that go past the caches (streaming); the better counts. What is copied counts twice, for it is read
and written. What is handed on from core to core is written by one thread, which then moves to
another core and reads it there. A virtual machine may be given cores that share a cache in one
minute and cores that do not in the next: then this rate falls, by a factor of 4 where it was seen.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import operator
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from graphc.backends.llvm import cache, jit
from graphc.backends.llvm.emitter import Module
from graphc.backends.llvm.machine import LINE, Machine, host
from graphc.backends.llvm.pages import block
from graphc.backends.llvm.threads import pool, thread_count
from graphc.graph import Array

ROUNDS = 1 << 16
"""Multiply-adds of each accumulator in one job of the pool: about 0.1 ms."""

SMALLEST, LARGEST = 1 << 16, 1 << 28
"""Footprints of copies, in bytes, source and target together."""

WORTH = 1 << 22
"""Bytes that are copied between two looks at the clock at least, by copying again and again."""

PARTS = 8
"""Jobs for each thread on large footprints, so that one who starts late does not make all wait."""

UNROLLED = 4
"""Vectors that one turn of the copying loop moves; lines that one of the reading loop looks at."""

HANDED, TIMES = 1 << 22, 7
"""Bytes that one core hands to another, more than a core's own caches hold; and how often."""


def limits(quick: bool = False) -> dict[str, Any]:
    """Operations a second in float32 (``single``) and float64 (``double``), what is ``copied``:
    pairs of a footprint and its bytes a second, and what is handed from ``core_to_core``.

    ``quick`` measures little, for tests.
    """
    seconds = 0.001 if quick else 0.03
    largest = 4 * SMALLEST if quick else LARGEST
    return {
        "single": multiply_adds("float", seconds),
        "double": multiply_adds("double", seconds),
        "copied": [[n, copied(n, seconds)] for n in footprints(largest)],
        "core_to_core": core_to_core(),
    }


def footprints(largest: int = LARGEST) -> list[int]:
    """The footprints that are measured, each twice the one before."""
    return [SMALLEST << k for k in range((largest // SMALLEST).bit_length())]


def multiply_adds(kind: str, seconds: float) -> float:
    """Operations a second, a multiply-add being two; ``kind`` is LLVM's name of a number."""
    lanes, count = _vectors(kind, host())
    jobs = PARTS * thread_count()
    room = np.zeros((jobs + count) * host().vector_bytes, np.uint8)
    shortest = _shortest("peak", _arithmetic(kind, host()), room.ctypes.data, jobs, seconds)
    return 2.0 * lanes * count * ROUNDS * jobs / shortest


def copied(footprint: int, seconds: float) -> float:
    """Bytes read and written a second, by the better kind of copy; what is copied counts twice."""
    half = footprint // 2
    again = max(1, WORTH // half)
    jobs = thread_count() * (1 if again > 1 else PARTS)
    room = np.ones(footprint + 64, np.uint8)  # pages of zeros would all be one
    source = room.ctypes.data + -room.ctypes.data % 64
    words = (ctypes.c_int64 * 4)(source, source + half, half // jobs // 1024 * 1024, again)
    shortest = min(
        _shortest("copy", _copy(hint, host()), ctypes.addressof(words), jobs, seconds)
        for hint in ("", ", !nontemporal !0")
    )
    return 2.0 * words[2] * jobs * again / shortest


def core_to_core() -> float:
    """Bytes a second that a core reads of what another has just written: the median of some times,
    for the slowest pair of the first processor and another. 0 with one processor, and where threads
    cannot be placed.
    """
    if not hasattr(os, "sched_setaffinity"):
        return 0.0
    first, *others = sorted(os.sched_getaffinity(0))
    room = block(HANDED)
    with _placed():
        pairs = [pair for other in others for pair in ((first, other), (other, first))]
        return min((_handed(room, *pair) for pair in pairs), default=0.0)


@contextlib.contextmanager
def _placed() -> Iterator[None]:
    """The thread that calls may be moved inside; afterwards it runs where it could before."""
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _handed(room: Array, writer: int, reader: int) -> float:
    read = _reader()
    seconds = []
    for _ in range(TIMES):
        os.sched_setaffinity(0, [writer])
        room += 1
        os.sched_setaffinity(0, [reader])
        begin = time.perf_counter()
        read(room.ctypes.data, room.size // 8)
        seconds.append(time.perf_counter() - begin)
    return float(room.size / statistics.median(seconds))


@functools.cache
def _reader() -> Callable[[int, int], int]:
    """``graphc_read(words, count)`` loads a word of every cache line."""
    module = Module()
    f = module.function("graphc_read", [("ptr", "words"), ("i64", "count")], "i64")
    words, count = f.parameters
    apart = LINE // 8
    nothing = [f.constant(0, "i64")] * UNROLLED
    with f.loop(0, count, UNROLLED * apart, carry=nothing) as loop:
        places = [words.element(loop.index + k * apart, "i64") for k in range(UNROLLED)]
        seen = zip(loop.carried, places, strict=True)
        loop.carry(*(bits | f.load(place, "i64") for bits, place in seen))
    f.ret(functools.reduce(operator.or_, loop.results))
    code = jit.link([cache.object_code(module.text())], ["graphc_read"])["graphc_read"]
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)(code)


def _shortest(name: str, text: str, context: int, jobs: int, seconds: float) -> float:
    """Seconds of the shortest call of a kernel, among those that fit into ``seconds``."""
    code = jit.link([cache.object_code(text)], [name])[name]
    pool().run(code, context, jobs, 1)
    found: list[float] = []
    end = time.perf_counter() + seconds
    while len(found) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        pool().run(code, context, jobs, 1)
        found.append(time.perf_counter() - begin)
    return min(found)


# The kernels: each takes the jobs from low to high, as all kernels of the pool do -----------------
_PEAK = """
define void @peak(ptr %room, i64 %low, i64 %high) nounwind {
entry:
LOADS
  br label %job
job:
  %i = phi i64 [ %low, %entry ], [ %following, %done ]
  br label %round
round:
  %r = phi i64 [ 0, %job ], [ %next, %round ]
STATE
STEPS
  %next = add i64 %r, 1
  %more = icmp slt i64 %next, ROUNDS
  br i1 %more, label %round, label %done
done:
SUMS
  %place = getelementptr VECTOR, ptr %room, i64 %i
  store VECTOR %sum_LAST, ptr %place, align 1
  %following = add i64 %i, 1
  %again = icmp slt i64 %following, %high
  br i1 %again, label %job, label %exit
exit:
  ret void
}
declare VECTOR FMA(VECTOR, VECTOR, VECTOR)
"""

_COPY = """
define void @copy(ptr %context, i64 %low, i64 %high) nounwind {
entry:
  %source = load ptr, ptr %context
  %target_at = getelementptr i64, ptr %context, i64 1
  %target = load ptr, ptr %target_at
  %bytes_at = getelementptr i64, ptr %context, i64 2
  %bytes = load i64, ptr %bytes_at
  %times_at = getelementptr i64, ptr %context, i64 3
  %times = load i64, ptr %times_at
  br label %job
job:
  %i = phi i64 [ %low, %entry ], [ %following, %done ]
  %begin = mul i64 %i, %bytes
  %end = add i64 %begin, %bytes
  br label %round
round:
  %r = phi i64 [ 0, %job ], [ %next, %copied ]
  br label %vectors
vectors:
  %k_0 = phi i64 [ %begin, %round ], [ %k_UNROLLED, %vectors ]
MOVES
  %inside = icmp slt i64 %k_UNROLLED, %end
  br i1 %inside, label %vectors, label %copied
copied:
  %next = add i64 %r, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %round, label %done
done:
  %following = add i64 %i, 1
  %again = icmp slt i64 %following, %high
  br i1 %again, label %job, label %exit
exit:
  ret void
}
!0 = !{i32 1}
"""

_MOVE = """  %from_K = getelementptr i8, ptr %source, i64 %k_K
  %to_K = getelementptr i8, ptr %target, i64 %k_K
  %value_K = load VECTOR, ptr %from_K, align 64
  store VECTOR %value_K, ptr %to_K, align 64HINT
  %k_AFTER = add i64 %k_K, BYTES"""


def _vectors(kind: str, machine: Machine) -> tuple[int, int]:
    """Lanes of a vector, and how many vectors accumulate."""
    return machine.vector_bytes // (4 if kind == "float" else 8), machine.registers * 3 // 4


def _arithmetic(kind: str, machine: Machine) -> str:
    """Each job: ``a = a * x + x`` for many vectors a that do not depend on each other."""
    lanes, count = _vectors(kind, machine)
    lines: dict[str, list[str]] = {"LOADS": [], "STATE": [], "STEPS": [], "SUMS": []}
    for k in range(count):
        lines["LOADS"] += [
            f"  %at_{k} = getelementptr VECTOR, ptr %room, i64 {k}",
            f"  %x_{k} = load VECTOR, ptr %at_{k}, align 1",
        ]
        lines["STATE"].append(f"  %a_{k} = phi VECTOR [ %x_{k}, %job ], [ %b_{k}, %round ]")
        lines["STEPS"].append(
            f"  %b_{k} = call VECTOR FMA(VECTOR %a_{k}, VECTOR %x_0, VECTOR %x_0)"
        )
        before = f"%sum_{k - 1}" if k else "%x_0"
        lines["SUMS"].append(f"  %sum_{k} = fadd VECTOR {before}, %b_{k}")
    text = _PEAK
    for name, part in lines.items():
        text = text.replace(name, "\n".join(part))
    bits = 32 if kind == "float" else 64
    words = {"FMA": f"@llvm.fma.v{lanes}f{bits}", "VECTOR": f"<{lanes} x {kind}>"}
    return _replaced(text, {**words, "ROUNDS": ROUNDS, "LAST": count - 1})


def _copy(hint: str, machine: Machine) -> str:
    """Each job: its share of the source, copied again and again."""
    moves = [_replaced(_MOVE, {"_K": f"_{k}", "AFTER": k + 1}) for k in range(UNROLLED)]
    text = _replaced(_COPY, {"MOVES": "\n".join(moves), "UNROLLED": UNROLLED})
    size = machine.vector_bytes
    return _replaced(text, {"VECTOR": f"<{size} x i8>", "HINT": hint, "BYTES": size})


def _replaced(text: str, words: Mapping[str, object]) -> str:
    for word, meaning in words.items():
        text = text.replace(word, str(meaning))
    return text
