"""What this backend asks of a GPU: memory, code, launches.

Comes in: sizes, texts of kernels, launches. Goes out: addresses, functions, results. An interface
because there are two devices behind it: the GPU itself (`nvidia`), and a simulator that compiles
the same text for the CPU and runs every thread of a block as a fibre (`sim`). Everything above this
file works alike with both.

Work is done in the order in which it is asked for, perhaps later than the call that asks;
`synchronise` waits for all of it. Copies from the device have arrived when the call returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphc.backends.cuda.layout import Layout
from graphc.dlpack import Place
from graphc.graph import Array

WARP = 32
"""Threads that run in step."""


@dataclass(frozen=True)
class Limits:
    """What schedules and the text of kernels depend on. The defaults are Hopper's.

    ``architecture`` is that of the machine code: 75, 80, 86, 89, 90; ``suffix`` is "a" where
    instructions of that architecture alone may be used (wgmma and TMA of sm_90a).
    """

    architecture: int = 90
    suffix: str = "a"
    multiprocessors: int = 132
    shared_bytes: int = 232_448
    """Shared memory that one block can have."""
    registers: int = 65_536
    """Registers of 32 bits of one multiprocessor."""
    tf32: bool = False
    """Whether factors in float32 may be rounded to TF32, which tensor cores multiply."""

    @property
    def target(self) -> str:
        """As compilers spell it: ``sm_90a``."""
        return f"sm_{self.architecture}{self.suffix}"

    def has(self, architecture: int) -> bool:
        """Whether what came with this architecture is there."""
        return self.architecture >= architecture


@dataclass(frozen=True)
class Unit:
    """The text of one kernel without the prelude, and the name of its function."""

    name: str
    text: str


@dataclass(frozen=True)
class Usage:
    """What the compiler says of a kernel: registers of a thread, bytes of them that were spilled to
    memory, bytes of shared memory that the text itself fixes. None where nobody knows (the CPU's
    compiler has other registers).
    """

    registers: int | None = None
    spilled: int | None = None
    shared: int | None = None


@dataclass(frozen=True)
class Tensor:
    """An array of two or three axes that boxes are copied from by the tensor memory accelerator.
    Sizes and box in elements, the contiguous axis first; strides in bytes, of all other axes.

    ``swizzle`` is 0, 32, 64 or 128: how the 16-byte parts of a row of the box change places in
    shared memory (CUDA driver API, cuTensorMapEncodeTiled).
    """

    address: int
    element_bytes: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    swizzle: int = 128


@dataclass(frozen=True)
class Launch:
    """One call of a kernel: what `Device.load` returned, blocks, threads of a block, bytes of
    dynamic shared memory, and its arguments: addresses and `Tensor` maps.
    """

    function: Any
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    arguments: tuple[int | Tensor, ...]


class Memory(Protocol):
    """Memory on the device; it is given back when nobody holds this object."""

    @property
    def address(self) -> int:
        """Where it begins; a multiple of 256."""
        ...


class Mark(Protocol):
    """A point in the order of work, to be set again and again."""

    def put(self) -> None:
        """The point is here: behind all that was asked for."""
        ...

    def wait(self) -> None:
        """Return when the device has reached it. Raises `UserError` GC0406."""
        ...

    def hold(self, stream: int | None) -> None:
        """Let the ``stream`` of another library wait for it, as `graphc.results.Holder.lend`."""
        ...


class Device(Protocol):
    """A GPU, or what stands for it. ``place`` says where its memory is, in DLPack's words."""

    name: str
    limits: Limits
    place: Place

    def load(self, units: Sequence[Unit]) -> list[Any]:
        """A function for each unit: known from disk, or compiled, all new ones together.

        Raises `CompilerBug` where the text does not compile.
        """
        ...

    def usage(self, function: Any) -> Usage:
        """What the compiler said of it."""
        ...

    def text(self, unit: Unit, level: str) -> str:
        """What becomes of a unit: "cuda" (the text), "ptx", "sass". Raises `UserError` GC0104 for a
        level that this device does not have.
        """
        ...

    def resources(self, unit: Unit, threads: int, shared_bytes: int) -> str:
        """What a unit takes of a GPU when it is launched so, in words: registers, spills, shared
        memory, blocks at a time. Raises `UserError` GC0403 where no compiler tells.
        """
        ...

    def allocate(self, size: int) -> Memory:
        """Memory of ``size`` bytes, of unknown contents. Raises `UserError` GC0405 where there is
        not enough.
        """
        ...

    def write(self, address: int, array: Array) -> None:
        """Copy an array to the device, row by row whatever its order is here; it may change when
        the call returns.
        """
        ...

    def read(self, address: int, array: Array, after: Mark | None = None) -> None:
        """Copy from the device into a dense array, when all that was asked for is done, or all
        before ``after``.
        """
        ...

    def inbox(self, address: int, layout: Layout) -> Callable[[Sequence[Array]], None]:
        """What copies arrays to their places behind ``address``, again and again, at the least cost
        on the host; they may change when it returns.
        """
        ...

    def outbox(self, address: int, layout: Layout) -> Callable[[], list[Array]]:
        """What waits for all that was asked for, and makes arrays of what lies behind
        ``address`` then.
        """
        ...

    def mark(self) -> Mark:
        """A mark, not yet set."""
        ...

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes on the device."""
        ...

    def run(self, launches: Sequence[Launch]) -> None:
        """Launch kernels one after another."""
        ...

    def recorded(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """What runs these launches again and again, at the least cost on the host."""
        ...

    def synchronise(self) -> None:
        """Wait until everything is done. Raises `UserError` GC0406 where a kernel failed."""
        ...

    def seconds(self, work: Callable[[], None]) -> float:
        """How long the device works on what ``work`` asks for."""
        ...
