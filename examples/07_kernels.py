"""Lesson 7: kernels. What is fused, what is not, and why not."""

import numpy as np

import graphc as gc
from graphc import nn

x = gc.input("x", (64, 256))
w1 = gc.param(np.ones((256, 256)) / 256)
w2 = gc.param(np.ones((256, 10)) / 256)
h = gc.gelu(x @ w1)
probabilities = gc.softmax(nn.functional.normalise(h, -1) @ w2)

if __name__ == "__main__":
    f = gc.compile([x], probabilities)
    print(f.source("kernels"), "\n")
    print("Where two operations are not in one kernel, the reason is kept:")
    for refusal in f.program.refusals:
        reader, producer = refusal.reader.op.name, refusal.producer.op.name
        print(f"  {reader} after {producer}: {refusal.reason}")
