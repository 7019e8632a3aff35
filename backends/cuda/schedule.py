"""The order of a kernel's loops on a GPU: what the blocks of a grid share, and what their threads.

Comes in: a kernel. Goes out: phases, each of which is one launch. A separate step because the
choice is made from the kernel's access pattern alone and can be printed before any code exists.
"""

from __future__ import annotations

from dataclasses import dataclass

from graphc.backends.cuda.across import is_scatter, separated
from graphc.backends.cuda.choice import choice
from graphc.backends.cuda.columns import columns, strip_of
from graphc.backends.cuda.cut import cut
from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.points import points, spread_of
from graphc.backends.cuda.rows import rows, team_of
from graphc.backends.cuda.scattered import scattered
from graphc.backends.cuda.segments import folded, in_order, scatter_of
from graphc.backends.cuda.stages import staged
from graphc.backends.cuda.tensor_cores import choose, product
from graphc.backends.cuda.tensor_loops import matrix_product
from graphc.backends.cuda.tile_loops import multiplied
from graphc.backends.cuda.transpose import tiles_of, transposed
from graphc.kernels.flat import collapse, flatten, rebased
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Statement

Phases = tuple[tuple[Statement, ...], ...]


@dataclass(frozen=True)
class Planned:
    """A phase, and in a few words what shares its work."""

    how: str
    phase: tuple[Statement, ...]


Plan = tuple[Planned, ...]


def schedule(kernel: Kernel, limits: Limits) -> Phases:
    """The phases of ``kernel``, which is in the form that `normal` gives it."""
    return tuple(planned.phase for planned in plan(kernel, limits))


def plan(kernel: Kernel, limits: Limits) -> Plan:
    """The phases of ``kernel`` with what was chosen for each."""
    if kernel.points == 0:
        return ()
    if not is_scatter(kernel):
        return _stages(kernel, limits)
    sums = separated(kernel)
    if sums:
        return tuple(p for part in sums for p in _flat(part, limits))
    scatter = scatter_of(kernel)
    if scatter is None:
        return _named("points that may meet in order", scattered(kernel))
    order, keys, found = in_order(scatter)
    before = tuple(p for part in found for p in _flat(part, limits))
    return before + _named("runs of sorted places", folded(scatter, order, keys))


def _named(how: object, phases: Phases) -> Plan:
    return tuple(Planned(str(how), phase) for phase in phases)


def _flat(kernel: Kernel, limits: Limits) -> Plan:
    """The plan of a kernel as it was written, without scatters."""
    return _stages(collapse(flatten(kernel)), limits)


def _stages(kernel: Kernel, limits: Limits) -> Plan:
    """The plan of a kernel without scatters."""
    matrices = product(kernel, limits)
    if matrices is not None:
        chosen = choose(matrices, limits)
        return _named("tensor cores", matrix_product(matrices, chosen, limits))
    tiles = multiplied(kernel, limits)
    if tiles:
        return _named("tiles of sums in registers", tiles)
    cuts = cut(collapse(staged(kernel)), limits)
    if len(cuts) == 1:
        return _alone(kernel, limits)
    return tuple(p for part in cuts for p in _alone(collapse(part), limits))


def _alone(kernel: Kernel, limits: Limits) -> Plan:
    """The plan of a kernel that fills the grid, or is too small to."""
    stages = collapse(staged(kernel))
    match choice(stages):
        case "rows":
            return _named(team_of(stages, limits), (rows(stages, limits),))
        case "columns":
            return _named(strip_of(stages, limits), (columns(stages, limits),))
    tiles = tiles_of(kernel)
    if tiles is not None:
        return _named(tiles, (transposed(kernel, tiles),))
    return _named(spread_of(kernel, limits), points(kernel, limits))


def normal(kernel: Kernel) -> Kernel:
    """The kernel by offsets and with as few indices as possible; scatters keep theirs, because
    they tell which elements can meet.
    """
    return kernel if is_scatter(kernel) else rebased(collapse(flatten(kernel)))
