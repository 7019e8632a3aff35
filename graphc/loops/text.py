"""Loops as text: stable under renaming, because every name is a number by position.

Comes in: statements. Goes out: lines. It lives beside the language, not with the drawings, because
the text also tells which loops do the same: panels that equal loops fill are filled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.expr import Affine, Apply, Bounded, Buffer, Expr, Iter, Lit, Load, Reduce, Select
from graphc.loops.fragments import WARP
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

INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "floor_divide": "//",
    "remainder": "%",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "equal": "==",
    "not_equal": "!=",
    "logical_and": "and",
    "logical_or": "or",
    "bitwise_and": "&",
    "bitwise_or": "|",
    "bitwise_xor": "^",
}
_LETTERS = "ijklmnopqrstuvw"


class Names:
    """Names in order of appearance; buffers may bring the user's."""

    def __init__(self, given: Mapping[Buffer, str] | None = None) -> None:
        self.given = dict(given or {})
        self.taken = set(self.given.values())
        self.known: dict[object, str] = {}
        self.counts = {"i": 0, "b": 0, "v": 0, "r": 0}

    def _number(self, key: object, kind: str) -> str:
        while key not in self.known:
            name = self._next(kind)
            if name not in self.taken:
                self.known[key] = name
        return self.known[key]

    def _next(self, kind: str) -> str:
        count = self.counts[kind]
        self.counts[kind] += 1
        if kind != "i":
            return f"{kind}{count}"
        round_, letter = divmod(count, len(_LETTERS))
        return _LETTERS[letter] + (str(round_) if round_ else "")

    def iter(self, iterator: Iter) -> str:
        return self._number(iterator, "i")

    def local(self, local: Local) -> str:
        return self._number(local, "v")

    def buffer(self, buffer: Buffer) -> str:
        if buffer in self.given:
            return self.given[buffer]
        return self._number(buffer, "b" if buffer.scope == "global" else "r")


def bare(e: Expr, names: Names) -> str:
    """An expression as text without parentheses around the whole."""
    text = expression(e, names)
    infix = isinstance(e, Apply) and e.function in INFIX
    return text[1:-1] if infix or isinstance(e, Affine) else text


def expression(e: Expr, names: Names) -> str:
    """An expression as text, parenthesised so that it may stand inside another."""
    match e:
        case Lit(value, dtype):
            # in its own dtype, so that a float32 is written 0.1
            number = str(dtype.numpy.type(value)) if dtype.is_float else str(value)
            return number if dtype.name in ("float32", "int64", "bool") else f"{dtype}({number})"
        case Iter():
            return names.iter(e)
        case Local():
            return names.local(e)
        case Affine(terms, constant):
            return f"({_sum([*(_term(*term, names) for term in terms), str(constant)])})"
        case Load(buffer, index):
            return f"{names.buffer(buffer)}[{', '.join(bare(i, names) for i in index)}]"
        case Select(condition, chosen, other):
            c, a, b = (expression(x, names) for x in (condition, chosen, other))
            return f"({a} if {c} else {b})"
        case Bounded(index, extent, _):
            return f"bounded({bare(index, names)}, {extent})"
        case Apply(function, args, dtype):
            inside = expression if function in INFIX else bare
            return _apply(function, [inside(a, names) for a in args], str(dtype))
        case Reduce(function, iters, body):
            over = ", ".join(f"{names.iter(i)} < {i.extent}" for i in iters)
            return f"{SCALARS[function].fold}({bare(body, names)} for {over})"
    raise TypeError(f"no text for {type(e).__name__}")


def _term(atom: Expr, coefficient: int, names: Names) -> str:
    text = expression(atom, names)
    signed = f"-{text}" if coefficient == -1 else text
    return signed if abs(coefficient) == 1 else f"{text}*{coefficient}"


def _sum(parts: Sequence[str]) -> str:
    """The parts with signs between them; zeros left out."""
    text = ""
    for part in parts:
        if part == "0":
            continue
        factor, star, coefficient = part.rpartition("*")
        if star and coefficient.startswith("-"):
            part = f"-{factor}*{coefficient[1:]}"
        text += f" - {part[1:]}" if part.startswith("-") else f" + {part}"
    return text.removeprefix(" + ") if text.startswith(" + ") else f"-{text.removeprefix(' - ')}"


def _apply(function: str, args: list[str], dtype: str) -> str:
    if function in INFIX:
        return f"({args[0]} {INFIX[function]} {args[1]})"
    if function in ("cast", "bitcast"):
        return f"{function}_{dtype}({args[0]})"
    return f"{function}({', '.join(args)})"


def loops_text(body: tuple[Statement, ...], names: Names | None = None) -> str:
    """The statements as indented lines."""
    return "\n".join(_lines(body, names or Names(), ""))


def _lines(body: tuple[Statement, ...], names: Names, pad: str) -> list[str]:
    lines: list[str] = []
    for statement in body:
        match statement:
            case Loop(iterator, kind, inner, lanes):
                step = f", {lanes}" if lanes else ""
                head = f"{pad}for {names.iter(iterator)} in {kind}(0, {iterator.extent}{step}):"
                lines += [head, *_lines(inner, names, pad + "    ")]
            case Pipeline(iterator, stages, buffers, fill, use, apart):
                head = f"for {names.iter(iterator)} in pipeline(0, {iterator.extent}, {stages}"
                lines.append(f"{pad}{head}{', apart' if apart else ''}):")
                lines += [f"{pad}    {_declared(buffer, names)}" for buffer in buffers]
                lines += [f"{pad}    fill:", *_lines(fill, names, pad + "        ")]
                lines += [f"{pad}    use:", *_lines(use, names, pad + "        ")]
            case When(condition, chosen, other):
                lines.append(f"{pad}if {bare(condition, names)}:")
                lines += _lines(chosen, names, pad + "    ")
                lines += [f"{pad}else:", *_lines(other, names, pad + "    ")]
            case _:
                lines.append(pad + _line(statement, names))
    return lines


def _line(statement: Statement, names: Names) -> str:
    """A statement without others inside."""
    match statement:
        case Define(local, value):
            return f"{names.local(local)}: {local.dtype} = {bare(value, names)}"
        case Accumulate(local, function, value):
            return folded(names.local(local), function, bare(value, names))
        case Put(buffer, index, value, combine, streamed):
            place = _place(buffer, index, names)
            place = f"stream {place}" if streamed else place
            return folded(place, combine, bare(value, names))
        case Fetch(buffer, index):
            return f"fetch {_place(buffer, index, names)}"
        case Alloc(buffer):
            return _declared(buffer, names)
        case Locate(buffer, address):
            place = expression(address, names)  # the table has a name before what it tells
            return f"{names.buffer(buffer)}: {buffer.type.dtype} at {place}"
        case Barrier():
            return "barrier()"
        case _:
            return _matrix_line(statement, names)


def _matrix_line(statement: Statement, names: Names) -> str:
    """What only schedules for matrix instructions ask for."""
    match statement:
        case AsyncCopy(buffer, index, first, count, present):
            line = f"copy {count} to {_place(buffer, index, names)} from {expression(first, names)}"
            always = isinstance(present, Lit) and present.value
            return line if always else f"{line} if {bare(present, names)}"
        case BoxCopy(tile, array, corner):
            place = ", ".join(bare(e, names) for e in reversed(corner))
            return f"copy {names.buffer(tile)} from {names.buffer(array.first.buffer)}[{place}]"
        case Multiply():
            return _product(statement, names)
        case Regroup(sums):
            return f"regroup {names.buffer(sums)}"
    raise TypeError(f"no text for {type(statement).__name__}")


def _declared(buffer: Buffer, names: Names) -> str:
    return f"{names.buffer(buffer)}: {buffer.scope} {buffer.type}"


def _product(product: Multiply, names: Names) -> str:
    rows, columns, depth = product.shape
    first, second = product.first, product.second
    left = _matrix(first, rows, depth, names) + (".T" if first.turned else "")
    right = _matrix(second, columns, depth, names) + ("" if second.turned else ".T")
    threads = f"{bare(product.thread, names)} : {product.warps * WARP}"
    return f"{names.buffer(product.sums)}[{threads}] += {left} @ {right}"


def _matrix(matrix: Matrix, lines: int, depth: int, names: Names) -> str:
    """The corner and the shape of a part of a tile as it lies there."""
    line, place = bare(matrix.line, names), bare(matrix.place, names)
    shape = (depth, lines) if matrix.turned else (lines, depth)
    return f"{names.buffer(matrix.tile)}[{line} : {shape[0]}, {place} : {shape[1]}]"


def _place(buffer: Buffer, index: tuple[Expr, ...], names: Names) -> str:
    return f"{names.buffer(buffer)}[{', '.join(bare(i, names) for i in index)}]"


def folded(place: str, function: str, text: str) -> str:
    """``place = function(place, text)`` in short; ``place = text`` without a function."""
    if function in ("", "add", "multiply"):
        return f"{place} {INFIX.get(function, '')}= {text}"
    return f"{place} = {function}({place}, {text})"
