"""Lesson 3: a hidden layer learns XOR.

Two layers: the first moves the four points to places that a line can divide, the second divides.
Look at it with: graphc show examples/03_xor.py:loss --wrt params -o xor.svg
"""

import numpy as np

import graphc as gc
from graphc import nn, optim

INPUTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TRUTH = np.array([0, 1, 1, 0], np.float32)

nn.seed(1)
model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
x, target = gc.input("x", (4, 2)), gc.input("target", (4,))
raw = model(x).reshape(4)
loss = nn.binary_cross_entropy_with_logits(raw, target)

if __name__ == "__main__":
    updates = optim.Adam(0.05).updates(loss, model.parameters())
    learn = gc.compile([x, target], loss, updates)
    answer = gc.compile([x], gc.sigmoid(raw))
    for step in range(301):
        cost = float(learn(INPUTS, TRUTH))
        if step % 100 == 0:
            print(f"step {step:3}: loss {cost:.4f}, answers {answer(INPUTS).round(2)}")
    print(f"XOR is {TRUTH}")
