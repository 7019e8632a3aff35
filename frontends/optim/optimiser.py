"""What all optimisers share: the way from a loss to updates, the rate, the decay, the groups.

Comes in: a loss and parameters, or their gradients. Goes out: ``{parameter: next value}`` for
``gc.compile(updates=)``, the optimiser's own memory included: moments are parameters too. A
separate step because an optimiser is then no machinery but one formula: see `PerParameter.rule`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphc.errors import UserError
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.frontends.dsl.transform import grad
from graphc.frontends.optim.memory import Beside, Memory, Updates
from graphc.graph import brief
from graphc.site import scope

Schedule = Callable[[Tensor], Tensor]
"""A learning rate as a function of the number of steps done, float64: see `schedules`."""
Rate = Value | Schedule
Number = Tensor | float


class Optimiser(Memory, ABC):
    """Gradients in, updates out."""

    @abstractmethod
    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        """The next values of the parameters, and of the optimiser's memory, given gradients."""

    def updates(self, loss: Tensor, parameters: Sequence[Tensor]) -> Updates:
        """`step` with the gradients of ``loss``. Raises `UserError` GC0201, GC0202, GC0203."""
        chosen = list(parameters)
        gradients = grad(loss, chosen)
        with scope("optimiser"):
            return self.step(chosen, gradients)


class PerParameter(Optimiser):
    """An optimiser that is one formula for every parameter, its `rule`.

    ``lr`` is a number, fixed in the program; a 0-d parameter, which can be changed between calls
    with `gc.assign`; or a `Schedule`, which follows the steps inside the compiled program.
    ``weight_decay`` pulls parameters to 0: weight_decay * p is added to the gradient, or, where it
    is ``decoupled``, p shrinks by lr * weight_decay * p (Loshchilov and Hutter 2019). ``counts``
    says that the rule asks for the number of the step.
    """

    def __init__(
        self,
        lr: Rate,
        weight_decay: float = 0.0,
        *,
        decoupled: bool = False,
        counts: bool = False,
    ) -> None:
        super().__init__()
        self.lr: Any = lr
        self.weight_decay, self.decoupled, self.counts = weight_decay, decoupled, counts

    @abstractmethod
    def rule(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        """The next value of the parameter ``p`` with gradient ``g``; ``own`` is its memory."""

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        updates: Updates = {}
        number: Tensor | None = None
        lr = self.lr
        if self.counts or callable(lr):
            done = self.count()
            updates[done] = number = done + 1
            lr = lr(done.astype("float64")) if callable(lr) else lr
        for place, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
            own = Beside(self, place, p, number)
            new = self._decayed(p, g, lr.astype(p.dtype) if isinstance(lr, Tensor) else lr, own)
            updates |= own.updates | {p: new}
        return updates

    def _decayed(self, p: Tensor, g: Tensor, lr: Number, own: Beside) -> Tensor:
        if not self.weight_decay:
            return self.rule(p, g, lr, own)
        if self.decoupled:
            return self.rule(p - lr * self.weight_decay * p, g, lr, own)
        return self.rule(p, g + self.weight_decay * p, lr, own)

    def named_state(self) -> dict[str, Tensor]:
        """The optimiser's parameters by name, e.g. ``momentum.0``; none before `step`."""
        state = super().named_state()
        if isinstance(self.lr, Tensor) and self.lr.node.op.storage is not None:
            state["lr"] = self.lr
        return state


class Groups(Optimiser):
    """Several optimisers, each for its own parameters: other rates, or no decay for biases.

    ``optim.Groups((optim.AdamW(1e-3), weights), (optim.AdamW(1e-3, weight_decay=0), biases))``
    """

    def __init__(self, *groups: tuple[Optimiser, Iterable[Tensor]]) -> None:
        """Raises `UserError` GC0104 for a parameter in two groups."""
        super().__init__()
        self.groups = [(optimiser, list(parameters)) for optimiser, parameters in groups]
        members = [p for _, parameters in self.groups for p in parameters]
        seen: set[Tensor] = set()
        for p in members:
            if p in seen:
                raise UserError(
                    "GC0104", f"{brief(p.node)} is in two groups", fix="leave it in one of them"
                )
            seen.add(p)

    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> Updates:
        """Raises `UserError` GC0104 unless the groups hold just these parameters."""
        found = dict(zip(parameters, gradients, strict=True))
        members = {p for _, chosen in self.groups for p in chosen}
        if odd := [p for p in (*members, *found) if p not in members or p not in found]:
            raise UserError(
                "GC0104",
                f"{brief(odd[0].node)} is {'in no group' if odd[0] in found else 'not trained'}",
                why="every trained parameter is in one group, and nothing else is",
                fix="pass all parameters of the groups, e.g. model.parameters()",
            )
        updates: Updates = {}
        for optimiser, chosen in self.groups:
            updates |= optimiser.step(chosen, [found[p] for p in chosen])
        return updates

    def named_state(self) -> dict[str, Tensor]:
        """The state of every group behind its number, e.g. ``0.momentum.3``."""
        return {
            f"{place}.{name}": parameter
            for place, (optimiser, _) in enumerate(self.groups)
            for name, parameter in optimiser.named_state().items()
        }
