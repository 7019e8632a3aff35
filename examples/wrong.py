"""A program with a mistake, to see what graphc says: graphc show examples/wrong.py:scores"""

import numpy as np

import graphc as gc

rng = np.random.default_rng(0)
x = gc.input("x", ("batch", 784))
w1 = gc.param(rng.normal(size=(784, 128)))
w2 = gc.param(rng.normal(size=(10, 128)))

h = gc.tanh(x @ w1)
scores = h @ w2
