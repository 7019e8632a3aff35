"""Backend "cuda": generated CUDA kernels on NVIDIA's GPUs, compiled by NVRTC and run through the
driver API.

Compiling needs no GPU and no driver; everything else does. The packages of the extra ``cuda`` are
looked for when a program is built.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.backends.cuda import PASSES, TAKES, built, recall
from graphc.backends.cuda.executable import Executable
from graphc.backends.cuda.nvidia.about import about
from graphc.backends.cuda.nvidia.device import gpu as device
from graphc.dlpack import Place
from graphc.graph import Graph
from graphc.kernels.kernel import Program

__all__ = ["PASSES", "TAKES", "Executable", "about", "build", "device", "place", "recall"]


def place() -> Place:
    """The memory of the GPU. Raises as `build`."""
    return device().place


def build(
    program: Program,
    source: Graph | None = None,
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Executable:
    """Compile ``program``. Raises `UserError` GC0403 where there is no GPU, no driver or no NVRTC,
    GC0405 where the GPU has not enough memory.
    """
    return built(program, source, memory, device(), passes)
