"""What a system is asked to do, and what it must hand back.

Comes in: a workload's model, task and arrays. Goes out: `Job`, and the `Prepared` program that a
system makes of it. A separate step because clocks and comparisons must treat all systems alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphc.cli.bench.workload import COTANGENT, Arrays, Model, Task, Workload, arrays_of
from graphc.errors import UserError


@dataclass(frozen=True)
class Job:
    """A workload by name, its model at one size, its task and its data."""

    name: str
    quick: bool
    model: Model
    task: Task
    inputs: Arrays
    parameters: Arrays
    threads: int

    def formula(self, system: str, *modules: Any) -> Callable[..., Any]:
        """The model's method for ``system``, with its modules passed in.

        Raises `UserError` GC0503 when the model is not written there.
        """
        method = self.model.method(system)
        if method is None:
            raise UserError("GC0503", f"{type(self.model).__name__} is not written in {system}")
        return partial(method, *modules)


@dataclass(frozen=True)
class Prepared:
    """A program that is ready to be timed.

    ``step`` is one whole call: it returns when the result is there. ``read`` makes NumPy arrays of
    what ``step`` returned, and of the parameters as they are now; without it nothing is compared.
    ``plan`` says what the system knows about its own memory: bytes by name. ``repeat`` makes a
    number of calls without copies from or to the host, and says how long the device worked, and how
    long the host took to ask for it, in seconds; without it calls of ``step`` are timed.
    """

    step: Callable[[], Any]
    read: Callable[[Any], Arrays] | None
    plan: Callable[[], dict[str, int]] = dict
    repeat: Callable[[int], tuple[float, float]] | None = None


def job_of(workload: Workload, quick: bool, threads: int) -> Job:
    """The job of a workload; the same numbers in every process."""
    model = workload.sized(quick)
    return Job(workload.name, quick, model, workload.task, *arrays_of(model), threads)


def results(value: Any) -> tuple[Any, ...]:
    """The results of a formula, which may be one or several."""
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def named(
    value: Any, gradients: Mapping[str, Any], parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """All that is compared, by name: results, gradients, parameters."""
    return {
        **{f"result {k}": x for k, x in enumerate(results(value))},
        **{f"gradient of {name}": x for name, x in gradients.items()},
        **parameters,
    }


def without_cotangent(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """What a formula is called with."""
    return {name: x for name, x in arrays.items() if name != COTANGENT}


def gradient_inputs(arrays: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """For `Update`: the gradient of each parameter, by the parameter's name."""
    return {name: arrays[f"{name}_gradient"] for name in parameters}
