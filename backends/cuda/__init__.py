"""GPU kernels that are generated as CUDA C.

Comes in: a `Program` of kernels, a device. Goes out: an `Executable`. The device is a GPU (backend
"cuda") or a simulator on the CPU (backend "cuda-sim"): see `device`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from graphc.backends.cuda.code import forms
from graphc.backends.cuda.device import Device
from graphc.backends.cuda.executable import Executable
from graphc.graph import Graph
from graphc.kernels.calls import Library, library
from graphc.kernels.kernel import Program
from graphc.stages import WITHOUT_SCORES, Stages

TAKES = WITHOUT_SCORES
TF32 = "tf32"
PASSES = (TF32,)
"""Optional: factors of matrix products in float32 are rounded to TF32, for tensor cores."""


def built(
    program: Program,
    source: Graph | None,
    memory: int | None,
    device: Device,
    passes: Sequence[str] = (),
) -> Executable:
    """Compile ``program`` for ``device``. Its temporaries were planned to fit ``memory`` bytes."""
    calls = library_of(source or program.graph, device, passes)
    limits = replace(device.limits, tf32=TF32 in passes)
    return Executable(program, device, calls, forms(program, limits))


def recall(
    source: Graph,
    program: Callable[[], Program],
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Executable | None:
    """Nothing: machine code is kept, programs are not."""
    return None


def library_of(graph: Graph, device: Device, passes: Sequence[str] = ()) -> Library:
    """What libraries compute of a graph; the bodies that they run are compiled for ``device``."""
    return library(graph, lambda body: _runner(body, device, passes))


def _runner(body: Graph, device: Device, passes: Sequence[str]) -> Executable:
    """What runs a body of a loop or a branch."""
    stages = Stages(body, {}, TAKES)
    return built(stages.program, stages.source, None, device, passes)
