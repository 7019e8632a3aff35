"""Counted loops under construction: blocks, the index and carried values, and how they join.

Comes in: bounds and first values, then whatever is written inside the `with` block. Goes out: a
loop whose test stands at its end, entered only if there is a first round. Apart from `emitter`
because a phi is the one instruction whose operands are known later than the instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from graphc.backends.llvm.value import Value
from graphc.errors import CompilerBug

if TYPE_CHECKING:
    from graphc.backends.llvm.emitter import Emitter


class Loop:
    """A loop being written: this round's ``index`` and ``carried``, then the ``results``."""

    def __init__(
        self, emitter: Emitter, low: Value, high: Value, step: Value, carry: Sequence[Value]
    ) -> None:
        self.emitter, self.low, self.high, self.step, self.first = emitter, low, high, step, carry
        self.index: Value
        self.carried: list[Value] = []
        self.results: list[Value] = list(carry)
        self._next: Sequence[Value] = ()

    def carry(self, *values: Value) -> None:
        """Say what the carried values are in the next round, in the order of ``carried``."""
        self._next = values

    def __enter__(self) -> Loop:
        emitter = self.emitter
        self._body, self._exit = emitter.fresh("loop"), emitter.fresh("after")
        low, high = self.low.number, self.high.number
        self._runs = low is not None and high is not None and low < high
        if self._runs:
            emitter.jump(self._body)
        else:
            emitter.branch(self.low.compare("slt", self.high), self._body, self._exit)
        self._before = emitter.last_block
        emitter.label(self._body)
        self._phis = len(emitter.lines)
        self.index, *self.carried = [emitter.reserve(value) for value in (self.low, *self.first)]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        emitter = self.emitter
        if len(self._next) != len(self.first):
            raise CompilerBug(f"a loop carries {len(self.first)} values, got {len(self._next)}")
        following = emitter.emit(f"add nsw {self.index.typed}, {self.step.name}", "i64")
        emitter.branch(following.compare("slt", self.high), self._body, self._exit)
        latch = emitter.last_block
        self._write_phis(following, latch)
        emitter.label(self._exit)
        self.results = list(self._next)
        if not self._runs:
            pairs = zip(self.first, self._next, strict=True)
            self.results = [
                emitter.phi([(first, self._before), (again, latch)]) for first, again in pairs
            ]

    def _write_phis(self, following: Value, latch: str) -> None:
        """Fill in the lines that were kept free at the top of the body."""
        phis = (self.index, *self.carried)
        values = zip((self.low, *self.first), (following, *self._next), strict=True)
        for place, (phi, (first, again)) in enumerate(zip(phis, values, strict=True), self._phis):
            if again.base != phi.base or again.lanes != phi.lanes:
                raise CompilerBug(f"a loop carries {phi.typed}, then {again.typed}")
            arms = f"[ {first.name}, %{self._before} ], [ {again.name}, %{latch} ]"
            self.emitter.lines[place] = f"  {phi.name} = phi {phi.type} {arms}"
