"""Lesson 10: a GPU without a GPU. Kernels in CUDA C, run on the processor thread by thread.

Needs a C++ compiler, and for machine code the extra: pip install "graphc[cuda]"
usage: python examples/10_gpu.py [cuda]
"""

import sys

import numpy as np

import graphc as gc

rng = np.random.default_rng(0)
x = gc.input("x", (64, 128))
w = gc.param(rng.normal(size=(128, 64)) / 11, name="w")
b = gc.param(rng.normal(size=64), name="b")
y = gc.relu(x @ w + b)

if __name__ == "__main__":
    f = gc.compile([x], y, backend=sys.argv[1] if len(sys.argv) > 1 else "cuda-sim")
    data = rng.normal(size=(64, 128)).astype(np.float32)
    expected = gc.compile([x], y, backend="numpy")(data)
    print(f.source("cuda"), "\n")
    print(f"largest difference from NumPy's: {np.abs(f(data) - expected).max():.1g}")
