"""Dissolved matrices written into their readers: values instead of loads.

Comes in: which kernels are dissolved, an expression of a kernel that reads them. Goes out: the
expression that computes what it would have read. A separate step because whoever decides to
dissolve a kernel only asks for accesses, and never for values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from graphc.expr import (
    Apply,
    Buffer,
    Expr,
    Iter,
    Load,
    Reduce,
    Substitution,
    stored,
    walk,
)
from graphc.kernels.dense import dense_order, offset_in, solved
from graphc.kernels.dissolve import Dissolved, Matrix
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.kernels.trace import flatten, unflatten
from graphc.types import TensorType

Places = Mapping[Iter, Expr]
"""The values of a kernel's indices elsewhere."""


class Numbers:
    """The memory of numbers of rows that other kernels read: where they are stored already, or new
    when it is asked for. ``owners`` says which kernel computes what is in a memory, ``new`` which
    row a new one holds, ``rounded`` which row, of which kernel, one holds in a narrow float.
    """

    def __init__(self, found: Dissolved) -> None:
        self.memory: dict[Buffer, Buffer] = {}
        self.owners: dict[Buffer, int] = {}
        self.new: dict[Buffer, Buffer] = {}
        self.rounded: dict[Buffer, tuple[Buffer, int]] = {}
        for number in found.parts:
            for row, memory in _stored_numbers(found.kernels[number]):
                if found.writers[memory] != [number]:
                    continue
                if memory.type.dtype == row.type.dtype:
                    self.memory[row], self.owners[memory] = memory, number
                else:
                    self.rounded[memory] = row, number

    def load(self, row: Buffer, number: int, kernel: Kernel, places: Places) -> Load:
        """A number of the rows of kernel ``number``, whose indices have values."""
        extents = [i.extent for i in kernel.iters]
        if row not in self.memory:
            memory = Buffer(TensorType(row.type.dtype, tuple(extents)))
            self.memory[row], self.owners[memory], self.new[memory] = memory, number, row
        memory = self.memory[row]
        offset = flatten([places.get(i, i) for i in kernel.iters], extents)
        return Load(memory, unflatten(offset, memory.shape))

    def handed(self, number: int) -> dict[Buffer, Buffer]:
        """What a kernel hands on: memory to row."""
        return {m: row for row, m in self.memory.items() if self.owners[m] == number}


def _stored_numbers(kernel: Kernel) -> Iterator[tuple[Buffer, Buffer]]:
    """Numbers of rows that a kernel stores as they are, row by row, and their memory."""
    for stage in kernel.stages:
        for store in stage.stores if not stage.iters else ():
            value, memory = store.value, store.buffer
            if not isinstance(value, Load) or value.buffer.scope != "row" or value.index:
                continue
            if store.combine or memory.scope != "global":
                continue
            offset = offset_in(memory, store.index)
            if dense_order(offset, kernel.iters, kernel.points) == kernel.iters:
                yield value.buffer, memory


class Expansion:
    """Expands the expressions of one stage of kernel ``home``; equal elements of a matrix are one
    expression in it.
    """

    def __init__(self, found: Dissolved, numbers: Numbers, home: int) -> None:
        self.found, self.numbers, self.home = found, numbers, home
        self.vectors = found.vectors
        self.known: dict[tuple[object, ...], Expr] = {}
        self.here = _Inside(self, home, {})

    def stage(self, stage: Stage) -> Stage:
        """A stage of the kernel without what it stored of dissolved matrices and kept of rows."""
        gone = self.found.matrices.keys() | self.vectors.keys()
        kept = (s for s in stage.stores if s.buffer not in gone)
        return Stage(stage.iters, tuple(map(self.store, kept)))

    def store(self, store: Store) -> Store:
        """A store of the kernel."""
        return replace(
            store, index=tuple(map(self.here, store.index)), value=self.here(store.value)
        )

    def element(self, buffer: Buffer, offset: Expr) -> Expr:
        """The value of a dissolved matrix."""
        matrix = self.found.matrices[buffer]
        return self.computed(matrix, solved(matrix.order, offset))

    def vector(self, buffer: Buffer, outer: Places, index: tuple[Expr, ...]) -> Expr:
        """The value of a row that a dissolved kernel keeps, whose indices have values."""
        matrix = self.vectors[buffer]
        kernel = self.found.kernels[matrix.kernel]
        rows = {i: outer.get(i, i) for i in kernel.iters}
        return self.computed(matrix, rows | solved(matrix.order, offset_in(buffer, index)))

    def computed(self, matrix: Matrix, places: dict[Iter, Expr]) -> Expr:
        """The value that was stored, where indices have values; its sums get new indices."""
        key = (matrix.store.buffer, *places.values())
        if key not in self.known:
            value = matrix.store.value
            for e in walk(value):
                if isinstance(e, Reduce):
                    places |= {i: Iter(i.extent) for i in e.iters}
            self.known[key] = _Inside(self, matrix.kernel, places)(value)
        return self.known[key]

    def number(self, row: Buffer, kernel: int, places: Places) -> Expr:
        """A number of the rows of a dissolved kernel."""
        iters = self.found.kernels[kernel].iters
        if kernel == self.home and all(places.get(i, i) is i for i in iters):
            return Load(row, ())
        return self.numbers.load(row, kernel, self.found.kernels[kernel], places)


class _Inside(Substitution):
    """Expands expressions of one kernel whose indices have the values ``places``."""

    def __init__(self, expansion: Expansion, kernel: int, places: Places) -> None:
        super().__init__(self._expanded)
        self.expansion, self.kernel, self.places = expansion, kernel, places

    def _expanded(self, e: Expr) -> Expr | None:
        if isinstance(e, Iter):
            return self.places.get(e)
        if isinstance(e, Reduce):
            iters = (self.places.get(i, i) for i in e.iters)
            new = tuple(i for i in iters if isinstance(i, Iter))
            return Reduce(e.function, new, self(e.body))
        return self._loaded(e) if isinstance(e, Load) else None

    def _loaded(self, e: Load) -> Expr | None:
        expansion, index = self.expansion, tuple(map(self, e.index))
        if e.buffer in expansion.found.matrices:
            value = expansion.element(e.buffer, offset_in(e.buffer, index))
            return value if self.kernel in expansion.found.parts else _rounded(value, e.buffer)
        if e.buffer in expansion.numbers.rounded:
            row, kernel = expansion.numbers.rounded[e.buffer]
            iters = expansion.found.kernels[kernel].iters
            return expansion.number(row, kernel, solved(iters, offset_in(e.buffer, index)))
        if e.buffer in expansion.vectors:
            return expansion.vector(e.buffer, self.places, index)
        if e.buffer.scope == "row" and self.kernel in expansion.found.parts:
            return expansion.number(e.buffer, self.kernel, self.places)
        return None


def _rounded(value: Expr, buffer: Buffer) -> Expr:
    """A factor as its memory would have rounded it: matrix units multiply such numbers. What is
    computed further was not rounded in the middle of a kernel either.
    """
    dtype = buffer.type.dtype
    if not dtype.is_narrow:
        return value
    return Apply("cast", (stored(value, dtype),), dtype.computing)
