"""Gradients as users ask for them, and the check of gradients."""

import numpy as np
import pytest

import graphc as gc
from running import assert_close, run


def test_grad_of_a_small_model(rng):
    w = gc.param(rng.normal(size=(3, 2)))
    x = gc.input("x", (4, 3))
    loss = (gc.tanh(x @ w) ** 2).mean()
    value, (dw, _) = gc.value_and_grad(loss, [w, x])
    assert dw.shape == w.shape
    assert value is loss
    assert gc.check_grad(loss, [w, x], {x: rng.normal(size=(4, 3))})
    assert_close(
        run(lambda a: gc.grad((a**3).sum(), a)[0], a=np.float32([1, 2])), np.float32([3, 12])
    )


def test_a_seed_weighs_the_elements():
    x = np.float32([1, 2, 3])
    ours = run(lambda t: gc.grad(t * t, t, seed=[1, 0, 10])[0], x=x)
    assert_close(ours, np.float32([2, 0, 60]))
    assert_close(run(lambda t: gc.grad(t * t, t, seed=1)[0], x=x), 2 * x)


def test_gradients_can_be_differentiated():
    x = np.float32(2)

    def second(t):
        (first,) = gc.grad(t**3, t)
        return gc.grad(first, t)[0]

    assert_close(run(second, x=np.asarray(x)), np.float32(12))


def test_no_gradient_flows_through_stop_gradient():
    x = np.float32([1, 2])
    assert_close(run(lambda t: gc.grad((t * gc.stop_gradient(t)).sum(), t)[0], x=x), x)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        (lambda x, n: gc.grad(x * 2, x), "GC0202"),
        (lambda x, n: gc.grad(n.sum(), n), "GC0201"),
        (lambda x, n: gc.grad(x.sum(), n), "GC0201"),
        (lambda x, n: gc.grad(n.astype("float32").sum(), x), "GC0203"),
        (lambda x, n: gc.grad(gc.stop_gradient(x).sum(), x), "GC0203"),
        (lambda x, n: gc.grad(x.sum(), [1.0]), "GC0107"),
        (lambda x, n: gc.grad(x * 2, x, seed=[1.0, 2.0]), "GC0101"),
    ],
)
def test_wrong_questions(program, code):
    x, n = gc.input("x", (3,)), gc.input("n", (3,), "int64")
    with pytest.raises(gc.UserError, match=code) as caught:
        program(x, n)
    assert "test_transform.py" in str(caught.value)


FLOATS = [
    lambda a, b: gc.softmax(a, 0) * b,
    lambda a, b: gc.log_softmax(a) * b,
    lambda a, b: gc.logsumexp(a, 1) * b[:, 0],
    lambda a, b: a.var(0, correction=1) + b.std(1).sum(),
    lambda a, b: a.prod(1) * b.max(1),
    lambda a, b: gc.where(a > b, a * b, a / (b * b + 1)),
    lambda a, b: gc.maximum(a, b) - gc.minimum(a, 0.1) + gc.clip(b, -0.5, 0.5),
    lambda a, b: gc.gelu(a) + gc.silu(b) + gc.elu(a) + gc.leaky_relu(b) + gc.gelu(a, "tanh"),
    lambda a, b: a[::-1, 1:] * b[:, :-1] + a[0, None, :-1],
    lambda a, b: gc.concatenate([a, b.flatten().reshape(3, 3)[:, ::-1]]) ** 2,
    lambda a, b: gc.einsum("ij,kj->ik", a, b) @ a,
    lambda a, b: a.T @ b + a[:, [0, 2, 0]] * gc.pad(b[:2, :2], ((1, 0), (0, 1))),
    lambda a, b: gc.tril(a) @ gc.triu(b),
]


@pytest.mark.parametrize("function", FLOATS)
def test_gradients_agree_with_differences(function, rng):
    a, b = gc.input("a", (3, 3)), gc.input("b", (3, 3))
    values = {a: rng.normal(size=(3, 3)), b: rng.normal(size=(3, 3))}
    report = gc.check_grad(function(a, b), [a, b], values)
    assert report, report


def test_check_grad_finds_a_wrong_gradient_and_names_the_element():
    x = gc.input("x", (3,))
    # the value of x * x, the gradient of x * constant
    wrong = (x * gc.stop_gradient(x)).sum()
    report = gc.check_grad(wrong, x, {x: np.array([0.0, 1.0, 2.0])})
    assert not report
    assert (report.name, report.index) == ("x", (2,))
    assert "x[2]: symbolic 2, numeric 4" in str(report)


def test_check_grad_wants_a_value_for_every_input():
    x, y = gc.input("x", (3,)), gc.input("y", (3,))
    with pytest.raises(gc.UserError, match="GC0302"):
        gc.check_grad((x * y).sum(), x, {x: np.ones(3)})


def test_check_grad_handles_named_sizes_integers_and_random_numbers(rng):
    x, n = gc.input("x", ("n", 2)), gc.input("labels", ("n",), "int64")
    noise = gc.random.Generator(3).normal((2,))
    loss = (x[:, 0] * n.astype("float32")).mean() + (x * noise).sum()
    assert gc.check_grad(loss, x, {x: rng.normal(size=(4, 2)), n: np.arange(4)})
