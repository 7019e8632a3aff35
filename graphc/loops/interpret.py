"""The meaning of loops, in plain Python: what every backend must agree with.

Comes in: statements and memory. Goes out: the memory, changed. A separate step because it is a
definition, not a way to run anything: one scalar at a time, checked at every access.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from itertools import product
from typing import Any

from graphc.errors import CompilerBug, UserError
from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Select,
)
from graphc.loops.fragments import WARP, column, row, tf32
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    AsyncCopy,
    Barrier,
    BoxCopy,
    Define,
    Fetch,
    Local,
    Locate,
    Loop,
    Matrix,
    Multiply,
    Pipeline,
    Put,
    Regroup,
    Statement,
    When,
)
from graphc.scalars import SCALARS
from graphc.types import INT64, DType

Memory = MutableMapping[Buffer, Any]


def interpret(body: tuple[Statement, ...], memory: Memory) -> None:
    """Run ``body``. ``memory`` maps each global buffer to an array indexed by tuples; stores change
    it in place. An address in memory is the array itself.

    Raises `UserError` GC0306 for an index from data that is out of bounds, `CompilerBug` for one of
    our own.
    """
    _run(body, memory, {})


def _run(body: tuple[Statement, ...], memory: Memory, values: dict[Expr, Any]) -> None:
    for statement in body:
        match statement:
            case Loop(iterator, _, inner, _):
                for i in range(iterator.extent):
                    values[iterator] = i
                    _run(inner, memory, values)
            case Pipeline(iterator, _, buffers, fill, use, _):
                for i in range(iterator.extent):
                    values[iterator] = i
                    memory.update({buffer: {} for buffer in buffers})
                    _run((*fill, *use), memory, values)
            case When(condition, chosen, other):
                taken = chosen if evaluate(condition, memory, values) else other
                _run(taken, memory, values)
            case _:
                _step(statement, memory, values)


def _step(statement: Statement, memory: Memory, values: dict[Expr, Any]) -> None:
    """A statement without others inside."""
    match statement:
        case Define(local, value):
            values[local] = evaluate(value, memory, values)
        case Accumulate(local, function, value):
            step = evaluate(value, memory, values)
            values[local] = _call(function, [values[local], step], local)
        case Put(buffer, index, value, combine):
            _put(buffer, index, value, combine, memory, values)
        case Alloc(buffer):
            memory[buffer] = {}
        case Locate(buffer, address):
            place = _place(address.buffer, address.index, memory, values)
            memory[buffer] = memory[address.buffer][place]
        case AsyncCopy() | BoxCopy() | Multiply() | Regroup():
            _matrix_step(statement, memory, values)
        case Barrier() | Fetch():
            pass  # one thread is always in step with itself, and all memory is near


def _matrix_step(
    statement: AsyncCopy | BoxCopy | Multiply | Regroup, memory: Memory, values: dict[Expr, Any]
) -> None:
    """What only schedules for matrix instructions ask for."""
    match statement:
        case AsyncCopy():
            _copy(statement, memory, values)
        case BoxCopy():
            _copy_box(statement, memory, values)
        case Multiply():
            _multiply(statement, memory, values)
        case Regroup(sums):
            old = dict(memory[sums])
            for t, i, j, p in old:
                memory[sums][t, i, j, p] = old[t // 4 * 4 + j % 4, i, j // 4 * 4 + t % 4, p]


def _put(
    buffer: Buffer,
    index: tuple[Expr, ...],
    value: Expr,
    combine: str,
    memory: Memory,
    values: dict[Expr, Any],
) -> None:
    place = _place(buffer, index, memory, values)
    new = evaluate(value, memory, values)
    if combine:
        old = _converted(memory[buffer][place], value.dtype)
        new = _call(combine, [old, new], value)
    memory[buffer][place] = _converted(new, buffer.type.dtype)


def _copy(copy: AsyncCopy, memory: Memory, values: dict[Expr, Any]) -> None:
    present = evaluate(copy.present, memory, values)
    source = copy.first.buffer
    for step in range(copy.count):
        new: Any = source.type.dtype.numpy.type(0)
        if present:
            index = (*copy.first.index[:-1], copy.first.index[-1] + step)
            new = memory[source][_place(source, index, memory, values)]
        index = (*copy.index[:-1], copy.index[-1] + step)
        memory[copy.buffer][_place(copy.buffer, index, memory, values)] = new


def _copy_box(copy: BoxCopy, memory: Memory, values: dict[Expr, Any]) -> None:
    array, source = copy.array, copy.array.first.buffer
    corner = [int(evaluate(e, memory, values)) for e in copy.corner]
    start = int(evaluate(array.first.index[0], memory, values))
    for slab, line, place in product(*map(range, copy.tile.shape)):
        at = (corner[0] + slab * copy.tile.shape[2] + place, corner[1] + line, corner[2])
        new: Any = source.type.dtype.numpy.type(0)
        if all(0 <= i < size for i, size in zip(at, array.sizes, strict=True)):
            offset = start + at[0] + at[1] * array.strides[0] + at[2] * array.strides[1]
            new = memory[source][_place(source, (Lit(offset, INT64),), memory, values)]
        memory[copy.tile][slab, line, place] = new


def _multiply(of: Multiply, memory: Memory, values: dict[Expr, Any]) -> None:
    rows, columns, depth = of.shape
    first = _factors(of.first, rows, depth, memory, values)
    second = _factors(of.second, columns, depth, memory, values)
    start, sums = int(evaluate(of.thread, memory, values)), memory[of.sums]
    places = (WARP * of.warps, *of.sums.shape[1:])
    for thread, i, j, part in product(*map(range, places)):
        a = first[row(thread, of.warps, i, part // 2)]
        b = second[column(thread, j, part % 2)]
        place = (start + thread, i, j, part)
        total = sums[place] + sum(x * y for x, y in zip(a, b, strict=True))
        sums[place] = of.sums.type.dtype.numpy.type(total)


def _factors(
    matrix: Matrix, lines: int, depth: int, memory: Memory, values: dict[Expr, Any]
) -> list[list[float]]:
    """A matrix [lines, depth]."""
    tile, width = memory[matrix.tile], matrix.tile.shape[-1]
    line, place = (int(evaluate(e, memory, values)) for e in (matrix.line, matrix.place))
    rounded = float if matrix.tile.type.dtype.is_narrow else tf32

    def element(x: int, k: int) -> float:
        at, along = (line + k, place + x) if matrix.turned else (line + x, place + k)
        return rounded(tile[along // width, at, along % width])

    return [[element(x, k) for k in range(depth)] for x in range(lines)]


def _place(
    buffer: Buffer, index: tuple[Expr, ...], memory: Memory, values: Mapping[Expr, Any]
) -> tuple[int, ...]:
    """The checked place; a single index is a row-major offset."""
    place = [int(evaluate(i, memory, values)) for i in index]
    if len(place) == 1:
        offset, place = place[0], []
        for extent in reversed(buffer.shape[1:]):
            place.insert(0, offset % extent)
            offset //= extent
        place = [offset, *place] if buffer.shape else []
    if not all(0 <= i < n for i, n in zip(place, buffer.shape, strict=True)):
        raise CompilerBug(f"index {place} outside a buffer of {buffer.type}")
    return tuple(place)


def evaluate(expr: Expr, memory: Memory, values: Mapping[Expr, Any]) -> Any:
    """The value of an expression given its iterators and locals."""
    match expr:
        case Iter():
            return expr.dtype.numpy.type(values[expr])
        case Local():
            return values[expr]
        case Lit(value, dtype):
            return dtype.numpy.type(value)
        case Affine(terms, constant):
            total = sum(c * int(evaluate(a, memory, values)) for a, c in terms)
            return expr.dtype.numpy.type(constant + total)
        case Load(buffer, index):
            place = _place(buffer, index, memory, values)
            return _converted(memory[buffer][place], expr.dtype)
        case Select(condition, chosen, other):
            taken = chosen if evaluate(condition, memory, values) else other
            return evaluate(taken, memory, values)
        case Bounded(index, extent, owner):
            place = evaluate(index, memory, values)
            return _checked(place, extent, owner)
        case Apply(function, args, _):
            return _call(function, [evaluate(a, memory, values) for a in args], expr)
    raise CompilerBug(f"loops cannot evaluate {type(expr).__name__}")


def _converted(x: Any, to: DType) -> Any:
    """A NumPy scalar in another dtype."""
    target = to.numpy
    return target.type(x.astype(target) if hasattr(x, "astype") else x)


def _checked(index: Any, extent: int, owner: object) -> Any:
    if 0 <= index < extent:
        return index
    raise UserError("GC0306", f"{owner}: index {index} outside 0..{extent - 1}")


def _call(function: str, args: list[Any], like: Expr) -> Any:
    """A scalar function on NumPy scalars; the result has the dtype of the expression."""
    target = like.dtype.numpy
    if function == "bitcast":
        return args[0].view(target)
    if function == "cast":
        return _converted(args[0], like.dtype)
    return target.type(SCALARS[function].numpy(*args))
