"""Stores that go round the caches: which ones may, and whether the memory is aligned for them.

Comes in: the loops of a kernel. Goes out: the same loops with some stores marked; while code is
written, the test that a marked loop begins on a full vector. A separate step because it looks at
sizes only: what is larger than the last cache is in memory anyway before anyone reads it, and an
ordinary store would first read each line that it is about to overwrite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from graphc.backends.llvm.emitter import Value
from graphc.backends.llvm.machine import LINE, Machine
from graphc.expr import Load, walk
from graphc.loops.ir import Loop, Put, Statement, expressions, statements


def streamed(phases: tuple[Statement, ...], machine: Machine) -> tuple[Statement, ...]:
    """The phases with the stores marked that fill, in whole lines, more than the last cache holds.

    Their loops are written twice, for memory that is aligned or not.
    """
    read = {
        e.buffer for s in statements(phases) for e in walk(*expressions(s)) if isinstance(e, Load)
    }

    stored = {s.buffer for s in statements(phases) if isinstance(s, Put)}
    footprint = sum(b.type.bytes for b in read | stored if b.scope == "global")

    def marked(statement: Statement, inside: bool) -> Statement:
        if isinstance(statement, Loop):
            vector = inside or statement.kind == "vector"
            return replace(statement, body=tuple(marked(s, vector) for s in statement.body))
        if not isinstance(statement, Put) or not inside or statement.combine:
            return statement
        large = footprint >= machine.last_cache and statement.buffer.type.bytes >= 1 << 20
        fit = machine.vector_bytes == LINE and statement.buffer.type.dtype.bytes >= 4
        free = statement.buffer.scope == "global" and statement.buffer not in read
        return replace(statement, streamed=large and fit and free)

    return tuple(marked(p, inside=False) for p in phases)


def aligned(addresses: Iterable[Value]) -> Value | None:
    """Whether all addresses are multiples of a line, as a scalar i1; None when there are none."""
    all_bits: Value | None = None
    for address in addresses:
        bits = address.convert("ptrtoint", "i64")
        all_bits = bits if all_bits is None else all_bits | bits
    return None if all_bits is None else (all_bits & (LINE - 1)).compare("eq", 0)
