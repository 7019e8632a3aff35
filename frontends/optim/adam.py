"""Adam and its kin: a moving average of gradients, measured by that of their squares.

Comes in: a parameter, its gradient, a rate. Goes out: its next value. A separate file because all
of these share two moments that start at 0, and the corrections that this start needs. Orders and
defaults are PyTorch's where it has them.
"""

from __future__ import annotations

import math

from graphc.frontends.dsl.elementwise import expm1, maximum, sqrt, where
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Beside
from graphc.frontends.optim.optimiser import Number, PerParameter, Rate

Betas = tuple[float, float]


class Adam(PerParameter):
    """Adam (Kingma and Ba 2015, algorithm 1), with weight decay in the gradient.

    g = gradient + weight_decay * p;  m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;
    p = p - lr * m/(1-b1**t) / (sqrt(v/(1-b2**t)) + epsilon), where t counts the steps from 1.
    With ``decoupled`` the decay is AdamW's (Loshchilov and Hutter 2019): p = p - lr*weight_decay*p
    first, and g is the gradient alone. With ``amsgrad`` the largest v so far counts (Reddi et al.
    2018).
    """

    def __init__(
        self,
        lr: Rate = 0.001,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay, decoupled=decoupled, counts=True)
        self.betas, self.epsilon, self.amsgrad = betas, epsilon, amsgrad

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        m, v = _moments(self.betas, g, own)
        v = own.keep("largest", maximum(own("largest"), v)) if self.amsgrad else v
        spread = _spread(v, self.betas, own) + self.epsilon
        return p - lr / _share(self.betas[0], own) * (m / spread)


class AdamW(Adam):
    """`Adam` with decoupled weight decay."""

    def __init__(
        self,
        lr: Rate = 0.001,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(lr, betas, epsilon, weight_decay, decoupled=True, amsgrad=amsgrad)


class NAdam(PerParameter):
    """Adam with Nesterov's momentum (Dozat 2016), whose b1 grows with the steps.

    m and v as in `Adam`;  u(t) = b1 * (1 - 0.96**(t*momentum_decay) / 2);  U = U * u(t), from 1;
    p = p - lr * (u(t+1)/(1 - U*u(t+1)) * m + (1-u(t))/(1-U) * g) / (sqrt(v/(1-b2**t)) + epsilon).
    """

    def __init__(
        self,
        lr: Rate = 0.002,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 0.004,
        decoupled: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay, decoupled=decoupled, counts=True)
        self.betas, self.epsilon, self.momentum_decay = betas, epsilon, momentum_decay

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        m, v = _moments(self.betas, g, own)
        now, later = self._momentum(own.step), self._momentum(own.step + 1)
        product = own.keep("product", own("product", 1.0, shape=()) * now)
        old, new = later / (1 - product * later), (1 - now) / (1 - product)
        spread = _spread(v, self.betas, own) + self.epsilon
        return p - lr * ((old * m + new * g) / spread)

    def _momentum(self, t: Tensor) -> Tensor:
        return self.betas[0] * (1 - 0.5 * 0.96 ** (t * self.momentum_decay))


class LAMB(PerParameter):
    """Layer-wise adaptive rates for large batches (You et al. 2020, algorithm 2).

    u = m/(1-b1**t) / (sqrt(v/(1-b2**t)) + epsilon) + weight_decay * p with the moments of `Adam`;
    p = p - lr * norm(p)/norm(u) * u, where a ratio with a norm of 0 counts as 1.
    """

    def __init__(
        self,
        lr: Rate = 0.001,
        betas: Betas = (0.9, 0.999),
        epsilon: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(lr, counts=True)
        self.betas, self.epsilon, self.pull = betas, epsilon, weight_decay

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        m, v = _moments(self.betas, g, own)
        spread = _spread(v, self.betas, own) + self.epsilon
        u = m / spread / _share(self.betas[0], own) + self.pull * p
        sizes = [sqrt((x * x).sum()) for x in (p, u)]
        both = (sizes[0] > 0) & (sizes[1] > 0)
        return p - lr * where(both, sizes[0] / where(both, sizes[1], 1), 1) * u


def _moments(betas: Betas, g: Tensor, own: Beside) -> tuple[Tensor, Tensor]:
    """The moving averages of the gradient and of its square, with this gradient in them."""
    return own.average("first", betas[0], g), own.average("second", betas[1], g * g)


def _spread(v: Tensor, betas: Betas, own: Beside) -> Tensor:
    """The square root of the second moment, corrected for its start at 0."""
    return sqrt(v) / sqrt(_share(betas[1], own))


def _share(beta: float, own: Beside) -> Tensor:
    """``1 - beta**t`` without the cancellation that float32 would suffer for beta near 1."""
    return -expm1(own.step * math.log(beta))
