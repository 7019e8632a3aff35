"""Scans without what nobody needs: results that nobody reads, and sums that can wait.

Comes in: a scan, and which of its results are wanted. Goes out: these results, made by a scan with
a smaller body. A separate step because only the whole program says what is read: the gradient of a
scan gives a cotangent for each operand, wanted or not.

A carry that only grows, ``c = c + a @ b``, is a sum of products over the steps. Where the factors
are smaller than the product, they are stacked instead and multiplied at once after the loop: so the
gradient of the weights of a recurrent layer is one product, and not one for each step. The stacks
take the memory of the factors, which is at most that of the carry, as often as there are steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphc.graph import Graph, Node, toposort
from graphc.ops.contraction import Contract
from graphc.ops.copy import awaited
from graphc.ops.elementwise import cast_to, is_widening
from graphc.ops.reduction import fold
from graphc.rewrite import number_of
from graphc.types import DType

if TYPE_CHECKING:
    from graphc.control.scan import Scan


@dataclass(frozen=True)
class Term:
    """What a step adds to a carry: the ``product`` of two ``factors``, or (None) one alone; and
    then operations that only move its elements. Factors that were widened for the product are
    those from before, which take less memory.
    """

    factors: tuple[Node, ...]
    product: Contract | None
    moves: tuple[Node, ...]
    dtype: DType

    def total(self, stacks: Sequence[Node]) -> Node:
        """The sum over all steps, given the stacks of the factors."""
        if self.product is None:
            found = fold("add", stacks[0], (0,))
        else:
            left, right = self.product.left, self.product.right
            step = max((*left, *right), default=-1) + 1
            wide = (cast_to(stack, self.dtype) for stack in stacks)
            found = Contract((step, *left), (step, *right), self.product.out)(*wide)
        for move in reversed(self.moves):
            found = move.op(found)
        return found


@dataclass(frozen=True)
class Plan:
    """A smaller loop: the next value of each carry that is left, what is stacked for results and
    for later, and what is added then to which carry.
    """

    carried: dict[int, Node]
    streams: tuple[Node, ...]
    later: dict[int, list[Term]]


def leaner(scan: Scan, wanted: Collection[int], xs: Sequence[Node]) -> Mapping[int, Node] | None:
    """The ``wanted`` results of a scan, by their numbers; None when nothing can be left out."""
    plan = _plan(scan, wanted)
    body, count = scan.body, len(scan.body.outputs)
    used = _used(scan, plan)
    if not plan.later and len(used) == len(xs) and len(plan.carried) + len(plan.streams) == count:
        return None
    first = scan.carries + scan.sequences
    lean = replace(
        scan,
        body=Graph(tuple(body.inputs[k] for k in used), (*plan.carried.values(), *plan.streams)),
        carries=len(plan.carried),
        sequences=sum(scan.carries <= k < first for k in used),
    )
    results = iter(lean.each(*(xs[k] for k in used)) if lean.body.outputs else ())
    found = dict(zip(plan.carried, results, strict=False))
    stacks = dict(zip(plan.streams, results, strict=False))
    found |= {count + k: y for k, y in zip(plan.carried, results, strict=True)}
    found |= {k: stacks[body.outputs[k]] for k in range(scan.carries, count) if k in wanted}
    stacks |= zip(body.inputs[scan.carries : first], xs[scan.carries : first], strict=True)
    for k, terms in plan.later.items():
        start = found.get(k, xs[k])
        totals = [term.total([stacks[x] for x in term.factors]) for term in terms]
        found[k] = sum(totals[1:], totals[0] if number_of(start) == 0 else start + totals[0])
    return {k: found[k] for k in wanted}


def _plan(scan: Scan, wanted: Collection[int]) -> Plan:
    body, count = scan.body, len(scan.body.outputs)
    growing = {k: _grown(body, k) for k in range(scan.carries) if count + k not in wanted}
    sums = _Sums(scan, {k: terms for k, terms in growing.items() if terms and k in wanted})
    results = (body.outputs[k] for k in range(scan.carries, count) if k in wanted)
    streams = tuple(dict.fromkeys((*results, *sums.stacked)))
    values = {**dict(enumerate(body.outputs[: scan.carries])), **sums.rest}
    carried = {k for k in range(scan.carries) if {k, count + k} & {*wanted}} - sums.finished
    while True:
        reached = set(toposort((*streams, *(values[k] for k in carried))))
        more = {k for k in range(scan.carries) if body.inputs[k] in reached}
        if more <= carried:
            return Plan({k: values[k] for k in sorted(carried)}, streams, sums.later)
        carried |= more


def _used(scan: Scan, plan: Plan) -> list[int]:
    """The operands that the smaller loop needs."""
    reached = set(toposort((*plan.carried.values(), *plan.streams)))
    inputs = enumerate(scan.body.inputs)
    return [k for k, x in inputs if (k in plan.carried if k < scan.carries else x in reached)]


# Carries that only grow ---------------------------------------------------------------------------
class _Sums:
    """Which parts of the carries in ``growing`` are added up ``later``, of factors that are
    ``stacked``; the next value of a carry without them is in ``rest``, if there is one, else the
    carry is ``finished``.
    """

    def __init__(self, scan: Scan, growing: Mapping[int, Sequence[Node]]) -> None:
        body: Graph = scan.body
        first = scan.carries + scan.sequences
        sequences = set(body.inputs[scan.carries : first])
        changing = _depending(body, body.inputs[:first])
        products = {
            k: [t for t in map(_product, terms) if t is not None and changing.issuperset(t.factors)]
            for k, terms in growing.items()
        }
        factors = dict.fromkeys(x for terms in products.values() for t in terms for x in t.factors)
        self.stacked = [x for x in factors if x not in sequences]
        self.later: dict[int, list[Term]] = {}
        self.rest: dict[int, Node] = {}
        self.finished: set[int] = set()
        for k, terms in growing.items():
            self._sort(k, body.inputs[k], terms, sequences.union(factors))

    def _sort(self, k: int, carry: Node, terms: Sequence[Node], stacks: set[Node]) -> None:
        """Put off what can be put off of the ``terms`` of carry ``k``."""
        rest = carry
        for node in terms:
            term = _product(node)
            if term is None or not stacks.issuperset(term.factors):
                term = _alone(node)
            if stacks.issuperset(term.factors):
                self.later.setdefault(k, []).append(term)
            else:
                rest = rest + node
        if rest is carry:
            self.finished.add(k)
        elif k in self.later:
            self.rest[k] = rest


def _grown(body: Graph, k: int) -> list[Node]:
    """What a step adds to carry ``k``; nothing, if it does anything else with it."""
    carry, node = body.inputs[k], body.outputs[k]
    depending = _depending(body, (carry,))
    reads = Counter(x for n in body.nodes for x in n.inputs) + Counter(body.outputs)
    terms: list[Node] = []
    while node is not carry:
        bases = [x for x in node.inputs if x in depending]
        if node.op.name != "add" or len(bases) != 1 or reads[node] != 1 or reads[bases[0]] != 1:
            return []
        terms += (x for x in node.inputs if x is not bases[0])
        (node,) = bases
    return [*_summands(terms)]


def _summands(terms: Iterable[Node]) -> Iterator[Node]:
    """Sums taken apart."""
    stack = [*terms]
    while stack:
        node = stack.pop()
        if node.op.name == "add":
            stack.extend(node.inputs)
        else:
            yield node


def _alone(node: Node) -> Term:
    """A summand as moved elements of something else."""
    moves = []
    while node.op.kind == "free" and len(node.inputs) == 1:
        moves.append(node)
        (node,) = node.inputs
    return Term((node,), None, tuple(moves), node.dtype)


def _product(node: Node) -> Term | None:
    """A summand as a product whose factors are together smaller than it is."""
    term = _alone(node)
    (base,) = term.factors
    sizes: list[Any] = [x.type.size for x in (base, *base.inputs)]
    if base.op.kind != "contract" or not all(isinstance(size, int) for size in sizes):
        return None
    if sum(sizes[1:]) > sizes[0]:
        return None
    factors = tuple(map(_stackable, base.inputs))
    return Term(factors, base.op, term.moves, base.dtype)  # type: ignore[arg-type]


def _stackable(node: Node) -> Node:
    """What is to be stacked for a factor: it need not wait for others, as the sequence does that a
    checkpoint begins with, and narrow floats need not be widened yet.
    """
    while awaited(node) or is_widening(node):
        node = node.inputs[-1]
    return node


def _depending(body: Graph, starts: Iterable[Node]) -> set[Node]:
    """The nodes of a body that depend on ``starts``, and these."""
    found = set(starts)
    for node in body.nodes:
        if any(x in found for x in node.inputs):
            found.add(node)
    return found
