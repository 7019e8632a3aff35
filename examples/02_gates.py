"""Lesson 2: one neuron learns logic gates, and cannot learn one of them.

A neuron with weights w and bias b divides the plane by a line. AND, OR and NAND can be divided so,
XOR cannot (Minsky and Papert 1969), however long it trains.
"""

import numpy as np

import graphc as gc
from graphc import nn

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
GATES = {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "NAND": [1, 1, 1, 0], "XOR": [0, 1, 1, 0]}

x, target = gc.input("x", (4, 2)), gc.input("target", (4,))
w, b = gc.param(np.zeros(2)), gc.param(0.0)
raw = (x * w).sum(1) + b
loss = nn.binary_cross_entropy_with_logits(raw, target)
dw, db = gc.grad(loss, [w, b])
learn = gc.compile([x, target], loss, updates={w: w - 2 * dw, b: b - 2 * db})
answer = gc.compile([x], gc.sigmoid(raw))


def train(truth: list[int]) -> int:
    """Start anew, take 500 steps; goes out as the number of right answers."""
    gc.assign(w, np.zeros(2))
    gc.assign(b, 0.0)
    for _ in range(500):
        learn(INPUTS, np.array(truth, np.float32))
    return int(np.sum((answer(INPUTS) > 0.5) == np.array(truth)))


if __name__ == "__main__":
    for name, truth in GATES.items():
        right = train(truth)
        line = f"{gc.value(w)[0]:5.1f} * x0 + {gc.value(w)[1]:5.1f} * x1 + {gc.value(b):5.1f} > 0"
        print(f"{name:5} {right} of 4 right   {line}")
    print("No line divides XOR. Lesson 3 bends the plane first.")
