"""The order of a kernel's loops on a GPU: what the blocks of a grid share, and what their threads.

Comes in: a kernel. Goes out: phases, each of which is one launch. A separate step because the
choice is made from the kernel's access pattern alone and can be printed before any code exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphc.backends.cuda import attention_tiles
from graphc.backends.cuda.across import Sum, beside_rows, is_scatter, separated
from graphc.backends.cuda.attention import Scores, find_scores
from graphc.backends.cuda.attention_apart import apart
from graphc.backends.cuda.attention_loops import scored
from graphc.backends.cuda.choice import choice
from graphc.backends.cuda.columns import columns, strip_of
from graphc.backends.cuda.cut import cut
from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.points import points, spread_of
from graphc.backends.cuda.rows import Carried, carrying, rows, team_of, with_sums
from graphc.backends.cuda.scattered import scattered
from graphc.backends.cuda.segments import Scatter, folded, scatter_of, written_down
from graphc.backends.cuda.sort import counted, merged, numbers
from graphc.backends.cuda.stages import size, staged
from graphc.backends.cuda.tensor_cores import choose, product
from graphc.backends.cuda.tensor_loops import matrix_product
from graphc.backends.cuda.tile_loops import multiplied, tiled
from graphc.backends.cuda.transpose import tiles_of, transposed
from graphc.expr import Buffer
from graphc.kernels.flat import collapse, flatten, rebased
from graphc.kernels.kernel import Kernel
from graphc.loops.ir import Statement
from graphc.types import TensorType

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
    beside = beside_rows(kernel)
    found = _carried(*beside, limits) if beside is not None else ()
    if found:
        return found
    kernels = separated(kernel)
    if kernels:
        return tuple(p for part in kernels for p in _flat(part, limits))
    scatter = scatter_of(kernel)
    if scatter is None:
        return _named("points that may meet in order", scattered(kernel))
    return _sorted(scatter, limits)


def _sorted(scatter: Scatter, limits: Limits) -> Plan:
    """The plan of a scatter whose places are sorted first."""
    keys, chunks = (numbers(size(scatter.alone)) for _ in range(2))
    kernels = (written_down(scatter, keys.keys), *counted(keys.keys, chunks))
    before = tuple(p for part in kernels for p in _flat(part, limits))
    order, merges = merged(chunks)
    after = _named("sorted chunks, merged in pairs", merges)
    return before + after + _named("runs of sorted places", folded(scatter, order))


def _named(how: object, phases: Phases) -> Plan:
    return tuple(Planned(str(how), phase) for phase in phases)


def _carried(kernel: Kernel, sums: Sequence[Sum], limits: Limits) -> Plan:
    """The plan of a kernel over rows whose teams carry sums of rows along; none if they cannot."""
    stages = collapse(staged(collapse(flatten(kernel))))
    if choice(stages) != "rows":
        return ()
    team = carrying(stages, len(sums), limits)
    if team is None:
        return ()
    blocks = -(-kernel.points // team.turns)
    carried = {
        s.value.buffer: Carried(
            s.store.combine,
            Buffer(TensorType(s.value.dtype, (blocks, size(s.inner))), "scratch"),
        )
        for s in sums
    }
    first = _named(team, (with_sums(stages, team, carried),))
    after = (s.of_parts(carried[s.value.buffer].parts) for s in sums)
    return first + tuple(p for part in after for p in _flat(part, limits))


def _flat(kernel: Kernel, limits: Limits) -> Plan:
    """The plan of a kernel as it was written, without scatters."""
    return _stages(collapse(flatten(kernel)), limits)


def _stages(kernel: Kernel, limits: Limits) -> Plan:
    """The plan of a kernel without scatters."""
    scores = find_scores(kernel)
    if scores is not None:
        return _scored(scores, limits)
    matrices = product(kernel, limits)
    if matrices is not None:
        chosen = choose(matrices, limits)
        return _named("tensor cores", matrix_product(matrices, chosen, limits))
    found = multiplied(kernel, limits)
    if found is not None:
        return _named(found[1], tiled(*found))
    cuts = cut(collapse(staged(kernel)), limits)
    if len(cuts) == 1:
        return _alone(kernel, limits)
    return tuple(p for part in cuts for p in _alone(collapse(part), limits))


def _scored(scores: Scores, limits: Limits) -> Plan:
    """The plan of attention: its scores are in memory only if no tile fits."""
    chosen = attention_tiles.choose(scores, limits)
    if chosen is not None:
        return _named(chosen, scored(chosen))
    return tuple(p for part in apart(scores) for p in _flat(part, limits))


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
