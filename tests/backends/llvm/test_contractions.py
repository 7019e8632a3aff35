"""Sums of products through register tiles: every layout, odd sizes, batches, what follows them."""

from __future__ import annotations

import numpy as np
import pytest

from execute import native
from graphc.backends import llvm
from graphc.backends.llvm.machine import host
from graphc.backends.llvm.schedule import schedule
from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.kernels.lower import lower
from graphc.loops.ir import Fetch, statements
from graphc.ops.contraction import Contract
from graphc.ops.convolution import convolution, convolution_transposed
from graphc.ops.leaves import Input
from graphc.ops.movement import broadcast_to
from graphc.ops.reduction import sum_over
from graphc.passes import optimise, prepare
from graphc.scalars import relu, tanh
from graphc.types import DType, TensorType, dtype

pytestmark = pytest.mark.sweep

SIZES = [
    *((1, 1, 1), (1, 7, 1), (2, 0, 3), (0, 4, 3), (3, 4, 0)),
    *((1, 33, 65), (65, 33, 1), (16, 16, 16), (17, 31, 33), (2, 64, 15)),
    *((64, 130, 131), (5, 300, 64), (127, 65, 63), (6, 1, 100), (33, 257, 17)),
]
ERROR = {"float32": 1e-5, "float64": 1e-13, "float16": 4e-3, "bfloat16": 3e-2, "int32": 0.0}


def leaf(name: str, *shape: int, kind: str = "float32") -> Node:
    return Input(name, TensorType(dtype(kind), shape))()


def draw(rng: np.random.Generator, graph: Graph) -> list[Array]:
    return [numbers(rng, x.shape, x.dtype) for x in graph.inputs]


def numbers(rng: np.random.Generator, shape: tuple[int, ...], kind: DType) -> Array:
    drawn = np.asarray(rng.normal(size=shape) * (1 if kind.is_float else 9))
    return drawn.astype(kind.numpy)


def check(found: Array, wanted: Array, depth: int, kind: str = "float32") -> None:
    """Within the error of a sum of ``depth`` products of normal numbers."""
    error = ERROR[kind] * max(depth, 1) ** 0.5
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
@pytest.mark.parametrize("kind", ERROR)
def test_every_layout(m: int, k: int, n: int, kind: str, rng: np.random.Generator):
    """Both operands as they are and turned, and the result turned."""
    a, at = leaf("a", m, k, kind=kind), leaf("at", k, m, kind=kind)
    b, bt = leaf("b", k, n, kind=kind), leaf("bt", n, k, kind=kind)
    made = [
        Contract(left, right, out)(x, y)
        for out in ((0, 2), (2, 0))
        for left, x in (((0, 1), a), ((1, 0), at))
        for right, y in (((1, 2), b), ((2, 1), bt))
    ]
    graph = Graph((a, at, b, bt), tuple(made))
    first, second = (numbers(rng, shape, dtype(kind)) for shape in ((m, k), (k, n)))
    arrays = [np.ascontiguousarray(x) for x in (first, first.T, second, second.T)]
    product = first.astype(float) @ second.astype(float)
    found = native(graph, arrays)
    for ours, wanted in zip(found, [product] * 4 + [product.T] * 4, strict=True):
        check(ours, wanted, k, kind)


@pytest.mark.parametrize("depth", [1024, 1031])
@pytest.mark.parametrize("kind", ERROR)
def test_narrow_panels_are_filled_some_rows_at_a_time(
    depth: int, kind: str, rng: np.random.Generator
):
    """A long turned operand, of which a tile uses a part of each line: the gradient of a weight."""
    graph = product_of_columns(depth, 518, 64, kind)
    assert "operand in panels" in llvm.build(lower(graph)).source("loops")
    x, y = arrays = draw(rng, graph)
    check(native(graph, arrays)[0], x.T.astype(float) @ y, depth, kind)


def product_of_columns(depth: int, m: int, n: int, kind: str) -> Graph:
    x, y = leaf("x", depth, m, kind=kind), leaf("y", depth, n, kind=kind)
    return Graph((x, y), (Contract((0, 1), (0, 2), (1, 2))(x, y),))


@pytest.mark.parametrize(
    "equation",
    [
        *("bij,bjk->bik", "bji,bkj->bik", "bij,jk->bik", "ij,bjk->bik", "ijb,jkb->bki"),
        *("abij,abjk->abik", "aij,bjk->abik", "ijk,jkl->il", "ijk,kjl->il", "ijk,ljk->il"),
        *("i,j->ij", "i,i->i", "ij,ij->", "ij,j->i", "ij,i->j", "bi,bj->bij", "bi,bi->b"),
    ],
)
def test_equations(equation: str, rng: np.random.Generator):
    extent = {"a": 2, "b": 3, "i": 9, "j": 17, "k": 21, "l": 18}
    sides, out = equation.split("->")
    left, right = sides.split(",")
    labels = [tuple("abijkl".index(c) for c in part) for part in (left, right, out)]
    inputs = tuple(leaf(c, *(extent[x] for x in c)) for c in (left, right))
    graph = Graph(inputs, (Contract(*labels)(*inputs),))
    arrays = draw(rng, graph)
    (found,) = native(graph, arrays)
    check(found, np.einsum(equation, *(x.astype(float) for x in arrays)), 17 * 21)


@pytest.mark.parametrize(("m", "k", "n"), [(7, 5, 33), (64, 130, 131), (1, 40, 17), (40, 17, 1)])
def test_what_follows_is_applied_in_registers(m: int, k: int, n: int, rng: np.random.Generator):
    a, b, bias, rest = leaf("a", m, k), leaf("b", k, n), leaf("bias", n), leaf("rest", m, n)
    product = Contract((0, 1), (1, 2), (0, 2))(a, b)
    biased = product + broadcast_to(bias, (m, n))
    graph = Graph((a, b, bias, rest), (tanh(biased) * rest, relu(biased), product))
    arrays = draw(rng, graph)
    x, y, z, w = (array.astype(float) for array in arrays)
    wanted = [np.tanh(x @ y + z) * w, np.maximum(x @ y + z, 0), x @ y]
    for ours, theirs in zip(native(graph, arrays), wanted, strict=True):
        check(ours, theirs, k)


@pytest.mark.parametrize(("m", "n", "wanted"), [(500, 700, True), (50, 70, False)])
def test_large_buffers_are_fetched_while_sums_run(
    m: int, n: int, wanted: bool, rng: np.random.Generator
):
    """Rests of rows and columns too; the bias and small results stay near anyway."""
    a, b, beside, bias = leaf("a", m, 9), leaf("b", 9, n), leaf("beside", m, n), leaf("bias", n)
    graph = Graph(
        (a, b, beside, bias),
        (Contract((0, 1), (1, 2), (0, 2))(a, b) + beside + broadcast_to(bias, (m, n)),),
    )
    arrays = draw(rng, graph)
    (found,) = native(graph, arrays)
    check(found, arrays[0] @ arrays[1] + arrays[2] + arrays[3], 9)
    (kernel,) = lower(graph).kernels
    phases = schedule(kernel, host())
    fetched = {s.buffer.shape for s in statements(phases) if isinstance(s, Fetch)}
    assert fetched == ({(m, n)} if wanted else set())


def test_operands_that_are_computed(rng: np.random.Generator):
    """A factor that is an expression, not a load, or the same tensor twice."""
    a, b = leaf("a", 19, 33), leaf("b", 19, 33)
    square = Contract((0, 1), (2, 1), (0, 2))
    graph = Graph((a, b), (square(a, a), square(a * 2.0 + b, b), square(a, tanh(b))))
    arrays = draw(rng, graph)
    x, y = (array.astype(float) for array in arrays)
    for ours, theirs in zip(
        native(graph, arrays), [x @ x.T, (x * 2 + y) @ y.T, x @ np.tanh(y).T], strict=True
    ):
        check(ours, theirs, 33)


CONVOLUTIONS = {
    "plain": dict(x=(2, 3, 8, 9), w=(4, 3, 3, 3)),
    "one channel": dict(x=(2, 1, 28, 28), w=(6, 1, 5, 5)),
    "padded": dict(x=(1, 2, 7, 18), w=(5, 2, 3, 3), padding=((1, 1), (1, 1))),
    "strided": dict(x=(2, 3, 9, 17), w=(4, 3, 3, 3), strides=(2, 2), padding=((1, 1), (1, 1))),
    "dilated": dict(x=(1, 2, 11, 19), w=(3, 2, 3, 2), dilations=(2, 3)),
    "grouped": dict(x=(2, 6, 6, 7), w=(4, 3, 3, 3), groups=2),
    "depthwise": dict(x=(2, 5, 8, 8), w=(5, 1, 3, 3), groups=5, padding=((1, 1), (1, 1))),
    "pointwise": dict(x=(2, 17, 5, 5), w=(33, 17, 1, 1)),
    "no batch": dict(x=(0, 2, 5, 5), w=(3, 2, 3, 3)),
    "strided by three": dict(
        x=(2, 3, 11, 20), w=(4, 3, 3, 5), strides=(3, 3), padding=((1, 0), (2, 1))
    ),
    "stride above the filter": dict(x=(1, 3, 9, 20), w=(4, 3, 1, 2), strides=(2, 3)),
    "one strided axis": dict(
        x=(2, 2, 6, 35), w=(3, 2, 3, 3), strides=(1, 2), padding=((1, 1), (0, 1))
    ),
    "strided and dilated": dict(x=(1, 2, 13, 30), w=(3, 2, 3, 2), strides=(2, 3), dilations=(2, 3)),
    "strided groups": dict(
        x=(2, 4, 8, 18), w=(6, 2, 3, 3), strides=(2, 2), groups=2, padding=((1, 1), (1, 1))
    ),
    "wide": dict(x=(1, 40, 12, 12), w=(48, 40, 3, 3), padding=((1, 1), (1, 1))),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_and_their_gradients(name: str, rng: np.random.Generator):
    case = CONVOLUTIONS[name]
    x, w = leaf("x", *case["x"]), leaf("w", *case["w"])
    strides, dilations = case.get("strides", (1, 1)), case.get("dilations", (1, 1))
    padding, groups = case.get("padding", ((0, 0), (0, 0))), case.get("groups", 1)
    y = convolution(x, w, strides, padding, dilations, groups=groups)
    g = leaf("g", *y.shape)
    dx, dw = gradients(y, [x, w], g)
    assert dx is not None
    assert dw is not None
    graph = Graph((x, w, g), (y, dx, dw))
    arrays = draw(rng, graph)
    wanted = reference(
        *(array.astype(float) for array in arrays), strides, padding, dilations, groups
    )
    for way in (graph, prepare(optimise(graph))):  # over inserted zeros, and by remainders
        for ours, theirs in zip(native(way, arrays), wanted, strict=True):
            check(ours, theirs, 500)


def reference(x, w, g, strides, padding, dilations, groups) -> tuple[Array, Array, Array]:
    """Convolution and both gradients, one tap of the filter after another."""
    padded = np.pad(x, ((0, 0), (0, 0), *padding))
    dpadded, dw, y = np.zeros_like(padded), np.zeros_like(w), np.zeros_like(g)
    ins, outs = x.shape[1] // groups, w.shape[0] // groups
    for group in range(groups):
        into, out = slice(group * ins, (group + 1) * ins), slice(group * outs, (group + 1) * outs)
        for i, j in np.ndindex(*w.shape[2:]):
            rows, columns = (
                slice(k * d, k * d + (n - 1) * s + 1, s)
                for k, d, n, s in zip((i, j), dilations, g.shape[2:], strides, strict=True)
            )
            part, tap = padded[:, into, rows, columns], w[out, :, i, j]
            y[:, out] += np.einsum("ncij,oc->noij", part, tap)
            dw[out, :, i, j] = np.einsum("ncij,noij->oc", part, g[:, out])
            dpadded[:, into, rows, columns] += np.einsum("oc,noij->ncij", tap, g[:, out])
    crop = tuple(slice(low, low + n) for (low, _), n in zip(padding, x.shape[2:], strict=True))
    return y, dpadded[(slice(None), slice(None), *crop)], dw


def test_a_transposed_convolution_is_the_gradient_of_one(rng: np.random.Generator):
    x, w = leaf("x", 2, 4, 5, 6), leaf("w", 4, 3, 3, 3)
    y = convolution_transposed(x, w, (2, 2), ((1, 1), (1, 1)), (1, 1))
    graph = Graph((x, w), (y,))
    arrays = draw(rng, graph)
    (found,) = native(graph, arrays)
    forward = np.zeros((2, 3, *y.shape[2:]))
    values, filters = (array.astype(float) for array in arrays)
    ones = ((1, 1), (1, 1))
    wanted = reference(forward, filters, values, (2, 2), ones, (1, 1), 1)[1]
    check(found, wanted, 100)


def test_a_sum_over_everything_is_no_product(rng: np.random.Generator):
    """One result: no index can be a row or a column."""
    x = leaf("x", 33, 65)
    graph = Graph((x,), (sum_over(x * x, (0, 1)), Contract((0, 1), (0, 1), ())(x, x)))
    arrays = draw(rng, graph)
    wanted = (arrays[0].astype(float) ** 2).sum()
    for found in native(graph, arrays):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
