"""Loss scaling: gradients that float16 would take for 0 are made larger on their way.

Comes in: an optimiser. Goes out: an optimiser that gives it the same gradients as before, computed
from a loss so many times larger, and that leaves out steps whose gradients are not finite. A
separate step because it knows no formula, as `Accumulated` does not.

Source: Micikevicius and others, Mixed precision training, 2018, sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl.elementwise import isfinite, logical_and, where
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Updates
from graphc.frontends.optim.optimiser import Optimiser


class LossScaler(Optimiser):
    """``optimiser``, with gradients of the loss times a scale, which are divided by it again.

    A step with an inf or nan among its gradients changes nothing but the scale, which becomes
    ``backoff`` times as large; after ``interval`` steps in a row without, it becomes ``growth``
    times as large. ``dynamic=False`` leaves it as it is. With `nn.autocast` to float16:

        with nn.autocast("float16"):
            loss = nn.cross_entropy(model(x), labels)
        updates = optim.LossScaler(optim.Adam(1e-3)).updates(loss, model.parameters())
    """

    def __init__(
        self,
        optimiser: Optimiser,
        scale: float = 2.0**16,
        *,
        dynamic: bool = True,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
    ) -> None:
        """Raises `UserError` GC0104 unless 0 < backoff < 1 < growth, scale > 0 and interval > 0."""
        super().__init__()
        if not (0 < backoff < 1 < growth and scale > 0 and interval > 0):
            raise UserError(
                "GC0104",
                f"scale={scale}, growth={growth}, backoff={backoff}, interval={interval}",
                why="the scale grows by a factor above 1, and shrinks by one between 0 and 1",
            )
        self.optimiser, self.start, self.dynamic = optimiser, float(scale), dynamic
        self.growth, self.backoff, self.interval = growth, backoff, interval

    @property
    def scale(self) -> Tensor:
        """What losses are multiplied by, float32: a parameter, so it can be looked at and set."""
        return self.remember("scale", partial(np.full, (), self.start, np.float32))

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss whose gradients `step` wants; in float32 at least."""
        return loss.astype(loss.dtype.computing) * self.scale

    def updates(self, loss: Tensor, parameters: Sequence[Tensor]) -> Updates:
        return super().updates(self.scaled(loss), parameters)

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        """Given gradients of the `scaled` loss."""
        found = [(g.astype(g.dtype.computing) / self.scale) for g in gradients]
        finite = reduce(logical_and, [isfinite(g).all() for g in found])
        pairs = zip(found, gradients, strict=True)
        inner = self.optimiser.step(parameters, [g.astype(old.dtype) for g, old in pairs])
        updates = {target: where(finite, new, target) for target, new in inner.items()}
        return updates | (self._rescaled(finite) if self.dynamic else {})

    def _rescaled(self, finite: Tensor) -> Updates:
        """The next scale, and how many steps in a row were finite since it changed."""
        scale, count = self.scale, self.count()
        grown = scale * self.growth
        due = logical_and(count + 1 >= self.interval, isfinite(grown))
        good = where(due, grown, scale)
        return {
            scale: where(finite, good, scale * self.backoff),
            count: where(logical_and(finite, ~due), count + 1, 0),
        }

    def named_state(self) -> dict[str, Tensor]:
        """Its scale and count, and the state of the optimiser behind ``optimiser.``."""
        inner = self.optimiser.named_state()
        return super().named_state() | {f"optimiser.{name}": x for name, x in inner.items()}
