"""Matrix products and convolutions by tiles in ordinary arithmetic: the right numbers for every
tile, layout and edge, and what the compiler makes of them.

What can be expected of a GPU is read off the machine code; none was at hand when it was written. In
a step of the largest tile a thread multiplies 1024 times and reads shared memory 64 times, 16 bytes
each: 0.91 of the instructions of the loop are products, and shared memory is busy in half of the
cycles. A block reads 16 KiB of global memory for 262144 products, 16 for each byte; 132
multiprocessors compute 7 in the time of a byte of 4.3 TB/s, so they wait for arithmetic even where
no cache helps. Two blocks on a multiprocessor hide each other's barriers, and numbers are asked for
250 products before they are needed, which is 1000 cycles then. The bar of 0.85 of cuBLAS, which
reaches about 0.7 of the peak in float32, asks for 0.6 of all cycles to be products.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

import graphc as gc
import simulated
from execute import interpreted, outcome, run_loops
from graphc import nn
from graphc.backends.cuda import tile_loops
from graphc.backends.cuda.code import Form
from graphc.backends.cuda.device import Limits, Unit
from graphc.backends.cuda.emit import Phase, emit
from graphc.backends.cuda.matrices import Matrices, matrices
from graphc.backends.cuda.nvidia import listing
from graphc.backends.cuda.schedule import normal, schedule
from graphc.backends.cuda.tile_loops import tiled
from graphc.backends.cuda.tiles import TILES, WIDE_TILES, Tile, choose, cycles
from graphc.expr import Apply, Buffer, Expr, Lit, Load, Select, apply
from graphc.kernels.contraction import find
from graphc.kernels.flat import map_kernel
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.interpret import interpret
from graphc.loops.nest import nest
from graphc.loops.text import loops_text
from graphc.types import FLOAT32
from scheduled import LIMITS, case, drawn, graph
from simulated import failures

pytestmark = pytest.mark.sweep

SMALL = Tile(16, 32, 4, 4, 4)
"""Small enough to be run one number at a time."""
TURNS = [(a, b) for a in (False, True) for b in (False, True)]


@pytest.fixture
def force(monkeypatch: pytest.MonkeyPatch):
    """Every contraction goes by this tile, or by the one that its numbers of rows and columns, or
    its dtype, name.
    """

    def forced(tile: Tile | dict[object, Tile]) -> None:
        def chosen(m: Matrices, limits: Limits) -> Tile:
            if isinstance(tile, Tile):
                return tile
            _, rows, columns, _ = m.sizes
            return tile.get((rows, columns)) or tile[m.contraction.total.dtype.name]

        monkeypatch.setattr(tile_loops, "choose", chosen)

    return forced


def turned(x: gc.Tensor, turn: bool) -> gc.Tensor:
    return gc.transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)) if turn else x


def product(
    m: int,
    n: int,
    k: int,
    dtype: str = "float32",
    turns: tuple[bool, bool] = (False, False),
    batch: tuple[int, ...] = (),
) -> tuple[list[gc.Tensor], list[gc.Tensor]]:
    """[m, k] times [k, n] with a bias and what follows it; ``turns``: operands that lie turned."""
    a = gc.input("a", (*batch, *((k, m) if turns[0] else (m, k))), dtype)
    b = gc.input("b", (*batch, *((n, k) if turns[1] else (k, n))), dtype)
    bias = gc.input("bias", (n,), dtype)
    y = turned(a, turns[0]) @ turned(b, turns[1]) + bias
    return [a, b, bias], [gc.relu(y)]


def convolved(
    x: tuple[int, ...], w: tuple[int, ...], **options: int
) -> tuple[list[gc.Tensor], list[gc.Tensor]]:
    """A convolution and its gradients."""
    data, weight = gc.input("x", x), gc.input("w", w)
    y = nn.functional.conv(data, weight, **options)
    return [data, weight], [y, *gc.grad(gc.sum(y * y), [data, weight])]


def tolerance(dtype: str, depth: int) -> float:
    """Of a sum of so many products of normal numbers."""
    errors = {"float32": 1e-5, "float64": 1e-13, "float16": 4e-3, "bfloat16": 3e-2}
    return errors.get(dtype, 0.0) * max(depth, 1) ** 0.5


# Meaning ------------------------------------------------------------------------------------------
MEANINGS = {
    "even": (product(16, 32, 8), SMALL),
    "ragged": (product(7, 9, 5, turns=(True, True)), SMALL),
    "one step": (product(5, 8, 3, turns=(False, True)), SMALL),
    "split": (product(4, 8, 16, batch=(2,)), replace(SMALL, split=2)),
    "split unevenly": (product(4, 6, 11, turns=(True, False)), replace(SMALL, split=2)),
    "float64": (product(6, 6, 6, "float64"), replace(SMALL, width=2, columns=16)),
    "convolution": (convolved((1, 4, 2, 3), (2, 4, 1, 2)), SMALL),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_loops_mean_the_product(name: str, force):
    (inputs, outputs), tile = MEANINGS[name]
    force(tile)
    made, arrays = graph(inputs, outputs), drawn(inputs)

    def loops(kernel: Kernel):
        return tuple(s for body in schedule(normal(kernel), LIMITS) for s in body)

    program = lower(made)
    found = outcome(made, lambda given: run_loops(program, given, loops), arrays)
    for ours, wanted in zip(found, interpreted(made, arrays), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


def test_operands_are_computed_on_their_way():
    """A factor may be any expression, with guards: it is evaluated when the tile is read."""
    inputs, outputs = product(6, 8, 10)
    (kernel,) = lower(graph(inputs, outputs)).kernels
    kernel = normal(kernel)
    found = find(kernel)
    assert found is not None
    inner = found.total.iters[0]

    def guarded(e: Expr) -> Expr | None:
        if e != found.first:
            return None
        inside = apply("less", inner, 7)
        return Select(inside, Apply("relu", (Load(e.buffer, e.index),), FLOAT32), Lit(0.5, FLOAT32))

    changed = map_kernel(kernel, guarded)
    again = find(changed)
    assert again is not None
    assert isinstance(again.first, Select)
    memories = []
    for phases in ((nest(changed),), tiled(matrices(again), SMALL)):
        memory = filled((*changed.read, *changed.written))
        for body in phases:
            interpret(body, memory)
        memories.append(memory[changed.written[0]])
    np.testing.assert_allclose(*memories, rtol=1e-5, atol=1e-5)


def filled(buffers: Sequence[Buffer]) -> dict:
    rng = np.random.default_rng(0)
    return {b: rng.normal(size=b.shape).astype(b.type.dtype.numpy) for b in buffers}


# Numbers ------------------------------------------------------------------------------------------
def test_every_tile(force):
    cases, rule = [], {}
    for tiles, dtype in ((TILES, "float32"), (WIDE_TILES, "float64")):
        for tile in tiles:
            m, n = tile.rows + 5, tile.columns + 12 + 4 * len(rule)
            rule[m, n] = tile
            cases.append(case(str(tile), *product(m, n, 36, dtype), tolerance(dtype, 36)))
    force(rule)
    assert not failures(cases)


def test_layouts_edges_and_batches(force):
    force(Tile(32, 32, 16, 4, 4))
    sizes = [(1, 1, 1), (127, 33, 65), (64, 64, 64), (3, 50, 40), (36, 4, 20)]
    made = {
        **{(*s, *t): product(*s, turns=t) for s in sizes[1:] for t in TURNS},
        **{("batch", b): product(9, 12, 20, turns=(False, True), batch=b) for b in ((5,), (2, 3))},
        "one": product(*sizes[0]),
    }
    cases = [case(str(name), *given, tolerance("float32", 65)) for name, given in made.items()]
    assert not failures(cases)


def test_blocks_along_one_axis(force, monkeypatch: pytest.MonkeyPatch):
    """More than the second and third axis of a grid can count."""
    force(Tile(32, 32, 16, 4, 4, split=2))
    monkeypatch.setattr(tile_loops, "HIGH", 1)
    assert not failures([case("flat", *product(70, 40, 40, batch=(3,)), 1e-4)])


@pytest.mark.parametrize("split", [2, 7])
def test_the_depth_in_parts(split: int, force):
    force(Tile(32, 32, 16, 4, 4, split=split))
    sizes = [(20, 36, 300), (31, 32, 256), (5, 7, 17)]
    cases = [case(str(s), *product(*s, turns=t), 2e-4) for s in sizes for t in TURNS[1:3]]
    cases.append(case("batch", *product(8, 8, 100, batch=(3,)), 1e-4))
    assert not failures(cases)


def test_every_dtype(force):
    """Of narrow floats only few rows: tensor cores multiply the others."""
    dtypes = ("int32", "uint32", "float16", "bfloat16", "int64", "uint64", "float64")
    narrow, wide = Tile(32, 64, 16, 4, 4), Tile(32, 32, 16, 4, 4)
    force({d: wide if d.endswith("64") else narrow for d in (*dtypes, "float32")})
    assert not failures(case(d, *product(7, 44, 36, d), tolerance(d, 36)) for d in dtypes)


CONVOLUTIONS = {
    "1d strided": ((2, 3, 21), (4, 3, 5), dict(stride=2, padding=2)),
    "2d": ((2, 16, 8, 9), (5, 16, 3, 3), dict(padding=1)),
    "2d strided": ((2, 4, 9, 10), (6, 4, 3, 3), dict(stride=2, padding=1)),
    "2d dilated": ((1, 4, 12, 11), (6, 4, 3, 2), dict(dilation=2)),
    "2d grouped": ((2, 6, 8, 8), (4, 3, 3, 3), dict(groups=2, padding=1)),
    "2d depthwise": ((2, 5, 8, 8), (5, 1, 3, 3), dict(groups=5)),
    "2d pointwise": ((2, 16, 6, 6), (8, 16, 1, 1), {}),
    "3d": ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), dict(padding=1)),
}


def test_convolutions_and_their_gradients(force):
    force(Tile(32, 32, 16, 4, 4))
    made = {name: convolved(x, w, **options) for name, (x, w, options) in CONVOLUTIONS.items()}
    cases = [case(name, *given, 1e-3) for name, given in made.items()]
    cases += [replace(c, name=f"{c.name} as it is", optimised=False) for c in cases[1:4]]
    assert not failures(cases)


def test_what_is_chosen_gives_the_numbers():
    """The tiles that sizes ask for, with everything that is fused behind them."""
    a, b, c = gc.input("a", (200, 128)), gc.input("b", (128, 256)), gc.input("c", (200, 256))
    y = a @ b
    outputs = [gc.tanh(y + c) * c, gc.relu(y), y]
    cases = [case("fused", [a, b, c], outputs, 1e-3)]
    cases.append(case("deep", *product(64, 32, 4000), 2e-3))
    assert not failures(cases)


# Barriers -----------------------------------------------------------------------------------------
def without(phase: Phase, place: int) -> Phase:
    """The phase without one of its barriers."""
    parts = phase.unit.text.split("gc_sync();")
    text = "gc_sync();".join(parts[:place]) + ";" + "gc_sync();".join(parts[place:])
    return replace(phase, unit=Unit(phase.unit.name, text))


def test_every_barrier_is_needed(force, monkeypatch: pytest.MonkeyPatch):
    """Results are wrong without any of them, in one order of threads at least."""
    force(Tile(32, 32, 16, 4, 4))
    made = case("product", *product(40, 40, 64), 1e-4)
    original = simulated.forms
    for place in (1, 2):

        def spoilt(program, limits, place: int = place) -> list[Form]:
            return [spoil(form, place) for form in original(program, limits)]

        monkeypatch.setattr(simulated, "forms", spoilt)
        assert failures([made])
    monkeypatch.setattr(simulated, "forms", original)
    assert not failures([made])


def spoil(form: Form, place: int) -> Form:
    if form.code is None or "gc_sync" not in form.phases[0].unit.text:
        return form
    assert form.phases[0].unit.text.count("gc_sync();") == 2
    first = without(form.phases[0], place)
    return replace(form, code=replace(form.code, phases=(first, *form.phases[1:])))


# Choice -------------------------------------------------------------------------------------------
def as_matrices(
    m: int, n: int, k: int, dtype: str = "float32", turns: tuple[bool, bool] = (False, False)
) -> Matrices:
    (kernel,) = lower(graph(*product(m, n, k, dtype, turns))).kernels
    found = find(normal(kernel))
    assert found is not None
    return matrices(found)


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((4096, 4096, 4096), "tiles of 128 x 128 x 16, 8 x 8 sums in each of 256 threads"),
        ((32, 4096, 4096), "tiles of 32 x"),
        ((256, 256, 8192), "split of the depth"),
        ((4, 4, 4), "None"),
        ((1, 4096, 4096), "None"),
    ],
    ids=str,
)
def test_the_choice_follows_the_sizes(sizes: tuple[int, int, int], wanted: str):
    assert wanted in str(choose(as_matrices(*sizes), LIMITS))


def test_a_choice_depends_on_the_gpu():
    """What is one round of blocks for a large GPU is many for a small one."""
    m = as_matrices(512, 512, 512)
    large, small = choose(m, LIMITS), choose(m, Limits(multiprocessors=4))
    assert large is not None
    assert small is not None
    assert large.split > 1
    assert small.split == 1
    assert cycles(m, small, LIMITS) >= cycles(m, large, LIMITS)


def test_a_schedule_can_be_read():
    m = as_matrices(256, 256, 64)
    (body,) = tiled(m, TILES[0])
    text = loops_text(body)
    assert "shared f32[2,16,128]" in text
    assert "register f32[256,8,8]" in text
    assert str(replace(TILES[0], split=4)) == (
        "tiles of 128 x 128 x 16, 8 x 8 sums in each of 256 threads, two stages, "
        "split of the depth 4"
    )


# Machine code -------------------------------------------------------------------------------------
def instructions(unit: Unit, target: str) -> list[str]:
    text = listing.text(unit, "sass", target)
    return re.findall(r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\d+ )?([A-Z0-9_.]+)", text)


@pytest.mark.parametrize(
    ("target", "turns"), [*(("sm_90", t) for t in TURNS), ("sm_80", TURNS[0])], ids=str
)
def test_machine_code_of_the_largest_tile(nvrtc: object, target: str, turns: tuple[bool, bool]):
    """Two blocks on a multiprocessor, nothing spilled, only wide accesses but for turned stores."""
    (body,) = tiled(as_matrices(4096, 4096, 4096, turns=turns), TILES[0])
    unit = emit("product", body).unit
    code = listing.machine_code(unit, target)
    assert code.usage.spilled == 0
    assert code.usage.registers is not None
    assert code.usage.registers <= 128
    found = instructions(unit, target)
    assert found.count("FFMA") == 1024
    assert found.count("LDS.128") == 64
    assert {x for x in found if x.startswith(("LDG", "STG"))} == {"LDG.E.128.CONSTANT", "STG.E.128"}
    assert len(found) < 1500


@pytest.mark.parametrize(
    ("tile", "dtype"),
    [
        (TILES[1], "float32"),
        (TILES[3], "float32"),
        (TILES[8], "float32"),
        (WIDE_TILES[0], "float64"),
    ],
    ids=str,
)
def test_machine_code_of_other_tiles(nvrtc: object, tile: Tile, dtype: str):
    (body,) = tiled(as_matrices(1024, 1024, 1024, dtype), tile)
    unit = emit("product", body).unit
    assert listing.machine_code(unit, "sm_90").usage.spilled == 0
    found = instructions(unit, "sm_90")
    products = found.count("FFMA" if dtype == "float32" else "DFMA")
    assert products == tile.height * tile.width * tile.depth
    assert "LDS" not in found
