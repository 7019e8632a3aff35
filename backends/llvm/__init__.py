"""Native code for CPUs, generated through LLVM and run in this process.

Comes in: a `Program` of kernels. Goes out: an `Executable` that runs it with one native call; or,
of a graph that was compiled before, an `Executable` without any `Program`.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.backends.llvm import cache
from graphc.backends.llvm.about import about
from graphc.backends.llvm.executable import Executable, Listing, check_dtypes
from graphc.backends.llvm.image import image_of, leaves, read, write
from graphc.backends.llvm.roofline import limits
from graphc.graph import Graph
from graphc.identity import graph_identity
from graphc.kernels.kernel import Program

TAKES = "program"
__all__ = ["Executable", "about", "build", "limits", "recall"]


def build(program: Program, source: Graph | None = None) -> Executable:
    """Compile ``program``, and keep it under the identity of the graph ``source`` it was made of.

    Raises `UserError` GC0401 for dtypes without code.
    """
    check_dtypes(program)
    held = leaves(source or program.graph)
    listing = Listing(lambda: program)
    made = image_of(program, listing.forms, held)
    if source is not None:
        cache.put(_key(source), write(made))
    return Executable(made, held, listing)


def recall(source: Graph, program: Callable[[], Program]) -> Executable | None:
    """What `build` kept for an equal graph; None if there is nothing.

    ``program`` lowers the graph; it is called when somebody looks inside.
    """
    made = cache.get(_key(source), read)
    return None if made is None else Executable(made, leaves(source), Listing(program))


def _key(graph: Graph) -> str:
    return f"{cache.compiler()} {graph_identity(graph)}"
