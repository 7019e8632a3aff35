"""Attention that fits no tile: its scores and weights are in memory after all.

Comes in: walks (`attention`). Goes out: kernels that make the same of it one after another. A
separate step because rows that are too long for the memory of a multiprocessor are rare, and other
schedules compute each of these kernels well: products of matrices, and rows.
"""

from __future__ import annotations

from graphc.backends.cuda.attention import Inner, Mix, Scores, reads
from graphc.backends.cuda.attention_tiles import held
from graphc.backends.cuda.stages import ONLY, size
from graphc.expr import Apply, Buffer, Expr, Iter, Load, Reduce, Substitution
from graphc.index import linear
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import DType, TensorType


def apart(scores: Scores) -> tuple[Kernel, ...]:
    """Kernels for inner products, for what follows from them, and for sums of weighted factors."""
    return _Apart(scores).kernels()


class _Apart:
    """Gives everything that a later kernel reads a place in memory."""

    def __init__(self, scores: Scores) -> None:
        self.scores = scores
        self.points = (*scores.batch, *scores.rows)
        self.pairs = (*self.points, scores.walked)
        self.mixes = [m for w in scores.walks for m in w.mixes]
        numbers = [number for w in scores.walks for number in w.found if number.scope == "row"]
        later = [s.value for m in self.mixes for s in m.stores]
        self.numbers = {
            b: self._room(b.type.dtype.computing, self.points)
            for b in dict.fromkeys(numbers)
            if any(reads(value, [b]) for value in later)
        }
        self.inner = {x.total: self._room(x.total.dtype, self.pairs) for x in scores.inner}
        self.weights = [self._room(held(m.weight), self.pairs) for m in self.mixes]

    def _room(self, dtype: DType, indices: tuple[Iter, ...]) -> Buffer:
        return Buffer(TensorType(dtype, (size(indices),)), "scratch")

    def _place(self, indices: tuple[Iter, ...]) -> tuple[Expr, ...]:
        """The place of a number, the last index fastest."""
        return (linear((i, size(indices[n:])) for n, i in enumerate(indices, 1)),)

    def kernels(self) -> tuple[Kernel, ...]:
        """All of them, in order."""
        products = (self._product(x) for x in self.scores.inner)
        sums = (self._sum(*pair) for pair in zip(self.mixes, self.weights, strict=True))
        return (*products, self._rows(), *sums)

    def _product(self, x: Inner) -> Kernel:
        store = Store(self.inner[x.total], self._place(self.pairs), x.total)
        return Kernel(self.pairs, (Stage((), (store,)),))

    def _rows(self) -> Kernel:
        """What is folded, and all weights."""
        inner = {total: Load(room, self._place(self.pairs)) for total, room in self.inner.items()}
        change = Substitution(lambda e: inner.get(e) if isinstance(e, Reduce) else None)
        walked, stages = (self.scores.walked,), list[Stage]()
        for walk_ in self.scores.walks:
            for fold in walk_.folds:
                store = Store(fold.number, ONLY, change(fold.value), fold.function)
                stages.append(Stage(walked, (store,)))
            if walk_.after:
                stages.append(Stage((), tuple(walk_.after)))
        stages += [Stage((), (self._saved(b, room),)) for b, room in self.numbers.items()]
        for mix, room in zip(self.mixes, self.weights, strict=True):
            store = Store(room, self._place(self.pairs), change(mix.weight))
            stages.append(Stage(walked, (store,)))
        return Kernel(self.points, tuple(stages))

    def _saved(self, number: Buffer, room: Buffer) -> Store:
        return Store(room, self._place(self.points), Load(number, ONLY))

    def _sum(self, mix: Mix, room: Buffer) -> Kernel:
        """The sum of weighted factors, and what becomes of it."""
        factors = (Load(room, self._place(self.pairs)), mix.factor)
        body = Apply("multiply", factors, mix.total.dtype)
        total = Reduce("add", (self.scores.walked,), body)

        def placed(e: Expr) -> Expr | None:
            if isinstance(e, Load) and e.buffer in self.numbers:
                return Load(self.numbers[e.buffer], self._place(self.points))
            return total if e is mix.total else None

        change = Substitution(placed)
        stores = (Store(s.buffer, s.index, change(s.value)) for s in mix.stores)
        return Kernel((*self.points, *mix.columns), (Stage((), tuple(stores)),))
