"""Large batches in small memory: gradients of several calls, one step of an optimiser.

Comes in: an optimiser. Goes out: an optimiser that steps at every n-th call only. A separate step
because it knows no formula: it chooses, for everything the other one updates, between the next
value and the present one.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import UserError
from graphc.frontends.dsl.creation import zeros_like
from graphc.frontends.dsl.elementwise import where
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.optim.memory import Beside, Updates
from graphc.frontends.optim.optimiser import Optimiser


class Accumulated(Optimiser):
    """``optimiser``, which gets the mean of the gradients of ``every`` calls at the last of them.

    ``optim.Accumulated(optim.Adam(1e-3), every=4)`` on batches of 8 steps as Adam does on batches
    of 32, when the loss is a mean over the batch; it takes the memory of one more gradient.
    """

    def __init__(self, optimiser: Optimiser, every: int) -> None:
        """Raises `UserError` GC0104 for ``every`` below 1."""
        super().__init__()
        if every < 1:
            raise UserError("GC0104", f"every={every}", fix="gather the gradients of 1 or more")
        self.optimiser, self.every = optimiser, every

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        count = self.count()
        done = count + 1
        now = done % self.every == 0
        updates: Updates = {count: done}
        means = []
        for place, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            own = Beside(self, place, p, None)
            total = own("sum") + g
            own.keep("sum", where(now, zeros_like(total), total))
            means.append(total / self.every)
            updates |= own.updates
        inner = self.optimiser.step(parameters, means)
        return updates | {target: where(now, new, target) for target, new in inner.items()}

    def named_state(self) -> dict[str, Tensor]:
        """Its own sums and count, and the state of the optimiser behind ``optimiser.``."""
        inner = self.optimiser.named_state()
        return super().named_state() | {f"optimiser.{name}": x for name, x in inner.items()}
