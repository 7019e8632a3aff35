"""Lesson 11: attention that never stores its scores. A formula in, FlashAttention's kernels out.

Scores are 128 x 128 for each head. The llvm backend stores them, the cuda backends compute them
again wherever they are read: twice the products, and nearly no memory.
usage: python examples/11_attention.py [cuda]
"""

import sys

import numpy as np

import graphc as gc

rng = np.random.default_rng(0)
q, k, v = (gc.input(name, (2, 128, 32)) for name in "qkv")
weights = gc.softmax(q @ k.mT / 32**0.5)
y = weights @ v
gradients = gc.grad((y * y).sum(), [q, k, v])

if __name__ == "__main__":
    data = [rng.normal(size=(2, 128, 32)).astype(np.float32) for _ in range(3)]
    device = sys.argv[1] if len(sys.argv) > 1 else "cuda-sim"
    found = {}
    for backend in ("llvm", device):
        f = gc.compile([q, k, v], [y, *gradients], backend=backend)
        found[backend] = f(*data)
        size = f.program.plan.arena_bytes
        print(f"{backend}: {len(f.kernels)} kernels, {size:,} bytes of temporaries")
    largest = max(np.abs(a - b).max() for a, b in zip(*found.values(), strict=True))
    print("equal within 0.00001:", largest < 1e-5, "\n")
    print(f.source("kernels"), "\n")
    print("\n".join(line for line in f.source("loops").splitlines() if line.startswith("#")))
