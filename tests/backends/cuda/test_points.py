"""One thread for each point or for a few neighbours, and tiles for turned loads."""

from __future__ import annotations

import re

import pytest

import graphc as gc
from scheduled import case, misunderstood, phases
from simulated import Case, failures


def elementwise(*shape: int) -> Case:
    x, b, h = gc.input("x", shape), gc.input("b", shape[-1:]), gc.input("h", shape, "float16")
    k, d = gc.input("k", shape, "int8"), gc.input("d", shape, "float64")
    found = [x * 2 + b, gc.tanh(x), h * 2 + 1, k + 1, k > 2, d * 2.5, gc.flip(x, axis=-1)]
    return case(f"elementwise {shape}", [x, b, h, k, d], found, 1e-3)


def turned(shape: tuple[int, ...], order: tuple[int, ...]) -> Case:
    x, h = gc.input("x", shape), gc.input("h", shape, "float16")
    k, d = gc.input("k", shape, "int8"), gc.input("d", shape, "float64")
    y = gc.input("y", tuple(shape[a] for a in order))
    found = [gc.transpose(x, order) * 2 + y, *(gc.transpose(a, order) for a in (h, k, d))]
    return case(f"turned {shape} to {order}", [x, h, k, d, y], found)


def test_elementwise():
    shapes = [(1,), (3,), (31,), (33,), (1001,), (4096,), (9, 33), (5, 7, 11), (0, 3), (70_001,)]
    assert not failures([elementwise(*shape) for shape in shapes])


def test_turned():
    assert not failures(
        [
            turned((33, 65), (1, 0)),
            turned((64, 128), (1, 0)),
            turned((9, 8), (1, 0)),
            turned((3, 40, 50), (2, 1, 0)),
            turned((2, 8, 5, 5), (0, 2, 3, 1)),
            turned((5, 10, 12, 14), (2, 0, 3, 1)),
        ]
    )


def test_meaning_of_loops_over_points():
    x = gc.input("x", (35, 9))
    assert not misunderstood([x], [gc.transpose(x) + 1, gc.tanh(x)])


# Text ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1])
def test_wide_accesses_with_a_tail(size):
    x = gc.input("x", (size,))
    (phase,) = phases([x], [gc.tanh(x)])
    assert "*(const gc_pack<float, 4>*)" in phase.unit.text
    assert phase.grid[0] == -(-size // (4 * phase.threads))


def test_two_accesses_are_under_way_in_large_arrays():
    x = gc.input("x", (1 << 26,))
    (phase,) = phases([x], [gc.tanh(x)])
    assert phase.grid[0] == (1 << 26) // (2 * 4 * phase.threads)


def test_small_arrays_have_small_blocks():
    """So that more multiprocessors take part."""
    x = gc.input("x", (1000,))
    (phase,) = phases([x], [gc.tanh(x)])
    assert phase.threads == 32


def test_a_tile_is_read_and_written_in_whole_lines():
    x = gc.input("x", (512, 384))
    (phase,) = phases([x], [gc.transpose(x)])
    assert phase.shared_bytes == 32 * 33 * 4
    lane = re.search(r"const i32 (\w+) = gc_lane\(\);", phase.unit.text).group(1)
    loads = re.findall(r"= b0\[.*\];", phase.unit.text)
    assert loads
    assert all(re.search(rf"\b{lane}\)?\]", load) for load in loads)
    assert "gc_sync();" in phase.unit.text
