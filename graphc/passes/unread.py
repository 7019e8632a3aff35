"""Loops and branches without the work that nobody needs.

Comes in: a graph. Goes out: a graph whose calls with bodies compute what is read of their results,
and no more. A separate step before all others, because the calls of a program are found by the
identity of the graph that is compiled, so no later pass may change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphc.graph import Graph, Node, call_results, toposort
from graphc.rewrite import Ledger
from graphc.site import serving

NAME = "what nobody reads"


def without_unread(graph: Graph, ledger: Ledger | None = None) -> Graph:
    """The graph with the leanest calls; one that is leaner may make others so."""
    while found := _leaner(graph, ledger):
        graph = _with(graph, found)
    return graph


def _leaner(graph: Graph, ledger: Ledger | None) -> dict[Node, Node]:
    """Other nodes for the results of calls of which something can be left out."""
    found: dict[Node, Node] = {}
    for node, twins in call_results(graph.nodes).items():
        if node.op.bodies and node not in found:
            found.update(_lean(twins))
    if ledger is not None:
        for node, lean in found.items():
            ledger.add("unread", NAME, node, lean)
    return found


def _lean(twins: Sequence[Node]) -> Mapping[Node, Node]:
    node = twins[0]
    with serving(node, rule=NAME):
        found = node.op.lean({y.op.result for y in twins}, node.inputs)
    return {} if found is None else {y: found[y.op.result] for y in twins}


def _with(graph: Graph, changes: Mapping[Node, Node]) -> Graph:
    """The graph with other nodes for some, which are made of the operands of these."""

    def change(nodes: Iterable[Node]) -> Mapping[Node, Node]:
        new: dict[Node, Node] = {}
        for node in nodes:
            for made in toposort([changes.get(node, node)], new):
                inputs = tuple(new[x] for x in made.inputs)
                new[made] = made if inputs == made.inputs else replace(made, inputs=inputs)
            new[node] = new[changes.get(node, node)]
        return new

    return graph.map(change)
