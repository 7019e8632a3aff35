"""Updates in place: which new parameter values are written straight into the parameter.

Comes in: the groups of a graph and what each reads. Goes out: the memory that stands in for the
buffers of new values, and the copies for the others. A separate step because it depends on the
whole schedule: the old value must not be read after the new one is written.
"""

from __future__ import annotations

from graphc.expr import Buffer, Iter, Load
from graphc.graph import Graph, Node
from graphc.kernels.fuse import Fusion, Group
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.kernels.trace import iterators

Use = tuple[Group, Node, Load]
"""Which kernel, which of its members, and the load."""


def update_in_place(
    graph: Graph, fusion: Fusion, reads: dict[Group, list[tuple[Node, Load]]]
) -> tuple[dict[Buffer, Buffer], list[Kernel]]:
    """Where new parameter values go: straight into the parameter if no one reads the old value
    later, else by a copy.

    Returns candidate buffer -> parameter memory, and the copies to run last.
    """
    homes: dict[Buffer, Buffer] = {}
    copies: list[Kernel] = []
    uses = _uses(reads)
    for target, value in graph.updates:
        memory, candidate = fusion.tracer.buffers[target], fusion.tracer.buffers[value]
        if _old_value_is_done(value, fusion.home[value], uses.get(memory, [])):
            homes[candidate] = memory
        else:
            copies.append(_copy(candidate, memory, (value,)))
    return homes, copies


def _uses(reads: dict[Group, list[tuple[Node, Load]]]) -> dict[Buffer, list[Use]]:
    """Where each buffer is read."""
    found: dict[Buffer, list[Use]] = {}
    for group, loaded in reads.items():
        for node, load in loaded:
            found.setdefault(load.buffer, []).append((group, node, load))
    return found


def _old_value_is_done(value: Node, group: Group, uses: list[Use]) -> bool:
    """Whether a parameter is last read where, and not after, its new ``value`` is written."""
    if group.kind in ("scatter", "call") or group.is_across(value):
        return False
    place = group.index_of(value)
    for other, node, load in uses:
        here = other is group and load.index == place
        before = other.number < group.number
        if not before and not (here and group.stages[node] <= group.stages[value]):
            return False
    return True


def _copy(source: Buffer, target: Buffer, nodes: tuple[Node, ...]) -> Kernel:
    index = iterators(source.shape)
    iters = tuple(i for i in index if isinstance(i, Iter))
    return Kernel(iters, (Stage((), (Store(target, index, Load(source, index)),)),), nodes)
