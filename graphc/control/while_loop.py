"""Loops whose end is known at run time only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.control.bodies import Cotangents, exchanged, of_stacks, unstacked
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node
from graphc.ops.library import Fill, LibraryCall, Places, Run, put
from graphc.ops.reduction import broadcast_in, fold, where
from graphc.types import TensorType


@dataclass(frozen=True, kw_only=True)
class While(LibraryCall):
    """``carries = body(carries, constants)`` as long as ``condition(carries, constants)``.

    Operands: the start values of ``carries`` tensors, then constants. How often it runs is known at
    run time only, so nothing is kept for a gradient.
    """

    condition: Graph = field(repr=False)
    body: Graph = field(repr=False)
    carries: int

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.condition, self.body

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        new = tuple(y.type for y in self.body.outputs)
        if new != types[: self.carries]:
            raise UserError(
                "GC0101",
                f"while_loop: it begins with {', '.join(map(str, types[: self.carries]))} and a "
                f"step gives {', '.join(map(str, new))}",
                fix="cast or reshape the start values, or what the step returns",
            )
        (verdict,) = self.condition.outputs
        if verdict.dtype.kind != "bool" or verdict.shape:
            raise UserError("GC0102", f"while_loop: a condition {verdict.type}, not one bool")
        return new

    def bound(self, runs: Sequence[Run]) -> Fill:
        goes_on, step = runs

        def fill(operands: Sequence[Array], places: Places) -> None:
            carried, constants = [*operands[: self.carries]], operands[self.carries :]
            while goes_on.run([*carried, *constants])[0]:
                carried = [*step.run([*carried, *constants])]
            put(places, carried)

        return fill

    def joint_batch(self, *xs: Node) -> tuple[Node, ...]:
        """It goes on while any element does; the others keep what they have."""
        size, (given, types) = xs[0].shape[0], unstacked(xs)
        for k in range(self.carries):
            given[k], types[k] = xs[k], xs[k].type
        condition, step = of_stacks([self.condition, self.body], types, size)
        (going,) = condition.outputs
        known = dict(zip(condition.inputs, step.inputs, strict=True))
        (still,) = exchanged([going], known)
        carried = zip(step.outputs, step.inputs, strict=False)
        kept = (where(broadcast_in(still, y.shape, (0,)), y, x) for y, x in carried)
        lasting = While(
            condition=Graph(condition.inputs, (fold("logical_or", going, (0,)),)),
            body=Graph(step.inputs, tuple(kept)),
            carries=self.carries,
        )
        return lasting.each(*given)

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        raise UserError(
            "GC0201",
            "while_loop has no gradient",
            why="how many steps to go back is not known before it runs",
            fix="use gc.scan with a fixed number of steps, and gc.where to stop changing",
        )
