"""Pointwise programs: what a call costs, and chains of operations over memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Workload, normal


@dataclass(frozen=True)
class Scaled(Model):
    """x * 2 + 1 on a few floats: all time is what a call costs."""

    count: int = 4

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.count)}

    def graphc(self, gc: Any, x: Any) -> Any:
        return x * 2 + 1

    def numpy(self, np: Any, x: Any) -> Any:
        return x * np.float32(2) + np.float32(1)

    def torch(self, torch: Any, x: Any) -> Any:
        return x * 2 + 1

    def jax(self, jax: Any, x: Any) -> Any:
        return x * 2 + 1


@dataclass(frozen=True)
class Chain(Model):
    """tanh(x * a + b) * sigmoid(x) - b: five passes over memory, or one."""

    count: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {name: normal(rng, self.count) for name in "xab"}

    def graphc(self, gc: Any, x: Any, a: Any, b: Any) -> Any:
        return gc.tanh(x * a + b) * gc.sigmoid(x) - b

    def numpy(self, np: Any, x: Any, a: Any, b: Any) -> Any:
        return np.tanh(x * a + b) / (1 + np.exp(-x)) - b

    def torch(self, torch: Any, x: Any, a: Any, b: Any) -> Any:
        return torch.tanh(x * a + b) * torch.sigmoid(x) - b

    def jax(self, jax: Any, x: Any, a: Any, b: Any) -> Any:
        return jax.numpy.tanh(x * a + b) * jax.nn.sigmoid(x) - b


@dataclass(frozen=True)
class Polynomial(Model):
    """((x * 2 + 1) * x - 0.5) * x: arithmetic alone, as in numexpr's examples."""

    count: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.count)}

    def graphc(self, gc: Any, x: Any) -> Any:
        return ((x * 2 + 1) * x - 0.5) * x

    def numpy(self, np: Any, x: Any) -> Any:
        return ((x * np.float32(2) + np.float32(1)) * x - np.float32(0.5)) * x

    def torch(self, torch: Any, x: Any) -> Any:
        return ((x * 2 + 1) * x - 0.5) * x

    def jax(self, jax: Any, x: Any) -> Any:
        return ((x * 2 + 1) * x - 0.5) * x


WORKLOADS = (
    Workload("call", Scaled(), Scaled(), bar=2.5),
    Workload("chain-4M", Chain(1 << 22), Chain(1000), bar=1.3),
    Workload("polynomial-4M", Polynomial(1 << 22), Polynomial(1000), bar=1.3),
)
