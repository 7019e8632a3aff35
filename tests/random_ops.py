"""One random op after another: what `random_graphs` builds its graphs of.

Every value carries a bound on how far executors may differ on it, by the textbook rules (Higham,
Accuracy and Stability of Numerical Algorithms, ch. 3). Ops that jump (comparisons, argmax,
rounding) are applied only to values that every executor computes to the last bit.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphc.graph import Array, Node
from graphc.ops.contraction import Contract
from graphc.ops.convolution import Convolve
from graphc.ops.elementwise import ELEMENTWISE, Cast
from graphc.ops.indexing import ScatterAdd, ScatterAddAlongAxis, Take, TakeAlongAxis
from graphc.ops.leaves import Input, Iota, Parameter, Storage, Table
from graphc.ops.movement import Reshape, broadcast_to
from graphc.ops.reduction import ArgExtreme, fold
from graphc.ops.selection import Concatenate
from graphc.ops.window import Window, Windows
from graphc.scalars import SCALARS
from graphc.types import BOOL, FLOAT32, DType, TensorType, dtype
from random_moves import MOVES, stretches

FLOATS = ("float32", "float32", "float32", "float64", "float16", "bfloat16")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33)
LARGEST = 6000
"""Elements of one tensor at most."""


@dataclass(frozen=True)
class Value:
    """A node whose elements are at most ``bound``, and on which executors differ by ``error``."""

    node: Node
    bound: float
    error: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.type.static_shape

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def fits(self) -> bool:
        """Whether it is small enough, and known well enough, to go on with."""
        limit = 500.0 if self.dtype.name == "float16" else 1e4
        size = math.prod(self.shape)
        most = 0.2 if self.dtype.is_narrow else 0.05
        known = not self.dtype.is_float or (self.bound <= limit and self.error <= most)
        return known and size <= LARGEST


def numbers(rng: np.random.Generator, type_: TensorType) -> Array:
    """Floats from -2 to 2, small integers, bools."""
    shape, kind = type_.static_shape, type_.dtype
    if kind.kind == "bool":
        return np.asarray(rng.integers(0, 2, shape), bool)
    if kind.is_float:
        return np.asarray(rng.uniform(-2, 2, shape)).astype(kind.numpy)
    return np.asarray(rng.integers(-9 if kind.kind == "int" else 0, 10, shape), kind.numpy)


def epsilon(kind: DType) -> float:
    return float(kind.limits.eps) if kind.is_float else 0.0


@dataclass(frozen=True)
class Manner:
    """What graphs to draw. ``exact=False``: passes may round anew. ``state``: all leaves are
    parameters of one type, so that updates meet. ``wide``: all floats are float64.
    """

    exact: bool = True
    state: bool = False
    wide: bool = False

    @property
    def floats(self) -> tuple[str, ...]:
        return ("float64",) if self.wide else FLOATS


class Builder:
    """Grows a pool of values; each method adds one op and returns None where it does not apply."""

    def __init__(self, seed: int, manner: Manner) -> None:
        self.random, self.manner = random.Random(seed), manner
        self.rng = np.random.default_rng(seed)
        self.base = [self.one_of(EXTENTS) for _ in range(3)]
        self.pool: list[Value] = []

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.random.choice(choices)

    def upto(self, most: int) -> int:
        return self.random.randint(0, most)

    def some_of(self, choices: Sequence[int]) -> tuple[int, ...]:
        return tuple(c for c in choices if self.upto(1))

    def kind(self, others: tuple[str, ...]) -> DType:
        return dtype(self.one_of((*self.manner.floats, *self.manner.floats, *others)))

    def rounded(self, node: Node, bound: float, error: float, steps: int = 0) -> Value:
        """The result of an op; ``steps`` roundings beyond the one that IEEE 754 fixes. Between two
        ops narrow floats need not be rounded at all.
        """
        steps += error > 0 or not self.manner.exact or node.dtype.is_narrow
        return Value(node, bound, error + steps * epsilon(node.dtype) * bound)

    # Leaves ---------------------------------------------------------------------------------------
    def leaf(self, name: str) -> Node:
        if self.manner.state:
            return self.add(_parameter, name, TensorType(FLOAT32, (self.base[0], self.base[1])))
        rank = self.one_of((0, 1, 2, 2, 2, 3, 3))
        shape = tuple(self.one_of((*self.base, *self.base, 1)) for _ in range(rank))
        kind = TensorType(self.kind((*INTEGERS, "bool")), shape)
        return self.add(self.one_of((_input, _input, _parameter, _table)), name, kind)

    def add(self, make: Callable[..., Node], name: str, kind: TensorType) -> Node:
        node = make(name, kind, numbers(self.rng, kind))
        self.pool.append(Value(node, 2.0))
        return node

    # One op ---------------------------------------------------------------------------------------
    def unary(self, x: Value) -> Value | None:
        if x.dtype == BOOL:
            return Value(ELEMENTWISE["logical_not"](x.node), 1)
        if x.dtype.is_integer:
            name = self.one_of(("negative", "abs", "square", "sign", "bitwise_invert", "relu"))
            return Value(ELEMENTWISE[name](x.node), 2)
        name = self.one_of(("negative", "abs", "relu", "floor", "round", "sign", "square", *SMOOTH))
        if name in SMOOTH:
            return self.smooth(name, x)
        if name in ("floor", "round", "sign") and x.error:
            return None
        square = name == "square"
        bound = x.bound**2 if square else x.bound + 1
        error = x.error * (2 * x.bound if square else 1)
        return self.rounded(ELEMENTWISE[name](x.node), bound, error)

    def smooth(self, name: str, x: Value) -> Value:
        """A function whose slope and curvature are bounded once its argument is."""
        if name in ("exp", "log", "sqrt"):
            inside = {
                "exp": lambda z: SCALARS["minimum"](z, 1.0),
                "log": lambda z: SCALARS["abs"](z) + 1,
                "sqrt": lambda z: z * z + 1,
            }[name](x.node)
            slope = {"exp": 2.72, "log": 1.0, "sqrt": 1.0}[name]
            bound = {"exp": 2.72, "log": math.log1p(x.bound), "sqrt": x.bound + 1}[name]
            return self.rounded(ELEMENTWISE[name](inside), bound + 1, slope * x.error, 8)
        return self.rounded(ELEMENTWISE[name](x.node), 1.0 + (name == "softplus") * x.bound,
                            x.error, 8)  # fmt: skip

    def partner(self, x: Value) -> Value:
        """A value of x's type: another one broadcast to it, or x itself."""
        fitting = [v for v in self.pool if v.dtype == x.dtype and stretches(v.shape, x.shape)]
        y = self.one_of(fitting or [x])
        return replace(y, node=broadcast_to(y.node, x.shape))

    def binary(self, x: Value) -> Value | None:
        y = self.partner(x)
        if not x.dtype.is_float:
            names = LOGIC if x.dtype == BOOL else ARITHMETIC
            return Value(ELEMENTWISE[self.one_of(names)](x.node, y.node), 2)
        name = self.one_of(("add", "subtract", "multiply", "maximum", "minimum", "divide"))
        both, bound = x.error + y.error, x.bound + y.bound
        if name == "multiply":
            bound = x.bound * y.bound
            both = x.error * y.bound + y.error * x.bound
        if name == "divide":
            safe = y.node * y.node + 1
            return self.rounded(x.node / safe, x.bound, x.error + x.bound * y.error, 3)
        return self.rounded(ELEMENTWISE[name](x.node, y.node), bound, both)

    def number(self, x: Value) -> Value | None:
        if x.dtype == BOOL:
            return None
        value = self.one_of((0, 1, 2, 3))
        name = self.one_of(("add", "multiply", "maximum", "subtract"))
        node = SCALARS[name](x.node, value)
        if not x.dtype.is_float:
            return Value(node, 2)
        return self.rounded(node, x.bound * 3 + 3, x.error * 3)

    def compare(self, x: Value) -> Value | None:
        y = self.partner(x)
        if x.error or y.error:
            return None
        return Value(ELEMENTWISE[self.one_of(COMPARISONS)](x.node, y.node), 1)

    def choose(self, x: Value) -> Value | None:
        conditions = [v for v in self.pool if v.dtype == BOOL and stretches(v.shape, x.shape)]
        if not conditions:
            return None
        y, c = self.partner(x), self.one_of(conditions)
        node = ELEMENTWISE["where"](broadcast_to(c.node, x.shape), x.node, y.node)
        return Value(node, max(x.bound, y.bound), max(x.error, y.error))

    def cast(self, x: Value) -> Value | None:
        target = self.kind((*INTEGERS, "bool"))
        whole = x.dtype.is_float and not target.is_float
        if whole and (x.error or x.bound > 100 or target.kind == "uint"):
            return None  # out of range, C and NumPy leave the result open
        if x.dtype.is_integer and target.is_float and x.dtype.bits > 8:
            return None  # too large for a bound
        bound = {"int": 128.0, "uint": 256.0, "bool": 1.0, "float": x.bound}[x.dtype.kind]
        return self.rounded(Cast(target)(x.node), bound, x.error)

    def move(self, x: Value) -> Value | None:
        made = self.one_of(MOVES)(self, x.node, x.shape)
        return None if made is None else replace(x, node=made)

    def join(self, x: Value) -> Value | None:
        """Two or three tensors of one rank, cut to agree, in a row."""
        if not x.shape:
            return None
        axis = self.upto(len(x.shape) - 1)
        alike = [v for v in self.pool if v.dtype == x.dtype and _agree_but(v.shape, x.shape, axis)]
        parts = [x, *(self.one_of(alike) for _ in range(self.upto(2)))]
        made = Concatenate(axis)(*(p.node for p in parts))
        return Value(made, max(p.bound for p in parts), max(p.error for p in parts))

    def reduce(self, x: Value) -> Value | None:
        axes = self.some_of(range(len(x.shape)))
        if not x.shape:
            return None
        count = math.prod(x.shape[a] for a in axes)
        if x.dtype == BOOL:
            return Value(fold(self.one_of(("logical_and", "logical_or")), x.node, axes), 1)
        name = self.one_of(("add", "add", "maximum", "minimum", "multiply"))
        if name in ("maximum", "minimum"):
            if count == 0:
                return None
            return replace(x, node=fold(name, x.node, axes))
        if not x.dtype.is_float:
            return Value(fold(name, x.node, axes), 2)
        if name == "multiply":
            top = max(x.bound, 1.0) ** min(count, 64)
            return self.rounded(fold(name, x.node, axes), top, count * x.error * top, count)
        return self.rounded(fold(name, x.node, axes), x.bound * count, x.error * count, count)

    def arg(self, x: Value) -> Value | None:
        axes = [a for a, n in enumerate(x.shape) if n]
        if x.error or not axes:
            return None
        return Value(ArgExtreme(bool(self.upto(1)), self.one_of(axes))(x.node), 2)

    def contract(self, x: Value) -> Value | None:
        """Any two tensors: equal axes are summed over, kept as a batch, or stay apart."""
        y = self.one_of([v for v in self.pool if v.dtype == x.dtype])
        if x.dtype == BOOL:
            return None
        left, right, summed = list(range(len(x.shape))), [], []
        for k, extent in enumerate(y.shape):
            same = [i for i in left if x.shape[i] == extent and i not in right]
            right.append(self.one_of(same) if same and self.upto(3) else len(left) + k)
            if right[-1] in left and self.upto(3):
                summed.append(right[-1])
        out = [i for i in dict.fromkeys((*left, *right)) if i not in summed]
        sizes = dict(zip((*left, *right), (*x.shape, *y.shape), strict=True))
        depth = math.prod(sizes[i] for i in summed)
        if math.prod(sizes[i] for i in out) * max(depth, 1) > 20 * LARGEST:
            return None
        order = tuple(self.random.sample(out, len(out)))
        node = Contract(tuple(left), tuple(right), order)(x.node, y.node)
        error = depth * (x.error * y.bound + y.error * x.bound)
        return self.rounded(node, max(depth, 1) * x.bound * y.bound, error, depth)

    def index(self, shape: tuple[int, ...], extent: int) -> Node:
        low = -extent if self.upto(1) else 0
        places = self.rng.integers(low, extent, shape)
        table = Table.of(places, dtype(self.one_of(("int64", "int32"))))()
        return table if self.upto(1) else table + 0

    def take(self, x: Value) -> Value | None:
        axes = [a for a, n in enumerate(x.shape) if n]
        if not axes:
            return None
        axis = self.one_of(axes)
        if self.upto(1):
            shape = tuple(self.one_of((1, 2, 3, 0)) for _ in range(self.upto(2)))
            return replace(x, node=Take(axis)(x.node, self.index(shape, x.shape[axis])))
        shape = (*x.shape[:axis], self.one_of((1, 3, 0)), *x.shape[axis + 1 :])
        return replace(x, node=TakeAlongAxis(axis)(x.node, self.index(shape, x.shape[axis])))

    def scatter(self, x: Value) -> Value | None:
        axes = [a for a, n in enumerate(x.shape) if n]
        if not axes or x.dtype == BOOL:
            return None
        axis, count = self.one_of(axes), self.one_of((1, 2, 3, 5))
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        along = self.upto(1)
        place = self.index(shape if along else (count,), x.shape[axis])
        base = self.partner(x)
        updates = (TakeAlongAxis if along else Take)(axis)(x.node, place)
        op = (ScatterAddAlongAxis if along else ScatterAdd)(axis)
        node = op(base.node, place, updates)
        if not x.dtype.is_float:
            return Value(node, 2)
        error = base.error + count * x.error
        return self.rounded(node, base.bound + count * x.bound, error, count)

    def window(self, x: Value) -> Value | None:
        if not x.shape or x.dtype == BOOL or 0 in x.shape:
            return None
        rank = self.one_of(range(1, min(len(x.shape), 2) + 1))
        sizes = tuple(self.one_of(range(1, min(n, 3) + 1)) for n in x.shape[-rank:])
        strides = tuple(1 + self.upto(2) for _ in sizes)
        edges = tuple(self.upto(n - 1) for n in sizes)
        over = Windows(
            sizes, strides, (1,) * rank, edges, tuple(reversed(edges)) if rank < 2 else edges
        )
        name = self.one_of(("add", "maximum", "minimum"))
        node = Window(SCALARS[name], over)(x.node)
        if not x.dtype.is_float:
            return Value(node, 2)
        if name != "add":
            return replace(x, node=node)
        return self.rounded(node, x.bound * over.count, x.error * over.count, over.count)

    def convolve(self, x: Value) -> Value | None:
        if len(x.shape) not in (2, 3) or not x.dtype.is_float or 0 in x.shape:
            return None
        channels, *spatial = x.shape
        sizes = [self.one_of(range(1, min(n, 3) + 1)) for n in spatial]
        filters = TensorType(x.dtype, (1, self.one_of((1, 2, 5)), channels, *sizes))
        w = Table.of(numbers(self.rng, filters), x.dtype)()
        ones = (1,) * len(spatial)
        strides = tuple(1 + self.upto(1) for _ in spatial)
        node = Convolve(strides, ones)(Reshape((1, 1, *x.shape))(x.node), w)
        depth = channels * math.prod(sizes)
        if depth > 64:
            return None
        kept = Reshape(node.type.static_shape[2:])(node)
        return self.rounded(kept, 2 * depth * x.bound, 2 * depth * x.error, depth)

    def counter(self, x: Value) -> Value | None:
        if not x.shape:
            return None
        axis = self.upto(len(x.shape) - 1)
        return Value(Iota(x.shape, axis, dtype(self.one_of(("int64", "int32"))))(), 33)


SMOOTH = ("tanh", "sigmoid", "sin", "cos", "erf", "softplus", "exp", "log", "sqrt")
LOGIC = ("logical_and", "logical_or", "logical_xor", "bitwise_and")
ARITHMETIC = (
    *("add", "subtract", "multiply", "maximum", "minimum", "bitwise_and", "bitwise_or"),
    *("bitwise_xor", "floor_divide", "remainder"),
)
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")


STEPS: tuple[Callable[[Builder, Value], Value | None], ...] = (
    *(Builder.unary, Builder.unary, Builder.binary, Builder.binary, Builder.binary),
    *(Builder.number, Builder.compare, Builder.choose, Builder.cast),
    *(Builder.move, Builder.move, Builder.move, Builder.join, Builder.reduce, Builder.reduce),
    *(Builder.arg, Builder.contract, Builder.contract, Builder.take, Builder.scatter),
    *(Builder.window, Builder.convolve, Builder.counter),
)


def _input(name: str, kind: TensorType, array: Array) -> Node:
    return Input(name, kind)()


def _parameter(name: str, kind: TensorType, array: Array) -> Node:
    return Parameter(name, kind, Storage(array, kind.dtype))()


def _table(name: str, kind: TensorType, array: Array) -> Node:
    return Table.of(array, kind.dtype)()


def _agree_but(a: tuple[int, ...], b: tuple[int, ...], axis: int) -> bool:
    return len(a) == len(b) and all(
        m == n or k == axis for k, (m, n) in enumerate(zip(a, b, strict=False))
    )
