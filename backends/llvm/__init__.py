"""Native code for CPUs, generated through LLVM and run in this process.

Comes in: a `Program` of kernels. Goes out: an `Executable` that runs it with one native call; or,
of a graph that was compiled before, an `Executable` without any `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphc.backends.llvm import cache
from graphc.backends.llvm.about import about
from graphc.backends.llvm.executable import Executable, Listing, check_dtypes
from graphc.backends.llvm.image import image_of, leaves, read, write
from graphc.backends.llvm.roofline import core_to_core, limits
from graphc.backends.llvm.threads import thread_count
from graphc.backends.llvm.tune import AUTOTUNE, tuned, waiting
from graphc.graph import Graph
from graphc.identity import graph_identity
from graphc.kernels.kernel import Program

TAKES = "program"
PASSES = (AUTOTUNE,)
__all__ = ["Executable", "about", "build", "core_to_core", "limits", "recall"]


def build(program: Program, source: Graph | None = None, passes: Sequence[str] = ()) -> Executable:
    """Compile ``program``, and keep it under the identity of the graph ``source`` it was made of.

    With "autotune" among ``passes`` tiles are measured first (`tune`). Raises `UserError` GC0401
    for dtypes without code.
    """
    check_dtypes(program)
    held = leaves(source or program.graph)
    listing = Listing(lambda: program, tuned if AUTOTUNE in passes else list)
    made = image_of(program, listing.forms, held)
    unfinished = AUTOTUNE in passes and waiting(listing.forms)
    if source is not None and not unfinished:
        cache.put(_key(source, passes), write(made))
    return Executable(made, held, listing)


def recall(
    source: Graph, program: Callable[[], Program], passes: Sequence[str] = ()
) -> Executable | None:
    """What `build` kept for an equal graph; None if there is nothing.

    ``program`` lowers the graph; it is called when somebody looks inside.
    """
    made = cache.get(_key(source, passes), read)
    return None if made is None else Executable(made, leaves(source), Listing(program, made.chosen))


def _key(graph: Graph, passes: Sequence[str]) -> str:
    tuned_for = f" tuned for {thread_count()} threads" if AUTOTUNE in passes else ""
    return f"{cache.compiler()} {graph_identity(graph)}{tuned_for}"
