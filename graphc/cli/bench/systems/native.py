"""graphc itself, on any of its backends.

Comes in: a job. Goes out: a compiled function with its arrays, and what its graph costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc.cli.bench.systems.job import Job, Prepared, gradient_inputs, named, without_cotangent
from graphc.cli.bench.workload import COTANGENT, Arrays, Backward, Forward, Train, Update
from graphc.cost import Cost, cost
from graphc.frontends import dsl, optim
from graphc.frontends.dsl.function import Function
from graphc.passes.residues import without_inserted_zeros

Tensors = dict[str, dsl.Tensor]
OPTIMISERS = {"sgd": optim.SGD, "adam": optim.Adam}


def warm(backend: str, gc: Any) -> None:
    """Run something trivial."""
    x = dsl.input("x", (3,))
    dsl.compile([x], x - 1, backend=backend)(np.zeros(3, np.float32))


def prepare(backend: str, job: Job, gc: Any) -> Prepared:
    """A compiled function of the job's inputs."""
    program = _program(job, gc)
    function = program.compiled(backend)
    given = [job.inputs[name] for name in program.inputs]

    def read(made: Any) -> Arrays:
        value, gradients = made if program.gradients else (made, ())
        stored = {name: dsl.value(p) for name, p in program.stored.items()}
        return named(value, dict(zip(program.gradients, gradients, strict=True)), stored)

    return Prepared(partial(function, *given), read, partial(_plan, function), _repeat(function))


def _repeat(function: Function) -> Callable[[int], tuple[float, float]] | None:
    """How to run a function on its device again and again, with the data that is there."""
    runner: Any = function.compiled.runner
    device = getattr(runner, "device", None)
    if device is None:
        return None

    def once() -> None:
        for work in runner.runs:
            work()

    return partial(timed, device, once)


def timed(device: Any, once: Callable[[], None], count: int) -> tuple[float, float]:
    """Seconds that a device works on ``count`` calls, and that the host takes to ask for them."""
    busy = 0.0

    def work() -> None:
        nonlocal busy
        begin = time.perf_counter()
        for _ in range(count):
            once()
        busy = time.perf_counter() - begin

    return device.seconds(work), busy


def _plan(function: Function) -> dict[str, int]:
    """The temporaries' memory: as planned, without sharing, and the most that lives at once."""
    if "kernels" not in function.stages:
        return {}
    plan = function.program.plan
    return {"arena": plan.arena_bytes, "total": plan.total_bytes, "least": plan.peak_bytes}


@dataclass(frozen=True)
class _Program:
    """What a job asks for, in graphc's tensors."""

    inputs: Tensors
    result: Any
    gradients: Tensors
    updates: dict[dsl.Tensor, dsl.Tensor]
    stored: Tensors

    def compiled(self, backend: str) -> Function:
        """The function: its result, alone or with the list of gradients."""
        outputs = (self.result, list(self.gradients.values())) if self.gradients else self.result
        return dsl.compile(self.inputs.values(), outputs, self.updates, backend)


def _program(job: Job, gc: Any) -> _Program:
    inputs = {n: dsl.input(n, x.shape, x.dtype.name) for n, x in job.inputs.items()}
    if isinstance(job.task, Forward):
        stored = {n: dsl.constant(x) for n, x in job.parameters.items()}
    else:
        stored = {n: dsl.param(x, n, dtype=x.dtype.name) for n, x in job.parameters.items()}
    tensors = {**without_cotangent(inputs), **stored}
    match job.task:
        case Forward():
            value = job.formula("graphc", gc)(**tensors)
            return _Program(without_cotangent(inputs), value, {}, {}, {})
        case Backward(wrt):
            value = job.formula("graphc", gc)(**tensors)
            found = dsl.grad(value, [tensors[n] for n in wrt], inputs.get(COTANGENT))
            return _Program(inputs, value, dict(zip(wrt, found, strict=True)), {}, {})
        case Train(name, rate):
            loss = job.formula("graphc", gc)(**tensors)
            updates = OPTIMISERS[name](rate).updates(loss, list(stored.values()))
            return _Program(inputs, loss, {}, updates, stored)
        case Update(name, rate):
            gradients = gradient_inputs(inputs, stored).values()
            updates = OPTIMISERS[name](rate).step(list(stored.values()), list(gradients))
            return _Program(inputs, (), {}, updates, stored)


def cost_of(job: Job, gc: Any) -> tuple[int, Cost]:
    """The number of nodes of the job's graph as written, and what it must cost after the passes.

    Zeros that a gradient inserts between elements are no work. A convolution counts as what its
    definition says, so fast ones may surpass the limit.
    """
    stages = _program(job, gc).compiled("numpy").stages
    return len(stages["graph"]), cost(without_inserted_zeros(stages["optimised"], None))
