"""`vmap`: one element after another is what it must agree with."""

import numpy as np
import pytest

import graphc as gc
from graphc.frontends.nn.functional import conv
from running import assert_close, run


def test_a_function_of_one_row_runs_on_all(rng):
    x, w = np.float32(rng.normal(size=(5, 3))), np.float32(rng.normal(size=(3, 2)))
    ours = run(lambda x, w: gc.vmap(lambda row: gc.tanh(row @ w).sum())(x), x=x, w=w)
    assert_close(ours, np.tanh(x @ w).sum(1))


def test_axes_go_in_and_out_where_they_are_named(rng):
    a, b = np.float32(rng.normal(size=(3, 5))), np.float32(rng.normal(size=(5, 4)))

    def program(a, b):
        def one(p, q):
            return p[:, None] * q, {"sum": p.sum()}

        return gc.vmap(one, in_axes=(1, 0), out_axes=-1)(a, b)

    product, rest = run(program, a=a, b=b)
    assert_close(product, np.einsum("ik,kj->ijk", a, b))
    assert_close(rest["sum"], a.sum(0))


def test_what_is_the_same_for_all_is_not_mapped(rng):
    x, w = np.float32(rng.normal(size=(4, 3))), np.float32(rng.normal(size=(3,)))
    mapped = gc.vmap(lambda row, w, power: (row * w) ** power, in_axes=(0, None, None))
    assert_close(run(lambda x, w: mapped(x, w, 2), x=x, w=w), (x * w) ** 2)
    assert_close(run(lambda x, w: gc.vmap(lambda row: w)(x), x=x, w=w), np.broadcast_to(w, (4, 3)))


def test_vmap_of_vmap(rng):
    x, y = np.float32(rng.normal(size=(4, 3))), np.float32(rng.normal(size=(5, 3)))

    def distances(x, y):
        one = lambda p, q: gc.sqrt(((p - q) ** 2).sum())  # noqa: E731
        return gc.vmap(lambda p: gc.vmap(lambda q: one(p, q))(y))(x)

    assert_close(run(distances, x=x, y=y), np.linalg.norm(x[:, None] - y, axis=2))


def test_gradients_of_single_examples(rng):
    x, y = np.float32(rng.normal(size=(6, 3))), np.float32(rng.normal(size=6))
    w = gc.param(rng.normal(size=3))

    def one(x, y):
        return gc.grad((x @ w - y) ** 2, w)[0]

    ours = run(gc.vmap(one), x=x, y=y)
    assert_close(ours, 2 * (x @ gc.value(w) - y)[:, None] * x)


def test_derivatives_go_through_vmap(rng):
    x = gc.input("x", (4, 3), "float64")
    w = gc.input("w", (3, 3), "float64")
    y = gc.vmap(lambda row: gc.softmax(gc.sin(w @ row)) * row.prod())(x)
    at = {x: rng.normal(size=(4, 3)), w: rng.normal(size=(3, 3))}
    assert gc.check_grad((y**2).sum(), [x, w], at)


def test_a_convolution_with_filters_for_every_example(rng):
    x, w = rng.normal(size=(3, 2, 4, 6)), rng.normal(size=(3, 5, 4, 3))
    each = gc.vmap(conv)
    ours = run(each, x=x, w=w)
    for k in range(3):
        assert_close(ours[k], run(conv, x=x[k], w=w[k]))
    shared = run(lambda x, w: gc.vmap(lambda one: conv(one, w))(x), x=x, w=w[0])
    assert_close(shared[2], run(conv, x=x[2], w=w[0]))


def test_vmap_on_native_code_and_named_sizes(rng):
    x = gc.input("x", ("n", 4))
    y = gc.vmap(lambda row: (row[::-1] * row.max(), row.argmax()))(x)
    arrays = np.float32(rng.normal(size=(7, 4)))
    flipped, place = gc.compile(x, y)(arrays)
    assert_close(flipped, arrays[:, ::-1] * arrays.max(1, keepdims=True))
    assert_close(place, arrays.argmax(1))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, y: gc.vmap(gc.add)(x, y), "GC0101: vmap over axes of 3 and 4"),
        (lambda x, y: gc.vmap(gc.add)(x, 1.0), "GC0103"),
        (lambda x, y: gc.vmap(gc.sin, in_axes=2)(x), "GC0104"),
        (lambda x, y: gc.vmap(gc.sin, in_axes=None)(x), "GC0104"),
        (lambda x, y: gc.vmap(gc.add, in_axes=(0, 0, 0))(x, y), "GC0302"),
        (lambda x, y: gc.vmap(gc.custom_gradient(lambda g, y, x: g)(gc.sin))(x), "GC0104: custom"),
    ],
)
def test_wrong_uses(program, code):
    x, y = gc.input("x", (3,)), gc.input("y", (4,))
    with pytest.raises(gc.UserError, match=code) as caught:
        program(x, y)
    assert "test_vectorise.py" in str(caught.value)
