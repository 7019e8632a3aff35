"""Every sample and its gradient, lowered to loops and run by the plain-Python meaning of loops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from graphc.backends.interpreter import Interpreter, evaluate
from graphc.errors import UserError
from graphc.expr import Buffer
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.kernels.lower import lower
from graphc.loops.interpret import interpret
from graphc.loops.nest import nest
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Input
from graphc.ops.reduction import sum_over
from graphc.types import FLOAT32, INT64, TensorType
from samples import DISTINCT, Sample

DIFFERENTIABLE = [s for s in DISTINCT if s.wrt]


def run_loops(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """Lower, nest and interpret; every buffer has an array of its own, filled with garbage."""
    program = lower(graph)
    memory = dict(zip(program.inputs, arrays, strict=True))
    memory |= {buffer: evaluate(node, []) for node, buffer in program.leaves}
    for kernel in program.kernels:
        for buffer in kernel.written:
            memory.setdefault(buffer, _garbage(buffer))
        interpret(nest(kernel), memory)
    return [memory[y] for y in program.outputs]


def _garbage(buffer: Buffer) -> Array:
    array = np.empty(buffer.shape, buffer.type.dtype.numpy)
    array.view(np.uint8).fill(0x55) if array.ndim else array.fill(1)
    return array


def check(graph: Graph, arrays: Sequence[Array], tolerance: float) -> None:
    with np.errstate(all="ignore"):
        found = run_loops(graph, arrays)
    for ours, wanted in zip(found, Interpreter(graph).run(arrays), strict=True):
        assert ours.dtype == wanted.dtype
        np.testing.assert_allclose(ours, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sample", DISTINCT, ids=str)
def test_loops_give_the_values(sample: Sample):
    inputs, arrays = sample.inputs(), sample.draw()
    # 2e-2: NumPy adds up halves in more bits than their expressions do
    tolerance = 2e-2 if "half" in sample.name or "float16" in sample.name else sample.tolerance
    check(Graph(tuple(inputs), (sample.build(*inputs),)), arrays, tolerance)


@pytest.mark.parametrize("sample", DIFFERENTIABLE, ids=str)
def test_loops_give_the_gradients(sample: Sample):
    sample = sample.wide()
    inputs, arrays = sample.inputs(), sample.draw()
    y = sample.build(*inputs)
    loss = sum_over(y * y, tuple(range(y.type.rank)))
    found = gradients(loss, [inputs[k] for k in sample.wrt])
    graph = Graph(tuple(inputs), (loss, *(g for g in found if g is not None)))
    check(graph, arrays, 1e-12)


@pytest.mark.parametrize("wrong", [3, -4])
def test_loops_find_an_index_out_of_bounds(wrong: int):
    x, i = (Input("x", TensorType(FLOAT32, (3,)))(), Input("i", TensorType(INT64, (2,)))())
    arrays = [np.zeros(3, np.float32), np.array([0, wrong])]
    nodes: list[Node] = [Take(0)(x, i), ScatterAdd(0)(x, i, Take(0)(x, i * 0))]
    for node in nodes:
        with pytest.raises(UserError) as caught:
            run_loops(Graph((x, i), (node,)), arrays)
        assert caught.value.code == "GC0306"
