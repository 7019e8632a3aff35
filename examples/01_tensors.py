"""Lesson 1: tensors are descriptions of values; a graph is built first and runs later."""

import numpy as np

import graphc as gc

x = gc.input("x", ("batch", 3))
w = gc.param(np.array([[1.0], [2.0], [3.0]]))
y = gc.tanh(x @ w) + 1

print("Nothing has been computed, but types and shapes are known:")
print(f"  x is {x.dtype} {x.shape}, y is {y.dtype} {y.shape}\n")

predict = gc.compile([x], y)
print("The graph that was built. Broadcasting is written out:")
print(predict.graph, "\n")

few = np.ones((2, 3), np.float32)
many = np.ones((5, 3), np.float32)
print("The first call with a batch of 2 makes code for it, a batch of 5 makes code again:")
print(f"  {predict(few).ravel()}\n  {predict(many).ravel()}")
print(f"  code exists for the sizes {[made.sizes for made in predict.specialisations.values()]}\n")

print("The same graph on the other backend, which walks it with NumPy:")
print(f"  {gc.compile([x], y, backend='numpy')(few).ravel()}\n")

print("A shape that does not fit is reported where it is written:")
try:
    x @ gc.param(np.ones((4, 1)))
except gc.UserError as error:
    print(error)
