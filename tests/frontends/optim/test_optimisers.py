"""Optimisers against their formulas in NumPy."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from running import assert_close, run

STEPS = 5


def trained(optimiser, start, gradients):
    """The parameter after the optimiser saw these gradients (the loss is their product)."""
    p = gc.param(start, name="p")
    g = gc.input("g", start.shape)
    step = gc.compile([g], [], optimiser.updates((p * g).sum(), [p]), backend="numpy")
    for gradient in gradients:
        step(gradient)
    return gc.value(p)


@pytest.fixture
def problem(rng):
    numbers = rng.normal(size=(STEPS + 1, 3)).astype(np.float32)
    return numbers[0], numbers[1:]


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0, False, 0), (0.9, False, 0), (0.9, True, 0), (0.9, True, 0.1), (0, False, 0.1)],
)
def test_sgd(problem, momentum, nesterov, decay):
    start, gradients = problem
    p, m = start.copy(), 0
    for g in gradients:
        g = g + decay * p
        m = momentum * m + g
        p = p - 0.1 * (g + momentum * m if nesterov else m)
    ours = optim.SGD(0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    assert_close(trained(ours, start, gradients), p.astype(np.float32))


@pytest.mark.parametrize(("decay", "decoupled"), [(0, False), (0.1, False), (0.1, True)])
def test_adam(problem, decay, decoupled):
    start, gradients = problem
    p, m, v = start.astype(np.float64), 0, 0
    for t, g in enumerate(gradients, 1):
        if decoupled:
            p = p - 0.01 * decay * p
        else:
            g = g + decay * p
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    ours = optim.Adam(0.01, weight_decay=decay, decoupled=decoupled)
    assert_close(trained(ours, start, gradients), p.astype(np.float32))
    if decoupled:
        assert_close(
            trained(optim.AdamW(0.01, weight_decay=decay), start, gradients), p.astype("f")
        )


def test_the_learning_rate_may_be_a_parameter():
    lr = gc.param(0.5, name="lr", trainable=False)
    optimiser = optim.SGD(lr)
    p = gc.param(np.zeros(2), name="p")
    step = gc.compile([], [], optimiser.updates(p.sum(), [p]), backend="numpy")
    step()
    gc.assign(lr, 0.25)
    step()
    assert_close(gc.value(p), np.float32([-0.75, -0.75]))
    assert list(optimiser.named_state()) == ["lr"]


def test_the_memory_has_names():
    optimiser = optim.Adam()
    p = gc.param(np.zeros((2, 3)), name="p")
    optimiser.updates((p * p).sum(), [p])
    assert {n: t.shape for n, t in optimiser.named_state().items()} == {
        "count": (),
        "first.0": (2, 3),
        "second.0": (2, 3),
    }


@pytest.mark.parametrize("optimiser", [optim.SGD(0.1, momentum=0.9), optim.Adam(0.1)])
def test_the_memory_has_the_dtype_of_the_parameter(optimiser):
    p, g = gc.param(1.0, name="p", dtype="float64"), 1 / 3
    step = gc.compile([], [], optimiser.updates(p * g, [p]), backend="numpy")
    step()
    step()
    moment = next(t for n, t in optimiser.named_state().items() if n.endswith(".0"))
    expected = 1.9 * g if isinstance(optimiser, optim.SGD) else 0.1 * 1.9 * g
    assert moment.dtype.name == "float64"
    assert_close(gc.value(moment), np.float64(expected), rtol=1e-14)


def test_clipping_keeps_the_direction():
    a, b = np.float32([3, 0]), np.float32([4])
    ours = run(lambda a, b: optim.clip_by_global_norm([a, b], 1.0), a=a, b=b)
    assert_close(ours[0], a / 5)
    assert_close(ours[1], b / 5)
    assert_close(run(lambda a: optim.clip_by_norm([a], 10.0), a=a)[0], a)


def test_nesterov_needs_momentum():
    with pytest.raises(gc.UserError, match="GC0104"):
        optim.SGD(0.1, nesterov=True)


@pytest.mark.parametrize("optimiser", [optim.SGD(0.5, momentum=0.9), optim.Adam(0.05)])
def test_an_mlp_learns_xor(optimiser):
    model = nn.Sequential(nn.Linear(2, 8, rng=0), nn.Tanh(), nn.Linear(8, 1, rng=1))
    x, y = gc.input("x", (4, 2)), gc.input("y", (4, 1))
    scores = model(x)
    loss = nn.binary_cross_entropy_with_logits(scores, y)
    updates = optimiser.updates(loss, model.parameters())
    step = gc.compile([x, y], {"loss": loss, "right": (scores > 0) == (y > 0.5)}, updates, "numpy")
    a, b = np.float32([[0, 0], [0, 1], [1, 0], [1, 1]]), np.float32([[0], [1], [1], [0]])
    for _ in range(200):
        result = step(a, b)
    assert result["loss"] < 0.05
    assert result["right"].all()
