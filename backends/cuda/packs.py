"""Which accesses of a vector loop are one access of up to 16 bytes.

Comes in: a vector loop. Goes out: the loads and stores of neighbours that are aligned, and where
the first neighbour lies. A separate step because alignment is proved, not assumed: an offset is a
multiple of the lanes only if every part of it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.expr import Buffer, Expr, Iter, Lit, Load, Select, substitute
from graphc.index import affine, flat_index, stride
from graphc.kernels.flat import View
from graphc.loops.ir import Local, Loop, Put, expressions, statements
from graphc.types import INT64

WIDEST = 16
"""Bytes of one access."""


@dataclass(frozen=True)
class Packs:
    """The loads and stores of ``loop`` that are whole vectors."""

    loop: Loop
    loads: tuple[Load, ...]
    puts: tuple[Put, ...]

    def first(self, access: Load | Put) -> Expr:
        """The offset of the first neighbour."""
        offset = flat_index(access.buffer, access.index)
        start = {self.loop.iter: Lit(0, INT64)}
        return substitute(offset, lambda e: start.get(e) if isinstance(e, Iter) else None)


def packs(loop: Loop) -> Packs:
    """The vectors of a loop. A buffer that is read after it was written has none."""
    loads: dict[Load, None] = {}
    puts: list[Put] = []
    spoilt: set[Buffer] = set()
    inside = {
        s.local for s in statements((loop,)) if not isinstance(s, Put) and hasattr(s, "local")
    }
    for statement in loop.body:
        for load in sure_loads(expressions(statement)):
            if load.buffer in {p.buffer for p in puts}:
                spoilt.add(load.buffer)
            elif _is_vector(load, loop.iter) and not _uses(load, inside):
                loads[load] = None
        if isinstance(statement, Put):
            if not statement.combine and _is_vector(statement, loop.iter):
                puts.append(statement)
            else:
                spoilt.add(statement.buffer)
    return Packs(
        loop,
        tuple(x for x in loads if x.buffer not in spoilt),
        tuple(p for p in puts if p.buffer not in spoilt),
    )


def sure_loads(roots: tuple[Expr, ...]) -> Iterator[Load]:
    """The loads that are evaluated whatever the data: not those in a branch of a choice."""
    stack = [*roots]
    while stack:
        e = stack.pop()
        if isinstance(e, Load):
            yield e
        stack.extend(e.children[:1] if isinstance(e, Select) else e.children)


def _uses(load: Load, inside: set[Local]) -> bool:
    stack: list[Expr] = [*load.index]
    while stack:
        e = stack.pop()
        if e in inside or isinstance(e, Load):
            return True
        stack.extend(e.children)
    return False


def _is_vector(access: Load | Put, along: Iter) -> bool:
    """Whether neighbours lie side by side and begin at a multiple of their number."""
    buffer, lanes = access.buffer, along.extent
    if (
        buffer.scope not in ("global", "scratch", "shared", "tile")
        or lanes * buffer.type.dtype.bytes > WIDEST
    ):
        return False
    offset = flat_index(buffer, access.index)
    if stride(offset, along) != 1:
        return False
    start = buffer.start if isinstance(buffer, View) else 0
    form = affine(offset)
    rest = (c for atom, c in form.terms if atom is not along)
    return all(n % lanes == 0 for n in (start, form.constant, *rest))
