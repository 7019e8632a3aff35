"""Graphs built by chance, for whatever must hold for every graph."""

import numpy as np
from hypothesis import strategies as st

from graphc.graph import Graph, Node
from graphc.ops.contraction import matmul
from graphc.ops.elementwise import cast_to
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.reduction import fold
from graphc.ops.selection import Concatenate, Flip, Slice
from graphc.scalars import SCALARS, absolute, exp, log, maximum, minimum, sqrt, where
from graphc.types import FLOAT32, FLOAT64
from rewrite.values import leaf

NUMBERS = [0, 1, -1, 2, 0.5, 3.0, -0.25]
UNARY = {
    "negative": lambda x: -x,
    "square": lambda x: x * x,
    "tanh": SCALARS["tanh"],
    "sigmoid": SCALARS["sigmoid"],
    "relu": SCALARS["relu"],
    "abs": absolute,
    "exp": lambda x: exp(minimum(x, 2.0)),
    "log": lambda x: log(absolute(x) + 1),
    "root": lambda x: sqrt(x * x + 1),
    "power": lambda x: (absolute(x) + 1) ** 0.5,
    "softplus": lambda x: log(exp(minimum(x, 2.0)) + 1),
    "wide": lambda x: cast_to(cast_to(x, FLOAT32), FLOAT64),
}
BINARY = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / (y * y + 1),
    "maximum": maximum,
    "normalise": lambda x, y: x / sqrt(y * y + 1),
}


def _numbered(draw, x: Node) -> Node:
    function = draw(st.sampled_from(["add", "subtract", "multiply", "maximum"]))
    number = draw(st.sampled_from(NUMBERS))
    pair = (x, number) if draw(st.booleans()) else (number, x)
    return SCALARS[function](*pair)


def _moved(draw, x: Node) -> Node:
    shape, rank = x.type.static_shape, x.type.rank
    kind = draw(st.sampled_from(["transpose", "flatten", "ones", "slice", "flip", "copy"]))
    if kind == "transpose":
        return Transpose(tuple(draw(st.permutations(range(rank)))))(x)
    if kind == "flatten":
        return Reshape((int(np.prod(shape)),))(x)
    if kind == "copy":
        return broadcast_to(x, (2, *shape)) if rank < 3 else x
    if kind == "slice":
        starts = tuple(min(1, n - 1) for n in shape)
        return Slice(starts, shape, (1,) * rank)(x)
    if kind == "flip":
        return Flip(tuple(range(rank)))(x)
    return Reshape((1, *shape))(x) if rank < 3 else x


def _folded(draw, x: Node) -> Node:
    axes = draw(st.sets(st.integers(0, max(x.type.rank - 1, 0)), max_size=x.type.rank))
    function = draw(st.sampled_from(["add", "maximum", "minimum"]))
    return fold(function, x, tuple(axes)) if x.type.rank else x


def _joined(draw, x: Node, y: Node) -> Node:
    if x.shape == y.shape:
        return BINARY[draw(st.sampled_from(sorted(BINARY)))](x, y)
    if x.type.rank == y.type.rank == 2 and x.shape[1] == y.shape[0]:
        return matmul(x, y)
    if y.shape == ():
        return x * broadcast_to(y, x.shape)
    if x.type.rank == y.type.rank == 1:
        return Concatenate(0)(x, y)
    return where(x > 0, x, 0.5)


@st.composite
def graphs(draw, steps: int = 12) -> Graph:
    """A graph over float64 inputs of shapes [3, 3], [2, 3], [3] and [1]."""
    inputs = [leaf(name, shape, "float64") for name, shape in INPUTS.items()]
    pool: list[Node] = list(inputs)
    for _ in range(draw(st.integers(1, steps))):
        x, y = (draw(st.sampled_from(pool)) for _ in range(2))
        kind = draw(st.sampled_from(["unary", "number", "moved", "folded", "joined", "joined"]))
        if kind == "unary":
            made = UNARY[draw(st.sampled_from(sorted(UNARY)))](x)
        elif kind == "joined":
            made = _joined(draw, x, y)
        else:
            made = {"number": _numbered, "moved": _moved, "folded": _folded}[kind](draw, x)
        pool.append(made)
    return Graph(tuple(inputs), tuple(pool[-2:]))


INPUTS = {"a": (3, 3), "b": (2, 3), "c": (3,), "d": (1,)}


def arrays(rng: np.random.Generator) -> list[np.ndarray]:
    """Values for the inputs of `graphs`."""
    return [rng.normal(size=shape) for shape in INPUTS.values()]
