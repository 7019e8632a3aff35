"""Loops and branches: against Python's own, values and gradients, on both backends."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gc
from graphc.errors import UserError

BACKENDS = ("numpy", "llvm")


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return str(request.param)


def run(backend: str, inputs, outputs, *arrays):
    return gc.compile(list(inputs), list(outputs), backend=backend)(*arrays)


# Scan ---------------------------------------------------------------------------------------------
def test_many_rounds_there_and_back(backend, rng):
    """More than run natively at a time; the carries of all steps are kept."""
    x = gc.input("x", (600, 3), "float64")

    def step(c, v):
        new = gc.sin(c + v)
        return new, new * v

    last, ys = gc.scan(step, gc.zeros(3, "float64"), x, reverse=True)
    (slope,) = gc.grad((ys * ys).sum() + last.sum(), [x])
    array = rng.standard_normal((600, 3))
    c, wanted = np.zeros(3), np.empty((600, 3))
    for t in reversed(range(600)):
        c = np.sin(c + array[t])
        wanted[t] = c * array[t]
    found = run(backend, [x], [last, ys, slope], array)
    np.testing.assert_allclose(found[0], c)
    np.testing.assert_allclose(found[1], wanted)
    total = (wanted**2).sum() + c.sum()
    moved = array.copy()
    moved[[0, 300, 599]] += 1e-6
    again = run(backend, [x], [last, ys], moved)
    change = (again[1] ** 2).sum() + again[0].sum() - total
    np.testing.assert_allclose(change / 1e-6, found[2][[0, 300, 599]].sum(), rtol=1e-4)


def test_a_fault_in_a_step_is_reported(backend):
    table, places = gc.constant(np.arange(4.0)), gc.input("places", (5,), "int64")
    total, _ = gc.scan(lambda c, k: (c + table[k], None), gc.constant(0.0, "float64"), places)
    f = gc.compile(places, total, backend=backend)
    assert f(np.array([0, 1, 2, 3, -1])) == 9
    with pytest.raises(UserError, match="GC0306") as caught:
        f(np.array([0, 1, 7, 0, 0]))
    assert "test_control.py" in str(caught.value)
    assert f(np.array([3, 3, 3, 3, 3])) == 15


def test_loops_and_libraries_inside_a_loop(backend, rng):
    x = gc.input("x", (3, 4, 2, 2), "float64")

    def inner(c, m):
        return gc.linalg.inv(c + m), None

    def outer(c, ms):
        new = gc.scan(inner, c, ms)[0]
        return new, gc.linalg.det(new)

    eye, array = np.eye(2), rng.random((3, 4, 2, 2)) + np.eye(2)
    ys = gc.scan(outer, gc.constant(eye, "float64"), x)[1]
    (found,) = run(backend, [x], [ys], array)
    c, wanted = eye, []
    for ms in array:
        for m in ms:
            c = np.linalg.inv(c + m)
        wanted.append(np.linalg.det(c))
    np.testing.assert_allclose(found, wanted)


def test_running_sums(backend):
    x = gc.input("x", (5, 3), "float64")
    last, sums = gc.scan(lambda carry, row: (carry + row, carry * 2), gc.zeros(3, "float64"), x)
    array = np.arange(15.0).reshape(5, 3)
    found = run(backend, [x], [last, sums], array)
    np.testing.assert_allclose(found[0], array.sum(0))
    before = np.cumsum(array, 0) - array
    np.testing.assert_allclose(found[1], 2 * before)


def test_backward_in_time(backend):
    x = gc.input("x", (4,))
    last, ys = gc.scan(lambda c, v: (c * 0.5 + v, c), gc.constant(1.0), x, reverse=True)
    array = np.array([1, 2, 3, 4], np.float32)
    carry, wanted = 1.0, np.empty(4)
    for t in reversed(range(4)):
        wanted[t] = carry
        carry = carry * 0.5 + array[t]
    found = run(backend, [x], [last, ys], array)
    np.testing.assert_allclose(found[0], carry)
    np.testing.assert_allclose(found[1], wanted)


def test_gradients_are_those_of_the_unrolled_loop(backend, rng):
    x, h = gc.input("x", (6, 2, 3), "float64"), gc.input("h", (2, 4), "float64")
    w, u = (
        gc.param(rng.standard_normal((3, 4)), "w", dtype="float64"),
        gc.param(rng.standard_normal((4, 4)) / 2, "u", dtype="float64"),
    )
    seed = rng.standard_normal((6, 2, 4))

    def step(state, row):
        new = gc.tanh(row @ w + state @ u)
        return new, new * new

    last, ys = gc.scan(step, h, x)
    state, outputs = h, []
    for t in range(6):
        state, y = step(state, x[t])
        outputs.append(y)
    losses = [(last * 0.7).sum() + (ys * seed).sum(), (state * 0.7).sum()]
    losses[1] = losses[1] + (gc.stack(outputs) * seed).sum()
    ours, wanted = (gc.grad(loss, [x, h, w, u]) for loss in losses)
    arrays = rng.standard_normal((6, 2, 3)), rng.standard_normal((2, 4))
    found = run(backend, [x, h], [*ours, *wanted], *arrays)
    for a, b in zip(found[:4], found[4:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_second_derivatives(backend, rng):
    x = gc.input("x", (4,), "float64")
    start = gc.constant(0.3, "float64")

    def total(loop):
        return (loop() ** 2).sum()

    def folded():
        return gc.scan(lambda c, v: (gc.sin(c * v), c * c), start, x)[1]

    def unrolled():
        carry, ys = start, []
        for t in range(4):
            ys.append(carry * carry)
            carry = gc.sin(carry * x[t])
        return gc.stack(ys)

    found = []
    for loop in (folded, unrolled):
        (slope,) = gc.grad(total(loop), [x])
        found += gc.grad((slope * np.arange(1.0, 5.0)).sum(), [x])
    ours, wanted = run(backend, [x], found, rng.standard_normal(4))
    np.testing.assert_allclose(ours, wanted, rtol=1e-9)


def test_nested_values_and_integer_carries(backend):
    x = gc.input("x", (3, 2))
    start = {"count": gc.constant(0), "parts": (gc.zeros(2), [gc.ones(2)])}

    def step(carry, row):
        first, (second,) = carry["parts"]
        new = {"count": carry["count"] + 1, "parts": (second, [first + row])}
        return new, {"seen": carry["count"]}

    last, ys = gc.scan(step, start, x)
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    found = run(
        backend, [x], [last["count"], last["parts"][0], last["parts"][1][0], ys["seen"]], array
    )
    assert found[0] == 3
    np.testing.assert_array_equal(found[3], [0, 1, 2])
    np.testing.assert_allclose(found[1], 1 + array[1])
    np.testing.assert_allclose(found[2], array[0] + array[2])
    (slope,) = gc.grad((last["parts"][1][0] * 2).sum(), [x])
    (found,) = run(backend, [x], [slope], array)
    np.testing.assert_allclose(found, [[2, 2], [0, 0], [2, 2]])


def test_a_scan_inside_a_scan(backend, rng):
    x = gc.input("x", (3, 4), "float64")

    def inner(carry, v):
        return carry + v * v, carry

    def outer(carry, row):
        last, _ = gc.scan(inner, carry, row)
        return gc.tanh(last), last

    last, ys = gc.scan(outer, gc.constant(0.0, "float64"), x)
    loss = last + ys.sum()
    (slope,) = gc.grad(loss, [x])
    array = rng.standard_normal((3, 4)) / 2
    _, found = run(backend, [x], [loss, slope], array)

    def value(a):
        carry, total = 0.0, 0.0
        for row in a:
            carry = carry + (row * row).sum()
            total += carry
            carry = np.tanh(carry)
        return total + carry

    for place in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[place] = 1e-6
        wanted = (value(array + step) - value(array - step)) / 2e-6
        np.testing.assert_allclose(found[place], wanted, rtol=1e-6)


def test_no_steps_and_named_lengths(backend):
    x = gc.input("x", ("n", 2))
    last, ys = gc.scan(lambda c, row: (c + row, row * 2), gc.zeros(2), x)
    (slope,) = gc.grad(last.sum() + ys.sum(), [x])
    f = gc.compile([x], [last, ys, slope], backend=backend)
    for n in (0, 1, 3):
        array = np.ones((n, 2), np.float32)
        found = f(array)
        np.testing.assert_allclose(found[0], array.sum(0))
        np.testing.assert_allclose(found[1], array * 2)
        np.testing.assert_allclose(found[2], array * 3)


def test_loops_with_a_count(backend):
    x = gc.input("x", ())
    power = gc.fori_loop(0, 5, lambda i, v: v * x + i.astype("float32"), gc.constant(1.0))
    cubes = gc.map(lambda v: v**3, gc.arange(4.0))
    counted, _ = gc.scan(lambda c, _: (c + x, None), gc.constant(0.0), length=7)
    found = run(backend, [x], [power, cubes, counted], np.float32(2))
    wanted = 1.0
    for i in range(5):
        wanted = wanted * 2 + i
    np.testing.assert_allclose(found[0], wanted)
    np.testing.assert_allclose(found[1], [0, 1, 8, 27])
    np.testing.assert_allclose(found[2], 14)


def test_bad_loops_are_explained():
    x = gc.input("x", (3, 2))
    with pytest.raises(UserError, match=r"(?s)GC0101.*begins as"):
        gc.scan(lambda c, row: (row.sum(), None), gc.zeros(2), x)
    with pytest.raises(UserError, match=r"GC0302.*1 tensors come out where 2"):
        gc.scan(lambda c, row: (c[0], None), (gc.zeros(2), gc.zeros(2)), x)
    with pytest.raises(UserError, match=r"GC0107.*returns Tensor"):
        gc.scan(lambda c, row: c + row, gc.zeros(2), x)
    with pytest.raises(UserError, match=r"(?s)GC0104.*length"):
        gc.scan(lambda c, row: (c, None), gc.zeros(2))
    with pytest.raises(UserError, match=r"GC0101.*lengths 4, 3 differ"):
        gc.scan(lambda c, row: (c, None), gc.zeros(2), x, length=4)


# While --------------------------------------------------------------------------------------------
def test_while_runs_until_the_condition_fails(backend):
    x = gc.input("x", (), "float64")
    root, steps = gc.while_loop(
        lambda s: gc.abs(s[0] * s[0] - x) > 1e-12,
        lambda s: ((s[0] + x / s[0]) / 2, s[1] + 1),
        (x, gc.constant(0)),
    )
    found = run(backend, [x], [root, steps], np.float64(2))
    np.testing.assert_allclose(found[0], np.sqrt(2))
    assert 3 < found[1] < 9
    with pytest.raises(UserError, match=r"GC0201.*while_loop"):
        gc.grad(root, [x])


# Branches -----------------------------------------------------------------------------------------
def test_one_branch_is_computed(backend):
    x, w = gc.input("x", (3,), "float64"), gc.param(np.array([2.0, 3, 4]), "w", dtype="float64")
    y = gc.cond(x.sum() > 0, lambda v: v * w, lambda v: gc.exp(v), x)
    (dx, dw) = gc.grad(y.sum(), [x, w])
    f = gc.compile([x], [y, dx, dw], backend=backend)
    up, down = np.array([1.0, -2, 3]), np.array([-1.0, -2, 1])
    for array, wanted in (
        (up, (up * [2, 3, 4], [2, 3, 4], up)),
        (down, (np.exp(down), np.exp(down), [0, 0, 0])),
    ):
        for found, value in zip(f(array), wanted, strict=True):
            np.testing.assert_allclose(found, value)


def test_the_other_branch_does_not_run(backend):
    x = gc.input("x", (2, 2))
    y = gc.cond(x.sum() > 0, gc.linalg.inv, lambda v: v, x)  # the inverse would fail
    (found,) = run(backend, [x], [y], -np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(found, -np.ones((2, 2)))


def test_bad_branches_are_explained():
    x = gc.input("x", (3,))
    with pytest.raises(UserError, match=r"GC0101.*one branch gives"):
        gc.cond(x.sum() > 0, lambda v: v, lambda v: v.sum(), x)
    with pytest.raises(UserError, match=r"(?s)GC0102.*where"):
        gc.cond(x > 0, lambda v: v, lambda v: -v, x)
