"""Random graphs on the simulated GPU: the interpreter's numbers, in any order of threads.

The graphs of a test are drawn up front from a fixed seed, so that their kernels are compiled
together. A failure is drawn again with fewer steps, until it is the smallest of its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from execute import interpreted
from graphc.backends.cuda import choice, cut, rows, segments, transpose
from random_graphs import build, gradient_graph
from random_ops import Manner
from simulated import Case, device, failures

pytestmark = pytest.mark.sweep

Make = Callable[[int, int], Case | None]
"""What makes the case of a seed and a number of steps; none where the graph does not fit."""


def without_passes(seed: int, steps: int) -> Case:
    return case_of(seed, steps, Manner(), optimised=False)


def with_all_passes(seed: int, steps: int) -> Case:
    return case_of(seed, steps, Manner(exact=False))


def with_updates(seed: int, steps: int) -> Case:
    return case_of(seed, steps, Manner(state=True), optimised=False)


def case_of(seed: int, steps: int, manner: Manner, optimised: bool = True) -> Case:
    drawn = build(seed, steps, manner)
    name = f"build({seed}, {steps}, {manner})"
    return Case(name, drawn.graph, drawn.arrays(), drawn.errors, optimised)


def with_gradients(seed: int, steps: int) -> Case | None:
    """The gradients of a sum of squares of all float outputs, by all float leaves."""
    drawn = build(seed, steps, Manner(wide=True))
    graph = gradient_graph(drawn)
    if graph is None:
        return None
    arrays = drawn.arrays()
    sizes = [float(np.abs(y).max(initial=1)) for y in interpreted(graph, arrays)]
    name = f"gradients of build({seed}, {steps}, wide)"
    return Case(name, graph, arrays, [1e-9 * size for size in sizes], optimised=False)


def cases(make: Make, count: int, steps: int) -> Iterator[tuple[int, int, Case]]:
    """Seeds, numbers of steps, and what they make."""
    chance = random.Random(f"{make.__name__} {count}")
    for _ in range(count):
        seed, some = chance.randrange(1 << 40), chance.randint(1, steps)
        made = make(seed, some)
        if made is not None:
            yield seed, some, made


def smallest(make: Make, seed: int, steps: int) -> list[str]:
    """The failures of a seed, the first of them with the fewest steps."""
    made = (make(seed, some) for some in range(1, steps + 1))
    return failures(case for case in made if case is not None)


def check(make: Make, drawn: Sequence[tuple[int, int, Case]]) -> None:
    found = failures(case for _, _, case in drawn)
    if not found:
        return
    name = found[0].partition(", order")[0]
    seed, steps = next((s, n) for s, n, case in drawn if case.name == name)
    pytest.fail("\n".join([*found, "with fewer steps:", *smallest(make, seed, steps)]))


LOW = {
    choice: {"SHORT": 2},
    cut: {"LONG_ROW": 12, "SLICE_OF_ROW": 3, "LONG_COLUMN": 12, "SLICE_OF_COLUMN": 3},
    rows: {"LONGEST_FOR_WARP": 16, "FEW": 16},
    segments: {"FEWEST": 2},
    transpose: {"SHORTEST": 2},
}
"""Sizes from which on schedules are worth it: so low that small graphs have all of them."""


@pytest.fixture
def low(monkeypatch):
    """A GPU with few multiprocessors, and schedules for large arrays at any size."""
    monkeypatch.setattr(device(), "limits", replace(device().limits, multiprocessors=2))
    for module, numbers in LOW.items():
        for name, number in numbers.items():
            monkeypatch.setattr(module, name, number)


@pytest.mark.parametrize(
    ("make", "count", "steps"),
    [(without_passes, 40, 20), (with_all_passes, 30, 20), (with_updates, 15, 30),
     (with_gradients, 40, 12)],
)  # fmt: skip
def test_random_graphs(make: Make, count: int, steps: int):
    check(make, [*cases(make, count, steps)])


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize(
    ("make", "count", "steps"),
    [(without_passes, 60, 20), (with_all_passes, 50, 20), (with_updates, 25, 30),
     (with_gradients, 60, 12)],
)  # fmt: skip
def test_random_graphs_on_a_small_gpu(make: Make, count: int, steps: int):
    check(make, [*cases(make, count, steps)])


@pytest.mark.slow
@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("make", [without_passes, with_all_passes, with_updates, with_gradients])
def test_many_random_graphs(make: Make):
    check(make, [*cases(make, 500, 20)])
