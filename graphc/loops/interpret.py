"""The meaning of loops, in plain Python: what every backend must agree with.

Comes in: statements and memory. Goes out: the memory, changed. A separate step because it is a
definition, not a way to run anything: one scalar at a time, checked at every access.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
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
from graphc.loops.ir import (
    Accumulate,
    Alloc,
    Barrier,
    Define,
    Fetch,
    Local,
    Loop,
    Put,
    Statement,
    When,
)
from graphc.scalars import SCALARS
from graphc.types import DType

Memory = MutableMapping[Buffer, Any]


def interpret(body: tuple[Statement, ...], memory: Memory) -> None:
    """Run ``body``. ``memory`` maps each global buffer to an array indexed by tuples; stores change
    it in place.

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
            case When(condition, chosen, other):
                taken = chosen if evaluate(condition, memory, values) else other
                _run(taken, memory, values)
            case Define(local, value):
                values[local] = evaluate(value, memory, values)
            case Accumulate(local, function, value):
                step = evaluate(value, memory, values)
                values[local] = _call(function, [values[local], step], local)
            case Put(buffer, index, value, combine):
                _put(buffer, index, value, combine, memory, values)
            case Alloc(buffer):
                memory[buffer] = {}
            case Barrier() | Fetch():
                pass  # one thread is always in step with itself, and all memory is near


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
