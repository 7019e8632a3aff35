"""The data of the loop language: loops with a kind, locals, stores.

Loop kinds: "serial"; "parallel" (iterations are independent; threads share them); "vector" (lanes
of one instruction); "unroll" (written out); "block" and "thread" (a GPU's grid and threads).
"shared" buffers belong to a block and are synchronised by `Barrier`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.expr import Buffer, Expr, Iter
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


Statement = Define | Accumulate | Put | Fetch | Alloc | Barrier | Loop | When


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    stack = list(reversed(body))
    while stack:
        statement = stack.pop()
        yield statement
        if isinstance(statement, When):
            stack.extend(reversed(statement.other))
        if isinstance(statement, Loop | When):
            stack.extend(reversed(statement.body))


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """The expressions a statement evaluates itself."""
    if isinstance(statement, Define | Accumulate):
        return (statement.value,)
    if isinstance(statement, Put):
        return (*statement.index, statement.value)
    if isinstance(statement, Fetch):
        return statement.index
    if isinstance(statement, When):
        return (statement.condition,)
    return ()
