"""Small networks with one step of training each: images, sequences, text.

They have every kind of kernel that training makes: convolutions and products both ways, softmax,
normalisation over rows and over columns, gathers and scatters, random numbers, optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import graphc as gc
from graphc import nn, optim
from graphc.frontends.dsl.function import graph_of
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Array, Graph
from graphc.stages import with_advances

EPSILON = 1e-4
"""Of Adam: far above the rounding of gradients, of which it would make steps of full size."""


@dataclass(frozen=True)
class Network:
    """A step of training, the loss as its result, and what it is given."""

    graph: Graph
    arrays: Sequence[Array]


def trained(model: nn.Module, inputs: Sequence[Tensor], loss: Tensor, *arrays: Array) -> Network:
    updates = model.updates() | optim.Adam(0.01, epsilon=EPSILON).updates(loss, model.parameters())
    return Network(with_advances(graph_of(inputs, [loss], updates)), arrays)


def classified(model: nn.Module, classes: int, *shape: int) -> Network:
    """The cross-entropy of labels of images, or of all places of sequences."""
    rng = np.random.default_rng(0)
    x, labels = gc.input("x", shape), gc.input("labels", shape[:1], "int64")
    loss = nn.cross_entropy(model(x), labels)
    images = rng.normal(size=shape).astype(np.float32)
    return trained(model, [x, labels], loss, images, rng.integers(0, classes, shape[:1]))


def lenet() -> Network:
    """LeNet-5 with dropout on images of a quarter of the usual size."""
    nn.seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16, 120), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    return classified(model, 10, 6, 1, 14, 14)


class Block(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, before: int, channels: int) -> None:
        stride = 2 if before != channels else 1
        self.inner = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(before, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return gc.relu(self.inner(x) + self.short(x))


def resnet8() -> Network:
    """Three blocks that halve the images and double the channels."""
    nn.seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        Block(8, 8), Block(8, 16), Block(16, 32), nn.GlobalAvgPool(), nn.Linear(32, 5),
    )  # fmt: skip
    return classified(model, 5, 4, 3, 8, 8)


def lstm(unroll: int = 8) -> Network:
    """Two layers over 5 steps, written out or as a loop, with dropout between them."""
    nn.seed(0)
    model = nn.LSTM(6, 12, 2, dropout=0.2, unroll=unroll)
    rng = np.random.default_rng(0)
    x, targets = gc.input("x", (5, 3, 6)), gc.input("targets", (5, 3, 12))
    arrays = [rng.normal(size=x.shape).astype(np.float32) for x in (x, targets)]
    return trained(model, [x, targets], nn.mse(model(x)[0], targets), *arrays)


class GPT(nn.Module):
    """Two layers of attention to what came before (Radford et al. 2019)."""

    def __init__(self, symbols: int, time: int, width: int) -> None:
        self.embedding, self.places = nn.Embedding(symbols, width), nn.LearnedPositions(time, width)
        self.layers = nn.TransformerEncoder(
            [
                nn.TransformerEncoderLayer(
                    width, 4, 2 * width, 0.1, "gelu", batch_first=True, norm_first=True
                )
                for _ in range(2)
            ]
        )
        self.head = nn.Linear(width, symbols)

    def forward(self, text: Tensor) -> Tensor:
        return self.head(self.layers(self.places(self.embedding(text)), is_causal=True))


def gpt(kind: str = "float32") -> Network:
    """A step on 3 texts of 9 symbols out of 11; products of ``kind``."""
    nn.seed(0)
    model = GPT(11, 9, 32)
    text, following = (gc.input(name, (3, 9), "int64") for name in ("text", "following"))
    with nn.autocast("bfloat16" if kind == "float32" else kind, enabled=kind != "float32"):
        loss = nn.cross_entropy(model(text), following)
    rng = np.random.default_rng(0)
    return trained(model, [text, following], loss, *rng.integers(0, 11, (2, 3, 9)))


NETWORKS: dict[str, Callable[[], Network]] = {
    "lenet": lenet,
    "resnet8": resnet8,
    "lstm": lstm,
    "lstm-scan": lambda: lstm(unroll=0),
    "gpt": gpt,
    "gpt-bfloat16": lambda: gpt("bfloat16"),
}
