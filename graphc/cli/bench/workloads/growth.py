"""How costs grow: programs of rising size, with depth and with batch. No bars; they are measured
when asked for by name, or all of them by ``graphc bench --growth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Train, Workload, normal


@dataclass(frozen=True)
class Steps(Model):
    """x = x * a + b again and again: two nodes each."""

    count: int
    elements: int = 1024

    def inputs(self, rng: np.random.Generator) -> Arrays:
        x, b = (normal(rng, self.elements) for _ in range(2))
        return {"x": x, "a": np.tanh(normal(rng, self.elements)), "b": b}

    def steps(self, x: Any, a: Any, b: Any) -> Any:
        """The formula, which is the same everywhere."""
        for _ in range(self.count):
            x = x * a + b
        return x

    def graphc(self, gc: Any, **tensors: Any) -> Any:
        return self.steps(**tensors)

    def numpy(self, np: Any, **arrays: Any) -> Any:
        return self.steps(**arrays)

    def torch(self, torch: Any, **tensors: Any) -> Any:
        return self.steps(**tensors)

    def jax(self, jax: Any, **arrays: Any) -> Any:
        return self.steps(**arrays)


@dataclass(frozen=True)
class Layers(Model):
    """h = tanh(h @ w + b) through ``depth`` layers, the mean of squares as the loss."""

    depth: int
    width: int
    batch: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.batch, self.width)}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        found = {}
        for layer in range(self.depth):
            found[f"w{layer}"] = normal(rng, self.width, self.width, scale=self.width**-0.5)
            found[f"b{layer}"] = normal(rng, self.width, scale=0.1)
        return found

    def loss(self, tanh: Any, x: Any, **parameters: Any) -> Any:
        """The formula, which is the same everywhere."""
        for layer in range(self.depth):
            x = tanh(x @ parameters[f"w{layer}"] + parameters[f"b{layer}"])
        return (x * x).mean()

    def graphc(self, gc: Any, **tensors: Any) -> Any:
        return self.loss(gc.tanh, **tensors)

    def torch(self, torch: Any, **tensors: Any) -> Any:
        return self.loss(torch.tanh, **tensors)

    def jax(self, jax: Any, **arrays: Any) -> Any:
        return self.loss(jax.numpy.tanh, **arrays)


@dataclass(frozen=True)
class Series:
    """Workloads that differ in one size: each by that size; None where it is the graph's."""

    name: str
    axis: str
    workloads: dict[int, Workload]


def _chain(count: int) -> Workload:
    return Workload(f"growth-chain-{count}", Steps(count), Steps(3), bar=0.0)


def _depth(depth: int) -> Workload:
    model = Layers(depth, width=64, batch=32)
    return Workload(f"growth-depth-{depth}", model, Layers(2, 3, 4), 0.0, Train())


def _batch(batch: int) -> Workload:
    model = Layers(3, width=256, batch=batch)
    return Workload(f"growth-batch-{batch}", model, Layers(2, 3, batch), 0.0, Train())


SERIES = (
    Series("chain", "operations", {2 * n: _chain(n) for n in (5, 16, 50, 158, 500, 1581, 5000)}),
    Series("depth", "layers", {n: _depth(n) for n in (1, 3, 10, 32, 100, 320)}),
    Series("batch", "rows", {1 << n: _batch(1 << n) for n in range(0, 11, 2)}),
)
"""Elementwise chains of 10 to 10,000 operations; networks of up to 10,000 nodes; batches."""

WORKLOADS = tuple(w for series in SERIES for w in series.workloads.values())
