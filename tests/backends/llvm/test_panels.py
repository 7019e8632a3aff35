"""Operands that several kernels pack alike: packed once, and again when they changed; constants
before the first call.
"""

from __future__ import annotations

import numpy as np
import pytest

from execute import interpreted
from graphc.backends import llvm
from graphc.graph import Array, Graph, Node
from graphc.kernels.lower import lower
from graphc.ops.contraction import Contract
from graphc.ops.leaves import Input, Parameter, Storage, Table
from graphc.scalars import tanh
from graphc.types import FLOAT32, TensorType

ROWS, WIDTH, STEPS = 24, 160, 5


def recurrence(update: bool) -> Graph:
    """``h = tanh(h @ w.T)`` some times over; ``w`` may become something else in the end."""
    h: Node = Input("x", TensorType(FLOAT32, (ROWS, WIDTH)))()
    x, scale = h, WIDTH**-0.5
    value = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)) * scale
    w = Parameter("w", TensorType(FLOAT32, (WIDTH, WIDTH)), Storage(value, FLOAT32))()
    for _ in range(STEPS):
        h = tanh(Contract((0, 1), (2, 1), (0, 2))(h, w))
    return Graph((x,), (h,), ((w, w * 0.5),) if update else ())


def skipped(made: llvm.Executable) -> int:
    """Phases that need not run."""
    image = made.image
    return sum(len(image.codes[s.code].phases) - len(s.phases) for s in image.steps)


def arrays() -> list[Array]:
    return [np.random.default_rng(1).normal(size=(ROWS, WIDTH)).astype(np.float32)]


def test_a_weight_is_packed_once_for_all_steps():
    graph = recurrence(update=False)
    made = llvm.build(lower(graph))
    assert skipped(made) == STEPS - 1
    for _ in range(2):
        np.testing.assert_allclose(
            made.run(arrays())[0], interpreted(graph, arrays())[0], rtol=1e-4, atol=1e-5
        )


def test_a_new_value_is_packed_anew():
    """The same call again: the parameter was updated in place at the end of the first."""
    graph = recurrence(update=True)
    made = llvm.build(lower(graph))
    assert skipped(made) == STEPS - 1
    (w,) = graph.parameters
    for _ in range(3):
        wanted = interpreted(graph, arrays())[0]
        before = w.op.storage.array.copy()
        np.testing.assert_allclose(made.run(arrays())[0], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(w.op.storage.array, before * np.float32(0.5))


@pytest.mark.parametrize("recalled", [False, True])
def test_a_constant_is_packed_before_the_first_call(recalled):
    """Laid out so that rows lie far apart: each product reads it from panels."""
    x = Input("x", TensorType(FLOAT32, (ROWS, WIDTH)))()
    rng = np.random.default_rng(2)
    table = Table.of(rng.normal(size=(WIDTH, WIDTH)), FLOAT32)()
    other = Table.of(rng.normal(size=(WIDTH, WIDTH)), FLOAT32)()
    product = Contract((0, 1), (2, 1), (0, 2))
    graph = Graph((x,), (product(product(product(x, table), other), table),))
    made = llvm.build(lower(graph), graph)
    if recalled:
        again = llvm.recall(graph, lambda: lower(graph))
        assert again is not None
        made = again
    assert [len(s.once) for s in made.image.steps] == [1, 1, 0]
    assert all(len(s.phases) == 1 for s in made.image.steps)
    for _ in range(2):
        np.testing.assert_allclose(
            made.run(arrays())[0], interpreted(graph, arrays())[0], rtol=1e-3, atol=1e-2
        )
