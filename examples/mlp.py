"""The model of the README: two layers, a loss, one step of gradient descent."""

import numpy as np

import graphc as gc
from graphc import nn

rng = np.random.default_rng(0)
x = gc.input("x", ("batch", 784))
y = gc.input("y", ("batch",), "int64")
w1 = gc.param(rng.normal(size=(784, 128)) / 28)
b1 = gc.param(np.zeros(128))
w2 = gc.param(rng.normal(size=(128, 10)) / 11)
b2 = gc.param(np.zeros(10))

h = gc.relu(x @ w1 + b1)
scores = h @ w2 + b2
loss = nn.cross_entropy(scores, y)

params = [w1, b1, w2, b2]
updates = {p: p - 0.1 * g for p, g in zip(params, gc.grad(loss, params), strict=True)}
step = gc.compile([x, y], loss, updates)
