"""The update of a model's weights by itself: all traffic, no products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from graphc.cli.bench.workload import Arrays, Model, Update, Workload, normal


@dataclass(frozen=True)
class Weights(Model):
    """Adam's update of square matrices (Kingma and Ba 2015)."""

    count: int
    size: int

    def inputs(self, rng: np.random.Generator) -> Arrays:
        return {f"w{k}_gradient": normal(rng, self.size, self.size) for k in range(self.count)}

    def parameters(self, rng: np.random.Generator) -> Arrays:
        return {f"w{k}": normal(rng, self.size, self.size) for k in range(self.count)}


WORKLOADS = (Workload("adam-10M", Weights(10, 1000), Weights(3, 5), bar=1.2, task=Update()),)
