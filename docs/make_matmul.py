"""Measures each step from the naive product of two matrices to the one that is generated, and puts
loops and speeds into docs/matmul.md.

usage: python docs/make_matmul.py [SIZE]

Every step is a loop nest in the compiler's own language, written out by the same emitter, so that
the steps differ in nothing but the schedule.
"""

import ctypes
import functools
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_readme import busiest, fenced

from graphc.backends.llvm import jit
from graphc.backends.llvm.emit import emit, interface
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.roofline import multiply_adds
from graphc.backends.llvm.threads import pool, thread_count
from graphc.backends.llvm.tile import Contraction, Tile, find
from graphc.backends.llvm.tile_loops import tile_phases
from graphc.expr import Apply
from graphc.graph import Graph
from graphc.kernels.flat import collapse, flatten
from graphc.kernels.lower import lower
from graphc.loops.ir import Put, Statement
from graphc.loops.nest import Nest, identity, nest
from graphc.loops.text import Names, loops_text
from graphc.ops.contraction import matmul
from graphc.ops.leaves import Input
from graphc.types import FLOAT32, TensorType

PAGE = Path(__file__).resolve().parent / "matmul.md"
BLOCK = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.DOTALL)
B = ("second",)
"""The operand that is packed."""
SECONDS = 0.5
"""Time for each step; the first ones take longer for a single run."""


def contraction(size: int) -> Contraction:
    """The flat kernel ``c[i, j] = sum(a[i, k] * b[k, j])``."""
    a, b = (Input(name, TensorType(FLOAT32, (size, size)))() for name in "ab")
    (kernel,) = lower(Graph((a, b), (matmul(a, b),))).kernels
    found = find(collapse(flatten(kernel)))
    assert found is not None
    return found


# The steps ----------------------------------------------------------------------------------------
def naive(c: Contraction) -> tuple[Statement, ...]:
    """The definition."""
    return nest(c.kernel)


def reordered(c: Contraction) -> tuple[Statement, ...]:
    """The column index innermost: memory is read and written in order, sums are in memory."""
    (row, column), (inner,), (store,) = c.kernel.iters, c.total.iters, c.kernel.stores
    loops = Nest()
    loops.open(row, "parallel")
    loops.open(column, "serial")
    loops.append(Put(store.buffer, store.index, identity("add", FLOAT32)))
    loops.close()
    loops.open(inner, "serial")
    factor = loops.define(c.first, loops.depth_now)
    loops.open(column, "serial")
    product = Apply("multiply", (factor, c.second), FLOAT32)
    loops.append(Put(store.buffer, store.index, product, "add"))
    return loops.close_all()


def lanes(c: Contraction) -> tuple[Statement, ...]:
    """Neighbouring columns in the lanes of a register, which holds their sums."""
    row, column = c.kernel.iters
    return nest(c.kernel, [row, column], {column: "vector"})


def tiled(
    c: Contraction, height: int, vectors: int, packs: tuple[str, ...] = ()
) -> tuple[Statement, ...]:
    """Several rows and vectors of sums at once."""
    row, column = c.kernel.iters
    tile = Tile("columns", c, row, height, None, 1, column, vectors, 0.0, packs)
    return tile_phases(tile, host())


@dataclass(frozen=True)
class Step:
    """One step: its schedule, and how many threads run it."""

    name: str
    title: str
    schedule: Callable[[Contraction], tuple[Statement, ...]]
    threads: int = 1


STEPS = (
    Step("naive", "the definition", naive),
    Step("order", "columns innermost", reordered),
    Step("lanes", "columns in lanes", lanes),
    Step("rows", "4 rows of 1 register", functools.partial(tiled, height=4, vectors=1)),
    Step("tile", "14 rows of 2 registers", functools.partial(tiled, height=14, vectors=2)),
    Step("cache", "6 rows of 4 registers", functools.partial(tiled, height=6, vectors=4)),
    Step("panels", "the same from panels", functools.partial(tiled, height=6, vectors=4, packs=B)),
    Step("threads", "on 2 cores", functools.partial(tiled, height=6, vectors=4, packs=B), 2),
)


# Running ------------------------------------------------------------------------------------------
class Native:
    """Compiled phases, and an array for each buffer that they name."""

    def __init__(self, phases: Sequence[Statement]) -> None:
        self.code = interface("step", phases)
        self.text = emit("step", phases, host())
        addresses = jit.compile_module(self.text, self.code.symbols)
        self.addresses = [addresses[symbol] for symbol in self.code.symbols]
        self.arrays = {b: aligned(b.shape) for b in self.code.buffers}
        places = [array.ctypes.data for array in self.arrays.values()]
        self.pointers = (ctypes.c_void_p * (len(places) + 1))(*places)
        slots = range(len(self.pointers))
        first = ctypes.addressof(self.pointers)
        self.table = (ctypes.c_void_p * len(slots))(*(first + 8 * k for k in slots))

    def run(self, threads: int) -> None:
        """All phases; on one thread each takes its whole range at once."""
        for address, extent, grain in zip(
            self.addresses, self.code.extents, self.code.grains, strict=True
        ):
            count = max(extent, 1)
            share = grain if threads > 1 else count
            pool().run(address, ctypes.addressof(self.table), count, share)


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that begin on a cache line."""
    count = int(np.prod(shape))
    room = np.zeros(count + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    return room[start : start + count].reshape(shape)


def speed(step: Step, c: Contraction) -> float:
    """GFLOP/s of a step, after its result was compared with NumPy's."""
    native = Native(step.schedule(c))
    (store,) = c.kernel.stores
    random = np.random.default_rng(0)
    a, b, out = (native.arrays[x] for x in (c.first.buffer, c.second.buffer, store.buffer))
    a[...], b[...] = random.normal(size=a.shape), random.normal(size=b.shape)
    native.run(step.threads)
    np.testing.assert_allclose(out, a @ b, rtol=1e-3, atol=1e-3)
    best, end = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        native.run(step.threads)
        best = min(best, time.perf_counter() - start)
    return 2 * c.depth * c.kernel.points / best / 1e9


# The page -----------------------------------------------------------------------------------------
def shown(step: Step, c: Contraction) -> str:
    """The loops of a step, without the lines that are like two before them, and without the
    smaller tiles of the rest.
    """
    given = {c.first.buffer: "a", c.second.buffer: "b"}
    given |= {s.buffer: "c" for s in c.kernel.stores}
    seen: Counter[str] = Counter()
    found: list[str] = []
    for line in loops_text(step.schedule(c), Names(given)).splitlines():
        body = line.lstrip()
        pad = line[: len(line) - len(body)]
        if body == "else:":
            found.append(f"{pad}else: ...")
            break
        if body.startswith(("for", "if")):
            seen.clear()
        kind = re.sub(r"\d+|[*+] ", "", line)
        seen[kind] += 1
        if seen[kind] <= 2:
            found.append(line)
        elif found[-1] != f"{pad}...":
            found.append(f"{pad}...")
    return fenced("\n".join(found), "text")


def machine_code(step: Step, c: Contraction) -> str:
    """The inner loop as the processor sees it."""
    code = jit.assembly(emit("step", step.schedule(c), host()))
    return fenced(busiest(code, "vfmadd").replace("\t", "    "), "gas")


def table(speeds: Mapping[str, float], peak: float, size: int) -> str:
    """The speed of every step."""
    lines = ["| step | GFLOP/s | of peak |", "|---|---|---|"]
    for step in STEPS:
        rate, limit = speeds[step.name], peak * step.threads
        lines.append(f"| {step.title} | {rate:.3g} | {rate / limit:.1%} |")
    lines.append(f"\nfloat32, {size} x {size}, best of several runs; {host().cpu}, of which a core")
    lines.append(f"does {peak:.0f} GFLOP/s of fused multiply-adds and nothing else.\n")
    return "\n".join(lines)


def main(size: int) -> None:
    """Measure, and write the page anew."""
    c = contraction(size)
    peak = multiply_adds("float", 0.05) / thread_count() / 1e9
    speeds = {step.name: speed(step, c) for step in STEPS}
    blocks = {step.name: shown(step, c) for step in STEPS}
    blocks |= {"speeds": table(speeds, peak, size), "code": machine_code(STEPS[-1], c)}
    text = PAGE.read_text("utf-8")
    PAGE.write_text(BLOCK.sub(lambda m: m[1] + blocks[m[2]] + m[4], text), "utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
