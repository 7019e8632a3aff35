"""Native code for CPUs, generated through LLVM and run in this process.

Comes in: a `Program` of kernels. Goes out: an `Executable` that runs it with one native call; or,
of a graph that was compiled before, an `Executable` without any `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm import cache
from graphc.backends.llvm.about import about
from graphc.backends.llvm.executable import Executable, Listing
from graphc.backends.llvm.image import image_of, leaves, read, write
from graphc.backends.llvm.roofline import core_to_core, limits
from graphc.backends.llvm.threads import thread_count
from graphc.backends.llvm.tune import AUTOTUNE, tuned, waiting
from graphc.dlpack import HOST, Place
from graphc.graph import Graph
from graphc.identity import graph_identity
from graphc.kernels.calls import library
from graphc.kernels.kernel import Program
from graphc.stages import Stages

TAKES = "program"
PASSES = (AUTOTUNE,)
__all__ = ["Executable", "about", "build", "core_to_core", "limits", "place", "recall"]


def place() -> Place:
    """The memory of the host."""
    return HOST


def build(
    program: Program,
    source: Graph | None = None,
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Executable:
    """Compile ``program``, and keep it under the identity of the graph ``source`` it was made of,
    for temporaries of at most ``memory`` bytes.

    With "autotune" among ``passes`` tiles are measured first (`tune`).
    """
    held = leaves(source or program.graph)
    listing = Listing(lambda: program, tuned if AUTOTUNE in passes else list)
    calls = library(source or program.graph, lambda body: _runner(body, passes))
    made = image_of(program, listing.forms, held, calls.signatures)
    unfinished = AUTOTUNE in passes and waiting(listing.forms)
    if source is not None and not unfinished:
        cache.put(_key(source, passes, memory), write(made))
    return Executable(made, held, listing, calls)


def recall(
    source: Graph,
    program: Callable[[], Program],
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Executable | None:
    """What `build` kept for an equal graph; None if there is nothing.

    ``program`` lowers the graph; it is called when somebody looks inside.
    """
    made = cache.get(_key(source, passes, memory), read)
    if made is None:
        return None
    listing = Listing(program, made.chosen)
    calls = library(source, lambda body: _runner(body, passes))
    return Executable(made, leaves(source), listing, calls)


def _runner(body: Graph, passes: Sequence[str]) -> Executable:
    """What runs a body of a loop or a branch."""
    stages = Stages(body, {}, TAKES)
    known = recall(stages.source, lambda: stages.program, passes)
    return known or build(stages.program, stages.source, passes)


def _key(graph: Graph, passes: Sequence[str], memory: int | None) -> str:
    tuned_for = f" tuned for {thread_count()} threads" if AUTOTUNE in passes else ""
    within = "" if memory is None else f" within {memory} bytes"
    return f"{cache.compiler()} {graph_identity(graph)}{tuned_for}{within}"
