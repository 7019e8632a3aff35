"""Kernels that are limited by memory: sums along every axis, sums of rows and columns at once,
stores past the caches, divisors of whole rows, results in used memory.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from execute import interpreted, looped, native
from graphc.backends.llvm import ahead, code, partials, results
from graphc.backends.llvm.interchange import BLOCK, FOLDED, LARGE, interchanged
from graphc.backends.llvm.machine import Machine, host, named
from graphc.backends.llvm.results import Results
from graphc.backends.llvm.schedule import schedule
from graphc.graph import Array, Graph, Node
from graphc.kernels.flat import collapse, flatten
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.ir import Fetch, Put, statements
from graphc.ops.leaves import Input
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import expand, fold, sum_over
from graphc.scalars import exp, square
from graphc.types import DTYPES, TensorType

pytestmark = pytest.mark.sweep


def leaf(*shape: int, kind: str = "float32") -> Node:
    return Input("x", TensorType(DTYPES[kind], shape))()


def data(x: Node, rng: np.random.Generator) -> Array:
    values = rng.normal(size=x.shape) * 3
    return (values > 0 if x.dtype.name == "bool" else values).astype(x.dtype.numpy)


def check(graph: Graph, rng: np.random.Generator, rtol: float = 2e-4) -> None:
    arrays = [data(x, rng) for x in graph.inputs]
    for found, wanted in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * 10)


def flat(graph: Graph) -> Kernel:
    return collapse(flatten(lower(graph).kernels[-1]))


# Reductions along any axis ------------------------------------------------------------------------
CASES = [
    ((301, 129), (0,)), ((301, 129), (1,)), ((64, 1030), (0,)), ((1, 70000), (0,)),
    ((70000, 1), (0,)), ((9, 70, 67), (0,)), ((9, 70, 67), (1,)), ((9, 70, 67), (0, 2)),
    ((9, 70, 67), (0, 1)), ((9, 70, 67), (0, 1, 2)), ((3, 5, 70, 40), (0, 2)), ((4097, 65), (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "axes"), CASES)
@pytest.mark.parametrize("function", ["add", "maximum"])
def test_every_axis(
    shape: tuple[int, ...], axes: tuple[int, ...], function: str, rng: np.random.Generator
):
    x = leaf(*shape)
    check(Graph((x,), (fold(function, x, axes),)), rng)


@pytest.mark.parametrize(
    ("kind", "function"),
    [("float64", "add"), ("int32", "add"), ("int64", "minimum"), ("bool", "logical_or"),
     ("uint8", "maximum"), ("float16", "maximum"), ("float32", "multiply")],
)  # fmt: skip
def test_every_kind_of_number(kind: str, function: str, rng: np.random.Generator):
    x = leaf(523, 300, kind=kind)
    assert LARGE // DTYPES[kind].bytes < 523 * 300
    assert interchanged(flat(Graph((x,), (fold(function, x, (0,)),))))
    check(Graph((x,), (fold(function, x, (0,)),)), rng)


def test_halves_are_summed_in_float32(rng: np.random.Generator):
    """NumPy rounds every partial sum of a column to float16; this is closer to the truth."""
    x = leaf(523, 300, kind="float16")
    values = data(x, rng)
    (found,) = native(Graph((x,), (sum_over(x, (0,)),)), [values])
    np.testing.assert_allclose(found, values.astype(np.float64).sum(0), rtol=1e-3, atol=1e-3)


def test_columns_are_summed_row_by_row():
    """Whole blocks and the rest, eight rows at a time and the rest of these."""
    x = leaf(FOLDED * 9 + 5, 3 * BLOCK + 7)
    parts = interchanged(flat(Graph((x,), (sum_over(x, (0,)),))))
    lanes = [part.lane.extent for part in parts]
    assert sum(n * p.kernel.points for n, p in zip(lanes, parts, strict=True)) == 3 * BLOCK + 7
    assert [s.iters[0].extent for s in parts[0].kernel.stages][1:3] == [9, 5]


def test_long_pieces_are_left_as_they_lie():
    """Channels of images: what one channel needs stays near while its statistics are taken."""
    x = leaf(4, 3, 64 * 64)
    assert not interchanged(flat(Graph((x,), (sum_over(x, (0, 2)),))))


def test_several_statistics_of_columns(rng: np.random.Generator):
    x = leaf(701, 150)
    mean = sum_over(x, (0,)) * (1 / 701)
    centred = x - broadcast_to(reshape(mean, (1, 150)), (701, 150))
    spread = sum_over(square(centred), (0,))
    check(Graph((x,), (mean, spread, fold("maximum", x, (0,)))), rng)
    scaled = centred / broadcast_to(reshape(spread + 1.0, (1, 150)), (701, 150))
    check(Graph((x,), (scaled,)), rng)


# Sums of rows and columns in one kernel -----------------------------------------------------------
@pytest.mark.parametrize("shape", [(37, 70), (16, 33), (1, 40), (1000, 3), (5, 11, 24)])
@pytest.mark.parametrize("function", ["add", "maximum"])
def test_rows_and_columns_at_once(shape: tuple[int, ...], function: str, rng: np.random.Generator):
    x = leaf(*shape)
    last, others = (len(shape) - 1,), tuple(range(len(shape) - 1))
    y = exp(x)
    graph = Graph((x,), (sum_over(y, last), fold(function, y, others), y))
    assert bool(partials.across(flat(graph))) == (shape[0] > 1)
    check(graph, rng)
    arrays = [data(x, rng)]
    for machine in (named("haswell"), named("x86-64")):
        found = looped(graph, arrays, lambda k, m=machine: schedule(k, m))
        for ours, wanted in zip(found, interpreted(graph, arrays), strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


# Stores that go round the caches ------------------------------------------------------------------
def tiny_caches() -> Machine:
    return replace(host(), last_cache=1)


def stored_and_folded(x: Node) -> list[Node]:
    """One loop stores a row and folds it in two ways."""
    y = exp(x)
    return [y, sum_over(y, (1,)), fold("maximum", y, (1,))]


STREAMED = {
    "chain": lambda x: [exp(x * 2.0)],
    "row": lambda x: [x + broadcast_to(sum_over(x, (0,)), x.shape)],
    "transpose": lambda x: [transpose(x, (1, 0))],
    "softmax": lambda x: [exp(x) / expand(sum_over(exp(x), (1,)), x.shape, (1,))],
    "stored and folded": stored_and_folded,
}  # fmt: skip


@pytest.mark.parametrize("shape", [(600, 512), (517, 603), (64, 5000)])
@pytest.mark.parametrize("name", STREAMED)
def test_streaming(
    name: str, shape: tuple[int, int], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
):
    """Aligned and not: rows of 603 floats begin anywhere."""
    monkeypatch.setattr(code, "host", tiny_caches)
    x = leaf(*shape)
    graph = Graph((x,), tuple(STREAMED[name](x)))
    wide = replace(named("skylake-avx512"), last_cache=1)
    puts = [s for k in lower(graph).kernels for s in statements(schedule(k, wide))]
    assert any(isinstance(s, Put) and s.streamed for s in puts)
    check(graph, rng)


def test_small_results_and_sums_in_place_stay_in_the_caches():
    x = leaf(600, 512)
    for graph in (Graph((x,), (exp(x),)), Graph((x,), (sum_over(x, (0,)),))):
        loops = [s for k in lower(graph).kernels for s in statements(schedule(k, host()))]
        assert not any(isinstance(s, Put) and s.streamed for s in loops)


# Rows fetched ahead -------------------------------------------------------------------------------
ROWS = {
    "softmax": STREAMED["softmax"],
    "sums of columns too": lambda x: [x * expand(sum_over(x, (1,)), x.shape, (1,)), column(x)],
}


def column(x: Node) -> Node:
    return sum_over(x * expand(fold("maximum", x, (1,)), x.shape, (1,)), (0,))


@pytest.mark.parametrize("shape", [(1, 70), (37, 1), (65, 129), (6, 4000)])
@pytest.mark.parametrize(
    ("name", "kind"),
    [*product(ROWS, ("float32", "float64")), ("softmax", "bfloat16")],  # narrow sums are too rough
)
def test_fetching_ahead(
    name: str, shape: tuple[int, int], kind: str, rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    """The last rows fetch what does not exist."""
    monkeypatch.setattr(ahead, "LARGE", 0)
    x = leaf(*shape, kind=kind)
    check(Graph((x,), tuple(ROWS[name](x))), rng, rtol=3e-2 if kind == "bfloat16" else 2e-4)


def test_only_what_is_walked_again_is_fetched_ahead():
    x, y = leaf(4096, 512), leaf(4096, 512)
    centred = x - expand(sum_over(x, (1,)), x.shape, (1,))
    for outputs, wanted in (([centred], 1), ([centred * y], 1), ([exp(x)], 0)):
        loops = [
            s for k in lower(Graph((x, y), tuple(outputs))).kernels for s in schedule(k, host())
        ]
        assert sum(isinstance(s, Fetch) for s in statements(tuple(loops))) == wanted


# Division of a row by one number ------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_quotients_are_those_of_division(kind: str, rng: np.random.Generator):
    """Bit by bit where results are normal numbers, signs of zeros, infinities and NaN included."""
    info = np.finfo(kind)
    special = [0.0, -0.0, 1.0, -3.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.tiny / 8]
    b = np.array([*special, *rng.normal(size=30), *(10.0 ** rng.uniform(-37, 37, 20))], kind)
    a = np.tile(np.array([*special, *rng.normal(size=291) * 1e3], kind), (b.size, 1))
    x, y = leaf(*a.shape, kind=kind), leaf(b.size, kind=kind)
    graph = Graph((x, y), (x / broadcast_to(reshape(y, (b.size, 1)), a.shape),))
    with np.errstate(all="ignore"):
        wanted = a / b[:, None]
    (found,) = native(graph, [a, b])
    normal = ~(np.abs(wanted) < info.tiny) | (wanted == 0)
    np.testing.assert_array_equal(found[normal], wanted[normal])
    same_sign = np.signbit(found) == np.signbit(wanted)
    assert (same_sign | np.isnan(wanted)).all()
    np.testing.assert_allclose(found[~normal], wanted[~normal], atol=info.smallest_subnormal)


# Memory of results --------------------------------------------------------------------------------
def test_large_results_use_memory_again_when_nobody_looks_at_it():
    shape, dtype = (results.LARGE // 4 + 3,), np.dtype("float32")
    small = [TensorType(DTYPES["float32"], s) for s in ((3,), (0, 1 << 30))]
    made = Results([TensorType(DTYPES["float32"], shape), *small])
    first = made.empty(shape, dtype)
    assert first.shape == shape
    assert first.dtype == dtype
    assert first.flags.writeable
    assert first.ctypes.data % 64 == 0
    place, part = first.ctypes.data, first[5:]
    del first
    second = made.empty(shape, dtype)
    assert second.ctypes.data != place  # a part of the first is still in use
    part[:] = 1
    del part
    third = made.empty(shape, dtype)
    assert third.ctypes.data == place
    assert made.empty((3,), dtype).base is None
    assert made.empty((0, 1 << 30), dtype).size == 0


def test_all_results_of_a_call_wait_for_the_next():
    shape, dtype = (results.LARGE,), np.dtype("float32")
    made = Results([TensorType(DTYPES["float32"], shape)] * 2)
    first = [made.empty(shape, dtype) for _ in range(3)]
    places = [array.ctypes.data for array in first]
    del first[0], first[0], first[0]
    second = [made.empty(shape, dtype) for _ in range(2)]
    assert {array.ctypes.data for array in second} == {*places[1:]}


def test_results_of_calls_do_not_share_memory(rng: np.random.Generator):
    x = leaf(1 << 19)
    graph = Graph((x,), (exp(x), x + 1.0))
    (a, b), arrays = native(graph, [np.zeros(1 << 19, np.float32)]), [data(x, rng)]
    c, d = native(graph, arrays)
    assert not np.shares_memory(a, b)
    assert not np.shares_memory(a, c)
    assert (a == 1).all()
    np.testing.assert_allclose(d, arrays[0] + 1)
