"""Attention put together at random, in any layout and with any mask: however many of its kernels
compute scores again, the meaning stays.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

import graphc as gc
from attention_graphs import arrays
from execute import interpreted, outcome, run_loops
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Graph
from graphc.kernels.lower import lower
from graphc.passes import optimise, prepare

pytestmark = pytest.mark.sweep


class Drawn:
    """A graph drawn from a seed: results, gradients, and updates of what is a parameter."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.inputs: list[Tensor] = []
        self.trained: list[Tensor] = []
        self.lead = self.draw.choice([(), (2,), (1, 3), (2, 1), (2, 2)])
        self.graph = self.made()

    def chance(self, percent: int) -> bool:
        return self.draw.randrange(100) < percent

    def leaf(self, name: str, *shape: int) -> Tensor:
        """An input or a parameter, its axes in any order."""
        order = [*range(len(shape))]
        if self.chance(40):
            self.draw.shuffle(order)
        stored = tuple(shape[a] for a in order)
        if self.chance(20):
            values = np.random.default_rng(len(name)).normal(size=stored)
            x = gc.param(values.astype(np.float64), name=name)
        else:
            x = gc.input(name, stored, "float64")
            self.inputs.append(x)
        self.trained.append(x)
        return gc.transpose(x, tuple(order.index(a) for a in range(len(shape))))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        s = q @ k.mT
        rows, columns = s.shape[-2:]
        if self.chance(30):
            s = gc.tanh(s) * 3
        if self.chance(30):
            mask = gc.input("mask", (rows, columns), "float64")
            self.inputs.append(mask)
            s = s + mask
        if self.chance(40):
            s = gc.where(gc.arange(rows)[:, None] >= gc.arange(columns), s, -1e9)
        return s

    def weights(self, s: Tensor) -> Tensor:
        p = gc.softmax(s, axis=self.draw.choice([-1, -1, -1, -2]))
        if self.chance(25):
            p = p * gc.sigmoid(s)
        return gc.where(s > 0, p, 0) if self.chance(20) else p

    def made(self) -> Graph:
        rows, columns = self.draw.choice([(6, 6), (7, 5), (5, 8)])
        width, depth = self.draw.choice([2, 3, 4]), self.draw.choice([2, 3])
        q, k = self.leaf("q", *self.lead, rows, depth), self.leaf("key", *self.lead, columns, depth)
        s = self.scores(q, k)
        p = self.weights(s)
        y = p @ self.leaf("value", *self.lead, columns, width)
        if self.chance(30) and len(self.lead) == 2:  # heads side by side
            y = gc.swapaxes(y, -2, -3).reshape((self.lead[0], rows, self.lead[1] * width))
        results = [y, p] if self.chance(20) else [y]
        updates = ()
        if self.chance(80):
            weight = gc.input("weight", y.shape, "float64")
            self.inputs.append(weight)
            gradients = gc.grad((y * weight).sum(), self.trained)
            pairs = [*zip(self.trained, gradients, strict=True)]
            given = {x.node for x in self.inputs}
            results += [g for x, g in pairs if x.node in given]
            updates = tuple((x.node, (x - g).node) for x, g in pairs if x.node not in given)
        nodes = (tuple(x.node for x in each) for each in (self.inputs, results))
        return Graph(*nodes, updates)


@pytest.mark.parametrize("saving", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_meaning(saving: bool):
    fewer = 0
    for seed in range(20):
        made = Drawn(seed + 100 * saving).graph
        ready = prepare(optimise(made), saving=saving, recomputing=True)
        program, given = lower(ready, saving=saving, recomputing=True), arrays(made)
        ours = outcome(ready, lambda a, program=program: run_loops(program, a), given)
        for x, y in zip(ours, interpreted(made, given), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5, err_msg=f"seed {seed}")
        fewer += len(program.kernels) < len(lower(ready, saving=saving).kernels)
    assert fewer > 10
