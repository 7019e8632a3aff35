"""Passes: functions from graph to graph, and the list in which they run.

Comes in: a graph as the user and the gradient wrote it. Goes out: an equal graph that is cheaper
and more accurate. Separate from lowering because tensors are still whole here, so algebra works.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphc.graph import Graph
from graphc.passes.cse import share_equal
from graphc.passes.dce import drop_dead
from graphc.passes.equations.stability import STABILITY
from graphc.passes.fast_math import FAST_MATH, assume_finite
from graphc.passes.fold import FOLDING, fold_constants
from graphc.passes.narrow import NARROW, keep_narrow
from graphc.passes.residues import RESIDUES, without_inserted_zeros
from graphc.passes.row_sums import shorten_row_sums
from graphc.passes.simplify import ALGEBRA, simplify
from graphc.passes.split import SPLITTING, split_reductions
from graphc.passes.stabilise import stabilise
from graphc.passes.sums import merge_sums
from graphc.passes.unread import without_unread
from graphc.passes.verify import verify
from graphc.passes.winograd import WINOGRAD, fast_convolutions
from graphc.rewrite import Ledger, Rule


@dataclass(frozen=True)
class Pass:
    """A named step: ``run`` takes a graph and a ledger (or None) and gives a graph.

    ``rules`` are the rewrites that are its own, for listings; a pass may run others beside them.
    One that ``hoards`` makes a program faster that keeps more values at once; one that
    ``recomputes`` serves programs that compute scores again instead of keeping them.
    """

    name: str
    run: Callable[[Graph, Ledger | None], Graph]
    rules: Sequence[Rule] = ()
    hoards: bool = False
    recomputes: bool = False


PIPELINE: tuple[Pass, ...] = (
    Pass("cse", share_equal),
    Pass("fold", fold_constants, FOLDING),
    Pass("simplify", simplify, ALGEBRA),
    Pass("stabilise", stabilise, STABILITY),
    Pass("dce", drop_dead),
)


PREPARATION: tuple[Pass, ...] = (
    Pass("residues", without_inserted_zeros, RESIDUES),
    Pass("winograd", fast_convolutions, WINOGRAD),
    Pass("row sums", shorten_row_sums, recomputes=True),
    Pass("sums", merge_sums, hoards=True),
    Pass("split", split_reductions, SPLITTING),
    Pass("narrow", keep_narrow, NARROW),
)
"""What only pays where code is generated: run on a graph with static sizes, before lowering."""


def optimise(
    graph: Graph,
    passes: Sequence[Pass] = PIPELINE,
    watch: Callable[[str, Graph], None] | None = None,
    ledger: Ledger | None = None,
) -> Graph:
    """The graph after ``passes`` in order; verified before the first and after the last.

    ``watch(name, graph)`` is called after every pass. Raises `CompilerBug` when a graph breaks a
    rule of `verify`.
    """
    verify(graph)
    for step in passes:
        graph = step.run(graph, ledger)
        if watch is not None:
            watch(step.name, graph)
    verify(graph)
    return graph


def prepare(
    graph: Graph, ledger: Ledger | None = None, *, saving: bool = False, recomputing: bool = False
) -> Graph:
    """The graph after `PREPARATION`, or, for one that is ``saving`` memory, after its passes that
    do not hoard, and without those of ``recomputing`` programs for others: sums may be added up in
    another order.
    """
    for step in PREPARATION:
        if not (saving and step.hoards) and (recomputing or not step.recomputes):
            graph = step.run(graph, ledger)
    return graph


__all__ = [
    "FAST_MATH",
    "PIPELINE",
    "PREPARATION",
    "Ledger",
    "Pass",
    "assume_finite",
    "drop_dead",
    "fast_convolutions",
    "fold_constants",
    "keep_narrow",
    "merge_sums",
    "optimise",
    "prepare",
    "share_equal",
    "shorten_row_sums",
    "simplify",
    "split_reductions",
    "stabilise",
    "verify",
    "without_inserted_zeros",
    "without_unread",
]
