"""Sums at places that data decides: the right numbers, and the same bits each time."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.backends.cuda import sort
from graphc.backends.cuda.sim import device
from graphc.errors import UserError
from scheduled import case, misunderstood, phases
from simulated import Case, failures

pytestmark = pytest.mark.sweep


def segments(points: int, places: int, dtype: str = "float32", columns: int = 3) -> Case:
    """Few places or many, for sums, products and extremes."""
    x, t = gc.input("x", (points, columns), dtype), gc.input("t", (points,), "int64")
    found = [gc.segment_sum(x, t, places), gc.segment_max(x, t, places)]
    if not x.dtype.is_float:
        found.append(gc.segment_prod(x, t, places))
    return case(f"{points} points at {places} places, {dtype}", [x, t], found, 1e-4, places)


def embedding(points: int, rows: int, columns: int) -> Case:
    """The gradient of a table that points pick rows of."""
    table = gc.param(np.linspace(-1, 1, rows * columns).reshape(rows, columns), name="table")
    t = gc.input("t", (points,), "int64")
    picked = gc.take(table, t, axis=0)
    found = gc.grad(gc.sum(picked * picked * picked), [table])
    return case(f"embedding {points} {rows} {columns}", [t], found, 1e-4, rows)


def elements(rows: int, columns: int) -> Case:
    """Each column has places of its own."""
    x, t = gc.input("x", (rows, columns)), gc.input("t", (rows, columns), "int64")
    picked = gc.gather(x, t, axis=0)
    found = gc.grad(gc.sum(picked * picked), [x])
    return case(f"elements {rows} {columns}", [x, t], found, 1e-4, rows)


def test_sums_at_places():
    sizes = [(5, 3), (32, 4), (33, 1), (64, 100), (65, 7), (500, 2), (1100, 300)]
    cases = [segments(*size) for size in sizes]
    cases += [segments(100, 9, kind) for kind in ("int8", "int32", "int64", "float64")]
    cases += [embedding(70, 50, 8), embedding(300, 1000, 5), elements(40, 6), elements(5, 3)]
    assert not failures(cases)


def test_a_histogram():
    t = gc.input("t", (700,), "int64")
    assert not failures([case("counts", [t], [gc.bincount(t, 10)], high=10)])


def test_meaning_of_loops_over_places():
    x, t = gc.input("x", (70, 2)), gc.input("t", (70,), "int64")
    assert not misunderstood([x, t], [gc.segment_sum(x, t, 6)])


@pytest.mark.parametrize(("points", "chunk"), [(64, 16), (100, 32), (90, 64), (333, 16)])
def test_chunks_are_merged(points, chunk, monkeypatch):
    """As where there are more places than are sorted at once."""
    monkeypatch.setattr(sort, "AT_ONCE", chunk)
    monkeypatch.setattr(sort, "CHUNK", chunk)
    x, t = gc.input("x", (points, 2)), gc.input("t", (points,), "int64")
    assert not misunderstood([x, t], [gc.segment_sum(x, t, 5)])
    assert not failures([segments(points, 5), segments(points, 1000)])


def test_the_order_of_threads_changes_no_bit(monkeypatch, rng):
    x, t = gc.input("x", (400, 3)), gc.input("t", (400,), "int64")
    arrays = rng.normal(size=(400, 3)).astype(np.float32), rng.integers(0, 5, 400)
    found = []
    for seed in (0, 1, 7):
        monkeypatch.setattr(device(), "seed", seed)
        run = gc.compile([x, t], gc.segment_sum(x, t, 5), backend="cuda-sim")
        found.append(run(*arrays).tobytes())
    assert len({*found}) == 1


def test_a_place_outside(rng):
    """A table has no such row, which is found while places are written down."""
    table = gc.param(np.ones((9, 2)), name="table")
    t = gc.input("t", (100,), "int64")
    loss = gc.sum(gc.take(table, t, axis=0) ** 2)
    run = gc.compile([t], gc.grad(loss, [table]), backend="cuda-sim")
    with pytest.raises(UserError, match="GC0306"):
        run(np.full(100, 9))


# Text ---------------------------------------------------------------------------------------------
def test_points_that_meet_are_shared_by_many_threads():
    """Places are written down and ranked; then runs are folded, and what is left of them."""
    x, t = gc.input("x", (8192, 64)), gc.input("t", (8192,), "int64")
    found = phases([x, t], [gc.segment_sum(x, t, 100)])
    threads = [p.grid[0] * p.threads for p in found]
    assert max(threads) >= 8192 * 8  # each point is compared with all others
    assert threads[-1] <= 128  # what is left for the last phase
    assert any(n == 8192 // 16 * 64 for n in threads)
