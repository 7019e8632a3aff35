"""Pipelines that threads of their own fill: Hopper's way to feed its tensor cores, as CUDA C.

Comes in: the body of a block with a pipeline ``apart``. Goes out: its text, twice: once what fills,
for one thread of a warpgroup that gives its registers away; once everything else, for all other
threads. A separate step from `fragments` because here nobody waits for all: two barriers in shared
memory for each stage tell that it is full, or empty again (PTX ISA, "mbarrier", "setmaxnreg").

Boxes of an array come by the tensor memory accelerator, which is told the array's geometry by a
parameter of the kernel. A product of a warpgroup reads its factors from shared memory itself (PTX
ISA, "cp.async.bulk.tensor", "wgmma.mma_async").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from graphc.backends.cuda.device import Tensor
from graphc.backends.cuda.fragments import TILE_ALIGNMENT, counted
from graphc.backends.cuda.spelling import memory_type
from graphc.errors import CompilerBug
from graphc.expr import Buffer, Expr
from graphc.index import affine
from graphc.loops.ir import (
    BoxCopy,
    Boxed,
    Define,
    Loop,
    Matrix,
    Multiply,
    Pipeline,
    Statement,
    When,
    statements,
)

if TYPE_CHECKING:
    from graphc.backends.cuda.emit import Writer

WARPGROUP = 128
"""Threads that multiply together."""
ROWS, STEP = 64, 16
"""Rows of one product of a warpgroup, and products of each sum in it."""
FEW, MANY = 24, 240
"""Registers of a thread that fills, and of one that computes."""


@dataclass(frozen=True)
class BoxMap:
    """What a kernel is told of an array: its geometry, and the lines and places of a box."""

    array: Boxed
    box: tuple[int, int]

    @property
    def buffer(self) -> Buffer:
        """Where it lies."""
        return self.array.first.buffer

    @property
    def axes(self) -> int:
        """Three, or two where there is one matrix only."""
        return 2 if self.array.sizes[2] == 1 else 3

    def tensor(self, address: int) -> Tensor:
        """The argument of a launch; the buffer lies at ``address``."""
        size = self.array.first.buffer.type.dtype.bytes
        form = affine(self.array.first.index[0])
        if form.terms:
            raise CompilerBug("an array for boxes begins at a place that is known")
        lines, width = self.box
        return Tensor(
            address + form.constant * size,
            size,
            self.array.sizes[: self.axes],
            tuple(step * size for step in self.array.strides[: self.axes - 1]),
            (width, lines, 1)[: self.axes],
            width * size,
        )


def box_maps(body: tuple[Statement, ...]) -> tuple[BoxMap, ...]:
    """The arrays that a kernel copies boxes of, in order of appearance."""
    boxes = (s for s in statements(body) if isinstance(s, BoxCopy))
    return tuple(dict.fromkeys(map(box_map, boxes)))


def box_map(copy: BoxCopy) -> BoxMap:
    """What the statement needs to be told."""
    _, lines, width = copy.tile.shape
    return BoxMap(copy.array, (lines, width))


def apart(body: tuple[Statement, ...]) -> tuple[Pipeline, ...]:
    """The pipelines that threads of their own fill."""
    return tuple(s for s in statements(body) if isinstance(s, Pipeline) and s.apart)


# Two roles ----------------------------------------------------------------------------------------
def roles(writer: Writer, body: tuple[Statement, ...]) -> None:
    """The text of a block that fills in one place and computes in another."""
    (p,) = apart(body)
    tiles = {b: writer.shared_array(b, p.stages, TILE_ALIGNMENT) for b in p.buffers}
    for name in ("full", "empty"):
        room = writer.shared_room(8 * p.stages)
        writer.line(f"u64* {name} = (u64*)(shared + {room});")
    computing = writer.threads
    writer.begin("if (gc_thread() == 0)")
    writer.begin(f"for (i32 n = 0; n < {p.stages}; ++n)")
    writer.line("gc_barrier_init(&full[n], 1);")
    writer.line(f"gc_barrier_init(&empty[n], {computing // WARPGROUP});")
    writer.end()
    writer.line("gc_barrier_fence();")
    writer.end()
    writer.line("gc_sync();")
    writer.begin(f"if (gc_thread() < {computing})")
    writer.line(f"gc_registers_up<{MANY}>();")
    writer.line("i32 turn = 0;")
    writer.body([*_without(body, fill=True)])
    writer.level -= 1
    writer.line("} else {")
    writer.level += 1
    writer.line(f"gc_registers_down<{FEW}>();")
    writer.begin(f"if (gc_thread() == {computing})")
    writer.line("i32 turn = 0;")
    for buffer, name in tiles.items():
        writer.pointers[buffer] = name
    writer.body([*_without(body, fill=False)])
    writer.end()
    writer.end()
    writer.threads = computing + WARPGROUP


def _without(body: tuple[Statement, ...], fill: bool) -> Iterator[Statement]:
    """The body without what its pipelines ``fill``, or with that only."""
    for s in body:
        if isinstance(s, Pipeline) and s.apart:
            yield replace(s, fill=()) if fill else replace(s, use=())
        elif isinstance(s, Loop) and apart((s,)):
            yield replace(s, body=tuple(_without(s.body, fill)))
        elif isinstance(s, When) and apart((s,)):
            yield When(s.condition, *(tuple(_without(x, fill)) for x in (s.body, s.other)))
        elif fill or isinstance(s, Define):
            yield s


def pipeline_apart(writer: Writer, p: Pipeline) -> None:
    """One role's part of a pipeline. ``turn`` counts the stages that were filled, or used, since
    the kernel began; how often a barrier has completed is a single bit, which a first wait for an
    empty stage finds as it should be.
    """
    stage, phase = f"turn % {p.stages}", f"turn / {p.stages} % 2"
    tiles = {b: writer.pointers[b] for b in p.buffers}
    writer.arrival = f"&full[{stage}]"
    writer.line("#pragma unroll 1")
    writer.counted(Loop(p.iter, "serial", ()))
    if p.fill:
        writer.line(f"gc_barrier_wait(&empty[{stage}], {phase} ^ 1);")
        size = sum(b.type.bytes for b in p.buffers)
        writer.line(f"gc_barrier_expect(&full[{stage}], {size});")
    else:
        writer.line(f"gc_barrier_wait(&full[{stage}], {phase});")
    for buffer, name in tiles.items():
        base, new = memory_type(buffer.type.dtype), writer.new_pointer(buffer)
        writer.line(f"{base}* {new} = {name} + {stage} * {math.prod(buffer.shape)};")
    writer.body(p.fill or p.use)
    if p.use:
        writer.line(f"if (gc_thread() % {WARPGROUP} == 0) gc_barrier_arrive(&empty[{stage}]);")
    writer.line("++turn;")
    writer.end()
    writer.pointers |= tiles


# Boxes and products -------------------------------------------------------------------------------
def copy_box(writer: Writer, copy: BoxCopy) -> None:
    """A box for each slab of a tile."""
    slabs, lines, width = copy.tile.shape
    known = box_map(copy)
    function = "gc_tensor_load" if known.axes == 2 else "gc_tensor_load3"
    for slab in range(slabs):
        corner: list[Expr] = [copy.corner[0] + slab * width, *copy.corner[1:]]
        target = f"{writer.pointers[copy.tile]} + {slab * lines * width}"
        at = ", ".join(f"(i32){writer.index(e)}" for e in corner[: known.axes])
        writer.line(f"{function}({target}, &{writer.maps[known]}, {writer.arrival}, {at});")


def multiply_group(writer: Writer, product: Multiply) -> None:
    """The product of a warpgroup: all steps are asked for, then waited for."""
    rows, columns, depth = product.shape
    sums, kind = writer.pointers[product.sums], product.first.tile.type.dtype.short
    turns = f"{columns}, {int(product.first.turned)}, {int(product.second.turned)}"
    writer.line("gc_wgmma_fence();")
    counted(writer, "k", depth, STEP)
    counted(writer, "i", rows // ROWS)
    first = _factor(writer, product.first, f"i * {ROWS}")
    second = _factor(writer, product.second, "0")
    place = f"&{sums}[i * {columns // 2}]"
    writer.line(f"gc_wgmma_{kind}<{turns}>({place}, {first}, {second}, 1);")
    writer.end()
    writer.end()
    writer.line("gc_wgmma_commit();")
    writer.line("gc_wgmma_wait<0>();")


def _factor(writer: Writer, matrix: Matrix, outer: str) -> str:
    """What tells an instruction where a factor lies: from there on, at step k."""
    _, lines, width = matrix.tile.shape
    line, place = writer.index(matrix.line), writer.index(matrix.place)
    corner = f"{line} + k, {place} + {outer}" if matrix.turned else f"{line} + {outer}, {place} + k"
    turned = "true" if matrix.turned else "false"
    return f"gc_factor<{lines}, {width}, {turned}>({writer.pointers[matrix.tile]}, {corner})"
