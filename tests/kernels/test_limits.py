"""Graphs that are deep, wide or large: nothing recurses along them, and kernels stay small."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from execute import interpreted, native
from graphc.backends import llvm
from graphc.compile import build
from graphc.expr import walk
from graphc.grad import gradients
from graphc.graph import Graph, Node
from graphc.kernels.candidates import TURN
from graphc.kernels.fuse import MEMBERS
from graphc.kernels.lower import STACK, lower
from graphc.kernels.trace import DEEP
from graphc.loops.ir import expressions, statements
from graphc.loops.nest import TALL, nest
from graphc.ops.contraction import matmul
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.passes import optimise
from graphc.scalars import exp, tanh
from kernels.models import leaf, parameter, softmax, total
from random_graphs import Drawn, graphs


@pytest.fixture(autouse=True)
def shallow():
    """Far fewer frames than nodes: a recursive walk fails. `DEEP` nodes may take 8 each."""
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(depth + 8 * DEEP)
    yield
    sys.setrecursionlimit(before)


def chain(length: int) -> Graph:
    """x, tanh of it plus y, tanh of that plus y, ..."""
    x, y = leaf("x", 3, 5), leaf("y", 3, 5)
    z = x
    for k in range(length // 2):
        z = tanh(z + y) if k % 2 else exp(-(z + y))
    return Graph((x, y), (z,))


def height(graph: Graph) -> int:
    """The depth of the highest expression in the loops of a graph."""
    most = 0
    for kernel in lower(graph).kernels:
        for statement in statements(nest(kernel)):
            known: dict[int, int] = {}
            for e in walk(*expressions(statement)):
                known[id(e)] = 1 + max((known[id(c)] for c in e.children), default=0)
                most = max(most, known[id(e)])
    return most


def test_a_long_chain_is_cut_into_kernels():
    graph = chain(5000)
    sizes = [len(k.nodes) for k in lower(graph).kernels]
    assert set(sizes[:-1]) == {MEMBERS}
    assert sum(sizes) > 2500


def test_a_long_formula_is_one_kernel():
    """156 nodes, as an equation of state has: what passes between kernels passes through memory."""
    assert len(lower(chain(156)).kernels) == 1


def test_expressions_stay_low():
    assert height(chain(500)) <= TALL + 4


def moved(count: int) -> Graph:
    """Reshapes and transposes in turn."""
    x = leaf("x", 4, 6)
    y = x
    for k in range(count):
        y = Reshape((4, 6) if y.shape == (24,) else (24,))(y) if k % 3 else _turned(y)
    return Graph((x,), (y,))


def _turned(y: Node) -> Node:
    return Transpose((1, 0))(y) if y.type.rank == 2 else Transpose((0,))(y)


def test_many_moves_are_cut_into_copies():
    graph = moved(10_000)
    made = lower(graph)
    assert len(made.kernels) == -(-10_000 // (DEEP // TURN + 1))
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    (found,), (wanted,) = llvm.build(made).run([array]), interpreted(graph, [array])
    np.testing.assert_array_equal(found, wanted)


def test_a_long_chain_runs():
    graph = chain(1500)
    arrays = [np.full((3, 5), 0.3, np.float32), np.full((3, 5), -0.1, np.float32)]
    (found,), (wanted,) = native(graph, arrays), interpreted(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_many_readers_of_one_tensor():
    """A sum of many uses, in a row and as a tree."""
    x = leaf("x", 8)
    z = exp(x)
    parts = [z * float(k) for k in range(1000)]
    row = parts[0]
    for part in parts[1:]:
        row = row + part
    tree = parts
    while len(tree) > 1:
        tree = [a + b for a, b in zip(tree[::2], tree[1::2], strict=False)] + tree[len(tree) & ~1 :]
    graph = Graph((x,), (row, tree[0]))
    arrays = [np.linspace(-1, 1, 8).astype(np.float32)]
    for found, wanted in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_many_outputs():
    x = leaf("x", 8)
    graph = Graph((x,), tuple(exp(x * float(k)) for k in range(500)))
    made = lower(graph)
    assert len(made.outputs) == 500
    assert len({b for k in made.kernels for b in k.written}) == 500


def test_doubling_does_not_explode():
    """x + x, thirty times over: shared expressions are written once."""
    x = leaf("x", 4)
    y = x
    for _ in range(30):
        y = y * y + y
    graph = Graph((x,), (y,))
    assert all(len(list(walk(*(s.value for s in k.stores)))) < 1000 for k in lower(graph).kernels)
    arrays = [np.array([0.1, -0.1, 0.0, -0.5], np.float32)]
    (found,), (wanted,) = native(graph, arrays), interpreted(graph, arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)


def stack(graph: Graph) -> int:
    """The most bytes of rows in one kernel."""
    found = []
    for kernel in lower(graph).kernels:
        rows = {s.buffer for s in kernel.stores if s.buffer.scope == "row" and s.buffer.shape}
        found.append(sum(b.type.bytes for b in rows))
    return max(found)


def test_long_rows_are_not_put_on_the_stack():
    short, long = leaf("x", 8, STACK // 4), leaf("x", 8, STACK // 4 + 1)
    assert stack(Graph((short,), (softmax(short),))) == STACK
    assert stack(Graph((long,), (softmax(long),))) == 0
    made = lower(Graph((long,), (softmax(long),)))
    assert len(made.kernels) == 1
    assert made.plan.total_bytes == -(-long.type.bytes // 64) * 64


@pytest.mark.parametrize("room", [0, 150, 300])
@given(drawn=graphs(steps=25, state=True))
@settings(max_examples=25)
def test_members_with_memory_of_their_own(room: int, drawn: Drawn):
    """Whatever the stack holds, the numbers are the same."""
    x = leaf("x", 5, 33)
    z = softmax(softmax(x * 3.0) * exp(x))
    arrays = [np.linspace(-1, 1, 165, dtype=np.float32).reshape(5, 33)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphc.kernels.lower.STACK", room)
        assert stack(Graph((x,), (z,))) <= room
        (found,) = native(Graph((x,), (z,)), arrays)
        drawn.check(native(drawn.graph), interpreted(drawn.graph))
    np.testing.assert_allclose(found, interpreted(Graph((x,), (z,)), arrays)[0], rtol=1e-5)


def layers(count: int) -> Graph:
    """A network of equal layers, its loss, its gradients: about 40 nodes per layer."""
    x = leaf("x", 8, 8)
    h, weights = x, []
    for k in range(count):
        w, b = parameter(f"w{k}", 8, 8), parameter(f"b{k}", 8)
        weights += [w, b]
        h = h + tanh(matmul(h, w) + broadcast_to(b, (8, 8)))
    loss = total(h * h)
    slopes = gradients(loss, weights)
    updates = tuple((w, w - g * 0.1) for w, g in zip(weights, slopes, strict=True) if g is not None)
    return Graph((x,), (loss,), updates)


def test_equal_layers_share_their_code():
    made = llvm.build(lower(layers(30)))
    assert len(made.compiled) > 100
    assert len({c.name for c in made.compiled}) < 20


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


@pytest.mark.slow
def test_a_hundred_thousand_nodes():
    """Building, differentiating, optimising and lowering take time in proportion to the graph."""
    graphs: list[Graph] = []
    spent = seconds(lambda: graphs.append(layers(5000)))
    assert len(graphs[0].nodes) > 100_000
    spent += seconds(lambda: graphs.append(optimise(graphs[0])))
    spent += seconds(lambda: lower(graphs[1]))
    assert spent < 60  # about 27 where this was written


def test_every_stage_of_compilation_walks_iteratively():
    graph = chain(1200)
    seen: list[str] = []
    build(graph, "llvm", {}, lambda name, _: seen.append(name))
    assert seen[-1] == "executable"
