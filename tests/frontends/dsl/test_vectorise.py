"""`vmap`: one element after another is what it must agree with."""

import numpy as np
import pytest

import graphc as gc
from graphc.frontends.nn.functional import conv
from graphc.graph import toposort
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


def check_each(function, *arrays, backend="llvm", in_axes=0):
    """`vmap` of a function against one call after another."""
    inputs = [gc.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]
    mapped = gc.compile(inputs, gc.vmap(function, in_axes=in_axes)(*inputs), backend=backend)
    axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(arrays)
    size = next(a.shape[0] for a, axis in zip(arrays, axes, strict=True) if axis == 0)
    single = [
        gc.input(f"x{k}", a.shape if axis is None else a.shape[1:], a.dtype)
        for k, (a, axis) in enumerate(zip(arrays, axes, strict=True))
    ]
    one = gc.compile(single, function(*single), backend=backend)
    found = mapped(*arrays)
    for k in range(size):
        wanted = one(*(a if axis is None else a[k] for a, axis in zip(arrays, axes, strict=True)))
        np.testing.assert_allclose(found[k], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_loops_and_branches(backend, rng):
    w = gc.param(rng.normal(size=(3, 3)), "w", dtype="float64")

    def recurrent(x, start):
        last, ys = gc.scan(lambda h, v: ((new := gc.tanh(h @ w + v)), new), start, x)
        return gc.concat([gc.grad((ys * last).sum(), w)[0], ys])

    def until_large(x):
        return gc.while_loop(lambda v: v.sum() < 100, lambda v: v * 2, x)

    def branched(x, y):
        return gc.cond(x.sum() > y, lambda v: v * 2, gc.exp, x)

    x, start = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 3))
    check_each(recurrent, x, start, backend=backend)
    check_each(recurrent, x, start[0], backend=backend, in_axes=(0, None))
    check_each(until_large, 2.0 ** np.arange(8).reshape(4, 2), backend=backend)
    check_each(branched, start, rng.normal(size=4), backend=backend)
    check_each(branched, start, np.array(0.1), backend=backend, in_axes=(0, None))
    check_each(lambda y, x: branched(x, y), rng.normal(size=4), start[0], in_axes=(0, None))


def test_a_loop_over_stacks_shares_what_is_the_same():
    w = gc.param(np.ones((3, 3)), "w")
    x = gc.input("x", (4, 5, 3))
    y = gc.vmap(lambda x: gc.scan(lambda h, v: (h @ w + v, None), gc.zeros(3), x)[0])(x)
    (scan,) = (n for n in toposort([y.node]) if n.op.name == "scan")
    assert [n.shape for n in scan.op.body.inputs] == [(4, 3), (4, 3), (3, 3)]


def test_libraries_work_on_stacks(rng):
    a, b = rng.normal(size=(4, 3, 3)) + 3 * np.eye(3), rng.normal(size=(4, 3, 2))
    check_each(lambda a, b: gc.grad(gc.linalg.solve(a, b).sum() + gc.linalg.det(a), a)[0], a, b)
    check_each(lambda a: gc.linalg.svd(a)[1] + gc.sort(a[0]), a)
    check_each(lambda x: gc.cumprod(gc.sort(x, descending=True))[gc.argsort(x)], b[..., 0])
    check_each(lambda x, v: gc.searchsorted(gc.sort(x), v), b[..., 0], b[..., 1])


def test_gradients_that_users_say_or_that_are_computed_again(rng):
    doubled = gc.custom_gradient(lambda g, y, x, w: (2 * g * y, None))(lambda x, w: gc.sin(x * w))
    kept = gc.checkpoint(lambda x, w: gc.tanh(x @ w) * x)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3,))
    check_each(lambda x, w: gc.grad(doubled(x, w).sum(), x)[0], x, w, in_axes=(0, None))
    square = rng.normal(size=(3, 3))
    check_each(lambda x, w: gc.grad(kept(x, w).sum(), [x, w])[1], x, square, in_axes=(0, None))

    inputs = gc.input("x", (4, 3), "float64"), gc.input("w", (3, 3), "float64")
    total = gc.vmap(kept, in_axes=(0, None))(*inputs).sum()
    assert gc.check_grad(total, list(inputs), dict(zip(inputs, (x, square), strict=True)))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, y: gc.vmap(gc.add)(x, y), "GC0101: vmap over axes of 3 and 4"),
        (lambda x, y: gc.vmap(gc.add)(x, 1.0), "GC0103"),
        (lambda x, y: gc.vmap(gc.sin, in_axes=2)(x), "GC0104"),
        (lambda x, y: gc.vmap(gc.sin, in_axes=None)(x), "GC0104"),
        (lambda x, y: gc.vmap(gc.add, in_axes=(0, 0, 0))(x, y), "GC0302"),
    ],
)
def test_wrong_uses(program, code):
    x, y = gc.input("x", (3,)), gc.input("y", (4,))
    with pytest.raises(gc.UserError, match=code) as caught:
        program(x, y)
    assert "test_vectorise.py" in str(caught.value)
