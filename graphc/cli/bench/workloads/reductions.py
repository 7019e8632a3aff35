"""One pass over a matrix: sums and means along an axis, a transpose, broadcasts along an axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Workload, normal


@dataclass(frozen=True)
class Reduction(Model):
    """The sum or the mean of a square matrix along one axis."""

    size: int
    function: str
    axis: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.size, self.size)}

    def reduced(self, module: Any, x: Any) -> Any:
        """The formula, which is the same everywhere."""
        return getattr(module, self.function)(x, self.axis)

    graphc = numpy = torch = reduced

    def jax(self, jax: Any, x: Any) -> Any:
        return self.reduced(jax.numpy, x)


@dataclass(frozen=True)
class Transpose(Model):
    """A square matrix stored the other way round."""

    size: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {"x": normal(rng, self.size, self.size)}

    def graphc(self, gc: Any, x: Any) -> Any:
        return x.T

    def numpy(self, np: Any, x: Any) -> Any:
        return np.ascontiguousarray(x.T)

    def torch(self, torch: Any, x: Any) -> Any:
        return x.T.contiguous()

    def jax(self, jax: Any, x: Any) -> Any:
        return x.T


@dataclass(frozen=True)
class Broadcast(Model):
    """A square matrix plus one row, or one column, repeated."""

    size: int
    column: bool

    def inputs(self, rng: np.random.Generator) -> Arrays:
        vector = (self.size, 1) if self.column else (self.size,)
        return {"x": normal(rng, self.size, self.size), "v": normal(rng, *vector)}

    def added(self, module: Any, x: Any, v: Any) -> Any:
        """The formula, which is the same everywhere."""
        return x + v

    graphc = numpy = torch = jax = added


N, QUICK = 4096, 33
WORKLOADS = (
    *(
        Workload(f"{f}-{place}", Reduction(N, f, axis), Reduction(QUICK, f, axis), bar=1.3)
        for f in ("sum", "mean")
        for place, axis in (("rows", 1), ("columns", 0))
    ),
    Workload("transpose", Transpose(N), Transpose(QUICK), bar=2.0),
    Workload("add-row", Broadcast(N, False), Broadcast(QUICK, False), bar=1.3),
    Workload("add-column", Broadcast(N, True), Broadcast(QUICK, True), bar=1.3),
)  # fmt: skip
