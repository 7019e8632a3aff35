"""Every scalar function on every dtype, with awkward values, at sizes around those of a vector."""

from __future__ import annotations

import numpy as np
import pytest

from execute import interpreted, native
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.ops.contraction import matmul
from graphc.ops.elementwise import ELEMENTWISE, Cast
from graphc.ops.leaves import Input
from graphc.ops.movement import transpose
from graphc.ops.reduction import ArgExtreme, fold
from graphc.ops.selection import Pad
from graphc.scalars import SCALARS, Scalar
from graphc.types import DTYPES, DType, TensorType, dtype
from rewrite.values import specials
from samples import EXACT

pytestmark = pytest.mark.sweep

KINDS = [*DTYPES.values()]
SIZES = (1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127)
ZEROS = ("minimum", "maximum", "relu")
"""Which of 0.0 and -0.0 they choose is open, and NumPy itself varies."""
TOLERANCE = {"bfloat16": 1.6e-2, "float16": 2e-3, "float32": 2e-6, "float64": 1e-13}


def leaf(name: str, kind: DType, *shape: int) -> Node:
    return Input(name, TensorType(kind, shape))()


def applied(function: Scalar, inputs: list[Node]) -> Node | None:
    """The function of a condition and two values, as far as it takes them; None: not this dtype."""
    try:
        taken = inputs if function.arity == 3 else inputs[1 : 1 + function.arity]
        return ELEMENTWISE[function.name](*taken)
    except UserError as error:
        if error.code != "GC0102":
            raise
        return None


def check(found: Array, wanted: Array, error: float, zeros: bool = True) -> None:
    """Equal but for a relative error; with none, in the sign of zero too if ``zeros``."""
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=error, atol=error)
    if error == 0 and zeros and dtype(found.dtype).is_float:
        known = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))


def meeting(kind: DType) -> list[Array]:
    """Awkward values, each beside each other one, and a bool."""
    values = specials(kind)
    x, y = np.meshgrid(values, values, indexing="ij")
    c = (np.arange(x.size) % 3 == 0).reshape(x.shape)
    return [np.ascontiguousarray(a).reshape(-1) for a in (c, x, y)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_functions_of_awkward_values(kind: DType):
    arrays = meeting(kind)
    size = arrays[0].size
    inputs = [leaf("c", dtype("bool"), size), leaf("x", kind, size), leaf("y", kind, size)]
    tried = {f: applied(f, inputs) for f in SCALARS.values() if "shift" not in f.name}
    made = {f: node for f, node in tried.items() if node is not None}
    graph = Graph(tuple(inputs), tuple(made.values()))
    found, wanted = native(graph, arrays), interpreted(graph, arrays)
    faults = []
    for function, ours, theirs in zip(made, found, wanted, strict=True):
        exact = function.name in EXACT or not dtype(ours.dtype).is_float
        try:
            error = 0.0 if exact else TOLERANCE[kind.name]
            check(ours, theirs, error, function.name not in ZEROS)
        except AssertionError as fault:
            faults.append(f"{function.name}: {fault}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kind", [d for d in KINDS if d.is_integer], ids=str)
def test_shifts(kind: DType):
    """By 0 up to the width less one; more is open in C and in NumPy."""
    x, by = np.meshgrid(specials(kind), np.arange(kind.bits), indexing="ij")
    arrays = [x.reshape(-1), by.reshape(-1).astype(kind.numpy)]
    inputs = (leaf("x", kind, x.size), leaf("by", kind, x.size))
    names = ("bitwise_left_shift", "bitwise_right_shift")
    graph = Graph(inputs, tuple(ELEMENTWISE[n](*inputs) for n in names))
    for ours, theirs in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        check(ours, theirs, 0.0)


@pytest.mark.parametrize("source", KINDS, ids=str)
def test_casts(source: DType):
    """To every dtype; floats beyond the range of an integer are left out, C leaves them open."""
    values = specials(source)
    graphs, arrays = [], []
    for target in KINDS:
        given = values
        if source.is_float and not target.is_float and target.kind != "bool":
            ends = np.iinfo(target.numpy)
            with np.errstate(all="ignore"):
                inside = (values > float(ends.min) - 1) & (values < float(ends.max))
            given = np.concatenate([values[inside], np.array([1.5, 2.5, 0.0], source.numpy)])
        x = leaf("x", source, given.size)
        graphs.append(Graph((x,), (Cast(target)(x),)))
        arrays.append([given])
    for graph, given in zip(graphs, arrays, strict=True):
        (found,), (wanted,) = native(graph, given), interpreted(graph, given)
        check(found, wanted, 0.0)


def shapes_of(kind: DType, size: int) -> Graph:
    """What has code of its own for the rest of a vector: maps, folds, copies, products."""
    n, x = leaf("n", kind, size), leaf("x", kind, 3, size)
    made: list[Node] = [transpose(x, (1, 0)), ArgExtreme(True, 1)(x), ArgExtreme(False, 0)(x)]
    if kind.kind == "bool":
        made += [
            fold("logical_or", x, (0,)),
            fold("logical_and", x, (1,)),
            fold("logical_or", n, (0,)),
        ]
        return Graph((n, x), tuple(made))
    made += [n + n, Pad((1, 0), (0, 2), (0, 1))(x)]
    for name in ("add", "maximum"):
        made += [fold(name, x, axes) for axes in ((0,), (1,), (0, 1))] + [fold(name, n, (0,))]
    made += [matmul(x, transpose(x, (1, 0))), matmul(transpose(x, (1, 0)), x)]
    return Graph((n, x), tuple(made))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["float32", "float64", "float16", "int8", "int64", "bool"])
def test_sizes_around_a_vector(name: str, size: int, rng: np.random.Generator):
    kind = dtype(name)
    graph = shapes_of(kind, size)
    arrays = [
        rng.integers(0, 2 if name == "bool" else 5, x.shape).astype(name) for x in graph.inputs
    ]
    for found, wanted in zip(native(graph, arrays), interpreted(graph, arrays), strict=True):
        check(found, wanted, 0.0)  # small whole numbers: sums are exact in any order


@pytest.mark.parametrize("name", TOLERANCE)
def test_folds_of_awkward_values(name: str):
    """A nan wins, infinities add up, denormals are not lost."""
    kind, size = dtype(name), 37
    rows = [[v, *([1.0] * (size - 1))] for v in specials(kind, extreme=False)]
    rows += [[np.inf, -np.inf] + [0.0] * (size - 2), [kind.limits.smallest_subnormal] * size]
    array = np.array(rows, name)
    x = leaf("x", kind, *array.shape)
    made = [fold(f, x, (1,)) for f in ("add", "maximum", "minimum", "multiply")]
    made += [ArgExtreme(True, 1)(x), ArgExtreme(False, 1)(x), fold("maximum", x, (0,))]
    graph = Graph((x,), tuple(made))
    for ours, theirs in zip(native(graph, [array]), interpreted(graph, [array]), strict=True):
        check(ours, theirs, TOLERANCE[name] if dtype(ours.dtype).is_float else 0.0)
