"""JAX: one jitted function per step, with the old parameters given away to be written over.

Comes in: a job. Goes out: calls of JAX that wait for their results.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from graphc.cli.bench.systems.job import Job, Prepared, gradient_inputs, named, without_cotangent
from graphc.cli.bench.workload import COTANGENT, Arrays, Backward, Forward, Train, Update
from graphc.errors import UserError

Program = tuple[Callable[[], Any], Callable[[Any], Arrays]]
"""What asks for a call, and what makes arrays of its answer."""


def warm(jax: Any, jnp: Any, *, gpu: bool = False) -> None:
    """Run something trivial. Raises `UserError` GC0503 where a GPU is wanted and JAX finds none."""
    if gpu and jax.default_backend() != "gpu":
        raise UserError("GC0503", f"JAX computes on the {jax.default_backend()} here")
    jax.jit(lambda x: x - 1)(jnp.zeros(3)).block_until_ready()


def prepare(job: Job, jax: Any, jnp: Any, *, gpu: bool = False) -> Prepared:
    """The model's method, jitted together with its gradients and updates; on a GPU products of
    float32 are computed in float32.
    """
    if gpu:
        jax.config.update("jax_default_matmul_precision", "float32")
    ask, read = _asked(job, jax, jnp)
    return Prepared(
        lambda: jax.block_until_ready(ask()), read, repeat=_repeat(jax, ask) if gpu else None
    )


def _repeat(jax: Any, ask: Callable[[], Any]) -> Callable[[int], tuple[float, float]]:
    """Calls that wait for the last one only: a GPU does them in order."""

    def repeat(count: int) -> tuple[float, float]:
        begin = time.perf_counter()
        for _ in range(count):
            made = ask()
        busy = time.perf_counter() - begin
        jax.block_until_ready(made)
        return time.perf_counter() - begin, busy

    return repeat


def _asked(job: Job, jax: Any, jnp: Any) -> Program:
    """The job's calls."""
    arrays = (*job.inputs.values(), *job.parameters.values())
    jax.config.update("jax_enable_x64", any(x.dtype.name == "float64" for x in arrays))
    inputs = {name: jnp.asarray(x) for name, x in job.inputs.items()}
    stored = {name: jnp.array(x) for name, x in job.parameters.items()}
    if not isinstance(job.task, Update):
        formula = job.formula("jax", jax)
    match job.task:
        case Forward():
            given = without_cotangent(inputs) | stored
            return _plain(jax, lambda arrays: (formula(**arrays), {}), given)
        case Backward(wrt):
            return _plain(jax, _with_gradients(jax, formula, wrt), inputs | stored)
        case Train(name, rate):
            slope = jax.value_and_grad(lambda p, given: formula(**given, **p))
            return _stateful(jax, jnp, slope, OPTIMISERS[name](jnp, rate), stored, inputs)
        case Update(name, rate):

            def taken(p: Any, given: Any) -> Any:
                return (), gradient_inputs(given, p)

            return _stateful(jax, jnp, taken, OPTIMISERS[name](jnp, rate), stored, inputs)


def _arrays(found: Any) -> Arrays:
    return {name: x.__array__() for name, x in found.items()}


def _plain(jax: Any, function: Any, given: Any) -> Program:
    """Calls without state; ``function`` returns a value and gradients by name."""
    compiled = jax.jit(function)
    return lambda: compiled(given), lambda made: _arrays(named(made[0], made[1], {}))


def _with_gradients(jax: Any, formula: Any, wrt: Any) -> Any:
    def both(given: Any) -> Any:
        fixed = {n: x for n, x in without_cotangent(given).items() if n not in wrt}
        chosen = {n: given[n] for n in wrt}
        value, pull = jax.vjp(lambda free: formula(**fixed, **free), chosen)
        (gradients,) = pull(given.get(COTANGENT, jax.numpy.ones_like(value)))
        return value, gradients

    return both


def _stateful(jax: Any, jnp: Any, both: Any, optimiser: Any, stored: Any, given: Any) -> Program:
    """Calls that hand the parameters and the optimiser's memory on to the next."""

    def one(state: Any, given: Any) -> Any:
        parameters, memory = state
        loss, gradients = both(parameters, given)
        return loss, optimiser.updated(parameters, gradients, memory)

    compiled = jax.jit(one, donate_argnums=0)
    state = (stored, optimiser.memory(stored))

    def ask() -> Any:
        nonlocal state
        made = compiled(state, given)
        state = made[1]
        return made

    return ask, lambda made: _arrays(named(made[0], {}, made[1][0]))


class SGD:
    """p = p - rate * g."""

    def __init__(self, jnp: Any, rate: float) -> None:
        self.rate = rate

    def memory(self, parameters: Any) -> Any:
        """Nothing."""
        return ()

    def updated(self, parameters: Any, gradients: Any, memory: Any) -> Any:
        """The next parameters and memory."""
        return {n: p - self.rate * gradients[n] for n, p in parameters.items()}, memory


class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    def __init__(self, jnp: Any, rate: float) -> None:
        self.jnp, self.rate = jnp, rate

    def memory(self, parameters: Any) -> Any:
        """The count of steps, and two moments of each parameter."""
        zeros = {n: self.jnp.zeros_like(p) for n, p in parameters.items()}
        return self.jnp.zeros((), "int32"), zeros, {n: x + 0 for n, x in zeros.items()}

    def updated(self, parameters: Any, gradients: Any, memory: Any) -> Any:
        """The next parameters and memory."""
        count, first, second = memory
        t = count + 1
        m = {n: 0.9 * first[n] + 0.1 * g for n, g in gradients.items()}
        v = {n: 0.999 * second[n] + 0.001 * g * g for n, g in gradients.items()}
        rate, scale = self.rate / (1 - 0.9**t), 1 / (1 - 0.999**t)
        moved = {
            n: p - rate * m[n] / (self.jnp.sqrt(v[n] * scale) + 1e-8) for n, p in parameters.items()
        }
        return moved, (t, m, v)


OPTIMISERS = {"sgd": SGD, "adam": Adam}
