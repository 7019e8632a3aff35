"""Rows fetched ahead: while a row is walked for the last time, the next one is brought near.

Comes in: the loops of a kernel. Goes out: the same loops with a `Fetch` wherever a loop over rows
walks each row several times. A separate step because it looks at the order of loops only: the first
walk waits for memory, the others find the row in a cache and leave memory idle. What is walked once
needs nothing, since the processor itself fetches ahead of a walk that does not stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from graphc.expr import Buffer, Expr, Iter, Load, walk
from graphc.index import linear, stride
from graphc.loops.ir import Fetch, Loop, Statement, expressions, statements

LARGE = 1 << 20
"""Bytes of a buffer from which its rows are not in a near cache already."""
NEAR = 1 << 17
"""Bytes of the next rows at most: they must not push the present ones out of a second cache."""
ROWS = 2
"""How many rows ahead: the next one is what the processor itself begins to fetch."""


@dataclass(frozen=True)
class _Walk:
    """Along a row, one element after another: the row's first offset and where the next begins."""

    buffer: Buffer
    start: Expr
    step: int

    def fetch(self, lane: Iter) -> Fetch:
        """Bring the next row near, as far as ``lane`` has come in this one."""
        return Fetch(self.buffer, (linear([(self.start, 1), (lane, 1)], ROWS * self.step),))


def fetched_ahead(phases: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """The phases, with the next row fetched in the last of several walks along each row."""
    return tuple(map(_with_fetches, phases))


def _with_fetches(statement: Statement) -> Statement:
    if not isinstance(statement, Loop) or statement.kind not in ("parallel", "serial"):
        return statement
    last: dict[_Walk, Loop] = {}
    again: dict[_Walk, None] = {}
    for part in statement.body:
        if isinstance(part, Loop) and part.kind == "vector":
            found = dict.fromkeys(_walks(part, statement.iter))
            again.update(dict.fromkeys(walked for walked in found if walked in last))
            last.update(dict.fromkeys(found, part))
    if sum(last[w].iter.extent * w.buffer.type.dtype.bytes for w in again) > NEAR:
        again = {}

    def fetching(part: Statement) -> Statement:
        ahead = [w for w in again if last[w] is part]
        if not isinstance(part, Loop) or not ahead:
            return _with_fetches(part)
        return replace(part, body=(*(w.fetch(part.iter) for w in ahead), *part.body))

    return replace(statement, body=tuple(map(fetching, statement.body)))


def _walks(loop: Loop, row: Iter) -> Iterator[_Walk]:
    """The walks of a vector loop along rows of large buffers that ``row`` counts."""
    for e in walk(*(e for s in statements(loop.body) for e in expressions(s))):
        if not isinstance(e, Load) or e.buffer.scope != "global" or e.buffer.type.bytes < LARGE:
            continue
        (offset,) = e.index
        step = stride(offset, row)
        if step and stride(offset, loop.iter) == 1:
            yield _Walk(e.buffer, linear([(offset, 1), (loop.iter, -1)]), step)
