"""The sample table: for every op and every scalar function, inputs to try it on.

`SAMPLES` drives the tests of inference, gradients, values at an index, and every backend. To add an
op, add rows here; a test complains about an op without one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc import scalars
from graphc.control import Cond, Scan, While, closed
from graphc.graph import Array, Graph, Node
from graphc.ops import random
from graphc.ops.contraction import Contract, matmul
from graphc.ops.convolution import Convolve, convolution, convolution_transposed
from graphc.ops.copy import After, Copy, OwnGradient, StopGradient
from graphc.ops.cumulative import Cumulative, Recurrence
from graphc.ops.einsum import einsum
from graphc.ops.elementwise import ELEMENTWISE, Bitcast, Cast
from graphc.ops.indexing import RavelIndex, ScatterAdd, ScatterAddAlongAxis, Take, TakeAlongAxis
from graphc.ops.leaves import Constant, Input, Iota, Parameter, Storage, Table
from graphc.ops.linalg import (
    Cholesky,
    Determinant,
    Inverse,
    Orthogonal,
    SingularValues,
    Solve,
    SolveTriangular,
    Symmetric,
)
from graphc.ops.movement import Reshape, Transpose, broadcast_to
from graphc.ops.reduction import ArgExtreme, Broadcast, Fold, fold
from graphc.ops.scatter import Scatter, put
from graphc.ops.selection import Concatenate, Flip, Interleave, Pad, Slice
from graphc.ops.sorting import ArgSort, SearchSorted
from graphc.ops.window import Window, WindowArg, WindowPick, Windows, WindowSpread
from graphc.ops.winograd import FromTiles, ToTiles
from graphc.passes.winograd import SCHEMES
from graphc.types import FLOAT64, INT64, DType, TensorType, dtype

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Values:
    """How to draw an input: evenly from ``low`` to ``high``, at least ``gap`` away from 0.

    Bools ignore the numbers; integers take whole ones.
    """

    shape: Shape
    dtype: str = "float32"
    low: float = -2.0
    high: float = 2.0
    gap: float = 0.0

    @property
    def type(self) -> TensorType:
        return TensorType(dtype(self.dtype), self.shape)

    def draw(self, rng: np.random.Generator) -> Array:
        if self.dtype == "bool":
            return np.asarray(rng.integers(0, 2, self.shape), bool)
        if not self.type.dtype.is_float:
            whole = rng.integers(int(self.low), int(self.high) + 1, self.shape)
            return np.asarray(whole, self.type.dtype.numpy)
        drawn = np.asarray(rng.uniform(self.low, self.high, self.shape))
        away = np.where(np.abs(drawn) < self.gap, np.copysign(self.gap, drawn) + drawn, drawn)
        return away.astype(self.type.dtype.numpy)


@dataclass(frozen=True)
class Sample:
    """``build`` applied to inputs drawn from ``values``.

    ``wrt`` are the inputs to differentiate by, ``linear`` those in which the result is linear.
    ``tolerance`` is the relative error that a backend may make against the interpreter; 0 asks for
    equal bits.
    """

    name: str
    build: Callable[..., Node]
    values: tuple[Values, ...]
    wrt: tuple[int, ...] = ()
    linear: tuple[int, ...] = ()
    tolerance: float = 0.0

    def inputs(self) -> list[Node]:
        """A fresh input node per value."""
        return [Input(f"x{k}", v.type, k)() for k, v in enumerate(self.values)]

    def draw(self, seed: int = 0) -> list[Array]:
        """Arrays for the inputs; equal for equal seeds."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        return [v.draw(rng) for v in self.values]

    def wide(self) -> Sample:
        """The sample with its float inputs in float64, for finite differences."""
        values = (replace(v, dtype="float64") if v.type.dtype.is_float else v for v in self.values)
        return replace(self, values=tuple(values))

    def narrowed(self, kind: str) -> Sample:
        """The sample with its float inputs in 16 bits; it is differentiated in others."""
        values = (replace(v, dtype=kind) if v.type.dtype.is_float else v for v in self.values)
        return Sample(f"{self.name}-{kind}", self.build, tuple(values), tolerance=NARROW[kind])

    def __str__(self) -> str:
        return self.name


# Scalar functions ---------------------------------------------------------------------------------
_RANGES: dict[str, tuple[Values, ...]] = {
    "arccos": (Values((), low=-0.9, high=0.9),),
    "arccosh": (Values((), low=1.2, high=3),),
    "arcsin": (Values((), low=-0.9, high=0.9),),
    "arctanh": (Values((), low=-0.9, high=0.9),),
    "log": (Values((), low=0.1, high=4),),
    "log10": (Values((), low=0.1, high=4),),
    "log1p": (Values((), low=-0.8, high=4),),
    "log2": (Values((), low=0.1, high=4),),
    "sqrt": (Values((), low=0.1, high=4),),
    "rsqrt": (Values((), low=0.1, high=4),),
    "power": (Values((), low=0.3, high=2), Values(())),
    "divide": (Values(()), Values((), gap=0.3)),
    "reciprocal": (Values((), gap=0.3),),
    "floor_divide": (Values((), low=1.1, high=1.4), Values((), low=0.75, high=1)),
    "remainder": (Values((), low=1.1, high=1.4), Values((), low=0.75, high=1)),
    "arctan2": (Values((), gap=0.3), Values((), gap=0.3)),
    "abs": (Values((), gap=0.1),),
    "relu": (Values((), gap=0.1),),
    "sign": (Values((), gap=0.1),),
    "floor": (Values((), low=0.1, high=0.4),),
    "ceil": (Values((), low=0.1, high=0.4),),
    "round": (Values((), low=0.1, high=0.4),),
    "trunc": (Values((), low=0.1, high=0.4),),
    "where": (Values((), "bool"), Values(()), Values(())),
}
_KINDS = {
    "float": ("float32", "float64", "float16", "bfloat16"),
    "number": ("float32", "float64", "float16", "bfloat16", "int32", "int64", "uint8"),
    "any": ("float32", "bfloat16", "int64", "bool"),
    "integer": ("int32", "uint32", "int64"),
    "bits": ("int32", "uint32", "bool"),
    "bool": ("bool",),
    "uint32": ("uint32",),
}
EXACT = {
    *("add", "subtract", "multiply", "divide", "negative", "abs", "minimum", "maximum", "square"),
    *("reciprocal", "sqrt", "relu", "floor", "ceil", "round", "trunc", "sign", "where"),
    *("floor_divide", "remainder"),
}
"""Scalar functions whose result IEEE 754 fixes to the last bit (or that only choose)."""
NARROW = {"float16": 4e-3, "bfloat16": 3e-2}
"""What a few roundings to a narrow float may make: executors round more or less often."""
_SHAPES: tuple[Shape, ...] = ((), (1,), (7,), (2, 3), (0, 3))


def _scalar_values(function: scalars.Scalar, shape: Shape, kind: str) -> tuple[Values, ...]:
    plain = (Values(()),) * function.arity
    if dtype(kind).is_float:
        return tuple(
            replace(v, shape=shape, dtype=v.dtype if v.dtype == "bool" else kind)
            for v in _RANGES.get(function.name, plain)
        )
    whole = Values(shape, kind, 1, 5)
    if function.name == "where":
        return (Values(shape, "bool"), whole, whole)
    return (whole,) * function.arity


def _scalar_samples() -> Iterator[Sample]:
    for name, function in scalars.SCALARS.items():
        for kind in _KINDS[function.domain]:
            for shape in _SHAPES if kind in ("float32", "bool", "uint32", "int32") else ((2, 3),):
                values = _scalar_values(function, shape, kind)
                slots = tuple(k for k, v in enumerate(values) if v.dtype != "bool")
                smooth = kind in ("float32", "float64") and function.result != "bool"
                tolerance = {**NARROW, "float32": 4e-6, "float64": 1e-13}.get(kind, 0.0)
                yield Sample(
                    f"{name}-{kind}-{'x'.join(map(str, shape)) or '0d'}",
                    ELEMENTWISE[name],
                    values,
                    wrt=slots if smooth else (),
                    tolerance=0.0 if name in EXACT or function.result == "bool" else tolerance,
                )


# Structural ops -----------------------------------------------------------------------------------
_X = Values((3, 4))
_X3 = Values((2, 3, 4))


def _on(
    name: str, build: Callable[..., Node], *values: Values | Shape, tolerance: float = 1e-5
) -> Sample:
    """A sample that is differentiable in all of its float inputs."""
    drawn = tuple(v if isinstance(v, Values) else Values(v) for v in values)
    floats = tuple(k for k, v in enumerate(drawn) if v.type.dtype.is_float)
    return Sample(name, build, drawn, floats, tolerance=tolerance)


def _linear(name: str, build: Callable[..., Node], *values: Values | Shape) -> Sample:
    """A sample that is linear in its one or first input, and exact."""
    sample = _on(name, build, *values, tolerance=0.0)
    return replace(sample, linear=(0,))


def _bilinear(name: str, build: Callable[..., Node], *values: Values | Shape) -> Sample:
    """A sample that is linear in each of its inputs."""
    sample = _on(name, build, *values)
    return replace(sample, linear=sample.wrt)


def _plain(name: str, build: Callable[..., Node], *values: Values | Shape) -> Sample:
    """A sample without a gradient, exact."""
    return replace(_on(name, build, *values, tolerance=0.0), wrt=())


def _leaf_samples() -> Iterator[Sample]:
    table = np.arange(6.0).reshape(2, 3)
    storage = Storage(table, FLOAT64)
    parameter = Parameter("p", TensorType(FLOAT64, (2, 3)), storage)
    yield _plain("constant", lambda: Constant(2.5, dtype("float32"))())
    yield _plain("constant-negative-zero", lambda: Constant(-0.0, dtype("float64"))())
    yield _plain("constant-bool", lambda: Constant(True, dtype("bool"))())
    yield _plain("constant-broadcast", lambda: broadcast_to(Constant(3, INT64)(), (2, 3)))
    yield _plain("table", lambda: Table.of(table, FLOAT64)() + 1.0)
    yield _plain("param", lambda: parameter() * 2.0)
    yield _plain("input", lambda x: x, Values((2, 3)))
    yield _plain("iota", lambda: Iota((5,), 0)())
    yield _plain("iota-float", lambda: Iota((2, 3), 1, dtype("float32"))())
    yield _plain("iota-narrow", lambda: Iota((2, 3), 0, dtype("uint8"))())
    yield _plain("iota-empty", lambda: Iota((0, 3), 1)())


def _dtype_samples() -> Iterator[Sample]:
    floats = ("float16", "bfloat16", "float32", "float64")
    for source in ("bool", "uint8", "int32", "int64", "uint32", *floats):
        for target in ("bool", "int8", "int32", "uint32", "int64", *floats):
            low = 0.0 if target.startswith("u") or source.startswith("u") else -3.0
            values = Values((2, 3), source, low, 3.0)
            yield _plain(f"cast-{source}-{target}", Cast(dtype(target)), values)
    yield _linear("cast-0d", Cast(FLOAT64), ())
    yield _on("cast-used-twice", lambda x: Cast(FLOAT64)(x) * Cast(FLOAT64)(x), (3,))
    same = [("float32", "uint32"), ("float32", "int32"), ("float64", "int64")]
    for source, target in (*same, ("float16", "uint16"), ("bfloat16", "int16")):
        yield _plain(f"bitcast-{source}-{target}", Bitcast(dtype(target)), Values((2, 3), source))
        back = Values((2, 3), target, 0, 9)
        yield _plain(f"bitcast-{target}-{source}", Bitcast(dtype(source)), back)
    yield _linear("copy", Copy(), _X)
    yield _plain("stop_gradient", StopGradient(), _X)
    yield _on("own_gradient", lambda x: _squares(x * x, x), _X, tolerance=0.0)
    yield _linear("after", lambda x: After()(x * 2.0, x * x, x), _X)


_squares = OwnGradient("custom_gradient", lambda g, y, value, x: (g * x * 2.0,))


def _movement_samples() -> Iterator[Sample]:
    yield _linear("transpose", Transpose((1, 0)), _X)
    yield _linear("transpose-3d", Transpose((2, 0, 1)), _X3)
    yield _linear("transpose-0d", Transpose(()), ())
    yield _plain("transpose-int", Transpose((1, 0)), Values((2, 5), "int32"))
    yield _linear("reshape", Reshape((2, 6)), _X)
    yield _linear("reshape-split", Reshape((2, 3, 2, 2)), (6, 4))
    yield _linear("reshape-0d", Reshape(()), (1, 1))
    yield _linear("reshape-empty", Reshape((3, 0, 2)), (0, 4))
    yield _linear("reshape-transposed", lambda x: Reshape((12,))(Transpose((1, 0))(x)), _X)
    yield _linear("broadcast", Broadcast((2, 3, 4), (1, 2)), _X)
    yield _linear("broadcast-middle", Broadcast((3, 2, 4), (0, 2)), _X)
    yield _linear("broadcast-0d", Broadcast((2, 3), ()), ())
    yield _linear("broadcast-empty", Broadcast((0, 3), (1,)), (3,))
    yield _linear("broadcast_to", lambda x: broadcast_to(x, (2, 3, 4)), (3, 1))


def _fold_samples() -> Iterator[Sample]:
    shapes = [((3, 4), (1,)), ((2, 3, 4), (0, 2)), ((5,), (0,)), ((2, 1), (1,)), ((0, 3), (1,))]
    for name in ("add", "multiply", "maximum", "minimum"):
        fold = scalars.SCALARS[name]
        for shape, axes in shapes:
            yield _on(f"fold-{name}-{'x'.join(map(str, shape))}", Fold(fold, axes), shape)
        yield _plain(f"fold-{name}-of-nothing", Fold(fold, (0,)), (0, 3))
        yield _plain(f"fold-{name}-int", Fold(fold, (0,)), Values((3, 4), "int32", -5, 5))
    for name in ("logical_and", "logical_or"):
        yield _plain(f"fold-{name}", Fold(scalars.SCALARS[name], (1,)), Values((4, 3), "bool"))
        none = Values((4, 0), "bool")
        yield _plain(f"fold-{name}-empty", Fold(scalars.SCALARS[name], (1,)), none)
    for largest in (True, False):
        name = "argmax" if largest else "argmin"
        yield _plain(name, ArgExtreme(largest, 1), _X)
        yield _plain(f"{name}-ties", ArgExtreme(largest, 0), Values((9, 2), "int32", 0, 2))
        yield _plain(f"{name}-bool", ArgExtreme(largest, 0), Values((5, 3), "bool"))
        yield _plain(f"{name}-one", ArgExtreme(largest, 0), (1,))


def _contract_samples() -> Iterator[Sample]:
    yield _bilinear("matmul", matmul, (3, 4), (4, 5))
    yield _bilinear("matmul-batched", matmul, (2, 3, 4), (2, 4, 5))
    yield _bilinear("matmul-empty", matmul, (3, 0), (0, 5))
    yield _bilinear("matmul-one", matmul, (1, 1), (1, 1))
    whole = Values((3, 3), "int64", -5, 5)
    yield _plain("matmul-int", matmul, whole, whole)
    yield _bilinear("contract-transposed", Contract((0, 1), (2, 1), (2, 0)), (3, 4), (5, 4))
    yield _bilinear("contract-dot", Contract((0,), (0,), ()), (5,), (5,))
    yield _bilinear("contract-outer", Contract((0,), (1,), (0, 1)), (3,), (4,))
    yield _bilinear("contract-two-axes", Contract((0, 1, 2), (2, 1, 3), (0, 3)), _X3, (4, 3, 2))
    yield _bilinear("contract-scale", Contract((0, 1), (1,), (0, 1)), (3, 4), (4,))
    yield _bilinear("contract-0d", Contract((), (0,), (0,)), (), (4,))
    for text, *shapes in (
        ("ij,jk->ki", (2, 3), (3, 4)),
        ("bij,bjk,bk->bi", (2, 3, 4), (2, 4, 5), (2, 5)),
        ("ij->j", (3, 4)),
        ("i,j,k->kij", (2,), (3,), (4,)),
        ("...ij,...jk", (2, 5, 3, 4), (2, 5, 4, 2)),
        ("ij,kl->", (2, 3), (2, 2)),
        (",i->i", (), (3,)),
    ):
        yield _bilinear(f"einsum-{text}", lambda *xs, text=text: einsum(text, *xs), *shapes)


def _selection_samples() -> Iterator[Sample]:
    yield _linear("slice", Slice((1, 0), (3, 4), (1, 1)), _X)
    yield _linear("slice-strided", Slice((0, 1), (3, 6), (2, 3)), (3, 7))
    yield _linear("slice-empty", Slice((2, 1), (2, 4), (1, 2)), _X)
    yield _linear("slice-0d", Slice((), (), ()), ())
    yield _linear("slice-of-nothing", Slice((0, 0), (0, 3), (2, 2)), (0, 3))
    yield _linear("flip", Flip((0,)), _X)
    yield _linear("flip-both", Flip((0, 1)), _X)
    yield _plain("flip-int", Flip((0,)), Values((5,), "int64"))
    yield _linear("pad", Pad((1, 0), (2, 1), (0, 0)), _X)
    yield _linear("pad-interior", Pad((1, 0), (0, 2), (2, 1)), _X)
    yield _linear("pad-of-nothing", Pad((1, 2), (1, 0), (3, 0)), (0, 3))
    yield _linear("pad-one", Pad((2,), (1,), (4,)), (1,))
    yield _linear("pad-0d", Pad((), (), ()), ())
    yield _on("pad-value", Pad((1, 0), (2, 1), (0, 1), value=-1.5), _X, tolerance=0.0)
    yield _plain("pad-infinity", Pad((1,), (0,), (1,), value=-math.inf), (3,))
    yield _plain("pad-int", Pad((1,), (2,), (1,), value=7), Values((4,), "int32"))
    yield _plain("pad-bool", Pad((1,), (2,), (0,), value=True), Values((4,), "bool"))
    for mode in ("reflect", "edge"):
        yield _linear(f"pad-{mode}", Pad((2, 1), (1, 3), (0, 0), mode), (3, 4))
        yield _linear(f"pad-{mode}-one-side", Pad((0, 3), (2, 0), (0, 0), mode), (3, 4))
        yield _linear(f"pad-{mode}-nothing", Pad((0, 0), (0, 0), (0, 0), mode), (1, 2))
    yield _linear("slice-of-pad", lambda x: Slice((1, 0), (4, 4), (1, 1))(_padded(x)), _X)
    yield _bilinear_exact("concatenate", Concatenate(0), (2, 3), (1, 3), (4, 3))
    yield _bilinear_exact("concatenate-last", Concatenate(1), (2, 3), (2, 0), (2, 1))
    yield _bilinear_exact("concatenate-single", Concatenate(0), (3,))
    yield _bilinear_exact("concatenate-many", Concatenate(0), *((k % 3,) for k in range(9)))
    yield _bilinear_exact("interleave", Interleave((2,)), (2, 3), (2, 3))
    yield _bilinear_exact("interleave-two", Interleave((2, 3)), *[(1, 2, 4)] * 6)
    yield _bilinear_exact("interleave-one", Interleave((1, 2)), (3, 2), (3, 2))
    yield _plain("concatenate-empty", Concatenate(0), Values((0,), "int32"), Values((0,), "int32"))


def _padded(x: Node) -> Node:
    return Pad((1, 0), (1, 0), (0, 0))(x)


def _bilinear_exact(name: str, build: Callable[..., Node], *shapes: Shape) -> Sample:
    """Linear in all inputs together: the adjoint test takes them one by one, others at zero."""
    return replace(_on(name, build, *shapes, tolerance=0.0), linear=tuple(range(len(shapes))))


def _convolution_samples() -> Iterator[Sample]:
    for name, strides, dilations, x, w in (
        ("1d", (1,), (1,), (2, 1, 3, 6), (1, 2, 3, 3)),
        ("2d", (1, 1), (1, 1), (2, 1, 2, 5, 4), (1, 3, 2, 3, 2)),
        ("3d", (1, 2, 1), (1, 1, 2), (1, 1, 2, 3, 4, 5), (1, 2, 2, 2, 2, 2)),
        ("strided", (2, 3), (1, 1), (1, 1, 1, 7, 9), (1, 2, 1, 3, 2)),
        ("dilated", (2, 1), (2, 3), (1, 1, 2, 8, 8), (1, 1, 2, 3, 2)),
        ("grouped", (1, 1), (1, 1), (2, 3, 1, 4, 4), (3, 2, 1, 2, 2)),
        ("pointwise", (1, 1), (1, 1), (1, 1, 3, 9, 9), (1, 2, 3, 1, 1)),
        ("batch-of-none", (1,), (1,), (0, 1, 2, 5), (1, 2, 2, 3)),
        ("no-channels", (1,), (1,), (2, 1, 0, 5), (1, 2, 0, 3)),
        ("no-axes", (), (), (2, 1, 3), (1, 2, 3)),
    ):
        yield _bilinear(f"convolve-{name}", Convolve(strides, dilations), x, w)
    whole = Values((1, 1, 2, 5), "int32", -5, 5), Values((1, 2, 2, 3), "int32", -5, 5)
    yield _plain("convolve-int", Convolve((2,), (1,)), *whole)
    yield _bilinear(
        "convolution-padded",
        lambda x, w: convolution(x, w, (2, 1), ((1, 2), (0, 1)), (1, 2), groups=2),
        (2, 4, 5, 6),
        (6, 2, 3, 2),
    )
    yield _bilinear(
        "convolution_transposed",
        lambda x, w: convolution_transposed(x, w, (2, 3), ((1, 0), (1, 1)), (1, 2), 2, (1, 0)),
        (2, 4, 3, 4),
        (4, 3, 3, 2),
    )
    yield _bilinear(
        "convolution_transposed-cropped",
        lambda x, w: convolution_transposed(x, w, (1,), ((2, 3),), (1,)),
        (1, 2, 7),
        (2, 3, 2),
    )


_POOLS = {
    "plain": (Windows((2, 2), (2, 2), (1, 1), (0, 0), (0, 0)), (1, 2, 4, 6)),
    "overlapping": (Windows((3, 2), (1, 1), (1, 1), (0, 0), (0, 0)), (2, 5, 4)),
    "padded": (Windows((3, 3), (2, 2), (1, 1), (1, 0), (1, 1)), (2, 5, 5)),
    "dilated": (Windows((2, 3), (1, 2), (2, 2), (1, 0), (0, 1)), (5, 7)),
    "rest": (Windows((2,), (3,), (1,), (0,), (0,)), (2, 7)),
    "sparse": (Windows((1, 2), (2, 3), (1, 2), (0, 0), (0, 0)), (4, 8)),
    "single": (Windows((1,), (1,), (1,), (0,), (0,)), (1,)),
    "empty": (Windows((2, 2), (2, 2), (1, 1), (0, 0), (0, 0)), (0, 4, 4)),
}


def _window_samples() -> Iterator[Sample]:
    for label, (over, shape) in _POOLS.items():
        points = over.points(shape)
        spatial = shape[len(shape) - over.rank :]
        arg = Values(points, "int64", 0, over.count - 1)
        for name in ("add", "maximum", "minimum"):
            yield _on(f"window-{name}-{label}", Window(scalars.SCALARS[name], over), shape)
        largest = Window(scalars.maximum, over)
        yield _plain(f"window_arg-{label}", _arg_of(largest), Values(shape))
        yield _plain(f"window_arg-ties-{label}", _arg_of(largest), Values(shape, "int32", 0, 2))
        yield _linear(f"window_pick-{label}", WindowPick(over), Values(shape), arg)
        yield _bilinear(f"window_spread-{label}", WindowSpread(over, spatial), Values(points))
        yield replace(
            _linear(f"window_spread-arg-{label}", WindowSpread(over, spatial), Values(points), arg),
            tolerance=1e-5,
        )
    over = _POOLS["padded"][0]
    for name in ("add", "maximum"):
        window = Window(scalars.SCALARS[name], over)
        yield _plain(f"window-{name}-int", window, Values((5, 5), "int32", -9, -1))


def _tile_samples() -> Iterator[Sample]:
    """Transforms of tiles have terms that cancel."""
    for scheme in SCHEMES:
        label = f"{scheme.results}x{scheme.taps}"
        side = 2 * scheme.taps
        steps = {"input": (scheme.input, scheme.results, 14), "filter": (scheme.filter, 1, side)}
        for part, (matrix, step, width) in steps.items():
            image = Values((2, 3, side + 4, width))
            made = _plain(f"to_tiles-{part}-{label}", ToTiles(matrix, step), image)
            yield replace(made, tolerance=1e-4)
        tiles = Values((3, scheme.size, scheme.size, 2, 2, 3))
        made = _plain(f"from_tiles-{label}", FromTiles(scheme.output), tiles)
        yield replace(made, tolerance=1e-4)


def _arg_of(window: Window) -> Callable[[Node], Node]:
    return lambda x: WindowArg(window.over)(x, window(x))


def _indexing_samples() -> Iterator[Sample]:
    def at(shape: Shape, extent: int, kind: str = "int64") -> Values:
        return Values(shape, kind, 0 if kind.startswith("u") else -extent, extent - 1)

    for axis in (0, 1):
        yield _linear(f"take-axis{axis}", Take(axis), _X, at((5,), 3))
        yield _linear(f"take-axis{axis}-2d", Take(axis), _X3, at((2, 3), 2))
        yield _linear(f"take_along_axis-axis{axis}", TakeAlongAxis(axis), (3, 3), at((3, 3), 3))
        yield _added(f"scatter_add-axis{axis}", ScatterAdd(axis), (3, 3), at((4,), 3), axis)
    yield _linear("take-0d-index", Take(0), _X, at((), 3))
    yield _linear("take-uint8", Take(0), _X, at((4,), 3, "uint8"))
    yield _linear("take-no-index", Take(0), _X, at((0,), 3))
    yield _linear("take-row-of-nothing", Take(0), (3, 0), at((2,), 3))
    yield _plain("take-int", Take(0), Values((6,), "int32"), at((2, 2), 6, "int32"))
    yield _linear("take_along_axis-shorter", TakeAlongAxis(1), (3, 4), at((3, 2), 4))
    base, rows = Values((3, 4)), at((3, 6), 4)
    yield _bilinear_first_last(
        "scatter_add_along_axis", ScatterAddAlongAxis(1), base, rows, Values((3, 6))
    )
    yield _bilinear_first_last("scatter_add-none", ScatterAdd(0), base, at((0,), 3), Values((0, 4)))
    yield _bilinear_first_last("scatter_add-0d", ScatterAdd(0), base, at((), 3), Values((4,)))
    whole = Values((4,), "int32", -9, 9), at((9,), 4), Values((9,), "int32", -9, 9)
    yield _plain("scatter_add-int", ScatterAdd(0), *whole)
    for name in ("maximum", "minimum", "multiply"):
        function = scalars.SCALARS[name]
        for axis, updates in enumerate(((5, 4), (3, 5))):
            op = Scatter(function=function, axis=axis)
            yield _on(f"scatter_{name}-axis{axis}", op, (3, 4), at((5,), 3), Values(updates))
        op = Scatter(function=function, axis=0)
        yield _on(f"scatter_{name}-none", op, (3, 4), at((0,), 3), Values((0, 4)))
        yield _plain(f"scatter_{name}-int", op, *whole)
    for reduction in ("set", "add", "multiply", "max", "min"):
        build = lambda x, i, u, how=reduction: put(x, i, u, 0, how)  # noqa: E731
        yield _on(f"put-{reduction}", build, (3, 4), at((2, 3), 3), Values((2, 3, 4)))
    yield _plain("ravel_index", RavelIndex((3, 4)), at((2, 5), 3), at((2, 5), 4))
    yield _plain("ravel_index-0d", RavelIndex((3,)), at((), 3, "uint8"))
    yield _plain("ravel_index-empty", RavelIndex((3, 2)), at((0,), 3, "int32"), at((0,), 2))


def _added(name: str, op: ScatterAdd, shape: Shape, indices: Values, axis: int) -> Sample:
    updates = (*shape[:axis], *indices.shape, *shape[axis + 1 :])
    return _bilinear_first_last(name, op, Values(shape), indices, Values(updates))


def _bilinear_first_last(name: str, build: Callable[..., Node], *values: Values) -> Sample:
    return replace(_on(name, build, *values), linear=(0, 2))


def _random_samples() -> Iterator[Sample]:
    state = Values((4,), "uint32", 0, 2**32 - 1)
    for word in range(4):
        bits = random.RandomBits((3, 5), 7, word)
        yield _plain(f"random_bits-{word}", bits, state)
    yield _plain("random_bits-0d", random.RandomBits((), 0, 0), state)
    yield _plain("random_bits-empty", random.RandomBits((0, 2), 0, 0), state)
    for kind in ("float16", "bfloat16", "float32", "float64"):
        yield _plain(f"uniform-{kind}", _from_state(random.uniform, dtype(kind)), state)
        yield _plain(f"normal-{kind}", _from_state(random.normal, dtype(kind)), state)
    yield _plain("bernoulli", lambda s: random.bernoulli(s, (3, 3), 5, 0.3), state)


def _sorting_samples() -> Iterator[Sample]:
    for descending in (False, True):
        for axis in (0, 1):
            order = ArgSort(axis=axis, descending=descending)
            yield _plain(f"argsort-axis{axis}-{order.descending}", order, Values((4, 5)))
        ties = ArgSort(axis=0, descending=descending)
        yield _plain(f"argsort-ties-{descending}", ties, Values((9,), "int32", 0, 2))
        search = SearchSorted(right=descending)
        whole = Values((2, 6), "int32", 0, 3)
        yield _plain(
            f"searchsorted-{descending}",
            lambda x, v, op=search: op(_cumulated(x), v), whole, Values((2, 4), "int32", -1, 9),
        )  # fmt: skip
    yield _plain("argsort-empty", ArgSort(axis=0), Values((0, 3)))
    yield _plain("argsort-bool", ArgSort(axis=0), Values((7,), "bool"))


def _cumulative_samples() -> Iterator[Sample]:
    for function in ("add", "multiply", "maximum", "minimum", "logaddexp"):
        for reverse in (False, True):
            op = Cumulative(ufunc=function, axis=1, reverse=reverse)
            way = f"{op.name}-{'backward' if reverse else 'forward'}"
            linear = _linear if function == "add" else _on
            yield linear(way, op, (3, 5))
            yield linear(f"{way}-middle", op, (2, 4, 3))
            yield linear(f"{way}-first", replace(op, axis=0), (5,))
            yield linear(f"{way}-empty", op, (3, 0))
            yield linear(f"{way}-rows-of-none", op, (0, 3))
            if function != "logaddexp":
                yield _plain(f"{way}-int", op, Values((3, 9), "int32", -3, 3))
                yield _plain(f"{way}-narrow", op, Values((3, 9), "uint8", 0, 99))
    for reverse in (False, True):
        recurrence = Recurrence(axis=1, reverse=reverse)
        yield _on(f"recurrence-{reverse}", recurrence, (3, 5), (3, 5))
        yield _on(f"recurrence-{reverse}-middle", recurrence, (2, 4, 3), (2, 4, 3))
    yield _on("recurrence-first", Recurrence(axis=0), (5,), (5,))
    yield _on("recurrence-empty", Recurrence(axis=0), (0, 2), (0, 2))


def _cumulated(x: Node) -> Node:
    """Ascending rows."""
    order = ArgSort(axis=1)(x)
    return TakeAlongAxis(1)(x, order)


def _linalg_samples() -> Iterator[Sample]:
    for label, lead in (("one", ()), ("stack", (2, 3)), ("none", (0,))):
        square, wide = Values((*lead, 3, 3)), Values((*lead, 3, 2))
        tall, vectors = Values((*lead, 4, 3)), Values((*lead, 3, 4))
        for name, build in _DECOMPOSED.items():
            yield _on(f"{name}-{label}", build, square, tolerance=1e-4)
        yield _on(
            f"solve-{label}", lambda a, b: Solve()(_regular(a), b), square, wide, tolerance=1e-4
        )
        for lower in (True, False):
            op = SolveTriangular(lower=lower)
            build = lambda a, b, op=op: op(_regular(a), b)  # noqa: E731
            yield _on(f"solve_triangular-{lower}-{label}", build, square, wide, tolerance=1e-4)
        for k in range(3):
            svd = lambda a, k=k: _unsigned(SingularValues(result=k)(a))  # noqa: E731
            yield _on(f"svd-{k}-{label}", svd, tall, tolerance=1e-4)
            yield _on(f"svd-wide-{k}-{label}", svd, vectors, tolerance=1e-4)
        for k in range(2):
            qr = lambda a, k=k: _unsigned(Orthogonal(result=k)(a))  # noqa: E731
            yield _on(f"qr-{k}-{label}", qr, tall, tolerance=1e-4)
    yield replace(_on("qr-wide", lambda a: Orthogonal(result=1)(a), (2, 3), tolerance=1e-4), wrt=())


def _control_samples() -> Iterator[Sample]:
    for reverse in (False, True):
        for k in range(3):
            loop = lambda a, x, k=k, r=reverse: _scanned(a, x, reverse=r)[k]  # noqa: E731
            yield _on(f"scan-{k}-{reverse}", loop, (3,), (4, 3))
    yield _on("scan-no-steps", lambda a, x: _scanned(a, x)[0], (3,), (0, 3))
    for k in range(2):
        choice = Values((), "bool")
        yield _on(f"cond-{k}", lambda c, a, k=k: _branched(c, a)[k], choice, (2, 3))
    yield replace(_on("while", _doubled, Values((3,), low=0.5)), wrt=())


def _scanned(a: Node, x: Node, *, reverse: bool = False) -> tuple[Node, ...]:
    """``a = sin(a * x[t]) + w``, and the old a squared, with w from outside."""
    carry, row = (Input(n, TensorType(a.dtype, (3,)), k)() for k, n in enumerate("ar"))
    new = ELEMENTWISE["sin"](carry * row) + a
    body, outside = closed([new, carry * carry], [carry, row])
    scan = Scan(body=body, carries=1, sequences=1, length=x.shape[0], reverse=reverse)
    return scan.each(a, x, *outside)


def _branched(condition: Node, a: Node) -> tuple[Node, ...]:
    given = Input("a", a.type, 0)()
    both, outside = closed([given * a, given, ELEMENTWISE["exp"](given), given * 2.0], [given])
    then, other = (Graph(both.inputs, both.outputs[k : k + 2]) for k in (0, 2))
    return Cond(then=then, other=other).each(condition, a, *outside)


def _doubled(x: Node) -> Node:
    """Twice as much until the sum is above 100."""
    carry = Input("x", x.type, 0)()
    total = fold("add", carry, (0,))
    condition = Graph((carry,), (scalars.less(total, 100.0),))
    return While(condition=condition, body=Graph((carry,), (carry * 2.0,)), carries=1)(x)


def _regular(a: Node) -> Node:
    """A matrix far from singular, also its triangles."""
    return a + _identity(a) * 6.0


def _positive(a: Node) -> Node:
    """A symmetric matrix with positive and distinct eigenvalues."""
    return einsum("...ij,...kj->...ik", a, a) + _identity(a)


def _identity(a: Node) -> Node:
    row, column = (Iota(a.shape, a.type.rank - k, INT64)() for k in (2, 1))
    return Cast(a.dtype)(scalars.equal(row, column))


def _unsigned(x: Node) -> Node:
    """Vectors of a decomposition are known up to their sign."""
    return x * x


_DECOMPOSED: dict[str, Callable[[Node], Node]] = {
    "inverse": lambda a: Inverse()(_regular(a)),
    "slogdet-sign": lambda a: Determinant()(_regular(a)),
    "slogdet": lambda a: Determinant(result=1)(_regular(a)),
    "cholesky": lambda a: Cholesky()(_positive(a)),
    "eigh-values": lambda a: Symmetric()(_positive(a)),
    "eigh-vectors": lambda a: _unsigned(Symmetric(result=1)(_positive(a))),
}


def _from_state(draw: Callable[..., Node], kind: DType) -> Callable[[Node], Node]:
    return lambda state: draw(state, (2, 5), 3, kind)


def _all() -> Sequence[Sample]:
    groups = (
        _scalar_samples,
        _leaf_samples,
        _dtype_samples,
        _movement_samples,
        _fold_samples,
        _contract_samples,
        _selection_samples,
        _convolution_samples,
        _window_samples,
        _tile_samples,
        _indexing_samples,
        _random_samples,
        _sorting_samples,
        _cumulative_samples,
        _linalg_samples,
        _control_samples,
    )
    found = [sample for group in groups for sample in group()]
    known = {sample.name: sample for sample in found}
    return [*found, *(known[name].narrowed(kind) for name in _NARROWED.split() for kind in NARROW)]


_NARROWED = """
copy own_gradient after transpose-3d reshape-transposed broadcast-middle broadcast_to
fold-add-2x3x4 fold-add-0x3 fold-multiply-3x4 fold-maximum-3x4 fold-minimum-5 argmax argmin
matmul matmul-batched matmul-empty contract-transposed contract-dot contract-outer contract-scale
einsum-bij,bjk,bk->bi slice-strided flip pad-interior pad-value pad-infinity pad-reflect
concatenate-last interleave convolve-2d convolve-strided convolve-grouped convolution-padded
window-add-padded window-maximum-padded window_arg-padded
window_pick-padded window_spread-padded window_spread-arg-padded take-axis1-2d
take_along_axis-axis0 scatter_add-axis0 scatter_add_along_axis scatter_maximum-axis0
cumsum-forward cumprod-backward recurrence-False argsort-axis1-True searchsorted-True
solve-one cholesky-one scan-0-False scan-2-True cond-0 while
"""
"""What is also tried in float16 and bfloat16."""


SAMPLES: list[Sample] = list(_all())

DISTINCT: list[Sample] = [
    s for s in SAMPLES if s.name.count("-") < 2 or "2x3" in s.name or "float" not in s.name
]
"""One shape per scalar function and dtype: the code of the others differs in extents only."""
