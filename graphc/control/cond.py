"""Branches: one of two graphs, chosen when the program runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.batch import batched
from graphc.control.bodies import Cotangents, of_stacks, pulled_back, unstacked
from graphc.errors import UserError
from graphc.graph import Array, Graph, Node, toposort
from graphc.ops.leaves import new_input
from graphc.ops.library import Fill, LibraryCall, Places, Run, put
from graphc.ops.reduction import broadcast_in, repeated, where
from graphc.types import TensorType


@dataclass(frozen=True, kw_only=True)
class Cond(LibraryCall):
    """``then(*operands)`` where the first operand, a single bool, is true, else ``other(...)``.

    Only the branch that is taken is computed; both have results of the same types.
    """

    then: Graph = field(repr=False)
    other: Graph = field(repr=False)

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return self.then, self.other

    def results(self, *types: TensorType) -> tuple[TensorType, ...]:
        predicate = types[0]
        if predicate.dtype.kind != "bool" or predicate.shape:
            raise UserError(
                "GC0102", f"cond: a condition {predicate}", why="one bool decides for the whole",
                fix="reduce it with .any() or .all(), or choose by element with gc.where",
            )  # fmt: skip
        found, others = ([y.type for y in branch.outputs] for branch in self.bodies)
        if found != others:
            raise UserError(
                "GC0101",
                f"cond: one branch gives {', '.join(map(str, found))}, "
                f"the other {', '.join(map(str, others))}",
            )
        return tuple(found)

    def bound(self, runs: Sequence[Run]) -> Fill:
        def fill(operands: Sequence[Array], places: Places) -> None:
            predicate, *arrays = operands
            put(places, runs[0 if predicate else 1].run(arrays))

        return fill

    def lean(self, wanted: Collection[int], xs: Sequence[Node]) -> Mapping[int, Node] | None:
        """Without what the branches compute for nobody, and operands that neither reads."""
        chosen = sorted(wanted)
        read = set(toposort([branch.outputs[k] for branch in self.bodies for k in chosen]))
        pairs = [*zip(self.then.inputs, self.other.inputs, strict=True)]
        used = [k for k, pair in enumerate(pairs) if not read.isdisjoint(pair)]
        if len(chosen) == len(self.then.outputs) and len(used) == len(pairs):
            return None
        then, other = (
            Graph(tuple(x.inputs[k] for k in used), tuple(x.outputs[k] for k in chosen))
            for x in self.bodies
        )
        found = Cond(then=then, other=other).each(xs[0], *(xs[k + 1] for k in used))
        return dict(zip(chosen, found, strict=True))

    def joint_batch(self, predicate: Node, *xs: Node) -> tuple[Node, ...]:  # type: ignore[override]
        """A condition for all elements stays a branch; one for each computes both branches."""
        size, same = predicate.shape[0], repeated(predicate)
        if same is not None:
            given, types = unstacked(xs)
            then, other = of_stacks(self.bodies, types, size)
            return Cond(then=then, other=other).each(same, *given)
        first, second = (
            batched(body.outputs, dict(zip(body.inputs, xs, strict=True)), size)
            for body in self.bodies
        )
        pairs = zip(first, second, strict=True)
        return tuple(where(broadcast_in(predicate, a.shape, (0,)), a, b) for a, b in pairs)

    def joint_grad(self, gs: Cotangents, ys: Sequence[Node], xs: Sequence[Node]) -> Cotangents:
        predicate, *xs = xs
        known = [k for k, g in enumerate(gs) if g is not None]
        floats = [k for k, x in enumerate(xs) if x.dtype.is_float]
        then, other = (_branch_back(branch, known, floats) for branch in self.bodies)
        given = [g for g in gs if g is not None]
        results = Cond(then=then, other=other).each(predicate, *given, *xs)
        by_operand = dict(zip(floats, results, strict=True))
        return [None, *(by_operand.get(k) for k in range(len(xs)))]


def _branch_back(branch: Graph, known: Sequence[int], floats: Sequence[int]) -> Graph:
    seeds = {k: new_input("slope", branch.outputs[k].type) for k in known}
    found = pulled_back(branch, seeds, floats)
    return Graph((*seeds.values(), *branch.inputs), tuple(found[k] for k in floats))
