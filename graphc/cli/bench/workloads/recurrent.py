"""Recurrent networks: a chain of small products, each of which waits for the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Train, Workload, normal


@dataclass(frozen=True)
class LSTM(Model):
    """Mean squared error of an LSTM's outputs (Hochreiter and Schmidhuber 1997)."""

    time: int
    batch: int = 32
    features: int = 64
    hidden: int = 256

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {
            "x": normal(rng, self.time, self.batch, self.features),
            "targets": normal(rng, self.time, self.batch, self.hidden, scale=0.3),
        }

    def parameters(self, rng: np.random.Generator) -> Arrays:
        scale = self.hidden**-0.5
        return {
            "w": normal(rng, 4 * self.hidden, self.features, scale=scale),
            "u": normal(rng, 4 * self.hidden, self.hidden, scale=scale),
            "b": normal(rng, 4 * self.hidden, scale=scale),
        }

    def graphc(self, gc: Any, x: Any, targets: Any, w: Any, u: Any, b: Any) -> Any:
        h = c = gc.zeros((self.batch, self.hidden))
        gates = gc.nn.linear(x, w, b)
        outputs = []
        for step in range(self.time):
            i, f, g, o = gc.split(gates[step] + gc.nn.linear(h, u), 4, axis=-1)
            c = gc.sigmoid(f) * c + gc.sigmoid(i) * gc.tanh(g)
            h = gc.sigmoid(o) * gc.tanh(c)
            outputs.append(h)
        return gc.nn.mse(gc.stack(outputs), targets)

    def torch(self, torch: Any, x: Any, targets: Any, w: Any, u: Any, b: Any) -> Any:
        start = x.new_zeros((1, self.batch, self.hidden))
        weights = [w, u, b, torch.zeros_like(b)]
        outputs, _, _ = torch.lstm(x, [start, start], weights, True, 1, 0.0, True, False, False)
        return torch.nn.functional.mse_loss(outputs, targets)

    def jax(self, jax: Any, x: Any, targets: Any, w: Any, u: Any, b: Any) -> Any:
        sigmoid, tanh = jax.nn.sigmoid, jax.numpy.tanh

        def step(state: Any, gates: Any) -> Any:
            h, c = state
            i, f, g, o = jax.numpy.split(gates + h @ u.T, 4, -1)
            c = sigmoid(f) * c + sigmoid(i) * tanh(g)
            h = sigmoid(o) * tanh(c)
            return (h, c), h

        start = jax.numpy.zeros((self.batch, self.hidden))
        _, outputs = jax.lax.scan(step, (start, start), x @ w.T + b)
        return ((outputs - targets) ** 2).mean()


QUICK = LSTM(3, 2, 5, 4)
WORKLOADS = (
    Workload("lstm", LSTM(32), QUICK, bar=2.0, task=Train(rate=0.1)),
    Workload("lstm-200", LSTM(200), QUICK, bar=1.0, task=Train(rate=0.1)),
)
"""The second is there for the time it takes to compile."""
