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
