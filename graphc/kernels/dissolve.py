"""Matrices that need no memory: which kernels are computed again wherever their results are read.

Comes in: kernels in order, and the buffers that are not temporaries. Goes out: the kernels to
dissolve, and where each of their matrices is written. A separate step because it only decides:
`expand` writes the values into their readers.

The scores of attention are the case in mind (Dao et al., FlashAttention, 2022), but nothing here
knows of it. A matrix over rows and columns that is pointwise in short sums of products and in
numbers of its rows (or columns) costs little to compute again. It need not be stored when
everybody who reads it sums its products over rows or columns, or is dissolved, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property

from graphc.expr import Apply, Buffer, Expr, Iter, Load, Reduce, walk
from graphc.kernels.dense import dense_order, indices_in, offset_in, offset_of
from graphc.kernels.kernel import Kernel, Stage, Store

LINE = 1 << 10
"""Bytes of the numbers that one sum multiplies, and of the sums beside it in a product that reads a
dissolved matrix, at most: 256 of float32. Heads have 64 or 128 features. Longer sums cost more than
reading what they make, and a tile of them, or of wider products, would not stay in fast memory."""
SUMS = 1
"""Sums over a row, at most, before its matrix is there: each goes through the row once more, and so
computes it once more. Only a maximum does not: sums can follow a growing one (Milakov and
Gimelshein, Online normalizer calculation for softmax, 2018)."""


@dataclass(frozen=True)
class Matrix:
    """The store of a dissolved buffer in kernel number ``kernel``, and the indices of that kernel
    that walk through the buffer, slowest first.
    """

    kernel: int
    store: Store
    order: tuple[Iter, ...]


@dataclass(frozen=True)
class Consumer:
    """A kernel of one sum of products, of which a factor is dissolved: the indices that move this
    factor, and the other ones of the kernel, its columns.
    """

    total: Reduce
    read: tuple[Load, ...]
    lines: tuple[Iter, ...]
    columns: tuple[Iter, ...]


@dataclass
class Dissolved:
    """The ``kernels``, the ``parts`` of those that are dissolved, by number, and all of their
    ``matrices``; ``readers`` and ``writers`` are kernel numbers.
    """

    kernels: Sequence[Kernel]
    readers: dict[Buffer, list[int]] = field(default_factory=dict)
    writers: dict[Buffer, list[int]] = field(default_factory=dict)
    parts: dict[int, dict[Buffer, Matrix]] = field(default_factory=dict)
    matrices: dict[Buffer, Matrix] = field(default_factory=dict)

    @cached_property
    def vectors(self) -> dict[Buffer, Matrix]:
        """What the dissolved kernels keep of their rows from one stage to the next."""
        found = [vectors_of(self.kernels[n], n) for n in self.parts]
        return {b: m for vectors in found for b, m in vectors.items()}

    @property
    def numbers(self) -> set[int]:
        """The dissolved kernels."""
        return set(self.parts)

    def drop(self, number: int) -> None:
        """Leave a kernel as it is after all."""
        for buffer in self.parts.pop(number):
            del self.matrices[buffer]

    def users(self, number: int) -> set[int]:
        """The kernels that read the matrices of one, itself not counted."""
        found = {r for b in self.parts[number] for r in self.readers.get(b, ())}
        return found - {number}

    def sources(self, number: int) -> set[int]:
        """The dissolved kernels that a kernel reads, itself not counted."""
        read = (self.matrices.get(b) for b in self.kernels[number].read)
        return {m.kernel for m in read if m is not None} - {number}

    def groups(self) -> Iterator[set[int]]:
        """The dissolved kernels, those together that read each other."""
        left = self.numbers
        while left:
            group, stack = set[int](), [left.pop()]
            while stack:
                number = stack.pop()
                group.add(number)
                near = (self.users(number) | self.sources(number)) & self.parts.keys()
                stack += near - group
            left -= group
            yield group

    def consumer(self, number: int) -> Consumer | None:
        """What a kernel sums of dissolved matrices, if that is all it does with them."""
        return consumer_of(self.kernels[number], self.matrices)


def dissolved(
    kernels: Sequence[Kernel], outside: set[Buffer], refused: Set[int] = frozenset()
) -> Dissolved:
    """The kernels of which nothing but numbers of rows is stored; none that are ``refused``."""
    found = Dissolved(kernels)
    for number, kernel in enumerate(kernels):
        for buffer in kernel.written:
            found.writers.setdefault(buffer, []).append(number)
        for buffer in kernel.read:
            found.readers.setdefault(buffer, []).append(number)
    for number, kernel in enumerate(kernels):
        matrices = {} if number in refused else _matrices(kernel, number)
        if matrices and all(_is_own(found, b, outside) for b in matrices):
            found.parts[number] = matrices
            found.matrices.update(matrices)
    work = found.numbers
    while work:
        _shrink(found, work)
        work = _without_rows(found) or _in_the_way(found)
        for number in work:
            found.drop(number)
        work = found.numbers if work else set()
    return found


def _is_own(found: Dissolved, buffer: Buffer, outside: set[Buffer]) -> bool:
    """Whether a buffer is a temporary that one store writes and somebody reads."""
    (writer, *others) = found.writers[buffer]
    stores = [s for s in found.kernels[writer].stores if s.buffer is buffer]
    alone = not others and len(stores) == 1 and buffer not in outside
    return alone and buffer in found.readers


def _shrink(found: Dissolved, work: set[int]) -> None:
    """Drop kernels until all that are left may be dissolved together."""
    while work:
        number = work.pop()
        if number not in found.parts or _may_dissolve(found, number):
            continue
        users, sources = found.users(number), found.sources(number)
        found.drop(number)
        work |= users | sources
        for user in users:
            work |= found.sources(user)
        work &= found.numbers


def _may_dissolve(found: Dissolved, number: int) -> bool:
    kernel = found.kernels[number]
    if not found.sources(number) and not _sums(kernel):
        return False
    if not all(_may_read(found, user, number) for user in found.users(number)):
        return False
    last = _last_use(found, number)
    return not any(number < w <= last for b in kernel.read for w in found.writers.get(b, ()))


def _may_read(found: Dissolved, user: int, number: int) -> bool:
    """Whether a kernel can read what is not there, as far as it is made by kernel ``number``."""
    kernel, matrices = found.kernels[user], found.parts[number]
    if user not in found.parts:
        return kernel.call is None and consumer_of(kernel, matrices) is not None
    return all(
        _walks(load, kernel.iters + stage.iters)
        for stage in kernel.stages
        for load in _loads(stage)
        if load.buffer in matrices
    )


def _walks(load: Load, iters: tuple[Iter, ...]) -> bool:
    """Whether a load reads each element of its buffer once while ``iters`` run."""
    size = math.prod(load.buffer.shape)
    return dense_order(offset_of(load), iters, size) is not None


def _last_use(found: Dissolved, number: int) -> int:
    """The last kernel in which the values of a dissolved one are computed."""
    last, seen, stack = number, {number}, [number]
    while stack:
        for user in found.users(stack.pop()) - seen:
            seen.add(user)
            last = max(last, user)
            if user in found.parts:
                stack.append(user)
    return last


def _without_rows(found: Dissolved) -> set[int]:
    """Dissolved kernels that no numbers of rows hold together: a product of products stays two, for
    its first matrix is read once and costs more to compute than to read.
    """
    kernels = found.kernels
    groups = (g for g in found.groups() if not any(has_rows(kernels[n]) for n in g))
    return set().union(*groups)


def _in_the_way(found: Dissolved) -> set[int]:
    """Of the dissolved kernels that a product cannot read together, the smallest."""
    users = {u for number in found.parts for u in found.users(number)} - found.numbers
    stuck = (u for u in users if found.consumer(u) is None)
    return {min(found.sources(u), key=lambda n: found.kernels[n].points) for u in stuck}


# One kernel ---------------------------------------------------------------------------------------
def has_rows(kernel: Kernel) -> bool:
    """Whether a kernel computes numbers of its rows."""
    return any(stage.iters for stage in kernel.stages)


def _matrices(kernel: Kernel, number: int) -> dict[Buffer, Matrix]:
    """What a kernel stores at each of its points, if it can be computed again there; nothing if it
    cannot.
    """
    rows, sums = has_rows(kernel), _sums(kernel)
    if kernel.call is not None or kernel.points == 0 or (rows and sums):
        return {}
    if not all(_is_short(kernel, total) for total in sums):
        return {}
    found: dict[Buffer, Matrix] = {}
    for stage in kernel.stages:
        for store in stage.stores:
            if store.buffer.scope != "global" or (rows and not stage.iters):
                if store.combine and store.buffer.scope == "global":
                    return {}
                continue
            offset = offset_in(store.buffer, store.index)
            size = math.prod(store.buffer.shape)
            order = dense_order(offset, kernel.iters + stage.iters, size)
            if store.combine or order is None:
                return {}
            found[store.buffer] = Matrix(number, store, order)
    return found if not rows or (_keeps_rows(kernel) and _is_near(kernel)) else {}


def vectors_of(kernel: Kernel, number: int) -> dict[Buffer, Matrix]:
    """What a kernel keeps of a row from one stage to the next."""
    found: dict[Buffer, Matrix] = {}
    for stage in kernel.stages:
        for store in stage.stores:
            if store.buffer.scope == "row" and store.buffer.shape:
                offset = offset_in(store.buffer, store.index)
                order = dense_order(offset, stage.iters, math.prod(store.buffer.shape))
                if order is not None and not store.combine:
                    found[store.buffer] = Matrix(number, store, order)
    return found


def _keeps_rows(kernel: Kernel) -> bool:
    """Whether each row that is kept is written once, as a whole."""
    kept = [s.buffer for s in kernel.stores if s.buffer.scope == "row" and s.buffer.shape]
    known = vectors_of(kernel, 0)
    return len(kept) == len(known) and all(b in known for b in kept)


def _is_near(kernel: Kernel) -> bool:
    """Whether few walks through a row lead to what is stored of it."""
    folds = [{s.combine for s in stage.stores if s.combine} for stage in kernel.stages]
    return sum(bool(functions - {"maximum"}) for functions in folds) <= SUMS


def _sums(kernel: Kernel) -> list[Reduce]:
    """The reductions inside the values of a kernel."""
    values = [s.value for s in kernel.stores]
    return [e for e in walk(*values) if isinstance(e, Reduce)]


def factors(total: Reduce) -> tuple[Expr, Expr] | None:
    """The factors of a sum of products; None if it is not one."""
    body = total.body
    if total.function != "add" or not total.dtype.is_float:
        return None
    if isinstance(body, Apply) and body.function == "multiply":
        first, second = body.args
        return first, second
    return None


def _is_short(kernel: Kernel, total: Reduce) -> bool:
    """Whether a sum of products costs little to compute again, and there are more such sums than
    numbers in either factor: reading the factors again costs less than reading the sums.
    """
    pair = factors(total)
    if pair is None or not 0 < _size(total.iters) * total.dtype.bytes <= LINE:
        return False
    own = {*kernel.iters, *total.iters}
    return all(kernel.points > _size(indices_in(f) & own) for f in pair)


def _size(iters: Iterable[Iter]) -> int:
    return math.prod(i.extent for i in iters)


def _loads(stage: Stage) -> Iterator[Load]:
    roots = [e for s in stage.stores for e in (*s.index, s.value)]
    yield from (e for e in walk(*roots) if isinstance(e, Load))


def consumer_of(kernel: Kernel, matrices: dict[Buffer, Matrix]) -> Consumer | None:
    """The sum of products in a kernel that reads dissolved matrices in one of its factors only."""
    sums = _sums(kernel)
    plain = len(kernel.stages) == 1 and not has_rows(kernel)
    if not plain or len(sums) != 1 or any(s.combine for s in kernel.stores):
        return None
    (total,) = sums
    pair = factors(total)
    if pair is None:
        return None
    read = [_read(f, matrices) for f in pair]
    everywhere = {x for x in kernel.loads if x.buffer in matrices}
    if (
        all(read)
        or everywhere != {*read[0], *read[1]}
        or not _reads_inside(kernel, total, matrices)
    ):
        return None
    found = tuple(read[0] or read[1])
    moving = {i for x in found for i in indices_in(offset_of(x))}
    lines = tuple(i for i in kernel.iters if i in moving)
    columns = tuple(i for i in kernel.iters if i not in moving)
    if not all(_walks(x, lines + total.iters) for x in found):
        return None
    narrow = columns and _size(columns) * total.dtype.bytes <= LINE
    return Consumer(total, found, lines, columns) if narrow else None


def _read(factor: Expr, matrices: dict[Buffer, Matrix]) -> list[Load]:
    return [e for e in walk(factor) if isinstance(e, Load) and e.buffer in matrices]


def _reads_inside(kernel: Kernel, total: Reduce, matrices: dict[Buffer, Matrix]) -> bool:
    """Whether dissolved matrices are read inside the sum only."""
    inside = {id(e) for e in walk(total.body)}
    places = [i for s in kernel.stores for i in s.index]
    outside = [e for e in walk(*places, *(s.value for s in kernel.stores)) if id(e) not in inside]
    return not any(isinstance(e, Load) and e.buffer in matrices for e in outside)
