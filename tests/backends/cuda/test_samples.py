"""Every sample and its gradient on the simulated GPU: the same numbers as the interpreter's."""

from __future__ import annotations

import pytest

from graphc.grad import gradients
from graphc.graph import Graph
from graphc.ops.reduction import sum_over
from samples import DISTINCT, Sample
from simulated import Case, failures

pytestmark = pytest.mark.sweep

TOGETHER = 60
"""Samples of one test."""
DIFFERENTIABLE = [s for s in DISTINCT if s.wrt]


def groups(samples: list[Sample]) -> list[list[Sample]]:
    return [samples[n : n + TOGETHER] for n in range(0, len(samples), TOGETHER)]


def value_of(sample: Sample) -> Case:
    inputs = sample.inputs()
    graph = Graph(tuple(inputs), (sample.build(*inputs),))
    return Case(str(sample), graph, sample.draw(), sample.tolerance)


def gradient_of(sample: Sample) -> Case:
    """The gradient of a sum of squares; sums in another order, of numbers up to 100."""
    inputs = sample.inputs()
    y = sample.build(*inputs)
    loss = sum_over(y * y, tuple(range(y.type.rank)))
    found = gradients(loss, [inputs[k] for k in sample.wrt])
    graph = Graph(tuple(inputs), (loss, *(g for g in found if g is not None)))
    return Case(f"gradient of {sample}", graph, sample.draw(), 2e-5)


@pytest.mark.parametrize("samples", groups(DISTINCT), ids=lambda s: f"{s[0]}...")
def test_values(samples: list[Sample]):
    assert not failures(map(value_of, samples))


@pytest.mark.parametrize("samples", groups(DIFFERENTIABLE), ids=lambda s: f"{s[0]}...")
def test_gradients(samples: list[Sample]):
    assert not failures(map(gradient_of, samples))
