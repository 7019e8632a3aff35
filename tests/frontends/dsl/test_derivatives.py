"""Products with Jacobian and Hessian matrices, and the matrices, against differences."""

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run

CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def wide(name, *shape):
    return gc.input(name, shape, "float64")


def smooth(a, b):
    """A bit of everything: products, reductions, indexing, choices."""
    h = gc.tanh(a @ b) + gc.softmax(a, 1) @ gc.exp(0.3 * b)
    picked = gc.where(h > 0, h**3, gc.sin(h))[::-1] + gc.take(h, [0, 0, 2], 0)
    return picked * gc.concatenate([h.var(0, keepdims=True), h[1:] * h[1:].prod(1, keepdims=True)])


def slope(function, points, tangents, step=1e-5):
    """The central difference of arrays along a direction."""
    ends = [
        function(*(x + sign * step * t for x, t in zip(points, tangents, strict=True)))
        for sign in (1, -1)
    ]
    return (ends[0] - ends[1]) / (2 * step)


@pytest.fixture
def point(rng):
    return [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))]


@pytest.fixture
def direction(rng):
    return [rng.normal(size=(3, 4)), rng.normal(size=(4, 2))]


def value(a, b):
    return run(smooth, a=a, b=b)


def test_jvp_is_the_slope_along_a_direction(point, direction):
    a, b = wide("a", 3, 4), wide("b", 4, 2)
    u, v = wide("u", 3, 4), wide("v", 4, 2)
    tangent = gc.jvp(smooth(a, b), [a, b], [u, v])
    ours = gc.compile([a, b, u, v], tangent, backend="numpy")(*point, *direction)
    assert_close(ours, slope(value, point, direction), **CLOSE)


def test_jvp_of_one_tensor_and_of_several(rng):
    x = np.float32(rng.normal(size=5))

    def both(x):
        return gc.jvp([x * x, gc.sin(x)], x, [1, 2, 0, 0, 1])

    squared, sine = run(both, x=x)
    tangent = np.float32([1, 2, 0, 0, 1])
    assert_close(squared, 2 * x * tangent)
    assert_close(sine, np.cos(x) * tangent)
    assert_close(run(lambda x: gc.jvp(x, x, 3.0), x=x), np.full(5, 3, np.float32))


def test_vjp_is_the_transpose_of_jvp(point, direction, rng):
    a, b = wide("a", 3, 4), wide("b", 4, 2)
    seeds = rng.normal(size=(3, 2)), rng.normal(size=(3, 4))
    outputs = [smooth(a, b), a * b.sum()]
    back = gc.vjp(outputs, [a, b], list(seeds))
    along = gc.jvp(outputs, [a, b], direction)
    back, along = gc.compile([a, b], (back, along), backend="numpy")(*point)
    left = sum((g * t).sum() for g, t in zip(back, direction, strict=True))
    right = sum((s * t).sum() for s, t in zip(seeds, along, strict=True))
    np.testing.assert_allclose(left, right, rtol=1e-10)


def test_vjp_adds_up_outputs_that_depend_on_each_other():
    def program(x):
        h = x * x
        return gc.vjp([h, h * x, h], x, [1.0, 2.0, 10.0])

    x = np.float32([1, 2])
    assert_close(run(program, x=x)[0], 22 * x + 6 * x * x)


def test_hvp_is_the_slope_of_the_gradient(point, direction):
    def gradient(a, b):
        return gc.grad((smooth(a, b) ** 2).sum(), [a, b])

    def product(a, b, u, v):
        return gc.hvp((smooth(a, b) ** 2).sum(), [a, b], [u, v])

    ours = run(product, **dict(zip("abuv", [*point, *direction], strict=True)))
    for k in range(2):
        numeric = slope(lambda a, b, k=k: run(gradient, a=a, b=b)[k], point, direction)
        np.testing.assert_allclose(ours[k], numeric, rtol=1e-6, atol=1e-6)


def test_hvp_agrees_with_jvp_of_the_gradient(rng):
    x, v = rng.normal(size=(2, 4))

    def both(x, v):
        loss = (gc.exp(x) * x[::-1]).sum()
        return gc.hvp(loss, x, v)[0], gc.jvp(gc.grad(loss, x)[0], x, v)

    left, right = run(both, x=x, v=v)
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_jacobian_has_a_row_per_element_of_the_output(point):
    found = run(lambda a, b: gc.jacobian(smooth(a, b), [a, b]), a=point[0], b=point[1])
    for k, shape in enumerate([(3, 4), (4, 2)]):
        assert found[k].shape == (3, 2, *shape)
        for index in np.ndindex(shape):
            unit = [np.zeros_like(x) for x in point]
            unit[k][index] = 1
            column = found[k][(..., *index)]
            np.testing.assert_allclose(column, slope(value, point, unit), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 1, 3)])
def test_jacobian_of_any_shape(shape, rng):
    x = rng.normal(size=shape)
    (ours,) = run(lambda x: gc.jacobian(gc.sin(x), x), x=x)
    wanted = np.reshape(np.diag(np.cos(x).ravel()), (*shape, *shape))
    assert_close(ours, wanted)


def test_jacobian_of_a_named_size_and_on_native_code(rng):
    x, w = gc.input("x", ("n", 3)), gc.param(rng.normal(size=(3, 2)), dtype="float32")
    y = gc.tanh(x @ w)
    (by_w,) = gc.jacobian(y, w)
    arrays = np.float32(rng.normal(size=(5, 3)))
    ours = gc.compile(x, by_w)(arrays)
    inner = 1 - np.tanh(arrays @ gc.value(w)) ** 2
    wanted = np.einsum("nj,ni,jk->njik", inner, arrays, np.eye(2, dtype=np.float32))
    assert_close(ours, wanted)


def test_the_graph_of_a_jacobian_does_not_grow_with_its_rows():
    def nodes(rows):
        x = gc.input("x", (rows,))
        compiled = gc.compile(x, gc.jacobian(gc.exp(x) * x.sum(), x), backend="numpy")
        return len(compiled.graph)

    assert nodes(2) == nodes(50)


def test_hessian_is_made_of_blocks(rng):
    a, b = rng.normal(size=(2, 2)), rng.normal(size=(2,))

    def program(a, b):
        loss = (gc.tanh(a @ b) ** 2).sum() + (b**3).sum()
        return gc.hessian(loss, [a, b]), gc.hessian(loss, b)[0][0]

    (((aa, ab), (ba, bb)), alone) = run(program, a=a, b=b)
    assert aa.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(aa, np.transpose(aa, (2, 3, 0, 1)), rtol=1e-10)
    np.testing.assert_allclose(ab, np.transpose(ba, (1, 2, 0)), rtol=1e-10)
    np.testing.assert_allclose(bb, alone, rtol=1e-12)

    def gradient(a, b):
        return gc.grad((gc.tanh(a @ b) ** 2).sum() + (b**3).sum(), [a, b])

    for k in range(2):
        unit = np.eye(2)[k]
        numeric = slope(lambda b: run(gradient, a=a, b=b)[1], [b], [unit])
        np.testing.assert_allclose(bb[:, k], numeric, rtol=1e-6, atol=1e-7)


def test_second_derivatives_of_linear_functions_are_zeros():
    def program(x, y):
        loss = (2 * x).sum() + (y * y).sum()
        return gc.hvp(loss, [x, y], [1.0, 1.0]), gc.hessian(loss, [x, y])

    (along_x, along_y), ((xx, xy), (yx, yy)) = run(
        program, x=np.ones(2, np.float32), y=np.ones(3, np.float32)
    )
    assert_close(along_x, np.zeros(2, np.float32))
    assert_close(along_y, np.full(3, 2, np.float32))
    assert not xx.any()
    assert xy.shape == (2, 3)
    assert not xy.any()
    assert not yx.any()
    assert_close(yy, 2 * np.eye(3, dtype=np.float32))


def test_a_known_hessian():
    """Rosenbrock's function (1960), whose derivatives are in every textbook of optimisation."""
    x = np.array([-1.2, 1.0])

    def program(x):
        loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        return gc.grad(loss, x)[0], gc.hessian(loss, x)[0][0]

    slopes, curvature = run(program, x=x)
    assert_close(slopes, np.array([-215.6, -88.0]))
    assert_close(curvature, np.array([[1330.0, 480.0], [480.0, 200.0]]))


def test_matrices_can_be_differentiated_again(rng):
    x = gc.input("x", (3,), "float64")
    (matrix,) = gc.jacobian(gc.sin(x) * x.sum(), x)
    tangent = gc.jvp((x**3) * x.sum(), x, np.array([1.0, -2.0, 0.5]))
    at = {x: rng.normal(size=3)}
    assert gc.check_grad((matrix**2).sum(), x, at)
    assert gc.check_grad((tangent**2).sum(), x, at)
    assert gc.check_grad(gc.hessian((x**4).sum() * x[0], x)[0][0].sum(), x, at)


def test_ties_share_the_gradient_and_zeros_do_not_spoil_products():
    x = np.float32([[1, 3, 3], [2, 2, 2]])
    (ours,) = run(lambda x: gc.grad(x.max(1).sum(), x), x=x)
    assert_close(ours, np.float32([[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]))
    (ours,) = run(lambda x: gc.grad(gc.maximum(x, 3).sum(), x), x=x)
    assert_close(ours, np.float32([[0, 0.5, 0.5], [0, 0, 0]]))
    x = np.float32([[2, 0, 3], [0, 0, 4], [1, 2, 3]])
    (ours,) = run(lambda x: gc.grad(x.prod(1).sum(), x), x=x)
    assert_close(ours, np.float32([[0, 6, 0], [0, 0, 0], [6, 3, 2]]))
    tangent = run(lambda x: gc.jvp(x.prod(1), x, np.ones((3, 3))), x=x)
    assert_close(tangent, np.float32([6, 0, 11]))


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, n: gc.vjp(x * 2, n, 1.0), "GC0201"),
        (lambda x, n: gc.vjp(n, x, 1.0), "GC0201"),
        (lambda x, n: gc.vjp(n.astype("float32"), x, 1.0), "GC0203"),
        (lambda x, n: gc.vjp([x, x * x], x, 1.0), "GC0302"),
        (lambda x, n: gc.vjp([x, x * x], x, [1.0]), "GC0302"),
        (lambda x, n: gc.vjp(x, x, [1.0, 2.0]), "GC0101"),
        (lambda x, n: gc.jvp(n.astype("float32"), x, 1.0), "GC0203"),
        (lambda x, n: gc.jvp(x, [x], 1.0), "GC0302"),
        (lambda x, n: gc.jvp(x, [1.0], [1.0]), "GC0107"),
        (lambda x, n: gc.hvp(x, x, 1.0), "GC0202"),
        (lambda x, n: gc.hvp(n.astype("float32").sum(), x, 1.0), "GC0203"),
        (lambda x, n: gc.jacobian(n, x), "GC0201"),
        (lambda x, n: gc.jacobian(n.astype("float32"), x), "GC0203"),
        (lambda x, n: gc.hessian(x * x, x), "GC0202"),
    ],
)
def test_wrong_questions(program, code):
    x, n = gc.input("x", (3,)), gc.input("n", (3,), "int64")
    with pytest.raises(gc.UserError, match=code) as caught:
        program(x, n)
    assert "test_derivatives.py" in str(caught.value)
