"""The order of groups that needs the least memory.

Comes in: groups in the order of the graph, what each reads and what is stored. Goes out: the groups
in an order that frees memory as early as it can. A separate step because only the whole schedule
says when a value is read for the last time, and an optional one, as what runs next to what is then
no longer what the graph's author wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from heapq import heappop, heappush

from graphc.expr import Load
from graphc.graph import Graph, Node
from graphc.kernels.fuse import Fusion, Group

Sizes = Mapping[Node, int]


def saving_order(
    graph: Graph,
    fusion: Fusion,
    reads: Mapping[Group, list[tuple[Node, Load]]],
    stored: set[Node],
) -> Fusion:
    """The same groups, numbered so that of those that are ready the one comes first after which the
    least memory is live, as long as this lowers the peak.

    ``reads`` says what each group loads, ``stored`` which nodes have memory. List scheduling by
    pressure: Goodman and Hsu, Code scheduling and register allocation in large basic blocks (1988).
    """
    owner = {b: n for n, b in fusion.tracer.buffers.items()}
    outside = {*graph.roots, *fusion.places.rest}
    sizes = {n: n.type.bytes for n in stored if n not in outside}
    read = {g: {owner[x.buffer] for _, x in found} & sizes.keys() for g, found in reads.items()}
    read = {g: xs - g.stages.keys() for g, xs in read.items()}
    order = _listed(fusion.groups, read, sizes)
    if _peak(order, read, sizes) >= _peak(fusion.groups, read, sizes):
        return fusion
    for number, group in enumerate(order):
        group.number = number
    return replace(fusion, groups=tuple(order))


def _listed(groups: Sequence[Group], reads: Mapping[Group, set[Node]], sizes: Sizes) -> list[Group]:
    left = _readers(groups, reads)
    waiting = {g: len(g.sources.intersection(groups)) for g in groups}
    price = {g: _change(g, reads[g], left, sizes) for g in groups}
    ready = [(price[g], g.number, g) for g in groups if not waiting[g]]
    ready.sort()
    order: list[Group] = []
    done: set[Group] = set()
    while ready:
        cost, _, group = heappop(ready)
        if group in done or cost != price[group]:  # a better entry stands elsewhere
            continue
        order.append(group)
        done.add(group)
        changed = {r for r in group.readers if _arrived(waiting, r)}
        for x in reads[group] & left.keys():
            left[x].discard(group)
            if len(left[x]) == 1:
                changed |= {g for g in left[x] if not waiting[g]}
        for g in changed:
            price[g] = _change(g, reads[g], left, sizes)
            heappush(ready, (price[g], g.number, g))
    return order


def _arrived(waiting: dict[Group, int], reader: Group) -> bool:
    """One of the groups that ``reader`` waits for is done: whether it was the last."""
    waiting[reader] -= 1
    return not waiting[reader]


def _readers(groups: Iterable[Group], reads: Mapping[Group, set[Node]]) -> dict[Node, set[Group]]:
    found: dict[Node, set[Group]] = {}
    for group in groups:
        for x in reads[group]:
            found.setdefault(x, set()).add(group)
    return found


def _change(
    group: Group, read: Iterable[Node], left: Mapping[Node, set[Group]], sizes: Sizes
) -> int:
    """How many bytes more are live after a group."""
    made = sum(sizes.get(n, 0) for n in group.stages)
    return made - sum(sizes.get(x, 0) for x in read if left[x] == {group})


def _peak(order: Iterable[Group], reads: Mapping[Group, set[Node]], sizes: Sizes) -> int:
    """The most bytes that are live at one time."""
    order = [*order]
    left = {x: len(groups) for x, groups in _readers(order, reads).items()}
    live = peak = 0
    for group in order:
        live += sum(sizes.get(n, 0) for n in group.stages)
        peak = max(peak, live)
        for x in reads[group]:
            left[x] -= 1
            live -= 0 if left[x] else sizes.get(x, 0)
    return peak
