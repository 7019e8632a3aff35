"""NumPy: formulas as they are, gradients by hand.

Comes in: a job. Goes out: calls of NumPy.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from graphc.cli.bench.systems.job import Job, Prepared, gradient_inputs, named, without_cotangent
from graphc.cli.bench.workload import Arrays, Backward, Forward, Train, Update


def warm(np: Any) -> None:
    """Run something trivial."""
    np.zeros(3, np.float32) - 1


def prepare(job: Job, np: Any) -> Prepared:
    """The model's own method."""
    arrays = {**job.inputs, **job.parameters}
    match job.task:
        case Forward():
            formula = job.formula("numpy", np)
            given = without_cotangent(arrays)
            return Prepared(partial(formula, **given), lambda value: named(value, {}, {}))
        case Backward(wrt):
            both = job.formula("numpy_gradients", np)
            return Prepared(
                partial(both, **arrays),
                lambda made: named(made[0], {n: made[1][n] for n in wrt}, {}),
            )
        case Train(name, rate):
            return _trained(job, np, job.formula("numpy_gradients", np), OPTIMISERS[name](np, rate))
        case Update(name, rate):
            gradients = gradient_inputs(job.inputs, job.parameters)
            return _trained(job, np, lambda **_: ((), gradients), OPTIMISERS[name](np, rate))


def _trained(job: Job, np: Any, both: Any, optimiser: Any) -> Prepared:
    """Steps that change a copy of the parameters in place."""
    parameters = {name: array.copy() for name, array in job.parameters.items()}

    def step() -> Any:
        loss, gradients = both(**job.inputs, **parameters)
        optimiser.step(parameters, gradients)
        return loss

    return Prepared(step, lambda loss: named(loss, {}, parameters))


class SGD:
    """p = p - rate * g."""

    def __init__(self, np: Any, rate: float) -> None:
        self.rate = np.float32(rate)

    def step(self, parameters: Arrays, gradients: Arrays) -> None:
        """Change the parameters."""
        for name, p in parameters.items():
            p -= self.rate * gradients[name]


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, np: Any, rate: float) -> None:
        self.np, self.rate, self.count = np, rate, 0
        self.first: Arrays = {}
        self.second: Arrays = {}

    def step(self, parameters: Arrays, gradients: Arrays) -> None:
        """Change the parameters."""
        np = self.np
        self.count += 1
        rate = np.float32(self.rate / (1 - 0.9**self.count))
        scale = np.float32(1 / (1 - 0.999**self.count))
        for name, p in parameters.items():
            g = gradients[name]
            m = self.first.setdefault(name, np.zeros_like(p))
            v = self.second.setdefault(name, np.zeros_like(p))
            m += np.float32(0.1) * (g - m)
            v += np.float32(0.001) * (g * g - v)
            p -= rate * m / (np.sqrt(v * scale) + np.float32(1e-8))


OPTIMISERS = {"sgd": SGD, "adam": Adam}
