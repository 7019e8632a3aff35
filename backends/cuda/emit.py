"""From loops to CUDA C.

Comes in: the phases of a kernel (`schedule`). Goes out: for each a unit of text and how to launch
it. A separate step because every decision has been made: this file only says how each statement is
spelled.

A phase is a nest of "block" loops, the innermost of which is the grid's x. Inside, loops of kind
"thread" are shared by all threads of a block, "warp" by its warps, "lane" by the lanes of a warp:
so the loops mean the same when they are run one iteration after another (`loops.interpret`).
What such a loop adds up into a local from outside is reduced over the threads when it ends. Between
two of them, a `Barrier` makes shared memory visible. A "register" buffer has one row for each
thread, in its registers; only that thread uses it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from graphc.backends.cuda.device import WARP, Unit
from graphc.backends.cuda.expressions import Expressions
from graphc.backends.cuda.fragments import TILE_ALIGNMENT, copy, multiply, pipeline, regroup
from graphc.backends.cuda.launch import TEAMS, block_threads, grid_of, together, touched
from graphc.backends.cuda.packs import Packs, packs
from graphc.backends.cuda.ring import (
    BoxMap,
    apart,
    box_maps,
    copy_box,
    multiply_group,
    pipeline_apart,
    roles,
)
from graphc.backends.cuda.spelling import SPELLING, cast, literal, memory_type, type_of
from graphc.errors import CompilerBug
from graphc.expr import Buffer, Expr, stored
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    AsyncCopy,
    Barrier,
    BoxCopy,
    Define,
    Local,
    Locate,
    Loop,
    Multiply,
    Pipeline,
    Put,
    Regroup,
    Statement,
    When,
    statements,
)
from graphc.loops.nest import identity

ALIGNMENT = 128
"""Of every array in shared memory: a multiple of what tensor copies want."""
SHARING = {"thread", "warpgroup", "warp", "lane"}
"""Kinds of loops whose iterations the threads of a block share."""


@dataclass(frozen=True)
class Phase:
    """The text of a phase and how to launch it: its buffers in the order of the parameters, of
    which some are ``written``, then ``maps`` of arrays, then the fault cell; blocks, threads, bytes
    of shared memory.
    """

    unit: Unit
    buffers: tuple[Buffer, ...]
    written: frozenset[Buffer]
    owners: tuple[object, ...]
    grid: tuple[int, int, int]
    threads: int
    shared_bytes: int
    maps: tuple[BoxMap, ...]


def emit(name: str, body: tuple[Statement, ...], before: int = 0) -> Phase:
    """The function ``name`` of a phase. Earlier phases of its kernel have so many checked indices
    ``before``: numbers in the fault cell go on from there.
    """
    buffers, written, owners = touched(body)
    grid, inside = grid_of(body)
    threads = block_threads(inside)
    writer = Writer(buffers, (*[None] * before, *owners), threads)
    writer.maps = {known: f"map{n}" for n, known in enumerate(box_maps(body))}
    parameters = dict(writer.pointers)
    for axis, loop in zip("xyz", grid, strict=False):
        writer.index_is(loop.iter, f"gc_block_{axis}()")
    if apart(body):
        roles(writer, inside)
    else:
        writer.body(inside)
    text = _function(name, writer, parameters, written, together(body, threads))
    extents = [loop.iter.extent for loop in grid] + [1, 1, 1]
    return Phase(
        Unit(name, text),
        buffers,
        written,
        owners,
        (extents[0], extents[1], extents[2]),
        writer.threads,
        writer.shared_bytes,
        tuple(writer.maps),
    )


def _function(
    name: str,
    writer: Writer,
    pointers: Mapping[Buffer, str],
    written: frozenset[Buffer],
    blocks: int,
) -> str:
    parameters = [
        f"{'' if b in written else 'const '}{memory_type(b.type.dtype)}* __restrict__ {pointer}"
        for b, pointer in pointers.items()
    ]
    parameters += [f"TENSOR_MAP {known}" for known in writer.maps.values()]
    lines = [
        f"KERNEL({name}, {writer.threads}, {blocks})({', '.join([*parameters, 'i64* fault'])}) {{"
    ]
    if writer.shared_bytes:
        lines.append("  SHARED_MEMORY(shared);")
    return "\n".join([*lines, *writer.lines, "}", f"EXPORT({name})", ""])


class Writer(Expressions):
    """Writes the statements of a phase, line by line."""

    def __init__(self, buffers: Sequence[Buffer], owners: Sequence[object], threads: int) -> None:
        super().__init__(buffers, owners)
        self.threads, self.shared_bytes = threads, 0
        self.maps: dict[BoxMap, str] = {}
        self.rooms: dict[Buffer, int] = {}
        self.arrival = ""  # the barrier that counts what arrives
        self.barrier = "gc_sync"  # inside a loop over warps each waits for its own threads only
        self.lines: list[str] = []
        self.level = 1

    # Lines ----------------------------------------------------------------------------------------
    def line(self, text: str) -> None:
        self.lines.append("  " * self.level + text)

    def begin(self, head: str) -> None:
        self.line(f"{head} {{" if head else "{")
        self.level += 1

    def end(self) -> None:
        self.level -= 1
        self.line("}")

    def index_is(self, iterator: object, text: str) -> None:
        """``iterator`` is this number from here on."""
        name = self.name_of(iterator)
        self.line(f"const {self.index_type} {name} = {text};")

    # Statements -----------------------------------------------------------------------------------
    def body(self, body: Sequence[Statement]) -> None:
        for statement in body:
            match statement:
                case Loop():
                    self.loop(statement)
                case When(condition, chosen, other):
                    self.branch(self.value(condition), chosen, other)
                case Pipeline():
                    (pipeline_apart if statement.apart else pipeline)(self, statement)
                case _:
                    self.step(statement)

    def step(self, statement: Statement) -> None:
        """A statement without others inside."""
        match statement:
            case Define(local, value):
                self.define(local, self.value(value))
            case Accumulate(local, function, value):
                total = self.name_of(local)
                self.line(f"{total} = {self.folded(function, local, total, value)};")
            case Put():
                self.put(statement)
            case Alloc() | Locate():
                self.array(statement)
            case Barrier():
                self.line(f"{self.barrier}();")
            case AsyncCopy():
                copy(self, statement)
            case BoxCopy():
                copy_box(self, statement)
            case Multiply():
                (multiply if statement.warps == 1 else multiply_group)(self, statement)
            case Regroup():
                regroup(self, statement)
            case _:
                raise CompilerBug("a GPU has no loads ahead of time")

    def define(self, local: Local, value: str) -> None:
        self.line(f"{type_of(local.dtype)} {self.name_of(local)} = {value};")

    def branch(
        self, condition: str, chosen: Sequence[Statement], other: Sequence[Statement]
    ) -> None:
        self.begin(f"if ({condition})")
        self.body(chosen)
        if other:
            self.level -= 1
            self.line("} else {")
            self.level += 1
            self.body(other)
        self.end()

    def loop(self, loop: Loop) -> None:
        if loop.kind in SHARING:
            self.shared_loop(loop)
        elif loop.kind == "vector":
            self.vector_loop(loop)
        else:
            if loop.kind == "unroll":
                self.line("#pragma unroll")
            self.counted(loop)
            self.body(loop.body)
            self.end()

    def counted(self, loop: Loop) -> None:
        i = self.name_of(loop.iter)
        self.begin(f"for ({self.index_type} {i} = 0; {i} < {loop.iter.extent}; ++{i})")

    # Threads --------------------------------------------------------------------------------------
    def shared_loop(self, loop: Loop) -> None:
        """A loop whose iterations are threads, warps or lanes; what it adds up is reduced."""
        totals = {
            s.local: s.function
            for s in statements((loop,))
            if isinstance(s, Accumulate) and self.is_known(s.local)
        }
        before = {local: self.name_of(local) for local in totals}
        for local, function in totals.items():
            self.rename(local)
            self.define(local, literal(identity(function, local.dtype).value, local.dtype))
        number, count = {
            "thread": ("gc_thread()", self.threads),
            "lane": ("gc_lane()", WARP),
            **{k: (f"gc_thread() / {n}", self.threads // n) for k, n in TEAMS.items()},
        }[loop.kind]
        self.begin("")
        self.index_is(loop.iter, number)
        guarded = loop.iter.extent < count
        if guarded:
            self.begin(f"if ({self.name_of(loop.iter)} < {loop.iter.extent})")
        outside = self.barrier
        self.barrier = "gc_sync_warp" if loop.kind == "warp" else outside
        self.body(loop.body)
        self.barrier = outside
        if guarded:
            self.end()
        self.end()
        for local, function in totals.items():
            self.reduce(loop.kind, local, function, before[local])

    def reduce(self, kind: str, local: Local, function: str, total: str) -> None:
        """Fold what the threads found into the local that they share."""
        partial, base = self.name_of(local), type_of(local.dtype)
        both = SPELLING[function](local.dtype, "a", "b")
        folding = f"[]({base} a, {base} b) {{ return ({base}){both}; }}"
        if kind == "lane":
            found = f"gc_reduce_warp({partial}, {folding})"
        elif kind == "thread":
            zero = literal(identity(function, local.dtype).value, local.dtype)
            room = self.shared_room(WARP * 8)
            where = f"shared + {room}"
            warps = self.threads // WARP
            found = f"gc_reduce_block({partial}, {zero}, {warps}, {where}, {folding})"
        else:
            raise CompilerBug("warps add nothing up: let the threads of the block do it")
        self.line(f"{total} = {SPELLING[function](local.dtype, total, found)};")
        self.names[local] = total

    def shared_room(self, size: int, alignment: int = ALIGNMENT) -> int:
        """Bytes of shared memory from here to the end of the kernel; goes out as their offset."""
        start = -(-self.shared_bytes // alignment) * alignment
        self.shared_bytes = start + -(-size // ALIGNMENT) * ALIGNMENT
        return start

    def shared_array(self, buffer: Buffer, copies: int = 1, alignment: int = ALIGNMENT) -> str:
        """A pointer to so many copies of a buffer, one after another in shared memory; a buffer of
        several pipelines is in one place.
        """
        base, name = memory_type(buffer.type.dtype), self.new_pointer(buffer)
        if buffer not in self.rooms:
            self.rooms[buffer] = self.shared_room(buffer.type.bytes * copies, alignment)
        offset = self.rooms[buffer]
        self.line(f"{base}* {name} = ({base}*)(shared + {offset});")
        return name

    def array(self, statement: Alloc | Locate) -> None:
        """A pointer to memory that is new, or that is there already."""
        if isinstance(statement, Alloc):
            self.allocate(statement.buffer)
            return
        base, name = memory_type(statement.buffer.type.dtype), self.new_pointer(statement.buffer)
        self.line(f"{base}* {name} = gc_global<{base}>({self.value(statement.address)});")

    def allocate(self, buffer: Buffer) -> None:
        base, name = memory_type(buffer.type.dtype), self.new_pointer(buffer)
        if buffer.scope in ("shared", "tile"):
            self.shared_array(buffer, 1, TILE_ALIGNMENT if buffer.scope == "tile" else ALIGNMENT)
            return
        shape = buffer.shape[1:] if buffer.scope == "register" else buffer.shape
        self.line(f"{base} {name}[{max(math.prod(shape), 1)}];")

    # Vectors --------------------------------------------------------------------------------------
    def vector_loop(self, loop: Loop) -> None:
        """Neighbours in memory: accesses of up to 16 bytes, and an unrolled loop between."""
        found: Packs = packs(loop)
        for load in found.loads:
            name = f"pack{self.fresh()}"
            self.line(f"const {self.pack_at(name, load.buffer, found.first(load), loop)}")
            self.packed[load] = f"{name}.v[{self.name_of(loop.iter)}]"
        targets = {}
        for put in found.puts:
            name = targets[put] = f"pack{self.fresh()}"
            self.line(f"gc_pack<{memory_type(put.buffer.type.dtype)}, {loop.iter.extent}> {name};")
            self.filled[put] = f"{name}.v[{self.name_of(loop.iter)}]"
        self.line("#pragma unroll")
        self.counted(loop)
        self.body(loop.body)
        self.end()
        for put, name in targets.items():
            kind = f"gc_pack<{memory_type(put.buffer.type.dtype)}, {loop.iter.extent}>"
            place = self.place(put.buffer, (found.first(put),))
            self.line(f"*({kind}*)&{place} = {name};")
            del self.filled[put]
        for load in found.loads:
            del self.packed[load]

    def pack_at(self, name: str, buffer: Buffer, place: Expr, loop: Loop) -> str:
        kind = f"gc_pack<{memory_type(buffer.type.dtype)}, {loop.iter.extent}>"
        return f"{kind} {name} = *(const {kind}*)&{self.place(buffer, (place,))};"

    # Stores ---------------------------------------------------------------------------------------
    def put(self, put: Put) -> None:
        dtype = put.buffer.type.dtype
        if put in self.filled:
            self.line(f"{self.filled[put]} = {self.value(stored(put.value, dtype))};")
            return
        if put.buffer.type.size == 0:
            return
        place = self.place(put.buffer, put.index)
        if not put.combine:
            self.line(f"{place} = {self.value(stored(put.value, dtype))};")
            return
        computing = put.value.dtype
        before = cast(dtype, computing, self.as_register(place, dtype))
        total = self.folded(put.combine, put.value, before, put.value)
        self.line(f"{place} = {cast(computing, dtype, f'(({type_of(computing)}){total})')};")
