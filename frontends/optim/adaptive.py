"""Steps measured by the size of past gradients: Adagrad, Adadelta, RMSprop.

Comes in: a parameter, its gradient, a rate. Goes out: its next value. A separate file because every
element has a rate of its own here, but none has a direction of its own as in Adam. Orders, names
and defaults are PyTorch's.
"""

from __future__ import annotations

from graphc.frontends.dsl.elementwise import maximum, sqrt
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Beside
from graphc.frontends.optim.optimiser import Number, PerParameter, Rate


class Adagrad(PerParameter):
    """Adagrad (Duchi, Hazan and Singer 2011): the rate falls with the sum of squared gradients.

    g = gradient + weight_decay * p;  s = s + g*g, from ``initial``;
    p = p - lr / (1 + (t-1)*lr_decay) * g / (sqrt(s) + epsilon), where t counts the steps from 1.
    """

    def __init__(
        self,
        lr: Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial: float = 0.0,
        epsilon: float = 1e-10,
    ) -> None:
        super().__init__(lr, weight_decay, counts=bool(lr_decay))
        self.lr_decay, self.initial, self.epsilon = lr_decay, initial, epsilon

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        s = own.keep("squares", own("squares", self.initial) + g * g)
        rate = lr / (1 + (own.step - 1) * self.lr_decay) if self.lr_decay else lr
        return p - rate * (g / (sqrt(s) + self.epsilon))


class Adadelta(PerParameter):
    """Adadelta (Zeiler 2012, algorithm 1): steps as large as past steps, in the parameter's units.

    g = gradient + weight_decay * p;  s = rho*s + (1-rho)*g*g;
    d = sqrt(u + epsilon) / sqrt(s + epsilon) * g;  u = rho*u + (1-rho)*d*d;  p = p - lr * d.
    """

    def __init__(
        self, lr: Rate = 1.0, rho: float = 0.9, epsilon: float = 1e-6, weight_decay: float = 0.0
    ) -> None:
        super().__init__(lr, weight_decay)
        self.rho, self.epsilon = rho, epsilon

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        s = own.average("squares", self.rho, g * g)
        d = sqrt(own("steps") + self.epsilon) / sqrt(s + self.epsilon) * g
        own.average("steps", self.rho, d * d)
        return p - lr * d


class RMSprop(PerParameter):
    """RMSprop (Tieleman and Hinton 2012, lecture 6.5; ``centered``: Graves 2013, eqs. 38-45).

    g = gradient + weight_decay * p;  s = alpha*s + (1-alpha)*g*g;  d = g / (sqrt(s) + epsilon),
    where ``centered`` takes a*a from s, for a = alpha*a + (1-alpha)*g: the variance alone;
    m = momentum*m + d;  p = p - lr * m.
    """

    def __init__(
        self,
        lr: Rate = 0.01,
        alpha: float = 0.99,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(lr, weight_decay)
        self.alpha, self.epsilon = alpha, epsilon
        self.momentum, self.centered = momentum, centered

    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        s = own.average("squares", self.alpha, g * g)
        if self.centered:
            a = own.average("average", self.alpha, g)
            s = maximum(s - a * a, 0)  # a variance, which rounding may take below 0
        d = g / (sqrt(s) + self.epsilon)
        if self.momentum:
            d = own.keep("momentum", self.momentum * own("momentum") + d)
        return p - lr * d
