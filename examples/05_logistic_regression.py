"""Lesson 5: logistic regression tells handwritten 3s from 8s.

The simplest useful classifier: one weight per pixel. The data comes with the package.
"""

import numpy as np

import graphc as gc
from graphc import nn
from graphc.frontends.data import load_digits

x = gc.input("x", ("batch", 784))
eight = gc.input("eight", ("batch",))
w, b = gc.param(np.zeros(784)), gc.param(0.0)
raw = x @ w + b
loss = nn.binary_cross_entropy_with_logits(raw, eight) + 1e-3 * (w * w).sum()


def pick(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 3s and 8s as vectors, and 1.0 for an 8."""
    chosen = np.isin(labels, (3, 8))
    pixels = images[chosen].reshape(-1, 784).astype(np.float32) / 255
    return pixels, (labels[chosen] == 8).astype(np.float32)


if __name__ == "__main__":
    digits = load_digits()
    train = pick(digits.train_images, digits.train_labels)
    test = pick(digits.test_images, digits.test_labels)
    dw, db = gc.grad(loss, [w, b])
    learn = gc.compile([x, eight], loss, updates={w: w - 0.1 * dw, b: b - 0.1 * db})
    answer = gc.compile([x], raw > 0)
    for step in range(201):
        cost = float(learn(*train))
        if step % 50 == 0:
            right = np.mean(answer(test[0]) == test[1])
            print(f"step {step:3}: loss {cost:.4f}, {right:.1%} of 400 test digits right")
    weights = gc.value(w).reshape(28, 28)[4:24:2, 4:24]
    print("\nWhere ink speaks for an 8 (+) and for a 3 (-):")
    for row in weights:
        print("".join(" -+"[(v < -0.1) + 2 * (v > 0.1)] for v in row))
