"""A GPU that is this computer's CPU: `Device` by compiling the text of kernels as C++.

Comes in: units, sizes, arrays, launches. Goes out: functions, memory, results. Every thread of a
block is a fibre, and blocks run one after another (`runtime.cpp`). It is no fast GPU but a strict
one: shared memory is NaN at first, threads run in an order that a seed chooses, what is
asynchronous arrives as late as it may, and what breaks the rules is reported with its line.

    GRAPHC_SIM_SEED       0: threads and blocks in order, 1: reversed, above: at random
    GRAPHC_SIM_SANITIZE   "race" or "address": watch over accesses (`sanitize` sets it)
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.backends.cuda.device import WARP, Launch, Limits, Tensor, Unit, Usage
from graphc.backends.cuda.layout import ALIGNMENT, Layout
from graphc.backends.cuda.nvidia.listing import resources, text
from graphc.backends.cuda.sim.compiler import PRELUDE, Units, runtime
from graphc.backends.cuda.sim.sanitize import FOLDER, KIND, LIBRARIES, MARKS
from graphc.dlpack import HOST
from graphc.errors import CompilerBug, UserError
from graphc.graph import Array

THREADS = 1024
"""Of a block, at most."""
UNKNOWN = 0xFF
"""The byte that fresh memory holds: NaN in every float."""
REPORT = 1 << 16
"""Bytes of a report, at most."""


@dataclass(frozen=True)
class Function:
    """A kernel as machine code: the address of its entry."""

    unit: Unit
    address: int


class Memory:
    """Memory on the simulated device: the C library's, so that AddressSanitizer knows its end."""

    def __init__(self, size: int) -> None:
        self.size = size
        place = ctypes.c_void_p()
        library = ctypes.CDLL(None)
        failed = library.posix_memalign(
            ctypes.byref(place), ctypes.c_size_t(ALIGNMENT), ctypes.c_size_t(max(size, 1))
        )
        if failed or place.value is None:
            raise UserError(
                "GC0405",
                f"there is no memory for {size} bytes",
                why="the simulated device's memory is the computer's",
                fix="use smaller arrays",
            )
        self.address, self.free = place.value, functools.partial(library.free, place)
        ctypes.memset(self.address, UNKNOWN, size)

    def __del__(self) -> None:
        if hasattr(self, "free"):
            self.free()


class Map(ctypes.Structure):
    """`Tensor` as kernels get it: ``gc_tensor_map`` of `host.h`."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("sizes", ctypes.c_uint64 * 3),
        ("strides", ctypes.c_uint64 * 2),
        ("box", ctypes.c_uint32 * 3),
        ("element_bytes", ctypes.c_uint32),
        ("swizzle", ctypes.c_uint32),
        ("axes", ctypes.c_uint32),
    )


class Call(ctypes.Structure):
    """``Launch`` of `runtime.cpp`."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32),
        ("shared_bytes", ctypes.c_uint32),
        ("seed", ctypes.c_uint32),
        ("body", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("report", ctypes.c_char_p),
        ("report_bytes", ctypes.c_uint32),
    )


_LINE = re.compile(r"\bline (\d+)")
_ALONE = threading.RLock()
"""The runtime runs one launch at a time."""


@functools.cache
def _units(sanitize: str) -> Units:
    folder = os.environ.get(FOLDER)
    return Units(sanitize, Path(folder) if folder and sanitize else None)


def _need_sanitizer(kind: str) -> None:
    """Raises `UserError` GC0403 in a process without the sanitizer's library."""
    if kind not in LIBRARIES:
        raise UserError(
            "GC0104", f"nothing called {kind!r} can be watched", fix="'race', 'address'"
        )
    if not hasattr(ctypes.CDLL(None), MARKS[kind]):
        raise UserError(
            "GC0403",
            f"this process cannot be watched for {kind}",
            why="a sanitizer must be there from the start of the process",
            fix=f"use graphc run --backend cuda-sim --sanitize {kind}",
        )


class Simulator:
    """A simulated GPU with the ``limits`` of a real one. ``seed`` chooses the order of threads;
    ``sanitize``, "race" or "address", what is watched over, in a process that `sanitize` started:
    else it raises `UserError` GC0403.
    """

    name = "cuda-sim"
    place = HOST

    def __init__(
        self, limits: Limits | None = None, seed: int | None = None, sanitize: str | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.seed = int(os.environ.get("GRAPHC_SIM_SEED", "0")) if seed is None else seed
        self.sanitize = os.environ.get(KIND, "") if sanitize is None else sanitize
        if self.sanitize:
            _need_sanitizer(self.sanitize)

    # Kernels --------------------------------------------------------------------------------------
    def load(self, units: Sequence[Unit]) -> list[Function]:
        """A function for each unit, new ones compiled together. Raises `CompilerBug`, `UserError`
        GC0403.
        """
        addresses = _units(self.sanitize).compiled(units)
        return [Function(*pair) for pair in zip(units, addresses, strict=True)]

    def usage(self, function: Function) -> Usage:
        """Nothing: registers of this processor say nothing about a GPU's."""
        return Usage()

    def text(self, unit: Unit, level: str) -> str:
        """A kernel as "cuda", or what a real GPU would get: "ptx" or "sass". Raises `UserError`
        GC0403 where NVIDIA's compiler is not installed.
        """
        return text(unit, level, self.limits.target)

    def resources(self, unit: Unit, threads: int, shared_bytes: int) -> str:
        """What a kernel takes of a real GPU, in words."""
        return resources(unit, threads, shared_bytes, self.limits)

    # Memory ---------------------------------------------------------------------------------------
    def allocate(self, size: int) -> Memory:
        """Memory of ``size`` bytes. Raises `UserError` GC0405."""
        return Memory(size)

    def write(self, address: int, array: Array) -> None:
        """Copy an array to the device, row by row whatever its order is here."""
        dense = np.ascontiguousarray(array)
        ctypes.memmove(address, dense.ctypes.data, dense.nbytes)

    def read(self, address: int, array: Array, after: object = None) -> None:
        """Copy from the device into a dense array."""
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def inbox(self, address: int, layout: Layout) -> Callable[[Sequence[Array]], None]:
        """What copies arrays to their places behind ``address``."""
        return functools.partial(_fill, _views(address, layout))

    def outbox(self, address: int, layout: Layout) -> Callable[[], list[Array]]:
        """What makes arrays of what lies behind ``address``."""
        views = _views(address, layout)
        return lambda: [view.copy() for view in views]

    def mark(self) -> Past:
        """A mark, which is always in the past."""
        return Past()

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes on the device."""
        ctypes.memmove(target, source, size)

    # Launches -------------------------------------------------------------------------------------
    def run(self, launches: Sequence[Launch]) -> None:
        """Run kernels one after another. Raises `CompilerBug` where one breaks a rule."""
        self.recorded(launches)()

    def recorded(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """These launches as one call."""
        return functools.partial(_run, [Prepared(x, self.limits, self.seed) for x in launches])

    def synchronise(self) -> None:
        """Nothing: every call has ended when it returns."""

    def seconds(self, work: Callable[[], None]) -> float:
        """How long ``work`` takes."""
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


class Past:
    """A point in the order of work that has been done already."""

    def put(self) -> None:
        """Here."""

    def wait(self) -> None:
        """It is past."""

    def hold(self, stream: int | None) -> None:
        """Nobody needs to wait."""


def _views(address: int, layout: Layout) -> list[Array]:
    data = (ctypes.c_uint8 * layout.size).from_address(address)
    return layout.views(np.ctypeslib.as_array(data)) if layout.size else []


def _fill(views: Sequence[Array], arrays: Sequence[Array]) -> None:
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


class Prepared:
    """A launch in the runtime's words."""

    def __init__(self, launch: Launch, limits: Limits, seed: int) -> None:
        _check(launch, limits)
        self.function: Function = launch.function
        self.empty = 0 in launch.grid
        values = [_argument(argument) for argument in launch.arguments]
        self.places = (ctypes.c_void_p * max(len(values), 1))(*map(ctypes.addressof, values))
        self.report = ctypes.create_string_buffer(REPORT)
        self.kept = values
        self.call = Call(
            grid=launch.grid,
            threads=launch.threads,
            shared_bytes=launch.shared_bytes,
            seed=seed,
            body=self.function.address,
            arguments=ctypes.addressof(self.places),
            report=ctypes.cast(self.report, ctypes.c_char_p),
            report_bytes=REPORT,
        )


def _check(launch: Launch, limits: Limits) -> None:
    if launch.threads % WARP or not 0 < launch.threads <= THREADS:
        raise CompilerBug(f"a block of {launch.threads} threads")
    if not 0 <= launch.shared_bytes <= limits.shared_bytes:
        raise CompilerBug(f"a block with {launch.shared_bytes} bytes of shared memory")


def _argument(argument: int | Tensor) -> ctypes.c_uint64 | Map:
    if isinstance(argument, int):
        return ctypes.c_uint64(argument)
    _check_tensor(argument)
    axes, one = len(argument.sizes), (1, 1)
    return Map(
        address=argument.address,
        sizes=(*argument.sizes, *one)[:3],
        strides=(*argument.strides, *one)[:2],
        box=(*argument.box, *one)[:3],
        element_bytes=argument.element_bytes,
        swizzle=argument.swizzle,
        axes=axes,
    )


def _check_tensor(tensor: Tensor) -> None:
    """What the driver asks of a tensor map (CUDA driver API, cuTensorMapEncodeTiled)."""
    line = tensor.box[0] * tensor.element_bytes
    if (
        tensor.address % 16
        or any(stride % 16 for stride in tensor.strides)
        or max(tensor.box) > 256
        or line % 16
        or line > (tensor.swizzle or line)
        or tensor.swizzle not in (0, 32, 64, 128)
    ):
        raise CompilerBug(f"no tensor map can be made of {tensor}")


def _run(launches: Sequence[Prepared]) -> None:
    with _ALONE:
        for launch in launches:
            if not launch.empty and runtime().gc_sim_run(ctypes.byref(launch.call)):
                report = launch.report.value.decode()
                launch.report.value = b""
                raise CompilerBug(_told(launch.function.unit, report))


def _told(unit: Unit, report: str) -> str:
    """A report with the lines that it names."""
    text = unit.text.splitlines()
    lines = sorted({int(number) for number in _LINE.findall(report)})
    shown = [f"  {n:4} | {text[n - 1]}" for n in lines if 0 < n <= len(text)]
    said = _LINE.sub(lambda found: _place(int(found[1])), report)
    return "\n".join([f"the kernel {unit.name} breaks a rule: {said}", *shown])


def _place(line: int) -> str:
    return f"line {line - PRELUDE} of meaning.h" if line > PRELUDE else f"line {line}"
