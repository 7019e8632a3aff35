"""Backend "cuda-sim": generated CUDA kernels on a simulated GPU, which is this computer's CPU."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from graphc.backends.cuda import PASSES, TAKES, built, recall
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.sim.about import about
from graphc.backends.cuda.sim.device import Simulator
from graphc.backends.cuda.sim.sanitize import sanitized
from graphc.dlpack import HOST, Place
from graphc.graph import Graph
from graphc.kernels.kernel import Program

__all__ = ["PASSES", "TAKES", "Executable", "about", "build", "place", "recall", "sanitized"]


@functools.cache
def device() -> Simulator:
    """The one simulator of this process."""
    return Simulator()


def place() -> Place:
    """The memory of the host, which is the simulator's."""
    return HOST


def build(
    program: Program,
    source: Graph | None = None,
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Executable:
    """Compile ``program``. Raises `UserError` GC0403 where there is no C++ compiler."""
    return built(program, source, memory, device(), passes)
