"""The scalar table: values at special points, and the conventions where there is no derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphc import scalars
from graphc.backends.interpreter import Interpreter
from graphc.errors import CompilerBug
from graphc.grad import gradients
from graphc.graph import Array, Graph
from graphc.ops.elementwise import ELEMENTWISE
from graphc.ops.leaves import Input
from graphc.ops.reduction import fold, sum_over
from graphc.types import DTYPES, FLOAT64, TensorType

each = pytest.mark.parametrize
NAN, INF = math.nan, math.inf


def run(name: str, *operands: list[float]) -> Array:
    arrays = [np.array(x) for x in operands]
    return ELEMENTWISE[name].eval(*arrays)


def slopes(name: str, *operands: list[float]) -> list[list[float]]:
    """The gradient of the sum of a function, for each operand."""
    arrays = [np.array(x, np.float64) for x in operands]
    inputs = [Input("x", TensorType(FLOAT64, a.shape), k)() for k, a in enumerate(arrays)]
    found = gradients(sum_over(ELEMENTWISE[name](*inputs), (0,)), inputs)
    return [a.tolist() for a in Interpreter(Graph(tuple(inputs), tuple(found))).run(arrays)]


@each(
    ("name", "operands", "wanted"),
    [
        ("abs", [[0.0, -2.0]], [[0, -1]]),
        ("relu", [[0.0, -1.0, 1.0]], [[0, 0, 1]]),
        ("maximum", [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [[0, 0.5, 1], [1, 0.5, 0]]),
        ("minimum", [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], [[1, 0.5, 0], [0, 0.5, 1]]),
        ("power", [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], [[0, 1, 0], [0, 0, 0]]),
        ("power", [[-2.0], [3.0]], [[12], [0]]),
    ],
)
def test_slopes_at_kinks(name: str, operands: list[list[float]], wanted: list[list[float]]):
    assert slopes(name, *operands) == wanted


@each("name", ["sign", "floor", "ceil", "round", "trunc"])
def test_steps_have_no_slope(name: str):
    x = Input("x", TensorType(FLOAT64, (3,)))()
    assert gradients(sum_over(ELEMENTWISE[name](x), (0,)), [x]) == (None,)


def test_an_infinite_cotangent_does_not_reach_the_operand_not_chosen():
    """Inputs 0 and 1 of where: sqrt has an infinite slope at 0, and 0 times that would be nan."""
    x = Input("x", TensorType(FLOAT64, (2,)))()
    y = scalars.where(x > 0, scalars.sqrt(x), x * 3)
    (g,) = gradients(sum_over(scalars.maximum(scalars.sqrt(x), x * 0 - 1) * 0 + y, (0,)), [x])
    found = Interpreter(Graph((x,), (g,))).run([np.array([4.0, -1.0])])[0]
    assert found[0] == 0.25


@each(
    ("name", "operands", "wanted"),
    [
        ("sigmoid", [[-1000.0, 0.0, 1000.0]], [0, 0.5, 1]),
        ("softplus", [[-1000.0, 0.0, 1000.0]], [0, math.log(2), 1000]),
        ("relu", [[NAN, -INF, INF]], [NAN, 0, INF]),
        ("maximum", [[NAN, 1.0], [1.0, NAN]], [NAN, NAN]),
        ("minimum", [[NAN, 1.0], [1.0, NAN]], [NAN, NAN]),
        ("sign", [[-0.0, NAN, -3.0]], [0, NAN, -1]),
        ("round", [[0.5, 1.5, -2.5]], [0, 2, -2]),
        ("erf", [[-INF, 0.0, INF]], [-1, 0, 1]),
        ("floor_divide", [[-7.0, 7.0], [2.0, -2.0]], [-4, -4]),
        ("remainder", [[-7.0, 7.0], [2.0, -2.0]], [1, -1]),
        ("log", [[0.0, -1.0]], [-INF, NAN]),
    ],
)
def test_special_values(name: str, operands: list[list[float]], wanted: list[float]):
    np.testing.assert_allclose(run(name, *operands), wanted, rtol=1e-15)


def test_the_high_half_of_a_product():
    a = np.array([0xFFFFFFFF, 0xD2511F53, 0], np.uint32)
    b = np.array([0xFFFFFFFF, 0x9E3779B9, 7], np.uint32)
    wanted = [(int(x) * int(y)) >> 32 for x, y in zip(a, b, strict=True)]
    assert ELEMENTWISE["multiply_high"].eval(a, b).tolist() == wanted


@each("dtype", DTYPES.values(), ids=str)
def test_identities_leave_every_value_alone(dtype):
    for function in scalars.SCALARS.values():
        logical = function.domain == "bool"
        if function.identity is None or logical != (dtype.kind == "bool"):
            continue
        neutral = np.array(scalars.identity_of(function, dtype), dtype.numpy)
        values = [0, 1] if logical else [1, 0, 100]
        if not logical:
            info = dtype.limits
            values += [info.min, info.max]
        x = np.array(values, dtype.numpy)
        np.testing.assert_array_equal(function.numpy(x, neutral), x)


def test_a_function_without_an_identity_cannot_accumulate():
    with pytest.raises(CompilerBug, match="subtract"):
        scalars.identity_of(scalars.subtract, FLOAT64)


def fold_slopes(name: str, values: list[float]) -> list[float]:
    x = Input("x", TensorType(FLOAT64, (len(values),)))()
    (g,) = gradients(fold(name, x, (0,)), [x])
    return Interpreter(Graph((x,), (g,))).run([np.array(values)])[0].tolist()


@each(
    ("name", "values", "wanted"),
    [
        ("multiply", [2.0, 3.0, 4.0], [12, 8, 6]),
        ("multiply", [0.0, 3.0, 4.0], [12, 0, 0]),
        ("multiply", [0.0, 0.0, 4.0], [0, 0, 0]),
        ("maximum", [1.0, 5.0, 5.0], [0, 0.5, 0.5]),
        ("maximum", [1.0, INF, 5.0], [0, 1, 0]),
        ("minimum", [1.0, 5.0, 1.0], [0.5, 0, 0.5]),
    ],
)
def test_slopes_of_folds(name: str, values: list[float], wanted: list[float]):
    assert fold_slopes(name, values) == wanted
