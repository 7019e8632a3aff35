"""The work of compiling grows with the graph and no faster: Python calls are counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from graphc.backends import llvm
from graphc.backends.llvm import code as kernel_code
from graphc.grad import gradients
from graphc.graph import Graph
from graphc.identity import graph_identity
from graphc.kernels.lower import lower
from graphc.ops.contraction import matmul
from graphc.passes import optimise, prepare
from graphc.scalars import tanh
from kernels.models import leaf, parameter, total


def chain(count: int) -> Graph:
    """One operation after another."""
    x, y = leaf("x", 3, 5), leaf("y", 3, 5)
    z = x
    for k in range(4 * count):
        z = tanh(z) if k % 3 == 0 else z + y if k % 3 == 1 else z * 0.5
    return Graph((x, y), (z,))


def layers(count: int) -> Graph:
    """A network of equal layers that learns."""
    x = leaf("x", 8, 8)
    h, weights = x, [parameter(f"w{k}", 8, 8) for k in range(count)]
    for w in weights:
        h = h + tanh(matmul(h, w))
    slopes = gradients(total(h * h), weights)
    pairs = zip(weights, slopes, strict=True)
    return Graph((x,), (total(h * h),), tuple((w, w - g * 0.1) for w, g in pairs if g is not None))


def calls(function: Callable[[], object]) -> int:
    """How many Python functions are entered while ``function`` runs."""
    count = 0

    def look(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(look)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


STEPS: dict[str, Callable[[Graph], Callable[[], object]]] = {
    "identity": lambda graph: lambda: graph_identity(graph),
    "passes": lambda graph: lambda: optimise(graph),
    "lowering": lambda graph: lambda: lower(prepare(optimise(graph))),
    "forms": lambda graph: lambda: forms(graph),
}


def forms(graph: Graph) -> list[kernel_code.Form]:
    return llvm.executable.Listing(lambda: lower(prepare(optimise(graph)))).forms


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("model", [chain, layers])
def test_four_times_the_graph_is_four_times_the_work(model: Callable[[int], Graph], step: str):
    calls(STEPS[step](model(10)))  # what is kept for good is made now
    few, many = (calls(STEPS[step](model(count))) for count in (40, 160))
    assert many < 4.6 * few
