"""Steps down the gradient: SGD with momentum, SAGA with a memory, Lion by the sign alone.

Comes in: a parameter, its gradient, a rate. Goes out: its next value. A separate file because these
remember directions only: every element moves by the same measure.
"""

from __future__ import annotations

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import sign, where
from graphc.frontends.dsl.scatter import put
from graphc.frontends.dsl.shaping import take
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Beside
from graphc.frontends.optim.optimiser import Number, PerParameter, Rate


class SGD(PerParameter):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    g = gradient + weight_decay * p;  m = momentum * m + (1 - dampening) * g, and m = g in the first
    step;  p = p - lr * m, or with ``nesterov`` p = p - lr * (g + momentum * m) (Nesterov 1983).
    Without momentum p = p - lr * g (Robbins and Monro 1951).
    """

    def __init__(
        self,
        lr: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
    ) -> None:
        """Raises `UserError` GC0104 for ``nesterov`` without momentum, or with dampening."""
        super().__init__(lr, weight_decay, counts=bool(momentum and dampening))
        if nesterov and not momentum:
            raise UserError("GC0104", "nesterov without momentum", fix="pass momentum=0.9")
        if nesterov and dampening:
            raise UserError("GC0104", "nesterov with dampening", fix="leave one of them out")
        self.momentum, self.nesterov, self.dampening = momentum, nesterov, dampening

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        if self.momentum:
            fresh = where(own.step == 1, g, (1 - self.dampening) * g) if self.dampening else g
            m = own.keep("momentum", self.momentum * own("momentum") + fresh)
            g = g + self.momentum * m if self.nesterov else m
        return p - lr * g


class Lion(PerParameter):
    """Evolved sign momentum (Chen et al. 2023, algorithm 2), with decoupled weight decay.

    p = p - lr * (sign(b1*m + (1-b1)*gradient) + weight_decay * p);  m = b2*m + (1-b2)*gradient.
    """

    def __init__(
        self,
        lr: Rate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, weight_decay, decoupled=True)
        self.betas = betas

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        b1, b2 = self.betas
        direction = sign(b1 * own("momentum") + (1 - b1) * g)
        own.average("momentum", b2, g)
        return p - lr * direction


class SAGA(PerParameter):
    """SGD with a memory of every batch's last gradient (Defazio, Bach and Lacoste-Julien 2014).

    p = p - lr * (g - old + mean), where old is the gradient that the same batch gave last, and mean
    that of all ``batches``; all start at 0. The noise of batches goes away near the minimum, so a
    constant rate converges; the price is memory for as many gradients as there are batches.
    """

    def __init__(
        self, index: Tensor, batches: int, lr: Rate = 0.01, weight_decay: float = 0.0
    ) -> None:
        """``index`` is a 0-d integer tensor, an input of the step: the number of the batch."""
        super().__init__(lr, weight_decay)
        self.index, self.batches = index, batches

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        table = own("gradients", shape=(self.batches, *p.node.type.static_shape))
        change = g - take(table, self.index, 0)
        mean = own("mean")
        own.keep("gradients", put(table, self.index, g, 0))
        own.keep("mean", mean + change / self.batches)
        return p - lr * (change + mean)
