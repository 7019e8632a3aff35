"""Calls of the driver API, each of them checked.

Comes in: the name of a function and its arguments. Goes out: its results, or an error in the user's
words. A separate step because every call can fail, and most failures come from earlier work: a
driver reports a faulty kernel at some later call.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from graphc.backends.cuda.nvidia.bindings import unavailable
from graphc.errors import CompilerBug, UserError

OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"
FAULTS = frozenset(
    f"CUDA_ERROR_{name}"
    for name in (
        "ASSERT",
        "CONTAINED",
        "CONTEXT_IS_DESTROYED",
        "ECC_UNCORRECTABLE",
        "EXTERNAL_DEVICE",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_ADDRESS",
        "ILLEGAL_INSTRUCTION",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
        "LAUNCH_TIMEOUT",
        "MISALIGNED_ADDRESS",
        "NVLINK_UNCORRECTABLE",
        "UNKNOWN",
    )
)
"""What kernels and broken devices cause. The context is lost: all later calls fail alike."""
NAMED = 8
"""Kernels named in a message at most."""
ONE_BY_ONE = "CUDA_LAUNCH_BLOCKING"
"""The variable by which NVIDIA's tools are told to wait for each kernel; 1 means yes."""


class Driver:
    """The functions of the driver, called by name: ``driver("cuMemFree", address)``.

    ``asked`` names the kernels that may not be done yet, by what asked for them: one of them is
    to blame when a fault appears.
    """

    def __init__(self, api: Any) -> None:
        self.api = api
        self.asked: dict[Any, tuple[str, ...]] = {}
        _LIVING.add(self)

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The result, or the tuple of results. Raises `UserError` GC0405, GC0406, or `CompilerBug`
        where this program uses the driver wrongly.
        """
        status, *results = getattr(self.api, name)(*arguments)
        if status != 0:
            raise self.failure(name, status)
        return results[0] if len(results) == 1 else tuple(results)

    def bound(self, name: str, *arguments: Any) -> Callable[[], None]:
        """``driver(name, *arguments)`` without results, to be done often."""
        function = getattr(self.api, name)

        def call() -> None:
            status = function(*arguments)[0]
            if status != 0:
                raise self.failure(name, status)

        return call

    def attempt(self, name: str, *arguments: Any) -> tuple[str, Any]:
        """The name of the error, empty if there is none, and the result."""
        status, *results = getattr(self.api, name)(*arguments)
        return ("" if status == 0 else self.error(status)), results[0] if results else None

    def error(self, status: Any) -> str:
        """The name of a status, such as CUDA_ERROR_INVALID_VALUE."""
        return _text(self.api.cuGetErrorName(status), status)

    def failure(self, name: str, status: Any) -> Exception:
        """What to raise for a status other than success."""
        error, text = self.error(status), _text(self.api.cuGetErrorString(status), status)
        if error in FAULTS:
            return fault(error, text, (kernel for asked in self.asked.values() for kernel in asked))
        if error == OUT_OF_MEMORY:
            return UserError("GC0405", f"the device has not enough memory ({name})", fix=SMALLER)
        return CompilerBug(f"{name} failed: {error}: {text}")


SMALLER = (
    "make the batch or the model smaller, bound temporaries by gc.compile(..., memory=...), "
    "or end other programs that use this GPU (nvidia-smi lists them)"
)


def _text(found: tuple[Any, Any], status: Any) -> str:
    unknown, text = found
    return f"error {int(status)}" if unknown != 0 or text is None else bytes(text).decode()


def fault(error: str, text: str, kernels: Iterable[str]) -> UserError:
    """The error of a kernel that failed, or of a device that did."""
    names = list(dict.fromkeys(kernels))
    if len(names) == 1:
        where = f" in the kernel {names[0]}"
    elif names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        where = f" in one of the kernels {', '.join(names[:NAMED])}{more}"
    else:
        where = ""
    return UserError(
        "GC0406",
        f"the device failed{where}: {text} ({error})",
        why="after a fault the driver refuses all further work of the process",
        fix=f"start the process again; with {ONE_BY_ONE}=1 the message names the kernel",
    )


# Forks --------------------------------------------------------------------------------------------
class _Lost:
    """Stands for the driver in the child of a fork, which the device does not know."""

    def __getattr__(self, name: str) -> Any:
        raise unavailable(
            "this process is a fork of one that used the GPU",
            "a GPU belongs to the process that opened it, and a fork has no way to it",
            "start processes by multiprocessing.get_context('spawn'), or fork before the first use",
        )


_LIVING: weakref.WeakSet[Driver] = weakref.WeakSet()


def _lose() -> None:
    for each in _LIVING:
        each.api = _Lost()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_lose)
