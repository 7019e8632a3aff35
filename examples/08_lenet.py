"""Lesson 8: LeNet-5 learns handwritten digits. About 20 seconds on two cores.

`graphc demo` does the same with moving images and a falling learning rate, and shows more.
usage: python examples/08_lenet.py [epochs]
"""

import sys

import numpy as np

import graphc as gc
from graphc import nn, optim
from graphc.frontends.data import batches, load_digits

nn.seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
)  # fmt: skip
images = gc.input("images", ("batch", 1, 28, 28))
labels = gc.input("labels", ("batch",), "int64")
scores = model(images)
loss = nn.cross_entropy(scores, labels)


def ready(pixels: np.ndarray, digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bytes as floats from 0 to 1 with an axis for the one channel."""
    return pixels[:, None].astype(np.float32) / 255, digits.astype(np.int64)


if __name__ == "__main__":
    data = load_digits()
    train, test = (
        ready(data.train_images, data.train_labels), ready(data.test_images, data.test_labels)
    )  # fmt: skip
    step = gc.compile([images, labels], loss, optim.Adam(1e-3).updates(loss, model.parameters()))
    accuracy = gc.compile([images, labels], nn.accuracy(scores, labels))
    rng = np.random.default_rng(0)
    gc.fit(
        step,
        lambda: list(batches(train, 64, rng)),
        epochs=int(sys.argv[1]) if len(sys.argv) > 1 else 6,
        validate=lambda: {"accuracy": float(accuracy(*test))},
    )
    gc.save("lenet.npz", model=model)
    print(f"test accuracy {float(accuracy(*test)):.2%}; the weights are in lenet.npz")
