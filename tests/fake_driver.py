"""A driver without a GPU: the functions of the driver API that the backend calls, on host memory.

What is called is recorded, so that tests see the order, and whether NVIDIA's module has functions
and constants of these names. Work is done when the stream is waited for, as late as a GPU may do
it: so what is given back or overwritten too early shows. Kernels are Python functions.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

SUCCESS = 0
ERRORS = {
    1: "CUDA_ERROR_INVALID_VALUE",
    2: "CUDA_ERROR_OUT_OF_MEMORY",
    100: "CUDA_ERROR_NO_DEVICE",
    700: "CUDA_ERROR_ILLEGAL_ADDRESS",
}
CODES = {name: code for code, name in ERRORS.items()}
ATTRIBUTES = {
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR": 9,
    "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR": 0,
    "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT": 132,
    "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 232_448,
    "CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR": 65_536,
}


class Names:
    """An enumeration that has every member; which ones were asked for is recorded."""

    def __init__(self, name: str, seen: set[tuple[str, str]]) -> None:
        self._name, self._seen = name, seen

    def __getattr__(self, member: str) -> str:
        self._seen.add((self._name, member))
        return member


class FakeDriver:
    """Stands for the module `cuda.bindings.driver`.

    ``kernels`` are what launches do, by name: functions of the addresses passed. ``fail`` maps the
    name of a function to the error that its next call returns.
    """

    def __init__(self, version: int = 13000, memory: int = 1 << 20) -> None:
        self.version, self.memory = version, memory
        self.calls: list[tuple[Any, ...]] = []
        self.constants: set[tuple[str, str]] = set()
        self.fail: dict[str, str] = {}
        self.sticky = ""
        self.blocks: dict[int, Any] = {}
        self.kernels: dict[str, Callable[..., None]] = {}
        self.attributes = dict(ATTRIBUTES)
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None
        self.alive: Counter[str] = Counter()
        self.handles = 0
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.functions: dict[int, str] = {}
        self.cuuint64_t = self.cuuint32_t = int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("CU"):
            return Names(name, self.constants)
        if not name.startswith("cu"):
            raise AttributeError(name)
        try:
            work = object.__getattribute__(self, f"do_{name}")
        except AttributeError:
            raise AttributeError(name) from None

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append((name, *arguments))
            error = self.fail.pop(name, "")
            return (CODES[error], None) if error else work(*arguments)

        return call

    def names(self) -> list[str]:
        """The functions called so far, in order."""
        return [name for name, *_ in self.calls]

    def _made(self, kind: str) -> int:
        self.handles += 1
        self.alive[kind] += 1
        return self.handles

    def _gone(self, kind: str) -> tuple[int]:
        self.alive[kind] -= 1
        return (SUCCESS,)

    def _later(self, work: Callable[[], None], stream: int) -> tuple[int]:
        (self.queue if self.recording is None else self.recording).append(work)
        return (SUCCESS,)

    def finish(self) -> None:
        """Do all that was asked for."""
        while self.queue:
            self.queue.pop(0)()

    # The device -----------------------------------------------------------------------------------
    def do_cuDriverGetVersion(self):
        return SUCCESS, self.version

    def do_cuInit(self, flags):
        return (SUCCESS,)

    def do_cuGetErrorName(self, code):
        return SUCCESS, ERRORS[code].encode()

    def do_cuGetErrorString(self, code):
        return SUCCESS, ERRORS[code].removeprefix("CUDA_ERROR_").replace("_", " ").lower().encode()

    def do_cuDeviceGetCount(self):
        return SUCCESS, 1

    def do_cuDeviceGet(self, ordinal):
        return SUCCESS, ordinal

    def do_cuDeviceGetName(self, length, device):
        return SUCCESS, b"Fake H200\0".ljust(length)

    def do_cuDeviceTotalMem(self, device):
        return SUCCESS, self.memory

    def do_cuDeviceGetAttribute(self, attribute, device):
        return SUCCESS, self.attributes[attribute]

    def do_cuDevicePrimaryCtxRetain(self, device):
        return SUCCESS, self._made("context")

    def do_cuCtxSetCurrent(self, context):
        return (SUCCESS,)

    # Memory ---------------------------------------------------------------------------------------
    def do_cuMemAlloc(self, size):
        if size + sum(block.nbytes for block in self.blocks.values()) > self.memory:
            return CODES["CUDA_ERROR_OUT_OF_MEMORY"], None
        block = np.full(size, 0xFF, np.uint8)
        self.blocks[block.ctypes.data] = block
        return SUCCESS, block.ctypes.data

    def do_cuMemFree(self, address):
        self.finish()
        del self.blocks[address]
        return (SUCCESS,)

    def do_cuMemGetInfo(self):
        return SUCCESS, self.memory - sum(b.nbytes for b in self.blocks.values()), self.memory

    def do_cuMemAllocHost(self, size):
        self.pinned = [*getattr(self, "pinned", []), np.full(size, 0xFF, np.uint8)]
        return SUCCESS, self.pinned[-1].ctypes.data

    def do_cuMemFreeHost(self, address):
        self.finish()
        self.pinned = [block for block in self.pinned if block.ctypes.data != address]
        return (SUCCESS,)

    def _copy(self, target, source, size, stream):
        return self._later(lambda: ctypes.memmove(target, source, size) and None, stream)

    do_cuMemcpyHtoDAsync = do_cuMemcpyDtoHAsync = do_cuMemcpyDtoDAsync = _copy

    # Code -----------------------------------------------------------------------------------------
    def do_cuModuleLoadData(self, image):
        return SUCCESS, self._made("module")

    def do_cuModuleGetFunction(self, module, name):
        handle = self._made("function")
        self.functions[handle] = name.decode()
        return SUCCESS, handle

    def do_cuFuncLoad(self, function):
        return (SUCCESS,)

    def do_cuModuleUnload(self, module):
        return self._gone("module")

    def do_cuFuncSetAttribute(self, function, attribute, value):
        return (SUCCESS,)

    def do_cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, arguments, extra):
        name = self.functions[function]
        kernel = self.kernels[name]
        pointers = (ctypes.c_void_p * kernel.__code__.co_argcount).from_address(arguments)
        values = [ctypes.c_uint64.from_address(pointer).value for pointer in pointers]
        return self._later(lambda: kernel(*values), stream)

    def do_cuTensorMapEncodeTiled(self, *arguments):
        opaque = (ctypes.c_uint64 * 16)(arguments[2])  # recognised by the address
        return SUCCESS, SimpleNamespace(getPtr=lambda: ctypes.addressof(opaque), opaque=opaque)

    # Streams, graphs, events ----------------------------------------------------------------------
    def do_cuStreamCreate(self, flags):
        return SUCCESS, self._made("stream")

    def do_cuStreamSynchronize(self, stream):
        self.finish()
        return (CODES[self.sticky] if self.sticky else SUCCESS,)

    def do_cuStreamBeginCapture(self, stream, mode):
        self.recording = []
        return (SUCCESS,)

    def do_cuStreamEndCapture(self, stream):
        graph = self._made("graph")
        self.graphs[graph], self.recording = self.recording or [], None
        return SUCCESS, graph

    def do_cuGraphInstantiate(self, graph, flags):
        made = self._made("executable graph")
        self.graphs[made] = self.graphs[graph]
        return SUCCESS, made

    def do_cuGraphDestroy(self, graph):
        return self._gone("graph")

    def do_cuGraphExecDestroy(self, graph):
        return self._gone("executable graph")

    def do_cuGraphUpload(self, graph, stream):
        return (SUCCESS,)

    def do_cuGraphLaunch(self, graph, stream):
        self.queue += self.graphs[graph]
        return (SUCCESS,)

    def do_cuEventCreate(self, flags):
        return SUCCESS, self._made("event")

    def do_cuEventRecord(self, event, stream):
        return (SUCCESS,)

    def do_cuStreamWaitEvent(self, stream, event, flags):
        return (SUCCESS,)

    def do_cuEventSynchronize(self, event):
        self.finish()
        return (SUCCESS,)

    def do_cuEventElapsedTime(self, start, end):
        return SUCCESS, 1.5

    def do_cuEventDestroy(self, event):
        return self._gone("event")
