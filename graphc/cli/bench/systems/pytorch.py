"""PyTorch, eager and compiled: autograd, and the optimisers of `torch.optim` in their fused form.

Comes in: a job. Goes out: calls of PyTorch.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from graphc.cli.bench.systems.job import Job, Prepared, gradient_inputs, named, without_cotangent
from graphc.cli.bench.workload import COTANGENT, Arrays, Backward, Forward, Train, Update

OPTIMISERS = {"sgd": "SGD", "adam": "Adam"}


def warm(compiled: bool, torch: Any) -> None:
    """Run something trivial."""

    def trivial(x: Any) -> Any:
        return x - 1

    (torch.compile(trivial) if compiled else trivial)(torch.zeros(3))


def prepare(compiled: bool, job: Job, torch: Any) -> Prepared:
    """The model's method, by itself or through ``torch.compile``."""
    torch.set_num_threads(job.threads)
    step, read = _step(compiled, job, torch)
    return Prepared(step, lambda made: {n: array(x) for n, x in read(made).items()})


def array(tensor: Any) -> Any:
    """A tensor's numbers."""
    return tensor.detach().numpy()


def _step(compiled: bool, job: Job, torch: Any) -> tuple[Any, Any]:
    inputs = {name: _tensor(x, job, torch) for name, x in job.inputs.items()}
    stored = {name: _tensor(x.copy(), job, torch) for name, x in job.parameters.items()}
    given = {**without_cotangent(inputs), **stored}
    match job.task:
        case Forward():
            formula = _formula(compiled, job, torch)
            return torch.inference_mode()(partial(formula, **given)), lambda y: named(y, {}, {})
        case Backward(wrt):
            return _backward(_formula(compiled, job, torch), given, wrt, inputs, torch)
        case Train(name, rate):
            return _training(
                _formula(compiled, job, torch), given, stored, _optimiser(name, stored, rate, torch)
            )
        case Update(name, rate):
            optimiser = _optimiser(name, stored, rate, torch, fused=not compiled)
            for p, g in gradient_inputs(inputs, stored).items():
                stored[p].grad = g
            update = torch.compile(optimiser.step) if compiled else optimiser.step
            return update, lambda _: named((), {}, stored)


def _tensor(array: Any, job: Job, torch: Any) -> Any:
    tensor = torch.from_numpy(array)
    if job.model.channels_last and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _formula(compiled: bool, job: Job, torch: Any) -> Any:
    formula = job.formula("torch", torch)
    return torch.compile(formula) if compiled else formula


def _optimiser(name: str, stored: Arrays, rate: float, torch: Any, fused: bool = True) -> Any:
    kind = getattr(torch.optim, OPTIMISERS[name])
    parameters = [p.requires_grad_() for p in stored.values()]  # type: ignore[attr-defined]
    return kind(parameters, lr=rate, **({"fused": True} if fused else {"foreach": True}))


def _backward(formula: Any, given: Any, wrt: Any, inputs: Any, torch: Any) -> tuple[Any, Any]:
    sources = [given[name].requires_grad_() for name in wrt]

    def step() -> Any:
        value = formula(**given)
        return value, torch.autograd.grad(value, sources, inputs.get(COTANGENT))

    return step, lambda made: named(made[0], dict(zip(wrt, made[1], strict=True)), {})


def _training(formula: Any, given: Any, stored: Any, optimiser: Any) -> tuple[Any, Any]:
    def step() -> Any:
        optimiser.zero_grad(set_to_none=True)
        loss = formula(**given)
        loss.backward()
        optimiser.step()
        return loss

    return step, lambda loss: named(loss, {}, stored)
