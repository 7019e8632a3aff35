"""Which nodes share one box: the update of a parameter, and scopes when there is too much to see.

Comes in: the nodes that get a box. Goes out: groups of nodes in an order where operands precede
readers, and notes that say what was folded. A separate step because folding may not make a cycle.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import groupby

from graphc.graph import Node
from graphc.show.picture import LEAVES
from graphc.show.roles import Roles

Group = tuple[str, tuple[Node, ...]]
"""The title of a box and the nodes it stands for."""


@dataclass(frozen=True)
class Fold:
    """The name of a group while it is collected; ``part`` tells the pieces of a cut one apart."""

    title: str
    what: Hashable
    part: int = 0


def groups_of(roles: Roles, budget: int) -> tuple[list[Group], tuple[str, ...]]:
    """The boxes of a picture, and what to say about the folding.

    Above ``budget`` boxes scopes are folded, the deepest first; a picture that is still too large
    is cut into runs of consecutive operations.
    """
    if roles.detail == "all":
        return [_alone(n) for n in roles.drawn], ()
    keys = _update_keys(roles)
    depth = roles.detail if isinstance(roles.detail, int) else _affordable(roles, keys, budget)
    if depth is not None:
        keys |= _scope_keys(roles, keys, depth)
    groups = _grouped(roles, keys)
    count = sum(roles.of[n] not in LEAVES for n in roles.drawn)
    notes: tuple[str, ...] = ()
    if depth is not None:
        notes = (f"{count:,} operations; scopes below level {depth} are folded",)
    if len(groups) > budget:
        notes = (f"{count:,} operations; runs of consecutive ones are folded",)
        groups = _grouped(roles, _run_keys(roles, groups, budget))
    return groups, notes


def _alone(node: Node) -> Group:
    return node.op.name, (node,)


def _update_keys(roles: Roles) -> dict[Node, Fold]:
    """The new value of each parameter is one box, with what only it needs."""
    keys: dict[Node, Fold] = {}
    for target, value in roles.updates:
        fold = Fold(f"update {target.op.label}", target)
        stack = [value]
        while stack:
            node = stack.pop()
            if node not in keys and roles.of.get(node) == "update":
                keys[node] = fold
                stack += node.inputs
    return keys


def _affordable(roles: Roles, keys: dict[Node, Fold], budget: int) -> int | None:
    """The deepest level of scopes that keeps the picture in its budget; None when all fits."""
    if len({keys.get(n, n) for n in roles.drawn}) <= budget:
        return None
    deepest = max(len(n.site.scope) for n in roles.drawn)
    for depth in range(deepest, 1, -1):
        folds = keys | _scope_keys(roles, keys, depth)
        if len({folds.get(n, n) for n in roles.drawn}) <= budget:
            return depth
    return 1 if deepest else None


def _scope_keys(roles: Roles, keys: Mapping[Node, Fold], depth: int) -> dict[Node, Fold]:
    drawn = [n for n in roles.drawn if n not in keys and roles.of[n] not in LEAVES]
    folds = {
        n: Fold(n.site.scope[depth - 1], (n.site.scope[:depth], roles.of[n]))
        for n in drawn
        if len(n.site.scope) >= depth
    }
    return folds | _own_parameters(roles, folds)


def _own_parameters(roles: Roles, folds: Mapping[Node, Fold]) -> dict[Node, Fold]:
    """The parameters that only one group reads: they are part of it."""
    users: dict[Node, set[Fold | None]] = {}
    for node in roles.of:
        if node not in roles.passed and roles.wired(node):
            for x in node.inputs:
                users.setdefault(roles.source(x)[0], set()).add(folds.get(node))
    owned = {n: users[n] for n in roles.drawn if roles.of[n] == "param" and n in users}
    single = {n: next(iter(found)) for n, found in owned.items() if len(found) == 1}
    return {n: fold for n, fold in single.items() if fold is not None}


def _run_keys(roles: Roles, groups: Sequence[Group], budget: int) -> dict[Node, Fold]:
    """Runs of consecutive boxes of one role, long enough to halve the budget."""
    length = max(2, 2 * len(groups) // budget)
    computed = [members for _, members in groups if roles.of[members[-1]] not in LEAVES]
    keys: dict[Node, Fold] = {}
    for role, boxes in groupby(computed, key=lambda members: roles.of[members[-1]]):
        run = list(boxes)
        for start in range(0, len(run), length):
            fold = Fold(f"{role} part", (len(keys), start))
            keys |= {n: fold for members in run[start : start + length] for n in members}
    return keys


# Groups without cycles ----------------------------------------------------------------------------
def _grouped(roles: Roles, keys: Mapping[Node, Fold]) -> list[Group]:
    """The groups in execution order. A group on a cycle is cut into runs of consecutive nodes."""
    order = roles.drawn
    chosen: dict[Node, Hashable] = {n: keys.get(n, n) for n in order}
    sorted_keys = _sorted(roles, order, chosen)
    done = set(sorted_keys)
    if len(done) < len(set(chosen.values())):
        rest = [n for n in order if chosen[n] not in done and n in keys]
        for part, (_, run) in enumerate(groupby(rest, key=lambda n: chosen[n])):
            chosen |= {n: replace(keys[n], part=part + 1) for n in run}
        sorted_keys = _sorted(roles, order, chosen)
    members: dict[Hashable, list[Node]] = {key: [] for key in sorted_keys}
    for node in order:
        members[chosen[node]].append(node)
    return [(_title(key, nodes[-1]), tuple(nodes)) for key, nodes in members.items()]


def _title(key: Hashable, node: Node) -> str:
    return key.title if isinstance(key, Fold) else node.op.name


def _sorted(roles: Roles, order: Sequence[Node], chosen: Mapping[Node, Hashable]) -> list[Hashable]:
    """The keys by Kahn's algorithm, earliest first; keys on a cycle and behind it are missing."""
    rank: dict[Hashable, int] = {}
    for position, node in enumerate(order):
        rank[chosen[node]] = position
    waiting: dict[Hashable, set[Hashable]] = {key: set() for key in rank}
    readers: dict[Hashable, list[Hashable]] = {key: [] for key in rank}
    for node in order:
        for x in node.inputs:
            source = chosen.get(roles.source(x)[0])
            key = chosen[node]
            if source is not None and source != key and source not in waiting[key]:
                waiting[key].add(source)
                readers[source].append(key)
    counts = {key: len(sources) for key, sources in waiting.items()}
    by_rank = {position: key for key, position in rank.items()}
    ready = sorted(rank[key] for key, count in counts.items() if not count)
    found: list[Hashable] = []
    while ready:
        found.append(by_rank[heappop(ready)])
        for reader in readers[found[-1]]:
            counts[reader] -= 1
            if not counts[reader]:
                heappush(ready, rank[reader])
    return found
