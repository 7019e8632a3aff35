"""Perceptrons: matrix products of training batches, with what surrounds them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Train, Workload, normal
from graphc.cli.bench.workloads import in_jax


@dataclass(frozen=True)
class Perceptron(Model):
    """Cross-entropy of dense layers: x = activation(x @ w.T + b), the last without activation."""

    sizes: tuple[int, ...]
    batch: int
    activation: str = "relu"

    def inputs(self, rng: np.random.Generator) -> Arrays:
        x = normal(rng, self.batch, self.sizes[0])
        return {"x": x, "labels": rng.integers(0, self.sizes[-1], self.batch)}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        found: Arrays = {}
        for k, (near, far) in enumerate(pairwise(self.sizes)):
            found[f"w{k}"] = normal(rng, far, near, scale=near**-0.5)
            found[f"b{k}"] = normal(rng, far, scale=0.1)
        return found

    @property
    def last(self) -> int:
        """The number of the last layer."""
        return len(self.sizes) - 2

    def graphc(self, gc: Any, x: Any, labels: Any, **p: Any) -> Any:
        activation = getattr(gc, self.activation)
        for k in range(self.last):
            x = activation(gc.nn.linear(x, p[f"w{k}"], p[f"b{k}"]))
        return gc.nn.cross_entropy(gc.nn.linear(x, p[f"w{k + 1}"], p[f"b{k + 1}"]), labels)

    def torch(self, torch: Any, x: Any, labels: Any, **p: Any) -> Any:
        linear, activation = torch.nn.functional.linear, getattr(torch, self.activation)
        for k in range(self.last):
            x = activation(linear(x, p[f"w{k}"], p[f"b{k}"]))
        scores = linear(x, p[f"w{k + 1}"], p[f"b{k + 1}"])
        return torch.nn.functional.cross_entropy(scores, labels)

    def jax(self, jax: Any, x: Any, labels: Any, **p: Any) -> Any:
        activation = getattr(jax.nn, self.activation)
        for k in range(self.last):
            x = activation(x @ p[f"w{k}"].T + p[f"b{k}"])
        return in_jax.cross_entropy(jax, x @ p[f"w{k + 1}"].T + p[f"b{k + 1}"], labels)

    def numpy_gradients(self, np: Any, x: Any, labels: Any, **p: Any) -> tuple[Any, Arrays]:
        values = [x]
        for k in range(self.last + 1):
            y = values[-1] @ p[f"w{k}"].T
            y += p[f"b{k}"]
            values.append(y if k == self.last else self._activated(np, y))
        loss, slope = cross_entropy(np, values.pop(), labels)
        gradients: Arrays = {}
        for k in reversed(range(self.last + 1)):
            gradients[f"w{k}"], gradients[f"b{k}"] = slope.T @ values[k], slope.sum(0)
            if k:
                slope = slope @ p[f"w{k}"]
                slope *= values[k] > 0 if self.activation == "relu" else 1 - values[k] ** 2
        return loss, gradients

    def _activated(self, np: Any, y: Any) -> Any:
        return np.maximum(y, 0, out=y) if self.activation == "relu" else np.tanh(y, out=y)


def cross_entropy(np: Any, scores: Any, labels: Any) -> tuple[Any, Any]:
    """The loss, and its gradient by the scores ``[n, classes]``, by hand."""
    rows = np.arange(len(labels))
    shifted = scores - scores.max(1, keepdims=True)
    weights = np.exp(shifted)
    sums = weights.sum(1, keepdims=True)
    loss = (np.log(sums[:, 0]) - shifted[rows, labels]).mean()
    slope = weights / sums
    slope[rows, labels] -= 1
    slope /= np.float32(len(labels))
    return loss, slope


WORKLOADS = (
    Workload(
        "mlp", Perceptron((784, 512, 512, 10), 128), Perceptron((9, 8, 7, 5), 6),
        bar=1.3, task=Train(rate=0.1),
    ),
    Workload(
        "mlp-tanh", Perceptron((784, 500, 10), 60, "tanh"), Perceptron((9, 7, 5), 6, "tanh"),
        bar=1.5, task=Train(rate=0.1),
    ),
)  # fmt: skip
"""``mlp-tanh`` is the one of Bergstra et al. 2010, the paper of Theano."""
