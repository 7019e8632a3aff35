"""Teams of threads for rows: the right numbers around every boundary, registers, wide accesses."""

from __future__ import annotations

import re

import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda.device import Limits
from scheduled import case, misunderstood, phases
from simulated import Case, failures

LENGTHS = (1, 2, 7, 8, 24, 31, 32, 33, 127, 256, 1000, 1024, 1025, 5000)
SMALL = Limits(multiprocessors=2)
"""A GPU on which a few rows are many."""


def softmax(rows: int, length: int, dtype: str = "float32") -> Case:
    x = gc.input("x", (rows, length), dtype)
    tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 2e-5)
    return case(f"softmax of {rows} x {length} {dtype}", [x], [gc.softmax(x)], tolerance)


def norm_and_gradient(rows: int, length: int) -> Case:
    """Four stages, rows that later stages read, sums over rows for the weights."""
    x, layer = gc.input("x", (rows, length)), nn.LayerNorm(length)
    y = layer(x)
    found = [y, *gc.grad(gc.sum(gc.tanh(y) * y), [x, *layer.parameters()])]
    return case(f"norm of {rows} x {length}", [x], found, 1e-4)


def loss_and_gradient(rows: int, length: int) -> Case:
    x, t = gc.input("x", (rows, length)), gc.input("t", (rows,), "int64")
    loss = nn.cross_entropy(x, t)
    return case(f"loss of {rows} x {length}", [x, t], [loss, *gc.grad(loss, [x])], high=length)


def sums_of(rows: int, length: int, dtype: str) -> Case:
    x = gc.input("x", (rows, length), dtype)
    found = [gc.max(x, axis=1), gc.argmax(x, axis=1), gc.any(x > 2, axis=1)]
    if dtype not in ("bool", "float16"):
        found.append(gc.sum(x, axis=1))
    return case(f"sums of {rows} x {length} {dtype}", [x], found, 1e-4)


# Numbers ------------------------------------------------------------------------------------------
def test_rows_of_every_length():
    cases = [softmax(3, length) for length in LENGTHS]
    cases += [softmax(1, 40_000), softmax(150, 36), softmax(40, 20)]
    cases += [norm_and_gradient(5, n) for n in (1, 10, 33, 1000, 1025)]
    cases += [loss_and_gradient(5, n) for n in (2, 10, 31, 129, 3000)]
    assert not failures(cases)


def test_rows_of_every_dtype():
    kinds = ["int8", "uint8", "int16", "int32", "uint32", "int64", "float16", "float32", "float64"]
    cases = [sums_of(5, n, kind) for kind in kinds for n in (9, 100)]
    cases += [softmax(4, n, kind) for kind in ("float16", "bfloat16", "float64") for n in (8, 300)]
    assert not failures(cases)


def test_rows_that_begin_anywhere():
    """Offsets that break the alignment, rows that are a part of longer ones."""
    x = gc.input("x", (6, 130))
    parts = [x[1:, 1:], x[:, 2:], x[:, 4:68], x[2:5, 3:36]]
    assert not failures([case("parts", [x], [gc.softmax(p * 2) for p in parts])])


def test_rows_of_several_axes():
    """A stage over two indices that are not side by side in memory."""
    x = gc.input("x", (4, 3, 9, 8))
    layer = nn.BatchNorm2d(3)
    y = layer(x)
    found = [y, *gc.grad(gc.sum(y * gc.tanh(y)), [x, *layer.parameters()])]
    assert not failures([case("batch norm", [x], found, 1e-4)])


@pytest.mark.parametrize(("rows", "length"), [(3, 10), (5, 33), (2, 300)])
def test_meaning_of_loops_over_rows(rows, length):
    x = gc.input("x", (rows, length))
    assert not misunderstood([x], [gc.softmax(x), gc.argmax(x, axis=1)], SMALL)


def test_nothing_to_add_up():
    x = gc.input("x", (3, 0))
    assert not failures([case("empty rows", [x], [gc.sum(x, axis=1), gc.sum(x), x * 2])])


# Text ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rows", "length", "threads"),
    [(4096, 512, 256), (4096, 1024, 256), (4096, 4096, 256), (8, 512, 128)],
)
def test_a_row_is_read_once_in_wide_accesses(rows, length, threads):
    """One pack for each turn; what later stages need stays in registers."""
    x = gc.input("x", (rows, length))
    (phase,) = phases([x], [gc.softmax(x)])
    assert phase.threads == threads
    text = phase.unit.text
    assert len(re.findall(r"= \*\(const gc_pack<float, 4>\*\)", text)) == 1
    assert len(re.findall(r"^ *\*\(gc_pack<float, 4>\*\)", text, re.M)) == 1
    assert not re.search(r"= b\d+\[", text)


def test_teams_by_length():
    """A thread, a warp or a block for a row."""

    def text(length: int) -> str:
        x = gc.input("x", (4096, length))
        (phase,) = phases([x], [gc.softmax(x)])
        return phase.unit.text

    thread, warp, block = text(8), text(256), text(5000)
    assert "gc_reduce" not in thread
    assert "gc_reduce_warp" in warp
    assert "gc_reduce_block" not in warp
    assert "gc_reduce_block" in block


def test_few_long_rows_are_cut():
    """Partial sums of slices, then their sum: the grid is full in the phase that reads all."""
    x = gc.input("x", (1 << 22,))
    first, last = phases([x], [gc.sum(x)])
    assert first.grid[0] > 132
    assert last.grid == (1, 1, 1)
    few = gc.input("x", (2, 50_000))
    assert not failures(
        [
            case("long rows", [few], [gc.softmax(few), gc.var(few, axis=1)], 1e-4),
            case("one row", [few], [gc.sum(few), gc.max(few)], 1e-4),
        ]
    )


def test_what_was_chosen_is_printed():
    x = gc.input("x", (512, 1024))
    run = gc.compile([x], [gc.softmax(x)], backend="cuda-sim")
    assert "# a warp for a row, 4 neighbours at once, 64 threads" in run.source("loops")
