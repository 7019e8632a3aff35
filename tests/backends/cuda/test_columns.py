"""Sums over slow axes: the right numbers around every boundary, whole lines, a fixed order."""

from __future__ import annotations

import pytest

import graphc as gc
from graphc import nn
from graphc.backends.cuda.device import Limits
from scheduled import case, misunderstood, phases
from simulated import Case, failures


def sums(rows: int, columns: int, dtype: str = "float32") -> Case:
    x = gc.input("x", (rows, columns), dtype)
    found = [gc.max(x, axis=0), gc.argmax(x, axis=0)]
    if x.dtype.is_float:
        found += [gc.softmax(x, axis=0), gc.var(x, axis=0)]
    if dtype != "float16":
        found.append(gc.sum(x, axis=0))
    tolerance = 3e-3 if dtype == "float16" else 1e-4
    return case(f"columns of {rows} x {columns} {dtype}", [x], found, tolerance)


def test_columns_of_every_size():
    sizes = [(32, 1), (33, 3), (127, 31), (40, 32), (64, 33), (1000, 127), (1025, 40), (50, 1000)]
    assert not failures([sums(*size) for size in sizes])


def test_columns_of_every_dtype():
    kinds = ("int8", "uint16", "int32", "int64", "float16", "float64")
    assert not failures([sums(70, 96, kind) for kind in kinds])


def test_columns_between_other_axes():
    x = gc.input("x", (3, 40, 2, 33))
    assert not failures([case("between", [x], [gc.sum(x, axis=1), gc.sum(x, axis=(0, 1))], 1e-4)])


def test_a_bias_beside_its_layer():
    """The gradient of a bias is a sum over rows of what another kernel stores."""
    x, w = gc.input("x", (70, 9)), gc.param([[0.1] * 40] * 9, name="w")
    b = gc.param([0.1] * 40, name="b")
    y = gc.sum(gc.tanh(x @ w + b) ** 2)
    assert not failures([case("bias", [x], gc.grad(y, [w, b]), 1e-4)])


def test_gradients_of_weights_of_a_norm():
    """Sums over rows in a kernel whose stages run along rows."""
    x, layer = gc.input("x", (300, 20)), nn.LayerNorm(20)
    loss = gc.sum(layer(x) ** 3)
    assert not failures([case("weights", [x], gc.grad(loss, [*layer.parameters()]), 1e-4)])


def test_blocks_carry_sums_of_rows_along():
    """Rows are read once for the gradients of a norm's input and weights: three launches."""
    cases = []
    for rows, length in ((1600, 300), (1061, 257)):
        x, layer = gc.input("x", (rows, length)), nn.LayerNorm(length)
        found = gc.grad(gc.sum(gc.tanh(layer(x))), [x, *layer.parameters()])
        cases.append(case(f"norm of {rows} x {length}", [x], found, 1e-4))
    assert not failures(cases)
    launched = [p for p in phases([x], found) if p.shared_bytes]
    assert [p.grid[0] for p in launched] == [531, 9, 9]  # 2 rows for a block, 32 columns


@pytest.mark.parametrize(("rows", "columns"), [(33, 3), (70, 40)])
def test_meaning_of_loops_over_columns(rows, columns):
    x = gc.input("x", (rows, columns))
    assert not misunderstood(
        [x], [gc.sum(x, axis=0), gc.softmax(x, axis=0)], Limits(multiprocessors=2)
    )


# Text ---------------------------------------------------------------------------------------------
def test_wide_accesses_where_there_are_columns_enough():
    x = gc.input("x", (64, 32_768))
    (phase,) = phases([x], [gc.sum(x, axis=0)])
    assert "*(const gc_pack<float, 4>*)" in phase.unit.text


def test_many_rows_are_cut():
    """Two phases: partial sums that fill the grid, then these in order."""
    x = gc.input("x", (16_384, 1024))
    first, last = phases([x], [gc.sum(x, axis=0)])
    assert first.grid[0] >= 132
    assert last.buffers[0].scope == "scratch"
    tall = gc.input("x", (3000, 130))
    assert not failures([case("tall", [tall], [gc.sum(tall, axis=0), gc.var(tall, axis=0)], 1e-4)])
