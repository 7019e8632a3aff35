"""One GPU: `Device` by the driver API.

Comes in: units, sizes, arrays, launches. Goes out: functions, memory, results. All work goes
through one stream, so it is done in the order in which it is asked for. A launch costs the host
some microseconds, so launches that are repeated are recorded once as a CUDA graph, which is one
call.

The primary context is used, which other libraries of the process share: arrays can be exchanged
with them without copies.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from graphc import dlpack
from graphc.backends.cuda.device import Launch, Limits, Mark, Unit, Usage
from graphc.backends.cuda.layout import Layout
from graphc.backends.cuda.nvidia import bindings
from graphc.backends.cuda.nvidia.arguments import Arguments
from graphc.backends.cuda.nvidia.compiler import Compiled
from graphc.backends.cuda.nvidia.driver import ONE_BY_ONE, Driver
from graphc.backends.cuda.nvidia.listing import machine_code, resources, text
from graphc.backends.cuda.nvidia.memory import Allocation, Heap, Pinned, Staging
from graphc.graph import Array

CUDA = 13
"""The major version of the packages of the extra ``cuda``; a driver must know it."""
DRIVER = "580"
"""The first driver that knows it (CUDA compatibility guide, "minor version compatibility")."""
OLDEST = 75
"""The first architecture that CUDA 13 compiles for."""
HOPPER = 90
"""The architecture whose own instructions, wgmma among them, are used: ``sm_90a``."""
UNASKED = 48 << 10
"""Bytes of dynamic shared memory that a kernel may have without being allowed more."""

SMALL = 1 << 20
"""Bytes of results up to which one copy brings all of them."""
LEGACY = 1
"""The handle of the stream that libraries use which were told no other (CU_STREAM_LEGACY)."""
UNORDERED = -1
"""DLPack's word for a stream that will wait by itself."""

Build = Callable[[Unit, str], Compiled]


class Function:
    """A kernel on the device."""

    def __init__(self, name: str, handle: Any, compiled: Compiled) -> None:
        self.name, self.handle, self.compiled = name, handle, compiled
        self.allowed = UNASKED


class Recording:
    """Launches that were recorded as a graph; a call runs all of them."""

    def __init__(self, gpu: Gpu, graph: Any, launches: Sequence[Launch]) -> None:
        self.gpu, self.graph, self.launches = gpu, graph, launches
        self.names = tuple(launch.function.name for launch in launches)
        self.launch = gpu.driver.bound("cuGraphLaunch", graph, gpu.stream)

    def __call__(self) -> None:
        self.gpu.enter()
        self.gpu.driver.asked[id(self)] = self.names
        self.launch()


class Event:
    """A `Mark`: an event on a GPU's stream."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        gpu.enter()
        flag = gpu.api.CUevent_flags.CU_EVENT_DISABLE_TIMING
        self.event = gpu.driver("cuEventCreate", flag)
        self.put = gpu.driver.bound("cuEventRecord", self.event, gpu.stream)
        gpu.heap.keep(self, "cuEventDestroy", self.event)

    def wait(self) -> None:
        """Return when the GPU has reached it. Raises `UserError` GC0406."""
        self.gpu.enter()
        self.gpu.driver("cuEventSynchronize", self.event)

    def hold(self, stream: int | None) -> None:
        """Let the ``stream`` of another library wait for it."""
        if stream != UNORDERED:
            self.gpu.enter()
            waiting = LEGACY if stream is None else stream
            self.gpu.driver("cuStreamWaitEvent", waiting, self.event, 0)


class Gpu:
    """The first GPU that CUDA_VISIBLE_DEVICES leaves visible.

    ``api`` is the module of the driver's functions, ``build`` the compiler. Raises `UserError`
    GC0403 where there is no driver, or none that is new enough, or no GPU.
    """

    def __init__(self, api: Any = None, build: Build = machine_code) -> None:
        self.driver, self.build = Driver(api or bindings.driver()), build
        self.api = self.driver.api
        device = opened(self.driver)
        self.name = bytes(self.driver("cuDeviceGetName", 256, device)).split(b"\0")[0].decode()
        self.limits = limits(self.driver, device, self.name)
        self.context = self.driver("cuDevicePrimaryCtxRetain", device)
        self.thread, self.lock = threading.local(), threading.RLock()
        self.enter()
        flag = self.api.CUstream_flags.CU_STREAM_NON_BLOCKING
        streams = (self.driver("cuStreamCreate", flag) for _ in range(3))
        self.stream, self.recorder, self.reader = streams
        self.place = dlpack.Place((dlpack.CUDA, 0), int(self.stream))
        self.heap = Heap(self.driver)
        self.finished = self.driver.bound("cuStreamSynchronize", self.stream)
        self.loaded: weakref.WeakValueDictionary[Unit, Function] = weakref.WeakValueDictionary()
        self.one_by_one = os.environ.get(ONE_BY_ONE) == "1"

    def enter(self) -> None:
        """Make the context current in this thread; every thread does so once."""
        if not getattr(self.thread, "entered", False):
            self.driver("cuCtxSetCurrent", self.context)
            self.thread.entered = True

    # Kernels --------------------------------------------------------------------------------------
    def load(self, units: Sequence[Unit]) -> list[Function]:
        """A function for each unit; new ones are compiled side by side."""
        self.enter()
        known = {unit: self.loaded.get(unit) for unit in units}
        new = [unit for unit, function in known.items() if function is None]
        with ThreadPoolExecutor(min(len(new), os.cpu_count() or 1) or 1) as pool:
            made = list(pool.map(lambda unit: self.build(unit, self.limits.target), new))
        for unit, compiled in zip(new, made, strict=True):
            known[unit] = self.loaded[unit] = self._function(unit, compiled)
        return [function for unit in units if (function := known[unit]) is not None]

    def _function(self, unit: Unit, compiled: Compiled) -> Function:
        image = np.frombuffer(compiled.cubin, np.uint8)
        module = self.driver("cuModuleLoadData", image.ctypes.data)
        handle = self.driver("cuModuleGetFunction", module, unit.name.encode())
        self.driver("cuFuncLoad", handle)  # now: loading may be refused while launches are recorded
        made = Function(unit.name, handle, compiled)
        self.heap.keep(made, "cuModuleUnload", module)
        return made

    def usage(self, function: Function) -> Usage:
        """Registers, spills and static shared memory of a kernel."""
        return function.compiled.usage

    def text(self, unit: Unit, level: str) -> str:
        """A kernel as "cuda", "ptx" or "sass"."""
        return text(unit, level, self.limits.target)

    def resources(self, unit: Unit, threads: int, shared_bytes: int) -> str:
        """What a kernel takes of the GPU, in words."""
        return resources(unit, threads, shared_bytes, self.limits)

    # Memory ---------------------------------------------------------------------------------------
    def allocate(self, size: int) -> Allocation:
        """Memory of ``size`` bytes. Raises `UserError` GC0405."""
        self.enter()
        return self.heap.allocate(size)

    @functools.cached_property
    def _staging(self) -> Staging:
        return Staging(self.driver, self.stream)

    def write(self, address: int, array: Array) -> None:
        """Copy an array to the device, row by row whatever its order is here."""
        self.enter()
        with self.lock:
            self._staging.send(address, array)

    def read(self, address: int, array: Array, after: Mark | None = None) -> None:
        """Copy from the device into a dense array, when all that was asked for is done, or all
        before ``after``.
        """
        self.enter()
        if after is not None:
            after.wait()
        stream = self.stream if after is None else self.reader
        self._fetch(address, array, stream)
        if after is None:
            self.synchronise()
        else:
            self.driver("cuStreamSynchronize", stream)

    def _fetch(self, address: int, array: Array, stream: Any) -> None:
        if array.nbytes:
            place = array.ctypes.data
            self.driver("cuMemcpyDtoHAsync", place, address, array.nbytes, stream)

    def inbox(self, address: int, layout: Layout) -> Callable[[Sequence[Array]], None]:
        """What copies arrays to their places behind ``address``, through pinned memory."""
        return functools.partial(self._send_all, address, layout)

    def _send_all(self, address: int, layout: Layout, arrays: Sequence[Array]) -> None:
        self.enter()
        if arrays:
            with self.lock:
                self._staging.send_all(address, layout, arrays)

    def outbox(self, address: int, layout: Layout) -> Callable[[], list[Array]]:
        """What waits for all that was asked for, and makes arrays of what lies behind ``address``
        then: small ones come through pinned memory by one copy.
        """
        if layout.size > SMALL:
            return functools.partial(self._receive_each, address, layout)
        self.enter()
        pinned = Pinned(self.heap, layout)
        given = (pinned.address, address, layout.size, self.stream)
        fetch = self.driver.bound("cuMemcpyDtoHAsync", *given) if layout.size else None
        return functools.partial(self._receive_all, pinned, fetch)

    def _receive_all(self, pinned: Pinned, fetch: Callable[[], None] | None) -> list[Array]:
        self.enter()
        if fetch is not None:
            fetch()
        self.synchronise()
        return [view.copy() for view in pinned.views]

    def _receive_each(self, address: int, layout: Layout) -> list[Array]:
        self.enter()
        arrays: list[Array] = [*map(np.empty, layout.shapes, layout.dtypes)]
        for array, offset in zip(arrays, layout.offsets, strict=True):
            self._fetch(address + offset, array, self.stream)
        self.synchronise()
        return arrays

    def mark(self) -> Event:
        """A mark, not yet set."""
        return Event(self)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes on the device."""
        self.enter()
        if size:
            self.driver("cuMemcpyDtoDAsync", target, source, size, self.stream)

    # Launches -------------------------------------------------------------------------------------
    def run(self, launches: Sequence[Launch]) -> None:
        """Launch kernels one after another."""
        self.enter()
        for launch in launches:
            name = launch.function.name
            self.driver.asked[name] = (name,)
            self._launch(launch, self.stream)
            if self.one_by_one:
                self.synchronise()

    def _launch(self, launch: Launch, stream: Any) -> None:
        function: Function = launch.function
        if launch.shared_bytes > function.allowed:
            most = self.api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.driver("cuFuncSetAttribute", function.handle, most, launch.shared_bytes)
            function.allowed = launch.shared_bytes
        arguments = Arguments(self.driver, launch.arguments)  # the driver copies them
        block = (launch.threads, 1, 1)
        sizes = (*launch.grid, *block, launch.shared_bytes)
        self.driver("cuLaunchKernel", function.handle, *sizes, stream, arguments.address, 0)

    def recorded(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """These launches as one call."""
        if self.one_by_one or not launches:
            return functools.partial(self.run, launches)
        self.enter()
        with self.lock:
            graph = self._captured(launches)
        made = self.driver("cuGraphInstantiate", graph, 0)
        self.driver("cuGraphDestroy", graph)
        recording = Recording(self, made, launches)
        self.heap.keep(recording, "cuGraphExecDestroy", made)
        self.driver("cuGraphUpload", made, self.stream)
        return recording

    def _captured(self, launches: Sequence[Launch]) -> Any:
        """The graph of these launches. They go to a stream of their own, where they are noted and
        not executed; what other threads do meanwhile is not noted.
        """
        mode = self.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self.driver("cuStreamBeginCapture", self.recorder, mode)
        try:
            for launch in launches:
                self._launch(launch, self.recorder)
        except BaseException:
            self.driver.attempt("cuStreamEndCapture", self.recorder)
            raise
        return self.driver("cuStreamEndCapture", self.recorder)

    def synchronise(self) -> None:
        """Wait until everything is done. Raises `UserError` GC0406."""
        self.enter()
        self.finished()
        self.driver.asked.clear()
        self.heap.give_back()

    def seconds(self, work: Callable[[], None]) -> float:
        """How long the device works on what ``work`` asks for, by its own clock."""
        self.enter()
        flag = self.api.CUevent_flags.CU_EVENT_DEFAULT
        start, end = (self.driver("cuEventCreate", flag) for _ in range(2))
        try:
            self.driver("cuEventRecord", start, self.stream)
            work()
            self.driver("cuEventRecord", end, self.stream)
            self.synchronise()
            return float(self.driver("cuEventElapsedTime", start, end)) / 1e3
        finally:
            for event in (start, end):
                self.driver.attempt("cuEventDestroy", event)


# What is there ------------------------------------------------------------------------------------
def opened(driver: Driver) -> Any:
    """The first GPU, after the driver has been started. Raises `UserError` GC0403."""
    try:
        known = driver("cuDriverGetVersion")
        error, _ = driver.attempt("cuInit", 0) if known >= 1000 * CUDA else ("", None)
    except RuntimeError as missing:
        raise bindings.unavailable(
            "there is no NVIDIA driver", str(missing), f"install a driver, {DRIVER} or newer"
        ) from missing
    if known < 1000 * CUDA:
        raise bindings.unavailable(
            f"the driver is too old: it knows CUDA {known // 1000}.{known % 1000 // 10}",
            f"kernels are compiled by CUDA {CUDA}, whose code older drivers cannot load",
            f"install driver {DRIVER} or newer",
        )
    if error or driver("cuDeviceGetCount") == 0:
        raise bindings.unavailable(
            "the driver finds no GPU",
            error,
            "look what nvidia-smi and the variable CUDA_VISIBLE_DEVICES say",
        )
    return driver("cuDeviceGet", 0)


def limits(driver: Driver, device: Any, name: str) -> Limits:
    """What the driver says of a GPU. Raises `UserError` GC0403 for one that is too old."""
    found = architecture(driver, device)
    if found < OLDEST:
        raise bindings.unavailable(
            f"{name} is too old: it is an sm_{found}",
            f"CUDA {CUDA} makes code for sm_{OLDEST} and newer",
        )
    return Limits(
        found,
        "a" if found == HOPPER else "",
        attribute(driver, device, "MULTIPROCESSOR_COUNT"),
        attribute(driver, device, "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
        attribute(driver, device, "MAX_REGISTERS_PER_MULTIPROCESSOR"),
    )


def architecture(driver: Driver, device: Any) -> int:
    """The compute capability, ten times major plus minor."""
    major = attribute(driver, device, "COMPUTE_CAPABILITY_MAJOR")
    return 10 * major + attribute(driver, device, "COMPUTE_CAPABILITY_MINOR")


def attribute(driver: Driver, device: Any, name: str) -> int:
    """A number that the driver knows of a GPU."""
    kind = getattr(driver.api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(driver("cuDeviceGetAttribute", kind, device))


@functools.cache
def gpu() -> Gpu:
    """The GPU of this process, opened when it is first asked for."""
    return Gpu()
