"""SGD and Adam, written as formulas of the graph.

Comes in: a loss and parameters. Goes out: ``{parameter: next value}`` for ``gc.compile(updates=)``,
the optimiser's own memory included: moments are parameters too. A separate step because an
optimiser is no machinery but a few equations, and they compile into the step they belong to.
Orders and defaults are PyTorch's.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import expm1, minimum, sqrt
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.frontends.dsl.transform import grad
from graphc.site import scope

Updates = dict[Tensor, Tensor]


class Optimiser(ABC):
    """What all optimisers share: the memory, by name, and the way from a loss to updates.

    ``lr`` is a number, fixed in the program, or a 0-d parameter, which can be changed between calls
    with `gc.assign`.
    """

    def __init__(self, lr: Value) -> None:
        self.lr = lr
        self._memory: dict[str, Tensor] = {}

    @abstractmethod
    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        """The next values of the parameters, and of the optimiser's memory, given gradients."""

    def updates(self, loss: Tensor, parameters: Sequence[Tensor]) -> Updates:
        """`step` with the gradients of ``loss``. Raises `UserError` GC0201, GC0202, GC0203."""
        chosen = list(parameters)
        gradients = grad(loss, chosen)
        with scope("optimiser"):
            return self.step(chosen, gradients)

    def named_state(self) -> dict[str, Tensor]:
        """The optimiser's parameters by name, e.g. ``momentum.0``; none before `step`."""
        state = dict(self._memory)
        if isinstance(self.lr, Tensor) and self.lr.node.op.storage is not None:
            state["lr"] = self.lr
        return state

    def _remember(self, name: str, value: Any) -> Tensor:
        """The parameter of the memory called ``name``, made with ``value`` at the first request."""
        if name not in self._memory:
            label = name.replace(".", "_")
            self._memory[name] = parameter(value, label, trainable=False, dtype=value.dtype)
        return self._memory[name]

    def _moment(self, name: str, place: int, like: Tensor) -> Tensor:
        """A parameter of zeros beside the parameter ``like``, number ``place``."""
        return self._remember(
            f"{name}.{place}", np.zeros(like.node.type.static_shape, like.dtype.numpy)
        )


class SGD(Optimiser):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    g = gradient + weight_decay * p;  m = momentum * m + g;  p = p - lr * m, or with ``nesterov``
    p = p - lr * (g + momentum * m). Without momentum p = p - lr * g.
    """

    def __init__(
        self,
        lr: Value = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        """Raises `UserError` GC0104 for ``nesterov`` without momentum."""
        super().__init__(lr)
        if nesterov and not momentum:
            raise UserError("GC0104", "nesterov without momentum", fix="pass momentum=0.9")
        self.momentum, self.nesterov, self.weight_decay = momentum, nesterov, weight_decay

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        updates: Updates = {}
        for place, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            g = g + self.weight_decay * p if self.weight_decay else g
            if self.momentum:
                moment = self._moment("momentum", place, p)
                updates[moment] = m = self.momentum * moment + g
                g = g + self.momentum * m if self.nesterov else m
            updates[p] = p - self.lr * g
        return updates


class Adam(Optimiser):
    """Adam (Kingma and Ba 2015, algorithm 1), with weight decay in the gradient.

    g = gradient + weight_decay * p;  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;
    p = p - lr * m/(1-b1**t) / (sqrt(v/(1-b2**t)) + epsilon), where t counts the steps from 1.
    With ``decoupled`` the decay is AdamW's (Loshchilov and Hutter 2019): p = p - lr*weight_decay*p
    first, and g is the gradient alone.
    """

    def __init__(
        self,
        lr: Value = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        super().__init__(lr)
        self.betas, self.epsilon = betas, epsilon
        self.weight_decay, self.decoupled = weight_decay, decoupled

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        count = self._remember("count", np.zeros((), np.int64))
        t = count + 1
        updates: Updates = {count: t}
        for place, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            updates.update(self._one(place, p, g, t.astype(p.dtype)))
        return updates

    def _one(self, place: int, p: Tensor, g: Tensor, t: Tensor) -> Updates:
        start = p
        if self.weight_decay and self.decoupled:
            start = p - self.lr * self.weight_decay * p
        elif self.weight_decay:
            g = g + self.weight_decay * p
        b1, b2 = self.betas
        first, second = self._moment("first", place, p), self._moment("second", place, p)
        m = b1 * first + (1 - b1) * g
        v = b2 * second + (1 - b2) * g * g
        spread = sqrt(v) / sqrt(_share(b2, t)) + self.epsilon
        return {first: m, second: v, p: start - self.lr / _share(b1, t) * (m / spread)}


class AdamW(Adam):
    """`Adam` with decoupled weight decay."""

    def __init__(
        self,
        lr: Value = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, betas, epsilon, weight_decay, decoupled=True)


def _share(beta: float, t: Tensor) -> Tensor:
    """``1 - beta**t`` without the cancellation that float32 would suffer for beta near 1."""
    return -expm1(t * math.log(beta))


def clip_by_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """All gradients scaled down together so that their common 2-norm is at most ``limit``.

    Pascanu, Mikolov and Bengio 2013. The small number in the divisor keeps 0 gradients at 0.
    """
    squares = [(g * g).sum() for g in gradients]
    norm = sqrt(sum(squares[1:], start=squares[0]))
    scale = minimum(limit / (norm + 1e-6), 1)
    return [g * scale for g in gradients]
