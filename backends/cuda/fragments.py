"""Products of small matrices, and the pipelines that feed them, as CUDA C.

Comes in: statements. Goes out: their text. A separate step from `emit` because here one statement
is many instructions of a warp: which thread reads what is the hardware's choice (PTX ISA, "Matrix
Fragments for mma.m16n8k16" and "ldmatrix").

A line of a tile is 32, 64 or 128 bytes long, and its parts of 16 bytes change places, so that eight
neighbouring lines lie in different banks: ``gc_tile`` of `meaning.h`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphc.backends.cuda.spelling import memory_type
from graphc.expr import Buffer
from graphc.loops.fragments import COLUMNS, ROWS
from graphc.loops.ir import AsyncCopy, Matrix, Multiply, Pipeline, Regroup

if TYPE_CHECKING:
    from graphc.backends.cuda.emit import Writer

STEP = 32
"""Bytes along the sum that one instruction multiplies."""
TILE_ALIGNMENT = 1024
"""Of tiles in shared memory: the order of their parts repeats after so many bytes."""
FIRST = ("gc_lane() / 8 % 2", "gc_lane() / 16")
SECOND = ("gc_lane() / 16", "gc_lane() / 8 % 2")
"""Which half of the lines, and which of the step, is the small matrix that a lane points at."""


# Pipelines ----------------------------------------------------------------------------------------
def pipeline(writer: Writer, p: Pipeline) -> None:
    """A loop whose fillings run ahead of their uses. Before a stage is used, each thread waits for
    what it copied itself, then for all others; so a stage is also free to be filled again when
    every thread has passed the barrier after its use (CUDA C++ programming guide, "Asynchronous
    Data Copies"). The last stages are still in use when the loop ends: before the tiles are filled
    by another one a `Barrier` is needed.
    """
    places = {b: writer.shared_array(b, p.stages, TILE_ALIGNMENT) for b in p.buffers}
    count, ahead = p.iter.extent, p.stages - 1
    fill, use = (f"{verb}{writer.fresh()}" for verb in ("fill", "use"))
    writer.line("#pragma unroll 1")
    writer.begin(f"for (i32 {fill} = 0; {fill} < {count + ahead}; ++{fill})")
    writer.line(f"const i32 {use} = {fill} - {ahead};")
    writer.begin(f"if ({use} >= 0)")
    writer.line(f"gc_copy_wait<{ahead - 1}>();")
    writer.line("gc_sync();")
    writer.end()
    writer.begin(f"if ({fill} < {count})")
    _stage(writer, p, places, fill)
    writer.body(p.fill)
    writer.end()
    writer.line("gc_copy_commit();")
    writer.begin(f"if ({use} >= 0)")
    _stage(writer, p, places, use)
    writer.body(p.use)
    writer.end()
    writer.end()


def _stage(writer: Writer, p: Pipeline, places: dict[Buffer, str], number: str) -> None:
    """The index of a pipeline and its buffers are those of this number."""
    writer.names[p.iter] = number
    for buffer, place in places.items():
        base, name = memory_type(buffer.type.dtype), writer.new_pointer(buffer)
        copies = f"{number} % {p.stages} * {math.prod(buffer.shape)}"
        writer.line(f"{base}* {name} = {place} + {copies};")


def copy(writer: Writer, c: AsyncCopy) -> None:
    """One access of 16 bytes that no register holds."""
    target = writer.place(c.buffer, c.index).removeprefix("*")
    source = writer.place(c.first.buffer, c.first.index)
    writer.line(f"gc_copy16({target}, &{source}, {writer.value(c.present)});")


# Products -----------------------------------------------------------------------------------------
def multiply(writer: Writer, product: Multiply) -> None:
    """The product of a warp: fragments of both factors, then each with each."""
    rows, columns, depth = product.shape
    element = product.first.tile.type.dtype
    kind = "tf32" if element.bits == 32 else element.short
    sums = writer.pointers[product.sums]
    down, across = rows // ROWS, columns // COLUMNS
    counted(writer, "k", depth, STEP // element.bytes)
    writer.line(f"u32 first[{down}][4], second[{across // 2}][4];")
    fragments(writer, "first", product.first, down, FIRST)
    fragments(writer, "second", product.second, across // 2, SECOND)
    counted(writer, "i", down)
    counted(writer, "j", across)
    place = f"&{sums}[(i * {across} + j) * 4]"
    writer.line(f"gc_mma_{kind}({place}, first[i], &second[j / 2][j % 2 * 2]);")
    for _ in range(3):
        writer.end()


def regroup(writer: Writer, r: Regroup) -> None:
    """Sums of four neighbouring threads change places, four by four."""
    _, down, across, parts = r.sums.shape
    counted(writer, "i", down * across * parts, 4 * parts)
    counted(writer, "p", parts)
    writer.line(f"gc_turn4<{parts}>(&{writer.pointers[r.sums]}[i + p]);")
    writer.end()
    writer.end()


def fragments(
    writer: Writer, name: str, matrix: Matrix, count: int, halves: tuple[str, str]
) -> None:
    """``name[i]``: 16 lines by one step of a matrix, as four matrices of 8 lines by 16 bytes."""
    dtype = matrix.tile.type.dtype
    step = f"k + {halves[1]} * {STEP // 2 // dtype.bytes}"
    outer = f"i * {ROWS} + {halves[0]} * 8"
    counted(writer, "i", count)
    if matrix.turned and dtype.bits == 32:
        _words(writer, name, matrix, halves)
    elif matrix.turned:
        at = _address(writer, matrix, f"{step} + gc_lane() % 8", outer)
        writer.line(f"gc_load_matrix4_transposed({name}[i], {at});")
    else:
        at = _address(writer, matrix, f"{outer} + gc_lane() % 8", step)
        writer.line(f"gc_load_matrix4({name}[i], {at});")
    if dtype.bits == 32:
        counted(writer, "q", 4)
        writer.line(f"{name}[i][q] = gc_to_tf32(gc_bits<float>({name}[i][q]));")
        writer.end()
    writer.end()


def _words(writer: Writer, name: str, matrix: Matrix, halves: tuple[str, str]) -> None:
    """Turned words of 32 bits, which no instruction turns: each lane reads its own."""
    named = {"gc_lane() / 16": "q / 2", "gc_lane() / 8 % 2": "q % 2"}
    half, late = (named[h] for h in halves)
    counted(writer, "q", 4)
    line, place = f"k + {late} * 4 + gc_lane() % 4", f"i * {ROWS} + {half} * 8 + gc_lane() / 4"
    writer.line(f"{name}[i][q] = gc_bits<u32>(*{_address(writer, matrix, line, place)});")
    writer.end()


def _address(writer: Writer, matrix: Matrix, line: str, place: str) -> str:
    """That of an element of a matrix in its tile."""
    _, lines, width = matrix.tile.shape
    at, along = (
        f"{corner} + {offset}" if corner != "0" else offset
        for corner, offset in (
            (writer.index(matrix.line), line),
            (writer.index(matrix.place), place),
        )
    )
    return f"gc_tile<{lines}, {width}>({writer.pointers[matrix.tile]}, {at}, {along})"


def counted(writer: Writer, name: str, end: int, step: int = 1) -> None:
    """The head of a loop that is written out, as registers have no addresses."""
    writer.line("#pragma unroll")
    writer.begin(f"for (i32 {name} = 0; {name} < {end}; {name} += {step})")
