"""What the tests of schedules share: phases of a graph, cases on the simulated GPU, and the plain
meaning of the loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

import graphc as gc
from execute import interpreted, outcome, run_loops
from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.emit import Phase, emit
from graphc.backends.cuda.schedule import normal, schedule
from graphc.frontends.dsl.function import graph_of
from graphc.graph import Array, Graph
from graphc.kernels.kernel import Kernel
from graphc.kernels.lower import lower
from graphc.loops.ir import Statement
from simulated import Case

LIMITS = Limits()


def graph(inputs: Sequence[gc.Tensor], outputs: Iterable[gc.Tensor]) -> Graph:
    return graph_of(inputs, outputs, {})


def drawn(inputs: Sequence[gc.Tensor], high: int = 5) -> list[Array]:
    """Normal floats, small integers, coins."""
    rng = np.random.default_rng(len(inputs))
    return [
        (rng.normal(size=x.shape) if x.dtype.is_float else rng.integers(0, high, x.shape)).astype(
            x.dtype.numpy
        )
        for x in inputs
    ]


def case(
    name: str,
    inputs: Sequence[gc.Tensor],
    outputs: Sequence[gc.Tensor],
    tolerance: float = 2e-5,
    high: int = 5,
) -> Case:
    """Inputs of these types are drawn; integers are below ``high``."""
    return Case(name, graph(inputs, outputs), drawn(inputs, high), tolerance)


def phases(
    inputs: Sequence[gc.Tensor], outputs: Sequence[gc.Tensor], limits: Limits = LIMITS
) -> list[Phase]:
    """The phases of all kernels, in order."""
    kernels = lower(graph(inputs, outputs)).kernels
    found = [body for k in kernels for body in schedule(normal(k), limits)]
    return [emit(f"phase{n}", body) for n, body in enumerate(found)]


def misunderstood(
    inputs: Sequence[gc.Tensor], outputs: Sequence[gc.Tensor], limits: Limits = LIMITS
) -> list[int]:
    """The results that are not NumPy's when the loops are run one iteration after another."""

    def loops(kernel: Kernel) -> tuple[Statement, ...]:
        return tuple(s for body in schedule(normal(kernel), limits) for s in body)

    made, arrays = graph(inputs, outputs), drawn(inputs)
    program = lower(made)
    found = outcome(made, lambda given: run_loops(program, given, loops), arrays)
    pairs = enumerate(zip(found, interpreted(made, arrays), strict=True))
    return [n for n, (ours, wanted) in pairs if not np.allclose(ours, wanted, 2e-5, 2e-5)]
