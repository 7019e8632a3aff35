"""Native code for CPUs, generated through LLVM and run in this process.

Comes in: a `Program` of kernels. Goes out: an `Executable` that runs it with one native call.
"""

from __future__ import annotations

from graphc.backends.llvm.about import about
from graphc.backends.llvm.executable import Executable, check_dtypes
from graphc.kernels.kernel import Program

TAKES = "program"
__all__ = ["Executable", "about", "build"]


def build(program: Program) -> Executable:
    """Compile ``program``. Raises `UserError` GC0401 for dtypes without code."""
    check_dtypes(program)
    return Executable(program)
