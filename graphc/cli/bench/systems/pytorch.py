"""PyTorch, eager and compiled: autograd, and the optimisers of `torch.optim` in their fused form.

Comes in: a job. Goes out: calls of PyTorch on the processor, or on a GPU with float32 products in
float32: there they are cuBLAS's, and the convolutions cuDNN's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from graphc.cli.bench.systems.job import Job, Prepared, gradient_inputs, named, without_cotangent
from graphc.cli.bench.workload import COTANGENT, Arrays, Backward, Forward, Train, Update

OPTIMISERS = {"sgd": "SGD", "adam": "Adam"}


def warm(torch: Any, *, compiled: bool = False, device: str = "cpu") -> None:
    """Run something trivial."""

    def trivial(x: Any) -> Any:
        return x - 1

    (torch.compile(trivial) if compiled else trivial)(torch.zeros(3, device=device))


def prepare(job: Job, torch: Any, *, compiled: bool = False, device: str = "cpu") -> Prepared:
    """The model's method, by itself or through ``torch.compile``."""
    if device == "cpu":
        torch.set_num_threads(job.threads)
    else:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
    step, read = _step(compiled, job, torch, device)

    def arrays(made: Any) -> Arrays:
        return {n: array(x) for n, x in read(made).items()}

    if device == "cpu":
        return Prepared(step, arrays)
    if compiled:
        step = _in_graphs(step, torch)
    return Prepared(_waiting(step, torch), arrays, repeat=_repeat(step, torch))


def _in_graphs(step: Callable[[], Any], torch: Any) -> Callable[[], Any]:
    """A step whose results may be written over by the next: compiled code may record graphs."""

    def one() -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return step()

    return one


def _waiting(step: Callable[[], Any], torch: Any) -> Callable[[], Any]:
    def one() -> Any:
        made = step()
        torch.cuda.synchronize()
        return made

    return one


def _repeat(step: Callable[[], Any], torch: Any) -> Callable[[int], tuple[float, float]]:
    """Steps between two events, which are times of the GPU's own clock."""

    def repeat(count: int) -> tuple[float, float]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        begin = time.perf_counter()
        for _ in range(count):
            step()
        busy = time.perf_counter() - begin
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3, busy

    return repeat


def array(tensor: Any) -> Any:
    """A tensor's numbers; floats of 16 bits, which NumPy does not know, as float32."""
    tensor = tensor.detach().cpu()
    is_narrow = tensor.is_floating_point() and tensor.element_size() == 2
    return (tensor.float() if is_narrow else tensor).numpy()


def _step(compiled: bool, job: Job, torch: Any, device: str) -> tuple[Any, Any]:
    inputs = {name: _tensor(x, job, torch, device) for name, x in job.inputs.items()}
    stored = {name: _tensor(x.copy(), job, torch, device) for name, x in job.parameters.items()}
    given = {**without_cotangent(inputs), **stored}
    match job.task:
        case Forward():
            formula = _formula(compiled, job, torch, device)
            return torch.inference_mode()(partial(formula, **given)), lambda y: named(y, {}, {})
        case Backward(wrt):
            return _backward(_formula(compiled, job, torch, device), given, wrt, inputs, torch)
        case Train(name, rate):
            formula = _formula(compiled, job, torch, device)
            return _training(formula, given, stored, _optimiser(name, stored, rate, torch))
        case Update(name, rate):
            optimiser = _optimiser(name, stored, rate, torch, fused=not compiled)
            for p, g in gradient_inputs(inputs, stored).items():
                stored[p].grad = g
            update = torch.compile(optimiser.step) if compiled else optimiser.step
            return update, lambda _: named((), {}, stored)


def _tensor(array: Any, job: Job, torch: Any, device: str) -> Any:
    if array.dtype.name == "bfloat16":
        tensor = torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(array)
    tensor = tensor.to(device)
    if job.model.channels_last and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor


def _formula(compiled: bool, job: Job, torch: Any, device: str) -> Any:
    formula = job.formula("torch", torch)
    if not compiled:
        return formula
    return torch.compile(formula, mode="default" if device == "cpu" else job.model.mode)


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
