"""Small models, built from core nodes, that the drawing tests look at."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphc.grad import gradients
from graphc.graph import Graph, Node, Op
from graphc.ops.contraction import matmul
from graphc.ops.elementwise import ELEMENTWISE
from graphc.ops.leaves import Input, Parameter, Storage, constant
from graphc.ops.movement import broadcast_to, reshape, transpose
from graphc.ops.reduction import expand, fold, sum_over
from graphc.scalars import tanh
from graphc.site import scope
from graphc.types import FLOAT32, INT64, DType, TensorType


def leaf(name: str, *shape: int, dtype: DType = FLOAT32) -> Node:
    return Input(name, TensorType(dtype, shape))()


def param(name: str, *shape: int) -> Node:
    kind = TensorType(FLOAT32, shape)
    return Parameter(name, kind, Storage(np.zeros(shape), FLOAT32))()


def apply(name: str, *operands: Node) -> Node:
    return ELEMENTWISE[name](*operands)


def bias(x: Node, b: Node) -> Node:
    return x + broadcast_to(b, x.shape)


def mean(x: Node) -> Node:
    return sum_over(x, tuple(range(x.type.rank))) / constant(x.type.size, FLOAT32)


def relu(x: Node) -> Node:
    return apply("maximum", x, broadcast_to(constant(0.0, FLOAT32), x.shape))


def softmax(x: Node) -> Node:
    last = (x.type.rank - 1,)
    e = apply("exp", x - expand(fold("maximum", x, last), x.shape, last))
    return e / expand(sum_over(e, last), x.shape, last)


def layer(name: str, x: Node, width: int) -> Node:
    with scope(name):
        w, b = param(f"{name}.w", x.shape[-1], width), param(f"{name}.b", width)
        return bias(matmul(x, w), b)


def mlp() -> tuple[Node, list[Node]]:
    """A perceptron with two layers and a squared loss."""
    x, y = leaf("x", 32, 784), leaf("y", 32, 10)
    w1, b1 = param("w1", 784, 128), param("b1", 128)
    w2, b2 = param("w2", 128, 10), param("b2", 10)
    a = matmul(x, w1) + broadcast_to(b1, (32, 128))
    h = tanh(a)
    z = matmul(h, w2) + broadcast_to(b2, (32, 10))
    error = z - y
    loss = sum_over(error * error, (0, 1)) / 320.0
    return loss, [w1, b1, w2, b2]


def mlp_graph() -> Graph:
    """The perceptron with one step of gradient descent."""
    loss, weights = mlp()
    slopes = gradients(loss, weights)
    inputs = tuple(n for n in Graph((), (loss,)).nodes if n.op.label in ("x", "y"))
    updates = tuple((w, w - g * 0.1) for w, g in zip(weights, slopes, strict=True))
    return Graph(inputs, (loss,), updates)


def residual(blocks: int = 10) -> tuple[Node, list[Node]]:
    """Residual blocks, each in a scope of its own."""
    h, weights = leaf("x", 64, 256), []
    for k in range(blocks):
        with scope(f"block{k}"):
            w, b = param(f"w{k}", 256, 256), param(f"b{k}", 256)
            weights += [w, b]
            h = h + relu(bias(matmul(h, w), b))
    with scope("loss"):
        loss = mean((h - leaf("y", 64, 256)) ** 2)
    return loss, weights


def lstm(steps: int = 8) -> tuple[Node, list[Node]]:
    """A long short-term memory, unrolled."""
    size = 16
    w, u, b = param("w", 8, 4 * size), param("u", size, 4 * size), param("b", 4 * size)
    h, c = leaf("h0", 4, size), leaf("c0", 4, size)
    for t in range(steps):
        with scope(f"step{t}"):
            gates = bias(matmul(leaf(f"x{t}", 4, 8), w) + matmul(h, u), b)
            i, f, o, g = (Slice(k * size, size)(gates) for k in range(4))
            c = apply("sigmoid", f) * c + apply("sigmoid", i) * apply("tanh", g)
            h = apply("sigmoid", o) * apply("tanh", c)
    loss = mean(h * h)
    return loss, [w, u, b]


def attention() -> tuple[Node, list[Node]]:
    """One head of attention with a residual connection and a feed-forward part."""
    x = leaf("x", 16, 64)
    weights = [param(n, 64, 64) for n in ("wq", "wk", "wv", "wo")]
    with scope("attention"):
        q, k, v = (matmul(x, w) for w in weights[:3])
        scores = matmul(q, transpose(k, (1, 0))) * 0.125
        heads = matmul(softmax(scores), v)
        a = x + matmul(heads, weights[3])
    with scope("mlp"):
        w1, w2 = param("w1", 64, 256), param("w2", 256, 64)
        y = a + matmul(relu(matmul(a, w1)), w2)
    loss = mean(y * y)
    return loss, [*weights, w1, w2]


def convnet() -> tuple[Node, list[Node]]:
    """LeNet's shape with stand-ins for convolution and pooling."""
    x, y = leaf("image", 8, 1, 28, 28), leaf("label", 8, dtype=INT64)
    k1, k2 = param("conv1.k", 6, 1, 5, 5), param("conv2.k", 16, 6, 5, 5)
    w1, w2 = param("fc1.w", 256, 120), param("fc2.w", 120, 10)
    with scope("features"):
        with scope("stage1"):
            h = Pool()(relu(Conv()(x, k1)))
        with scope("stage2"):
            h = Pool()(relu(Conv()(h, k2)))
    with scope("classifier"):
        h = relu(matmul(reshape(h, (8, 256)), w1))
        logits = matmul(h, w2)
    with scope("loss"):
        p = apply("log", softmax(logits))
        loss = mean(p * broadcast_to(reshape(Float()(y), (8, 1)), p.shape))
    return loss, [k1, k2, w1, w2]


# Stand-ins: types and gradients only, since nothing is run ----------------------------------------
@dataclass(frozen=True)
class Slice(Op):
    start: int
    width: int

    def infer(self, x):
        return x.with_shape((x.shape[0], self.width))

    def grad(self, g, y, x):
        return (Like("pad", x.type)(g),)


@dataclass(frozen=True)
class Like(Op):
    """Anything with a known result."""

    called: str
    result: TensorType

    @property
    def name(self):
        return self.called

    def __str__(self):
        return self.called

    def infer(self, *types):
        return self.result


@dataclass(frozen=True)
class Conv(Op):
    kind: ClassVar[str] = "contract"
    stride: int = 1

    def infer(self, x, k):
        n = x.shape[-1] - k.shape[-1] + 1
        return x.with_shape((x.shape[0], k.shape[0], n, n))

    def grad(self, g, y, x, k):
        return Like("conv_transpose", x.type)(g, k), Like("conv", k.type)(x, g)


@dataclass(frozen=True)
class Pool(Op):
    size: int = 2

    def infer(self, x):
        return x.with_shape((*x.shape[:2], *(s // self.size for s in x.shape[2:])))

    def grad(self, g, y, x):
        return (Like("unpool", x.type)(g, x, y),)


@dataclass(frozen=True)
class Float(Op):
    def infer(self, x):
        return x.with_dtype(FLOAT32)
