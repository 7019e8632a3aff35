"""Gradients that users say themselves, and values computed again for the backward pass."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn
from graphc.graph import toposort
from running import assert_close, run


@gc.custom_gradient(lambda g, y, x: g)
def straight_through(x):
    return gc.round(x)


def _log1pexp_back(g, y, x):
    return g * gc.sigmoid(x)


@gc.custom_gradient(_log1pexp_back)
def log1pexp(x):
    """log(1 + exp(x)), whose usual gradient overflows."""
    return gc.log(1 + gc.exp(x))


def _scaled_back(g, y, x, w, power=1):
    return (g * w) * power * x ** (power - 1), (g * x**power).sum(0)


@gc.custom_gradient(_scaled_back)
def scaled(x, w, power=1):
    return x**power * w


def test_the_backward_function_is_the_gradient():
    x = np.float32([0.2, 1.7, -2.5])
    value, (slope,) = run(lambda x: gc.value_and_grad(straight_through(x) @ x, x), x=x)
    assert_close(value, np.rint(x) @ x)
    assert_close(slope, np.rint(x) + x)


def test_constants_keywords_and_several_tensors(rng):
    x, w = gc.input("x", (4, 3), "float64"), gc.input("w", (3,), "float64")
    at = {x: rng.normal(size=(4, 3)), w: rng.normal(size=3)}
    assert gc.check_grad((scaled(x, w, power=3) ** 2).sum(), [x, w], at)


def test_derivatives_of_higher_order_are_those_of_the_backward_function(rng):
    x = gc.input("x", (4,), "float64")
    at = {x: rng.normal(size=4)}
    y = log1pexp(x)
    assert gc.check_grad((y * y).sum(), x, at)
    (slope,) = gc.grad((y**2).sum(), x)
    assert gc.check_grad((slope**2).sum(), x, at)
    tangent = gc.jvp(y, x, np.array([1.0, 2.0, 0.0, -1.0]))
    plain = gc.jvp(gc.softplus(x), x, np.array([1.0, 2.0, 0.0, -1.0]))
    both = gc.compile(x, (tangent, plain), backend="numpy")(at[x])
    np.testing.assert_allclose(*both, rtol=1e-12)
    assert gc.check_grad((tangent**2).sum(), x, at)


def test_models_with_their_own_gradients_are_checked_in_float64(rng):
    w = gc.param(rng.normal(size=(3, 2)))
    x = gc.input("x", (4, 3))
    assert gc.check_grad((log1pexp(x @ w) ** 2).mean(), [w, x], {x: rng.normal(size=(4, 3))})


def test_clipped_gradients_go_backward_but_not_forward():
    @gc.custom_gradient(lambda g, y, x: gc.clip(g, -1, 1))
    def clipped(x):
        return x * 1

    x = np.float32([0.1, 4.0])
    (slope,) = run(lambda x: gc.grad((clipped(x) ** 2).sum(), x), x=x)
    assert_close(slope, np.float32([0.2, 1.0]))
    with pytest.raises(gc.UserError, match="GC0201: no forward derivative") as caught:
        run(lambda x: gc.jvp(clipped(x), x, 1.0), x=x)
    assert "not linear" in str(caught.value)


def test_nothing_flows_where_the_backward_function_says_none():
    @gc.custom_gradient(lambda g, y, x, n: (g * 2, None))
    def plus(x, n):
        return x + n.astype("float32")

    x, n = gc.input("x", (3,)), gc.input("n", (3,), "int64")
    (slope,) = gc.grad(plus(x, n).sum(), x)
    assert_close(
        gc.compile([x, n], slope)(np.float32([1, 2, 3]), np.arange(3)), np.full(3, 2, np.float32)
    )


def test_the_op_leaves_no_trace_in_compiled_code(rng):
    x = gc.input("x", (5,))
    step = gc.compile(x, gc.value_and_grad(straight_through(x).sum() + (x * x).sum(), x))
    assert "= custom_gradient" in step.source("graph")
    assert "= custom_gradient" not in step.source("optimised")
    arrays = np.float32(rng.normal(size=5))
    assert_close(step(arrays)[1][0], 1 + 2 * arrays)


w_outside = gc.param(np.ones(3))


@pytest.mark.parametrize(
    ("forward", "backward", "code"),
    [
        (lambda x: (x, x), lambda g, y, x: g, "GC0107: a function with a custom gradient"),
        (lambda x: x * w_outside, lambda g, y, x: g, "GC0302: the function of a custom"),
        (lambda x: x, lambda g, y, x: g * w_outside, "GC0302: the backward function of a"),
        (lambda x: x, lambda g, y, x: (g, g), "GC0302: a backward function returns 2"),
        (lambda x: x, lambda g, y, x: g[:2], "GC0101: a backward function returns"),
        (lambda x: x, lambda g, y, x: "g", "GC0107"),
    ],
)
def test_wrong_functions(forward, backward, code):
    x = gc.input("x", (3,))
    with pytest.raises(gc.UserError, match=code) as caught:
        gc.grad(gc.custom_gradient(backward)(forward)(x).sum(), x)
    assert "test_custom.py" in str(caught.value)


# Checkpoints --------------------------------------------------------------------------------------
WIDTH, ROWS, BLOCKS = 64, 512, 8


def deep(block, checkpointed):
    """A chain of equal blocks, its loss and its gradients, compiled."""
    rng = np.random.default_rng(0)
    wrap = gc.checkpoint if checkpointed else lambda function: function
    x = gc.input("x", (ROWS, WIDTH))
    weights = [gc.param(rng.normal(size=(WIDTH, WIDTH)) / 8) for _ in range(2 * BLOCKS)]
    h = x
    for a, b in zip(weights[::2], weights[1::2], strict=True):
        h = wrap(block)(h, a, b)
    loss = (h * h).mean()
    return gc.compile(x, gc.value_and_grad(loss, weights))


def captured(h, a, b):
    return gc.tanh(gc.tanh(gc.tanh(h @ a) @ b) @ a)


def test_a_checkpoint_changes_no_gradient_and_lowers_the_peak():
    plain, saving = deep(captured, False), deep(captured, True)
    x = np.float32(np.random.default_rng(1).normal(size=(ROWS, WIDTH)))
    (loss, slopes), (same_loss, same) = plain(x), saving(x)
    assert_close(same_loss, loss)
    for ours, wanted in zip(same, slopes, strict=True):
        assert_close(ours, wanted, rtol=1e-4, atol=1e-7)
    before, after = plain.program.plan, saving.program.plan
    assert after.peak_bytes < 0.6 * before.peak_bytes
    assert after.arena_bytes < 0.6 * before.arena_bytes


def test_what_is_inside_is_computed_again():
    x = gc.input("x", (3, 4))
    w = gc.param(np.ones((4, 4)))
    inner = gc.checkpoint(lambda h: gc.sin(gc.exp(h @ w)))
    step = gc.compile(x, gc.grad((inner(x) ** 2).sum(), w), backend="numpy")
    ops = [node.op.name for node in toposort(step.stages["optimised"].roots)]
    assert ops.count("exp") == 2
    forward = [n.op.name for n in toposort([inner(x).node])]
    assert forward.count("checkpoint") == 1


def test_checkpoints_of_layers_nests_and_dropout(rng):
    layer = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4))
    params = list(layer.parameters())
    x = gc.input("x", (3, 4))
    mask = gc.random.Generator(3).uniform((3, 4)) > 0.5

    def block(pair, scale):
        h, skip = pair["h"], pair["skip"]
        return {"h": gc.where(mask, gc.tanh(layer(h)), 0) * scale + skip, "skip": skip}

    def loss(wrap):
        state = {"h": x, "skip": x * 0.5}
        for scale in (0.5, 2.0):
            state = wrap(block)(state, scale)
        return (state["h"] ** 2).sum()

    plain, saved = loss(lambda f: f), loss(gc.checkpoint)
    arrays = np.float32(rng.normal(size=(3, 4)))
    both = [gc.value_and_grad(y, [*params, x]) for y in (plain, saved)]
    left, right = gc.compile(x, both)(arrays)
    assert_close(right[0], left[0])
    for a, b in zip(left[1], right[1], strict=True):
        assert_close(b, a, rtol=1e-4, atol=1e-5)


def test_derivatives_of_checkpoints(rng):
    x, w = gc.input("x", (3,), "float64"), gc.input("w", (3, 3), "float64")
    inner = gc.checkpoint(lambda h: gc.exp(gc.sin(w @ h)))
    outer = gc.checkpoint(lambda h: inner(inner(h)) * h)
    y = outer(x)
    at = {x: rng.normal(size=3), w: rng.normal(size=(3, 3))}
    assert gc.check_grad((y * y).sum(), [x, w], at)
    (slope,) = gc.grad((y * y).sum(), w)
    assert gc.check_grad((slope**2).sum(), [x, w], at)
    tangent = gc.jvp(y, x, np.array([1.0, -1.0, 2.0]))
    assert gc.check_grad((tangent**2).sum(), [x, w], at)
    assert not any(n.op.name == "after" for n in toposort([tangent.node]))
    (matrix,) = gc.jacobian(y, x)
    columns = [gc.jvp(y, x, unit) for unit in np.eye(3)]
    ours, wanted = gc.compile([x, w], (matrix, columns), backend="numpy")(*at.values())
    np.testing.assert_allclose(ours, np.stack(wanted, 1), rtol=1e-10)


def test_a_checkpoint_of_integers_or_of_nothing_is_none():
    x = gc.input("x", (3,))
    assert gc.checkpoint(lambda h: h)(x).node is x.node
    place = gc.checkpoint(lambda h: h.argmax())(x)
    assert place.node.op.name == "argmax"
