"""Mixed precision: what is rounded, what is not, and that models train with it all the same."""

import numpy as np
import pytest

import graphc as gc
from graphc import nn, optim
from graphc.cli.demo.models import LeNet, Perceptron
from graphc.frontends.data import load_digits
from graphc.types import DTYPES
from running import assert_close, run

NARROW = ["float16", "bfloat16"]
STEP = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
"""From a number to the next, relative to it, at most."""


def rounded(x, kind):
    return x.astype(DTYPES[kind].numpy).astype(np.float32)


PRODUCTS = {
    "matmul": (gc.matmul, np.matmul, (5, 7), (7, 3)),
    "operator": (lambda a, b: a @ b, np.matmul, (2, 5, 7), (7, 3)),
    "vectors": (gc.matmul, np.matmul, (7,), (7,)),
    "einsum": (
        lambda a, b: gc.einsum("bij,bkj->bik", a, b),
        lambda a, b: np.einsum("bij,bkj->bik", a, b), (2, 5, 7), (2, 3, 7),
    ),
    "linear": (nn.linear, lambda a, b: a @ b.T, (4, 7), (3, 7)),
    "conv": (
        nn.conv, lambda a, b: np.einsum("nctk,ock->not", windows(a), b), (2, 3, 9), (4, 3, 2)
    ),
}  # fmt: skip


def windows(x):
    return np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1)


@pytest.mark.parametrize("kind", NARROW)
@pytest.mark.parametrize("name", PRODUCTS)
def test_operands_of_products_are_rounded_and_the_result_is_not(name, kind, rng):
    ours, numpys, *shapes = PRODUCTS[name]
    a, b = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    with nn.autocast(kind):
        found = run(ours, a=a, b=b)
    assert_close(found, np.float32(numpys(rounded(a, kind), rounded(b, kind))), atol=1e-5)
    assert np.abs(found - numpys(a, b)).max() > 1e-6


def test_gradients_of_the_operands_are_rounded_too(rng):
    a, b = (rng.normal(size=(5, 5)).astype(np.float32) for _ in range(2))

    @nn.autocast("bfloat16")
    def slopes(a, b):
        return gc.grad((a @ b).sum(), [a, b])

    ones = np.ones((5, 5), np.float32)
    found = run(slopes, a=a, b=b)
    wanted = [ones @ rounded(b, "bfloat16").T, rounded(a, "bfloat16").T @ ones]
    for ours, numpys in zip(found, wanted, strict=True):
        assert_close(ours, rounded(numpys, "bfloat16"), rtol=1e-2)
        assert_close(ours, rounded(ours, "bfloat16"), rtol=0, atol=0)


@pytest.mark.parametrize("kind", NARROW)
def test_what_comes_back_to_a_product_is_rounded_before_it_is_multiplied(kind, rng):
    shapes = {"a": (5, 7), "w": (3, 7), "bias": (3,), "g": (5, 3)}
    arrays = {name: rng.normal(size=s).astype(np.float32) for name, s in shapes.items()}

    def slopes(a, w, bias, g):
        with nn.autocast(kind):
            y = nn.linear(a, w, bias)
        return gc.grad((y * g).sum(), [a, w, bias, g])

    a, w, g = (rounded(arrays[name], kind) for name in ("a", "w", "g"))
    of_a, of_w, of_bias, of_g = run(slopes, **arrays)
    assert_close(of_a, rounded(g @ w, kind), rtol=STEP[kind])
    assert_close(of_w, rounded(g.T @ a, kind), rtol=STEP[kind])
    assert_close(of_bias, g.sum(0), rtol=1e-6)  # added up in float32
    assert_close(of_g, a @ w.T + arrays["bias"], rtol=1e-5)  # the product is not rounded
    assert np.abs(of_bias - arrays["g"].sum(0)).max() > 1e-5


def test_without_it_nothing_is_rounded(rng):
    a = rng.normal(size=(5, 5)).astype(np.float32)

    def slopes(a):
        with nn.autocast():
            _ = a @ a
        return gc.grad((a @ a).sum(), [a])

    x = gc.input("a", a.shape)
    assert "cast" not in gc.compile([x], slopes(x), backend="numpy").source("graph")


class Places(nn.Module):
    """The mean over places."""

    def forward(self, x):
        return x.mean(1)


MODELS = {
    "perceptron": lambda: ((6, 24), nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 5)),
    "convolutions": lambda: (
        (6, 3, 8, 8), nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, stride=2),
        nn.Tanh(), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(), nn.Linear(144, 5),
    ),
    "attention": lambda: (
        (6, 9, 16), nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True), Places(),
    ),
    "recurrence": lambda: ((6, 9, 5), nn.LSTM(5, 7, batch_first=True, unroll=0), First(), Places()),
}  # fmt: skip


class First(nn.Module):
    """The first of several results."""

    def forward(self, several):
        return several[0]


def gradients(name, kind):
    """Of the parameters and the input, computed in ``kind``: float64, or products of 16 bits."""
    nn.seed(0)
    shape, *layers = MODELS[name]()
    model, wide = nn.Sequential(*layers), kind == "float64"
    if wide:
        model.astype(kind)
    x = gc.input("x", shape, kind if wide else "float32")
    with nn.autocast("bfloat16" if wide else kind, enabled=not wide):
        loss = (model(x) ** 2).mean()
    array = np.random.default_rng(0).normal(size=shape).astype(x.dtype.numpy)
    return gc.compile([x], gc.grad(loss, [*model.parameters(), x]), backend="numpy")(array)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_near_those_of_float64(name):
    """Within a few steps of 16 bits, by norm: most within one, sums that cancel within six."""
    wanted = gradients(name, "float64")
    for kind in NARROW:
        for found, exact in zip(gradients(name, kind), wanted, strict=True):
            assert (found.dtype, exact.dtype) == (np.float32, np.float64)
            error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
            assert 0 < error < 8 * STEP[kind]


def test_other_transforms_go_through_a_product(rng):
    """Its derivative is a rounding, whose derivative is one again."""
    a, v = (rng.normal(size=(3, 4)).astype(np.float32) for _ in range(2))
    w = rng.normal(size=(4, 4)).astype(np.float32)

    @nn.autocast("bfloat16")
    def f(a):
        return gc.tanh(a @ w).sum()

    def several(a, v):
        rows = gc.vmap(lambda row: gc.grad(f(row), [row])[0])(a)
        (whole,) = gc.grad(f(a), [a])
        return rows, whole, gc.checkpoint(f)(a), f(a), gc.jvp(f(a), [a], [v]), (whole * v).sum()

    rows, whole, again, value, forward, backward = run(several, a=a, v=v)
    assert_close(rows, whole, rtol=0, atol=0)
    assert_close(again, value, rtol=0, atol=0)
    assert_close(forward, backward, rtol=2e-2, atol=2e-2)


def test_everything_else_stays_in_float32(rng):
    x = rng.normal(size=(4, 6)).astype(np.float32)
    labels = np.arange(4)
    for function in (
        lambda x: gc.softmax(x),
        lambda x: x.sum() + x.mean() + gc.exp(x).std(),
        lambda x: nn.cross_entropy(x, labels),
        lambda x: nn.functional.normalise(x, -1),
    ):
        with nn.autocast("float16"):
            found = run(function, x=x)
        assert_close(found, run(function, x=x), rtol=0, atol=0)


def test_it_ends_with_its_block_and_can_be_switched_off_inside(rng):
    a = rng.normal(size=(3, 3)).astype(np.float32)
    plain = run(lambda a: a @ a, a=a)

    def several(a):
        with nn.autocast("bfloat16"):
            first = a @ a
            with nn.autocast(enabled=False):
                second = a @ a
            third = a @ a
        return first, second, third, a @ a

    first, second, third, fourth = run(several, a=a)
    assert (first != plain).any()
    assert_close(third, first, rtol=0, atol=0)
    for ours in (second, fourth):
        assert_close(ours, plain, rtol=0, atol=0)
    with pytest.raises(KeyError), nn.autocast("float16"):
        raise KeyError
    assert_close(run(lambda a: a @ a, a=a), plain, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["float64", "int32", *NARROW])
def test_operands_of_other_dtypes_are_left_as_they_are(kind):
    a = np.arange(9).reshape(3, 3).astype(DTYPES[kind].numpy)
    with nn.autocast("float16"):
        found = run(lambda a: a @ a, a=a)
    assert found.dtype == a.dtype


@pytest.mark.parametrize("wrong", ["float32", "int8"])
def test_it_is_for_floats_of_16_bits(wrong):
    with pytest.raises(gc.UserError, match="GC0102"), nn.autocast(wrong):
        pass


# Training -----------------------------------------------------------------------------------------
DIGITS = load_digits()
STEPS, BATCH = 60, 50


def trained(make, kind):
    """The losses of 60 steps on 3,000 digits."""
    nn.seed(0)
    model = make()
    images, labels = gc.input("images", (BATCH, 1, 28, 28)), gc.input("labels", (BATCH,), "int64")
    if kind == "float32":
        loss = nn.cross_entropy(model(images), labels)
    else:
        with nn.autocast(kind):
            loss = nn.cross_entropy(model(images), labels)
    optimiser = optim.Adam(2e-3)
    chosen = optim.LossScaler(optimiser) if kind == "float16" else optimiser
    step = gc.compile([images, labels], loss, chosen.updates(loss, model.parameters()))
    losses = []
    for k in range(STEPS):
        part = slice(k * BATCH, (k + 1) * BATCH)
        pixels = DIGITS.train_images[part, None].astype(np.float32) / 255
        losses.append(float(step(pixels, DIGITS.train_labels[part].astype(np.int64))))
    return losses


@pytest.mark.parametrize("make", [Perceptron, LeNet])
def test_models_reach_the_loss_of_float32(make):
    """The mean loss of the last ten steps, within 6 %; it has fallen to a third."""
    plain = trained(make, "float32")
    wanted = np.mean(plain[-10:])
    assert wanted < plain[0] / 3
    for kind in NARROW:
        found = trained(make, kind)
        assert found != plain
        np.testing.assert_allclose(np.mean(found[-10:]), wanted, rtol=0.06)
