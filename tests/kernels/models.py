"""Small graphs that the tests of kernels and loops look at: layers, losses, training steps."""

from __future__ import annotations

import numpy as np

from graphc.grad import gradients
from graphc.graph import Array, Graph, Node
from graphc.ops.contraction import matmul
from graphc.ops.indexing import ScatterAdd, Take
from graphc.ops.leaves import Input, Parameter, Storage, Table
from graphc.ops.movement import broadcast_to, transpose
from graphc.ops.reduction import expand, fold, sum_over
from graphc.scalars import exp, relu, rsqrt, sqrt, tanh
from graphc.types import FLOAT32, INT64, TensorType


def leaf(name: str, *shape: int) -> Node:
    return Input(name, TensorType(FLOAT32, shape))()


def parameter(name: str, *shape: int, seed: int = 0) -> Node:
    value = np.random.default_rng([seed, *name.encode()]).normal(size=shape)
    return Parameter(name, TensorType(FLOAT32, shape), Storage(value, FLOAT32))()


def total(x: Node) -> Node:
    return sum_over(x, tuple(range(x.type.rank)))


def rows(function: str, x: Node) -> Node:
    """A fold of the last axis, repeated along it again."""
    last = (x.type.rank - 1,)
    return expand(fold(function, x, last), x.shape, last)


def softmax(x: Node) -> Node:
    e = exp(x - rows("maximum", x))
    return e / rows("add", e)


def layer_norm(x: Node, scale: Node, shift: Node) -> Node:
    count = x.shape[-1]
    centred = x - rows("add", x) * (1 / count)
    variance = rows("add", centred * centred) * (1 / count)
    normal = centred * rsqrt(variance + 1e-5)
    return normal * broadcast_to(scale, x.shape) + broadcast_to(shift, x.shape)


def attention(q: Node, k: Node, v: Node) -> Node:
    swapped = transpose(k, (0, 2, 1))
    return matmul(softmax(matmul(q, swapped) * q.shape[-1] ** -0.5), v)


def softmax_graph() -> Graph:
    x = leaf("x", 6, 33)
    return Graph((x,), (softmax(x),))


def layer_norm_graph() -> Graph:
    x, scale, shift = leaf("x", 6, 33), leaf("scale", 33), leaf("shift", 33)
    return Graph((x, scale, shift), (layer_norm(x, scale, shift),))


def attention_graph() -> Graph:
    q, k, v = leaf("q", 2, 5, 8), leaf("k", 2, 7, 8), leaf("v", 2, 7, 3)
    return Graph((q, k, v), (attention(q, k, v),))


def mlp(depth: int = 2) -> tuple[tuple[Node, ...], Node, list[Node]]:
    """Inputs, mean squared loss, parameters."""
    x, t = leaf("x", 9, 6), leaf("t", 9, 4)
    sizes, h, weights = [6, *[7] * (depth - 1), 4], x, []
    for k in range(depth):
        w, b = parameter(f"w{k}", sizes[k], sizes[k + 1]), parameter(f"b{k}", sizes[k + 1])
        h = matmul(h, w) + broadcast_to(b, (9, sizes[k + 1]))
        h = (tanh, relu)[k % 2](h) if k < depth - 1 else h
        weights += [w, b]
    error = h - t
    return (x, t), total(error * error) * (1 / 36), weights


def mlp_graph() -> Graph:
    """The loss and every gradient."""
    inputs, loss, weights = mlp()
    return Graph(inputs, (loss, *_all(gradients(loss, weights))))


def sgd_graph() -> Graph:
    """One step of gradient descent, in place."""
    inputs, loss, weights = mlp()
    slopes = _all(gradients(loss, weights))
    updates = tuple((w, w - g * 0.1) for w, g in zip(weights, slopes, strict=True))
    return Graph(inputs, (loss,), updates)


def adam_graph() -> Graph:
    """One step of Adam: two moments per parameter."""
    inputs, loss, weights = mlp()
    updates: list[tuple[Node, Node]] = []
    for w, g in zip(weights, _all(gradients(loss, weights)), strict=True):
        m, v = parameter(f"{w.name}.m", *w.shape), parameter(f"{w.name}.v", *w.shape)
        v = Parameter(v.name, v.type, Storage(np.ones(w.shape), FLOAT32))()
        new_m, new_v = m * 0.9 + g * 0.1, v * 0.999 + g * g * 0.001
        updates += [(m, new_m), (v, new_v), (w, w - new_m / (sqrt(new_v) + 1e-8) * 0.01)]
    return Graph(inputs, (loss,), tuple(updates))


def everything() -> Graph:
    """Large enough to be shared by threads: maps, folds of all shapes, products, a scatter."""
    x, w = leaf("x", 300, 257), leaf("w", 257, 190)
    places = Table.of(np.arange(300) % 7, INT64)()
    h = tanh(matmul(x, w))
    outputs = (
        exp(x) * x,
        softmax(x),
        transpose(exp(x), (1, 0)),
        *(sum_over(x, axes) for axes in ((0,), (1,), (0, 1))),
        h,
        matmul(transpose(h, (1, 0)), x),
        ScatterAdd(0)(Take(0)(x, Table.of(np.arange(7), INT64)()), places, x),
        total(h * h),
    )
    return Graph((x, w), outputs)


def small(k: int) -> Graph:
    """A graph whose code differs from that of every other ``k``."""
    x = leaf("x", 9 + k, 17)
    return Graph((x,), (softmax(x) * float(k), sum_over(x, (0,))))


def draw(graph: Graph) -> list[Array]:
    """Normal numbers for the inputs, the same each time."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=x.shape).astype(np.float32) for x in graph.inputs]


def _all(found: tuple[Node | None, ...]) -> tuple[Node, ...]:
    assert None not in found
    return found  # type: ignore[return-value]


GRAPHS = {
    "softmax": softmax_graph,
    "layer_norm": layer_norm_graph,
    "attention": attention_graph,
    "mlp": mlp_graph,
    "sgd": sgd_graph,
    "adam": adam_graph,
}
