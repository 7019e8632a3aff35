"""Positions as data: what is fixed in a program, wrong options, older versions, gradients."""

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError
from onnx_text import model, run


def test_another_value_that_decides_a_size_compiles_anew():
    net = model("float[4] x", "y = NonZero(x)")
    for x in (np.float32([1, 0, 2, 0]), np.float32([0, 0, 0, 3]), np.zeros(4, np.float32)):
        np.testing.assert_array_equal(net.run(x, backend="numpy")[0], [np.flatnonzero(x)])
    with pytest.raises(UserError, match=r"GC0106.*'x'"):
        net.compile()


def test_a_computed_value_decides_a_size():
    net = model(
        "float[4] x, float[4] w",
        "z = Constant<value_float=0.0>() c = Greater(w, z) y = Compress<axis=0>(x, c)",
    )
    x = np.float32([1, 2, 3, 4])
    for w in (np.float32([1, -1, 1, -1]), np.float32([-1, -1, 1, -1])):
        np.testing.assert_array_equal(net.run(x, w, backend="numpy")[0], x[w > 0])


def test_unique_in_the_order_of_first_places():
    x = np.int64([5, 1, 5, 9, 1])
    found = run("int64[5] x", "y, a, b, c = Unique<sorted=0>(x)", x, outputs="y a b c")
    for result, wanted in zip(
        found, ([5, 1, 9], [0, 1, 3], [0, 1, 0, 2, 1], [2, 2, 1]), strict=True
    ):
        np.testing.assert_array_equal(result, wanted)


def test_scatter_under_its_old_name():
    x, places, updates = np.zeros((1, 4), np.float32), np.int64([[1, 3]]), np.float32([[5, 7]])
    (y,) = run(
        "float[1,4] x, int64[1,2] i, float[1,2] u",
        "y = Scatter<axis=1>(x, i, u)",
        x,
        places,
        updates,
        version=9,
    )
    np.testing.assert_array_equal(y, [[0, 5, 0, 7]])


def test_an_unknown_reduction_is_refused():
    x = np.zeros((2,), np.float32)
    body = 'y = ScatterElements<reduction="mean">(x, i, x)'
    with pytest.raises(UserError, match=r"GC0505.*mean"):
        run("float[2] x, int64[2] i", body, x, np.int64([0, 1]))


@pytest.mark.parametrize(
    "call",
    [
        "Gather<axis=1>(x, i)",
        "ReverseSequence<batch_axis=0, time_axis=1>(x, i)",
        "TensorScatter<axis=1>(x, x, z)",
        'TensorScatter<axis=1, mode="circular">(x, x, i)',
    ],
)
def test_gradients(call, rng):
    net = model("double[3,4] x, int64[3] i", f"z = Sub(i, i) y = {call}", version=24)
    x, i = gc.input("x", (3, 4), "float64"), gc.input("i", (3,), "int64")
    y = net(x, i)
    loss = y * rng.normal(size=y.shape)
    assert gc.check_grad(loss, x, {x: rng.normal(size=(3, 4)), i: np.int64([3, 1, 2])})
