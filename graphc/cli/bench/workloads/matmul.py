"""Matrix products: square ones in all four transpose states, and many small ones at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Workload


@dataclass(frozen=True)
class Product(Model):
    """Square a @ b; ``state`` names who is stored transposed, "tn" is a.T @ b."""

    size: int
    state: str = "nn"
    dtype: str = "float32"

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shape = (self.size, self.size)
        return {name: rng.standard_normal(shape).astype(self.dtype) for name in "ab"}

    def product(self, a: Any, b: Any) -> Any:
        """The formula, which is the same everywhere."""
        left = a.T if self.state[0] == "t" else a
        return left @ (b.T if self.state[1] == "t" else b)

    def graphc(self, gc: Any, a: Any, b: Any) -> Any:
        return self.product(a, b)

    def numpy(self, np: Any, a: Any, b: Any) -> Any:
        return self.product(a, b)

    def torch(self, torch: Any, a: Any, b: Any) -> Any:
        return self.product(a, b)

    def jax(self, jax: Any, a: Any, b: Any) -> Any:
        return self.product(a, b)


@dataclass(frozen=True)
class Batched(Model):
    """Many small products: a[k] @ b[k]."""

    count: int
    size: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        shape = (self.count, self.size, self.size)
        return {name: rng.standard_normal(shape, np.float32) for name in "ab"}

    def graphc(self, gc: Any, a: Any, b: Any) -> Any:
        return a @ b

    def numpy(self, np: Any, a: Any, b: Any) -> Any:
        return a @ b

    def torch(self, torch: Any, a: Any, b: Any) -> Any:
        return a @ b

    def jax(self, jax: Any, a: Any, b: Any) -> Any:
        return a @ b


def _square(size: int, state: str, dtype: str) -> Workload:
    bits = "" if dtype == "float32" else "-f64"
    name = f"matmul-{size}-{state}{bits}"
    return Workload(name, Product(size, state, dtype), Product(24, state, dtype), bar=1.0)


WORKLOADS = (
    *(
        _square(size, state, dtype)
        for dtype in ("float32", "float64")
        for size in (128, 256, 512, 1024, 2048)
        for state in ("nn", "tn", "nt", "tt")
    ),
    Workload("matmul-batched", Batched(64, 64), Batched(3, 8), bar=1.0),
)
