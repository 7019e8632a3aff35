"""The demonstration on handwritten digits: training, accuracy, and the report.

Comes in: a model's name. Goes out: a trained model, its accuracy, everything in `report`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from graphc.cli.demo.models import LeNet, Perceptron
from graphc.cli.demo.report import Training, report
from graphc.cli.screen import Screen, duration
from graphc.frontends import dsl, nn, optim
from graphc.frontends.data import Digits, batches, load_digits
from graphc.frontends.dsl.function import Function
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.training import fit
from graphc.graph import Array

MODELS: dict[str, type[Perceptron] | type[LeNet]] = {"mlp": Perceptron, "lenet": LeNet}
BATCH = 64
RATE = 2e-3
"""Adam's learning rate: constant for a fifth of the steps, then falling to 0 along a line."""
SHIFT = 2
"""Training images are moved by up to so many pixels, anew in each epoch."""
MEAN, SPREAD = 33.3, 78.6
"""Of the pixels of the training images."""


def learn_digits(
    screen: Screen, name: str, epochs: int, backend: str, out: Path, seed: int
) -> float:
    """Train the model called ``name`` and report; goes out as the accuracy on the test digits."""
    nn.seed(seed)
    model, digits = MODELS[name](), load_digits()
    weights = sum(math.prod(p.node.type.static_shape) for p in model.parameters())
    screen.say(f"{model.title}: {weights:,} parameters, {len(digits.train_images):,} digits")
    started = time.perf_counter()
    training, rate, test = build(name, model, digits, backend)
    made = time.perf_counter() - started
    screen.say(f"graph, gradients, passes and native code in {duration(made)}\n")
    evaluate = _evaluation(test, digits)
    started = time.perf_counter()
    history = fit(
        scheduled(training.step, rate, epochs * (len(digits.train_images) // BATCH)),
        _epochs(digits, seed),
        epochs,
        validate=lambda: {"accuracy": evaluate()},
        console=screen.console,
    )
    accuracy = evaluate()
    screen.heading(f"test accuracy {accuracy:.2%}")
    screen.say(f"epochs: {len(history.epochs)}, in {time.perf_counter() - started:.1f} s")
    if history.interrupted:
        screen.say("stopped early: passes, times and drawings are left out")
    else:
        report(screen, training, out)
    return accuracy


def build(
    name: str, model: Perceptron | LeNet, digits: Digits, backend: str
) -> tuple[Training, Tensor, Function]:
    """The compiled training step, its learning rate, and the compiled accuracy."""
    images = dsl.input("images", ("batch", 1, 28, 28))
    labels = dsl.input("labels", ("batch",), "int64")
    rate = dsl.param(RATE, name="rate", trainable=False)
    scores = model(images)
    loss = nn.cross_entropy(scores, labels)
    updates = optim.Adam(rate).updates(loss, model.parameters())
    sizes = {"batch": BATCH}
    step = dsl.compile([images, labels], loss, updates, backend, sizes, name=f"{name} step")
    test = dsl.compile([images, labels], nn.accuracy(scores, labels), backend=backend)
    first = (pixels(digits.train_images[:BATCH]), digits.train_labels[:BATCH].astype(np.int64))
    return Training(name, model.title, loss, model.parameters(), step, first), rate, test


def scheduled(step: Function, rate: Tensor, total: int) -> Callable[..., Array]:
    """``step`` with the learning rate falling to 0 over ``total`` calls."""
    done = 0

    def call(*batch: Array) -> Array:
        nonlocal done
        dsl.assign(rate, RATE * min(1.0, 1.25 * (total - done) / total))
        done += 1
        loss: Array = step(*batch)
        return loss

    return call


def pixels(images: Array) -> Array:
    """Bytes ``[n, 28, 28]`` as floats ``[n, 1, 28, 28]`` with mean 0 and variance 1."""
    return ((images[:, None] - MEAN) / SPREAD).astype(np.float32)


def _epochs(digits: Digits, seed: int) -> Callable[[], list[tuple[Array, ...]]]:
    rng = np.random.default_rng(seed)
    labels = digits.train_labels.astype(np.int64)

    def epoch() -> list[tuple[Array, ...]]:
        return list(batches((pixels(shifted(digits.train_images, rng)), labels), BATCH, rng))

    return epoch


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Every image ``[n, 28, 28]`` moved by its own -2 to 2 pixels down and right, over paper."""
    count, height, width = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    down, right = rng.integers(0, 2 * SHIFT + 1, (2, count))
    moved: Array = views[np.arange(count), down, right]
    return moved


def _evaluation(test: Function, digits: Digits) -> Callable[[], float]:
    parts = list(_parts(pixels(digits.test_images), digits.test_labels.astype(np.int64)))

    def evaluate() -> float:
        right = [float(test(images, labels)) * len(labels) for images, labels in parts]
        return sum(right) / len(digits.test_labels)

    return evaluate


def _parts(images: Array, labels: Array) -> Iterator[tuple[Array, Array]]:
    """The test data in parts of 500: less memory, and few sizes to compile for."""
    for start in range(0, len(labels), 500):
        yield images[start : start + 500], labels[start : start + 500]
