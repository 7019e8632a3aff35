"""What the CUDA backend finds on this machine, for `graphc doctor`.

Comes in: nothing. Goes out: facts by name, and what to do about those that are missing. A separate
file because nothing that compiles needs it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from graphc.backends.cuda.nvidia import bindings, compiler, disassembler
from graphc.backends.cuda.nvidia.device import CUDA, DRIVER, architecture
from graphc.backends.cuda.nvidia.driver import Driver
from graphc.errors import GraphcError, UserError


def about() -> dict[str, str]:
    """Packages, compiler, disassembler, driver and each GPU."""
    return {
        "cuda-bindings": _said(lambda: _version("cuda-bindings")),
        "NVRTC": _said(lambda: "{}.{}".format(*compiler.version())),
        "nvdisasm": _said(_disassembler),
        **gpus(),
    }


def gpus(api: Any = None) -> dict[str, str]:
    """The driver and every GPU: name, compute capability, memory."""
    try:
        driver = Driver(api or bindings.driver())
        known = driver("cuDriverGetVersion")
        error, _ = driver.attempt("cuInit", 0)
        count = 0 if error else driver("cuDeviceGetCount")
    except (GraphcError, RuntimeError):
        return {"NVIDIA driver": f"none; for GPUs install a driver, {DRIVER} or newer"}
    said = f"for CUDA {known // 1000}.{known % 1000 // 10}"
    if known < 1000 * CUDA:
        said += f"; too old: install driver {DRIVER} or newer"
    elif not count:
        said += f"; it finds no GPU ({error or 'none'}): see nvidia-smi and CUDA_VISIBLE_DEVICES"
    return {"NVIDIA driver": said} | {f"GPU {n}": _gpu(driver, n) for n in range(count)}


def _gpu(driver: Driver, number: int) -> str:
    device = driver("cuDeviceGet", number)
    name = bytes(driver("cuDeviceGetName", 256, device)).split(b"\0")[0].decode()
    memory = driver("cuDeviceTotalMem", device) / (1 << 30)
    return f"{name}, sm_{architecture(driver, device)}, {memory:.0f} GiB"


def _disassembler() -> str:
    disassembler.program()
    return version(disassembler.PACKAGE)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise UserError("GC0403", "not installed", fix=bindings.INSTALL) from None


def _said(find: Callable[[], str]) -> str:
    """What was found, or what is missing and how to get it."""
    try:
        return find()
    except UserError as error:
        return f"none; {error.fix.partition(', or')[0]}" if error.fix else error.what
