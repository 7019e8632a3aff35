"""Functions of the rows of a matrix: softmax and layer normalisation, forwards and backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Backward, Model, Workload, normal
from graphc.cli.bench.workloads import in_jax


@dataclass(frozen=True)
class Softmax(Model):
    """exp(x - max) / sum(exp(x - max)) of every row."""

    rows: int
    columns: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {name: normal(rng, self.rows, self.columns) for name in ("x", "cotangent")}

    def graphc(self, gc: Any, x: Any) -> Any:
        return gc.softmax(x)

    def numpy(self, np: Any, x: Any) -> Any:
        y = x - x.max(1, keepdims=True)
        np.exp(y, out=y)
        y /= y.sum(1, keepdims=True)
        return y

    def numpy_gradients(self, np: Any, x: Any, cotangent: Any) -> tuple[Any, Arrays]:
        y = self.numpy(np, x)
        slope = y * (cotangent - np.vecdot(y, cotangent)[:, None])
        return y, {"x": slope}

    def torch(self, torch: Any, x: Any) -> Any:
        return torch.softmax(x, 1)

    def jax(self, jax: Any, x: Any) -> Any:
        return jax.nn.softmax(x)


@dataclass(frozen=True)
class LayerNorm(Model):
    """(x - mean) / sqrt(variance + 1e-5) * weight + bias of every row."""

    rows: int
    columns: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {name: normal(rng, self.rows, self.columns) for name in ("x", "cotangent")}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        return {name: normal(rng, self.columns) for name in ("weight", "bias")}

    def graphc(self, gc: Any, x: Any, weight: Any, bias: Any) -> Any:
        return gc.nn.functional.normalise(x, -1) * weight + bias

    def numpy(self, np: Any, x: Any, weight: Any, bias: Any) -> Any:
        return self._normalised(np, x)[0] * weight + bias

    def _normalised(self, np: Any, x: Any) -> tuple[Any, Any]:
        distance = x - x.mean(1, keepdims=True)
        variance = np.vecdot(distance, distance)[:, None] / np.float32(self.columns)
        scale = 1 / np.sqrt(variance + np.float32(1e-5))
        distance *= scale
        return distance, scale

    def numpy_gradients(
        self, np: Any, x: Any, cotangent: Any, weight: Any, bias: Any
    ) -> tuple[Any, Arrays]:
        unit, scale = self._normalised(np, x)
        slope = cotangent * weight
        along = np.vecdot(slope, unit)[:, None] / np.float32(self.columns)
        gradient = (slope - slope.mean(1, keepdims=True) - unit * along) * scale
        found = {"x": gradient, "weight": (cotangent * unit).sum(0), "bias": cotangent.sum(0)}
        return unit * weight + bias, found

    def torch(self, torch: Any, x: Any, weight: Any, bias: Any) -> Any:
        return torch.nn.functional.layer_norm(x, (self.columns,), weight, bias)

    def jax(self, jax: Any, x: Any, weight: Any, bias: Any) -> Any:
        return in_jax.normalised(jax, x, -1) * weight + bias


def _both(name: str, kind: Any, bar: float, wrt: tuple[str, ...]) -> tuple[Workload, ...]:
    full, quick = kind(4096, 1024), kind(5, 19)
    return (
        Workload(name, full, quick, bar),
        Workload(f"{name}-backward", full, quick, 1.5, Backward(wrt)),
    )


WORKLOADS = (
    *_both("softmax", Softmax, 1.3, ("x",)),
    *_both("layer-norm", LayerNorm, 1.8, ("x", "weight", "bias")),
)
