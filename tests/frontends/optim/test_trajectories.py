"""Every optimiser on a random quadratic, 20 steps in float64, against its formulas in NumPy."""

import math

import numpy as np
import pytest

import graphc as gc
from graphc import optim
from running import assert_close

STEPS = 20
A = np.random.default_rng(1).normal(size=(5, 3))
B = np.random.default_rng(2).normal(size=5)
START = np.random.default_rng(3).normal(size=3)


def gradient(p):
    return A.T @ (A @ p - B)


def trained(optimiser, backend="numpy"):
    """The parameter after every step down ``|A p - B|^2 / 2``."""
    p = gc.param(START, name="p", dtype="float64")
    rest = gc.constant(A, "float64") @ p - gc.constant(B, "float64")
    step = gc.compile([], [], optimiser.updates(0.5 * (rest * rest).sum(), [p]), backend=backend)
    path = []
    for _ in range(STEPS):
        step()
        path.append(gc.value(p))
    return np.stack(path)


def path_of(rule):
    """What ``rule(p, g, memory, t)`` makes of the same problem."""
    p, memory, path = START, {}, []
    for t in range(1, STEPS + 1):
        p = rule(p, gradient(p), memory, t)
        path.append(p)
    return np.stack(path)


def moved(memory, name, share, new):
    memory[name] = share * memory.get(name, 0) + (1 - share) * new
    return memory[name]


# The formulas of the papers -----------------------------------------------------------------------
def sgd(lr, momentum=0.0, dampening=0.0, nesterov=False, decay=0.0):
    def rule(p, g, memory, t):
        g = g + decay * p
        m = memory["m"] = g if t == 1 else momentum * memory["m"] + (1 - dampening) * g
        return p - lr * (g + momentum * m if nesterov else m)

    return rule


def adam(lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, decoupled=False, amsgrad=False):
    def rule(p, g, memory, t):
        if decoupled:
            p = p * (1 - lr * decay)
        else:
            g = g + decay * p
        m, v = moved(memory, "m", b1, g), moved(memory, "v", b2, g * g)
        if amsgrad:
            v = memory["largest"] = np.maximum(memory.get("largest", 0), v)
        return p - lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def nadam(lr, b1=0.9, b2=0.999, eps=1e-8, decay=0.0, pace=0.004, decoupled=False):
    def rule(p, g, memory, t):
        if decoupled:
            p = p * (1 - lr * decay)
        else:
            g = g + decay * p
        now, later = (b1 * (1 - 0.5 * 0.96 ** (s * pace)) for s in (t, t + 1))
        product = memory["product"] = memory.get("product", 1.0) * now
        m, v = moved(memory, "m", b1, g), moved(memory, "v", b2, g * g)
        hat = later * m / (1 - product * later) + (1 - now) * g / (1 - product)
        return p - lr * hat / (np.sqrt(v / (1 - b2**t)) + eps)

    return rule


def lamb(lr, b1=0.9, b2=0.999, eps=1e-6, decay=0.01):
    def rule(p, g, memory, t):
        m, v = moved(memory, "m", b1, g), moved(memory, "v", b2, g * g)
        u = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * p
        return p - lr * np.linalg.norm(p) / np.linalg.norm(u) * u

    return rule


def lion(lr, b1=0.9, b2=0.99, decay=0.0):
    def rule(p, g, memory, t):
        direction = np.sign(b1 * memory.get("m", 0) + (1 - b1) * g)
        moved(memory, "m", b2, g)
        return p - lr * (direction + decay * p)

    return rule


def adagrad(lr, lr_decay=0.0, decay=0.0, initial=0.0, eps=1e-10):
    def rule(p, g, memory, t):
        g = g + decay * p
        s = memory["s"] = memory.get("s", initial) + g * g
        return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps)

    return rule


def adadelta(lr, rho=0.9, eps=1e-6, decay=0.0):
    def rule(p, g, memory, t):
        g = g + decay * p
        s = moved(memory, "s", rho, g * g)
        d = np.sqrt(memory.get("u", 0) + eps) / np.sqrt(s + eps) * g
        moved(memory, "u", rho, d * d)
        return p - lr * d

    return rule


def rmsprop(lr, alpha=0.99, eps=1e-8, decay=0.0, momentum=0.0, centered=False):
    def rule(p, g, memory, t):
        g = g + decay * p
        s = moved(memory, "s", alpha, g * g)
        if centered:
            s = np.maximum(s - moved(memory, "a", alpha, g) ** 2, 0)
        d = g / (np.sqrt(s) + eps)
        m = memory["m"] = momentum * memory.get("m", 0) + d
        return p - lr * m

    return rule


CASES = {
    "sgd": (optim.SGD(0.02), sgd(0.02)),
    "momentum": (optim.SGD(0.02, momentum=0.9), sgd(0.02, 0.9)),
    "nesterov": (
        optim.SGD(0.02, momentum=0.9, nesterov=True, weight_decay=0.1),
        sgd(0.02, 0.9, nesterov=True, decay=0.1),
    ),
    "dampening": (optim.SGD(0.02, momentum=0.9, dampening=0.3), sgd(0.02, 0.9, 0.3)),
    "adam": (optim.Adam(0.1, weight_decay=0.1), adam(0.1, decay=0.1)),
    "amsgrad": (optim.Adam(0.1, betas=(0.9, 0.9), amsgrad=True), adam(0.1, b2=0.9, amsgrad=True)),
    "adamw": (optim.AdamW(0.1), adam(0.1, decay=0.01, decoupled=True)),
    "adamw amsgrad": (
        optim.AdamW(0.1, (0.8, 0.9), amsgrad=True),
        adam(0.1, 0.8, 0.9, decay=0.01, decoupled=True, amsgrad=True),
    ),
    "nadam": (optim.NAdam(0.1, weight_decay=0.1), nadam(0.1, decay=0.1)),
    "nadamw": (
        optim.NAdam(0.1, weight_decay=0.1, decoupled=True),
        nadam(0.1, decay=0.1, decoupled=True),
    ),
    "lamb": (optim.LAMB(0.05), lamb(0.05)),
    "lion": (optim.Lion(0.05, weight_decay=0.1), lion(0.05, decay=0.1)),
    "adagrad": (
        optim.Adagrad(0.5, lr_decay=0.1, weight_decay=0.1, initial=0.2),
        adagrad(0.5, 0.1, 0.1, 0.2),
    ),
    "adagrad alone": (optim.Adagrad(0.5), adagrad(0.5)),
    "adadelta": (optim.Adadelta(2.0, weight_decay=0.1), adadelta(2.0, decay=0.1)),
    "rmsprop": (optim.RMSprop(0.05, weight_decay=0.1), rmsprop(0.05, decay=0.1)),
    "rmsprop centered": (
        optim.RMSprop(0.02, alpha=0.9, momentum=0.9, centered=True),
        rmsprop(0.02, alpha=0.9, momentum=0.9, centered=True),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_twenty_steps(name):
    optimiser, rule = CASES[name]
    assert_close(trained(optimiser), path_of(rule), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [optim.SGD, optim.NAdam, optim.LAMB, optim.Lion, optim.RMSprop])
def test_native_code_takes_the_same_steps(kind):
    rate = optim.schedules.warm_up(optim.schedules.cosine(0.05, 15), 4)
    assert_close(trained(kind(rate), "llvm"), trained(kind(rate)), rtol=1e-9, atol=1e-12)


def test_lamb_takes_a_plain_step_from_zero():
    p = gc.param(np.zeros(2), name="p", dtype="float64")
    gc.compile([], [], optim.LAMB(0.1).updates(p.sum(), [p]), backend="numpy")()
    assert_close(gc.value(p), [-0.1, -0.1], rtol=1e-5)


def test_saga_forgets_the_noise_of_batches():
    """Every row is a batch: at a constant rate SGD keeps its noise, SAGA meets the minimum."""
    rows = np.array([[2.0, 0, 0], [0, 2, 0], [0, 0, 2], [1, 1, 0], [0, 1, 1]])
    best = np.linalg.lstsq(rows, B, rcond=None)[0]
    p = gc.param(START, name="p", dtype="float64")
    row, b = gc.input("row", (3,), "float64"), gc.input("b", (), "float64")
    index = gc.input("index", (), "int64")
    optimiser = optim.SAGA(index, batches=5, lr=0.08)
    rest = (row * p).sum() - b
    step = gc.compile([row, b, index], [], optimiser.updates(0.5 * rest * rest, [p]), "numpy")
    table, mean, expected = np.zeros((5, 3)), np.zeros(3), START
    for k in np.random.default_rng(0).integers(0, 5, 500):
        step(rows[k], B[k], k)
        g = rows[k] * (rows[k] @ expected - B[k])
        expected = expected - 0.08 * (g - table[k] + mean)
        mean, table[k] = mean + (g - table[k]) / 5, g
    assert_close(gc.value(p), expected, rtol=1e-9)
    assert_close(gc.value(p), best, rtol=1e-6)


def test_groups_are_optimisers_of_their_own():
    def parameters():
        values = np.arange(3.0), np.ones(2), np.ones(1)
        return [gc.param(v, name="p", dtype="float64") for v in values]

    def loss(parameters):
        return sum(((p - 2) ** 2).sum() for p in parameters)

    together, alone = parameters(), parameters()
    pairs = [
        (optim.AdamW(0.1), [0, 2]),
        (optim.SGD(0.1, momentum=0.5), [1]),
    ]
    groups = optim.Groups(*((o, [together[k] for k in chosen]) for o, chosen in pairs))
    step = gc.compile([], [], groups.updates(loss(together), together), backend="numpy")
    fresh = [(optim.AdamW(0.1), [0, 2]), (optim.SGD(0.1, momentum=0.5), [1])]
    others = {}
    for optimiser, chosen in fresh:
        others |= optimiser.updates(loss(alone), [alone[k] for k in chosen])
    other = gc.compile([], [], others, backend="numpy")
    for _ in range(4):
        step()
        other()
    for ours, theirs in zip(together, alone, strict=True):
        assert_close(gc.value(ours), gc.value(theirs), rtol=0, atol=0)
    assert set(groups.named_state()) == {
        "0.count", "0.first.0", "0.second.0", "0.first.1", "0.second.1", "1.momentum.0",
    }  # fmt: skip


def test_groups_hold_every_parameter_once():
    p, q = gc.param(1.0, name="p"), gc.param(1.0, name="q")
    with pytest.raises(gc.UserError, match="in two groups"):
        optim.Groups((optim.SGD(), [p]), (optim.Adam(), [q, p]))
    with pytest.raises(gc.UserError, match="in no group"):
        optim.Groups((optim.SGD(), [p])).updates(p * q, [p, q])
    with pytest.raises(gc.UserError, match="not trained"):
        optim.Groups((optim.SGD(), [p, q])).updates(p * q, [p])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: optim.SGD(momentum=0.9, dampening=0.1, nesterov=True),
        lambda: optim.ExponentialAverage(1.0),
        lambda: optim.PolyakAverage(0),
    ],
)
def test_wrong_options(wrong):
    with pytest.raises(gc.UserError, match="GC0104"):
        wrong()


# Limits -------------------------------------------------------------------------------------------
def clipped(function, *arrays):
    gradients = [gc.constant(a, "float64") for a in arrays]
    return gc.compile([], function(gradients), backend="numpy")()


def test_limits_of_gradients():
    a, b = np.array([3.0, 0.0]), np.array([[4.0]])
    values = clipped(lambda g: optim.clip_by_value(g, 2.5), a, -b)
    assert_close(values[0], [2.5, 0])
    assert_close(values[1], [[-2.5]])
    own = clipped(lambda g: optim.clip_by_norm(g, 3.5), a, b)
    assert_close(own[0], a)
    assert_close(own[1], [[3.5]], rtol=1e-6)
    shared = clipped(lambda g: optim.clip_by_global_norm(g, 1), a, b)
    assert_close(shared[0], a / 5, rtol=1e-6)
    assert_close(shared[1], b / 5, rtol=1e-6)
    assert_close(clipped(lambda g: [optim.global_norm(g)], a, b)[0], np.float64(5))
    zero = clipped(lambda g: optim.clip_by_norm(g, 1), np.zeros(2), np.zeros((0, 3)))
    assert not zero[0].any()
    assert zero[1].shape == (0, 3)


# Averages -----------------------------------------------------------------------------------------
def averaged(average, start):
    """The path of p = p/2 + 1, and that of its average."""
    p = gc.param(start, name="p", dtype="float64")
    step = gc.compile([], [], average.updates({p: 0.5 * p + 1}, [p]), backend="numpy")
    path = []
    for _ in range(6):
        step()
        with average.applied():
            inside = gc.value(p)
        path.append((gc.value(p), inside))
    return np.array(path).T


def test_polyak_average():
    values, means = averaged(optim.PolyakAverage(), 8.0)
    assert_close(means, np.cumsum(values) / np.arange(1, 7), rtol=1e-14)
    values, means = averaged(optim.PolyakAverage(start=3), 8.0)
    expected = [*values[:2], *(np.cumsum(values[2:]) / np.arange(1, 5))]
    assert_close(means, expected, rtol=1e-14)


def test_exponential_average():
    values, means = averaged(optim.ExponentialAverage(0.9), 8.0)
    expected = [values[0]]
    for new in values[1:]:
        expected.append(0.9 * expected[-1] + 0.1 * new)
    assert_close(means, expected, rtol=1e-14)
    assert math.isclose(values[-1], 2 + 6 / 64)


def test_the_parameters_come_back_after_an_error():
    average = optim.ExponentialAverage(0.5)
    p = gc.param(1.0, name="p", dtype="float64")
    step = gc.compile([], [], average.updates({p: p + 1}, [p]), backend="numpy")
    step()
    step()

    def interrupted():
        with average.applied():
            assert gc.value(p) == 2.5
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert gc.value(p) == 3
    assert set(average.named_state()) == {"count", "average.0"}
