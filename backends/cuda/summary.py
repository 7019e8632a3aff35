"""A schedule in one line.

Comes in: a kernel, its phases, the limits of a GPU. Goes out: what was chosen, and what is
launched. A separate step because loops say everything, and a reader first wants to know one thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.backends.cuda.device import Limits
from graphc.backends.cuda.emit import Phase
from graphc.backends.cuda.tensor_cores import choose, product
from graphc.backends.cuda.tile_loops import chosen
from graphc.kernels.kernel import Kernel


def summary(kernel: Kernel, phases: Sequence[Phase], limits: Limits) -> str:
    """One line: the tile of a contraction, and every launch."""
    return "; ".join([*_tile(kernel, limits), *map(_launch, phases)]) or "nothing to do"


def _tile(kernel: Kernel, limits: Limits) -> Iterator[str]:
    if kernel.points == 0:
        return
    matrices = product(kernel, limits)
    if matrices is not None:
        tile = choose(matrices, limits)
        yield (
            f"tensor cores, tiles of {tile.rows} x {tile.columns} x {tile.depth} bytes, "
            f"{tile.stages} stages"
        )
        return
    found = chosen(kernel, limits)
    if found is not None:
        yield str(found[1])


def _launch(phase: Phase) -> str:
    blocks = " x ".join(str(n) for n in phase.grid if n > 1) or "1"
    shared = f" with {phase.shared_bytes} bytes of shared memory" if phase.shared_bytes else ""
    return f"{blocks} blocks of {phase.threads} threads{shared}"
