"""The data of the loop language: loops with a kind, locals, stores.

Loop kinds: "serial"; "parallel" (iterations are independent; threads share them); "vector" (lanes
of one instruction); "unroll" (written out); "block", "thread", "warpgroup", "warp" and "lane" (a
GPU's grid, its threads, and those that run together).
"shared" buffers belong to a block and are synchronised by `Barrier`; so do "tile" buffers, which
feed matrix instructions: [slabs, lines, width], in an order that avoids conflicts of banks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.expr import Buffer, Expr, Iter, Load
from graphc.types import DType


@dataclass(frozen=True, eq=False)
class Local(Expr):
    """A named value inside a loop body; compared by identity, numbered by printers."""

    dtype: DType


@dataclass(frozen=True)
class Define:
    """``local = value``, where ``local`` is new. An accumulator is defined once and folded into
    later.
    """

    local: Local
    value: Expr


@dataclass(frozen=True)
class Accumulate:
    """``local = function(local, value)``. The function is associative: lanes may hold partial
    results.
    """

    local: Local
    function: str
    value: Expr


@dataclass(frozen=True)
class Put:
    """``buffer[index] = value``; with ``combine``, ``buffer[index] = combine(buffer[index],
    value)``; a narrow float is rounded to what the buffer stores. A ``streamed`` store may go round
    the caches: nothing reads it soon.
    """

    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    combine: str = ""
    streamed: bool = False


@dataclass(frozen=True)
class Fetch:
    """``buffer[index]`` is read soon, if there is such an element: the time to bring it near. It
    changes nothing.
    """

    buffer: Buffer
    index: tuple[Expr, ...]


@dataclass(frozen=True)
class Alloc:
    """Memory for ``buffer`` until the end of the enclosing body; its scope says of which kind."""

    buffer: Buffer


@dataclass(frozen=True)
class Locate:
    """``buffer``, which is in global memory, begins at this ``address``, until the end of the
    enclosing body: what it is depends on where the loops are.
    """

    buffer: Buffer
    address: Load


@dataclass(frozen=True)
class Barrier:
    """Every thread of a block arrives before any goes on."""


@dataclass(frozen=True)
class Loop:
    """``body`` for every value of ``iter``, in the way ``kind`` says; ``lanes`` of a vector loop,
    0: the target's.
    """

    iter: Iter
    kind: str
    body: tuple[Statement, ...]
    lanes: int = 0


@dataclass(frozen=True)
class When:
    """``body`` where the condition holds, ``other`` where it does not."""

    condition: Expr
    body: tuple[Statement, ...]
    other: tuple[Statement, ...]


@dataclass(frozen=True)
class AsyncCopy:
    """``buffer[index]`` and its neighbours, ``count`` in all, become those of the load ``first``,
    zeros where ``present`` does not hold. Within a `Pipeline` they arrive before they are used.
    """

    buffer: Buffer
    index: tuple[Expr, ...]
    first: Load
    count: int
    present: Expr


@dataclass(frozen=True)
class Boxed:
    """An array of three axes that boxes are copied from, the contiguous axis first: its ``first``
    element, sizes, and elements between neighbours along the other two axes.
    """

    first: Load
    sizes: tuple[int, int, int]
    strides: tuple[int, int]


@dataclass(frozen=True)
class BoxCopy:
    """A whole tile of an array, from ``corner`` on: ``tile[s, l, p]`` becomes the element at
    (corner[0] + s * width + p, corner[1] + l, corner[2]), or zero where there is none. Within a
    `Pipeline` it arrives before it is used.
    """

    tile: Buffer
    array: Boxed
    corner: tuple[Expr, Expr, Expr]


@dataclass(frozen=True)
class Matrix:
    """A part of a "tile" buffer that begins at (line, place), where places are counted through the
    slabs: ``matrix[x, k]`` is at (line + x, place + k), in ``tile[p // width, l, p % width]``; if
    it is ``turned``, at (line + k, place + x).
    """

    tile: Buffer
    line: Expr
    place: Expr
    turned: bool


@dataclass(frozen=True)
class Multiply:
    """``sums[r, c] += first[r, k] * second[c, k]`` for all of ``shape`` (rows, columns, depth), by
    ``warps`` warps together, whose first thread is ``thread``. Factors in float32 are rounded to
    TF32.

    ``sums`` is a "register" buffer [threads, rows / 16 / warps, columns / 8, 4]; which thread holds
    which sum is told in `graphc.loops.fragments`.
    """

    sums: Buffer
    thread: Expr
    warps: int
    first: Matrix
    second: Matrix
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Regroup:
    """Threads exchange ``sums`` (`Multiply`), four by four, so that each has eight neighbours of a
    row: the new ``sums[t, i, 4 j + n, p]`` was ``[i, 4 j + t % 4, p]`` of thread n of the four.
    """

    sums: Buffer


@dataclass(frozen=True)
class Pipeline:
    """For every value of ``iter``: ``fill``, which writes ``buffers``, then ``use``, which reads
    them. There are ``stages`` copies of the buffers, so that filling runs ahead; it is done by
    threads of its own if they are ``apart``.
    """

    iter: Iter
    stages: int
    buffers: tuple[Buffer, ...]
    fill: tuple[Statement, ...]
    use: tuple[Statement, ...]
    apart: bool = False


Statement = (
    Define
    | Accumulate
    | Put
    | Fetch
    | Alloc
    | Locate
    | Barrier
    | Loop
    | When
    | AsyncCopy
    | BoxCopy
    | Multiply
    | Regroup
    | Pipeline
)


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        for inner in reversed(bodies(statement)):
            stack.extend(reversed(inner))


def bodies(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    """What a statement has inside, in order."""
    if isinstance(statement, Loop):
        return (statement.body,)
    if isinstance(statement, When):
        return (statement.body, statement.other)
    if isinstance(statement, Pipeline):
        return (statement.fill, statement.use)
    return ()


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """The expressions a statement evaluates itself."""
    if isinstance(statement, Define | Accumulate):
        return (statement.value,)
    if isinstance(statement, Put):
        return (*statement.index, statement.value)
    if isinstance(statement, Fetch):
        return statement.index
    if isinstance(statement, Locate):
        return (statement.address,)
    if isinstance(statement, AsyncCopy):
        return (*statement.index, statement.first, statement.present)
    if isinstance(statement, BoxCopy):
        return (statement.array.first, *statement.corner)
    if isinstance(statement, Multiply):
        corners = ((m.line, m.place) for m in (statement.first, statement.second))
        return (statement.thread, *(e for corner in corners for e in corner))
    if isinstance(statement, When):
        return (statement.condition,)
    return ()
