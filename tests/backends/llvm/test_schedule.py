"""Schedules for several processors, run by the plain-Python meaning of loops."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from execute import interpreted, looped
from graphc.backends.llvm.machine import Machine, named
from graphc.backends.llvm.schedule import schedule
from graphc.backends.llvm.tile import Tile, find, ranked
from graphc.backends.llvm.tile_loops import tile_phases
from graphc.graph import Graph
from graphc.kernels.flat import collapse, flatten
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.ir import Loop, Statement, statements
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve
from graphc.ops.leaves import Iota
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.scalars import exp, tanh
from kernels.models import GRAPHS, leaf
from random_graphs import Drawn, graphs

pytestmark = pytest.mark.sweep

MACHINES = {
    "sse": named("x86-64"),
    "avx2": named("haswell"),
    "avx512": named("skylake-avx512"),
    "neon": Machine("aarch64-unknown-linux-gnu", "generic", "+neon"),
}


@pytest.mark.parametrize("name", MACHINES)
@given(drawn=graphs(steps=12))
@settings(max_examples=25)
def test_random_graphs(name: str, drawn: Drawn):
    arrays = drawn.arrays()
    found = looped(drawn.graph, arrays, partial(schedule, machine=MACHINES[name]))
    drawn.check(found, interpreted(drawn.graph, arrays))


@pytest.mark.parametrize("model", GRAPHS)
def test_models(model: str, rng: np.random.Generator):
    graph = GRAPHS[model]()
    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in graph.inputs]
    found = looped(graph, arrays, partial(schedule, machine=MACHINES["avx512"]))
    for ours, wanted in zip(found, interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


TILES = {
    "columns": (matmul, (7, 5), (5, 18)),
    "packed, turned": (Contract((0, 1), (2, 1), (0, 2)), (50, 17), (51, 17)),
    "streamed": (matmul, (1, 43), (43, 300)),
    "inner": (Contract((0, 1), (2, 1), (0, 2)), (2, 64), (3, 64)),
    "one row": (matmul, (1, 9), (9, 33)),
    "batched": (matmul, (3, 2, 5), (3, 5, 17)),
    "all": (Contract((0, 1), (0, 1), ()), (3, 17), (3, 17)),
    "convolution": (Convolve((1, 1), (1, 1)), (2, 1, 2, 5, 19), (1, 3, 2, 3, 3)),
    "strided": (Convolve((2, 2), (1, 1)), (1, 1, 2, 7, 21), (1, 3, 2, 3, 3)),
}


@pytest.mark.parametrize("machine", ["sse", "avx512"])
@pytest.mark.parametrize("name", TILES)
def test_tiles(name: str, machine: str, rng: np.random.Generator):
    op, *shapes = TILES[name]
    inputs = tuple(leaf(f"x{k}", *shape) for k, shape in enumerate(shapes))
    graph = Graph(inputs, (op(*inputs),))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    (found,) = looped(graph, arrays, partial(schedule, machine=MACHINES[machine]))
    (wanted,) = interpreted(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_every_way_to_fill_lanes_is_tried():
    modes: set[str] = set()
    for op, *shapes in TILES.values():
        (kernel,) = lower(Graph((), (op(*(leaf("x", *s) for s in shapes)),))).kernels
        contraction = find(collapse(flatten(kernel)))
        tile, *_ = ranked(contraction, MACHINES["avx512"]) if contraction else [None]
        modes |= {tile.mode, *tile.packs} if tile else set()
    assert modes == {"columns", "inner", "streamed", "second"}


SMALL: dict[str, dict[str, Any]] = {
    "columns": {"height": 3, "vectors": 1},
    "wide": {"height": 2, "vectors": 2},
    "jammed": {"height": 2, "vectors": 1, "width": 2},
    "first": {"height": 3, "vectors": 1, "packs": ("first",)},
    "both": {"height": 4, "vectors": 1, "packs": ("first", "second")},
    "streamed": {"mode": "streamed", "height": 0, "vectors": 1},
}
"""Ways to run a contraction that sizes this small would not be run by."""
LAYOUTS = [
    ((3, 0, 2), (3, 2, 1)),
    ((2, 3, 0), (3, 2, 1)),
    ((3, 0, 2), (1, 3, 2)),
    ((2, 0), (2, 1, 3)),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("way", SMALL)
def test_tiles_by_hand(way: str, layout: tuple[tuple[int, ...], ...], rng: np.random.Generator):
    """Rows, columns and inner indices that tiles do not divide, in every layout."""
    sizes = {0: 7, 1: 37, 2: 11, 3: 2}
    x, y = (leaf(f"x{k}", *(sizes[label] for label in each)) for k, each in enumerate(layout))
    out = (0, 1, 3) if way == "jammed" else (3, 0, 1)
    graph = Graph((x, y), (Contract(*layout, out)(x, y),))

    def by_hand(kernel: Kernel) -> tuple[Statement, ...]:
        found = find(collapse(flatten(kernel)))
        assert found is not None
        lane = next(i for i in found.columns if i.extent % 37 == 0)
        column = next((i for i in found.columns if i is not lane), None)
        given = {"mode": "columns", "width": 1, **SMALL[way]}
        given["height"] = given["height"] or found.rows[0].extent
        given["column"] = column if given["width"] > 1 else None
        given["width"] = given["width"] if given["column"] else 1
        tile = Tile(contraction=found, row=found.rows[0], lane=lane, cycles=0, **given)
        return tile_phases(tile, MACHINES["avx512"])

    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in graph.inputs]
    (found,) = looped(graph, arrays, by_hand)
    (wanted,) = interpreted(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def extents(graph: Graph) -> list[int]:
    """The extents of all loops of the only kernel."""
    (kernel,) = lower(graph).kernels
    loops = schedule(kernel, MACHINES["avx512"])
    return [s.iter.extent for s in statements(loops) if isinstance(s, Loop)]


@pytest.mark.parametrize(("channels", "outermost"), [(16, 7), (512, 32)])
def test_what_does_not_stay_near_is_read_once(channels: int, outermost: int):
    """Many filters are the outermost loop, 16 at a time; few filters stay in the cache anyway."""
    x, w = leaf("x", 4, 1, channels, 9, 9), leaf("w", 1, 512, channels, 3, 3)
    (kernel,) = lower(Graph((), (Convolve((1, 1), (1, 1))(x, w),))).kernels
    *_, tiles = schedule(kernel, MACHINES["avx512"])
    assert isinstance(tiles, Loop)
    assert tiles.iter.extent == outermost


def test_indices_that_move_together_become_one():
    x, y = leaf("x", 3, 4, 5), leaf("y", 3, 4, 5)
    assert extents(Graph((), (tanh(x + y),))) == [60]
    assert extents(Graph((), (tanh(reshape(x, (12, 5))),))) == [60]
    assert extents(Graph((), (x * broadcast_to(leaf("z", 4, 5), (3, 4, 5)),))) == [3, 20]
    assert extents(Graph((), (exp(transpose(x, (0, 2, 1))),))) == [3, 5, 4]


def test_a_counter_keeps_its_index():
    """An index that is a value must not be merged with its neighbour."""
    assert extents(Graph((), (Iota((7, 9), 1)(),))) == [7, 9]
    assert extents(Graph((), (Iota((7, 9), 1)() + 5,))) == [7, 9]
    flat = reshape(Iota((63,), 0)(), (7, 9))
    assert extents(Graph((), (flat,))) == [63]
