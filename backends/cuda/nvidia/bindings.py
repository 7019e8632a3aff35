"""NVIDIA's libraries as Python modules, or a clear word about what is missing.

Comes in: nothing. Goes out: the modules `cuda.bindings.driver` and `cuda.bindings.nvrtc`, whose
functions have C's names and return a status followed by results. A separate file because they are
optional: nothing imports them before somebody asks for a GPU or for its machine code.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from graphc.errors import UserError

INSTALL = 'pip install "graphc[cuda]"'
ELSEWHERE = "use backend='cuda-sim', which runs the same kernels on the CPU; see graphc doctor"


def unavailable(what: str, why: str = "", fix: str = "") -> UserError:
    """The one error of a machine that lacks something, with what to do instead."""
    return UserError(
        "GC0403",
        f"the cuda backend is not available: {what}",
        why=why,
        fix=f"{fix}, or {ELSEWHERE}" if fix else ELSEWHERE,
    )


@functools.cache
def driver() -> Any:
    """The driver API. Raises `UserError` GC0403 where the package is not installed."""
    return _module("cuda.bindings.driver")


@functools.cache
def nvrtc() -> Any:
    """The run-time compiler. Raises `UserError` GC0403 where its package, or the library behind
    it, is not installed.
    """
    module = _module("cuda.bindings.nvrtc")
    try:
        module.nvrtcVersion()  # looks for the library
    except RuntimeError as error:
        what = "NVRTC, NVIDIA's compiler, is not installed"
        raise unavailable(what, str(error), INSTALL) from error
    return module


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        what = "the package cuda-bindings is not installed"
        raise unavailable(what, str(error), INSTALL) from error
