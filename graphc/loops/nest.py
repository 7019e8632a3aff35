"""From a kernel to loops: an order for its indices, locals for what is used twice, loops for its
reductions.

Comes in: a kernel, the order and kind of its loops. Goes out: statements whose meaning is the
kernel's. A separate step because a schedule only chooses order and kinds; how values are shared
between loop levels is settled here, once.

Within a stage all values at one index are computed before any is stored, so a parameter may be read
and updated in the same stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from graphc.expr import Apply, Bounded, Buffer, Expr, Iter, Lit, Load, Reduce, Select, rebuild, walk
from graphc.index import is_index
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.loops.ir import Accumulate, Alloc, Define, Local, Loop, Put, Statement, When
from graphc.scalars import SCALARS, identity_of
from graphc.types import DType

TALL = 12
"""Expressions higher than this are cut by a local: readable, and no walk over them recurses deep.
"""


@dataclass(eq=False)
class _Block:
    """An open body: of a loop, of a branch ("when"), or the outermost one."""

    iter: Iter | None
    kind: str
    lanes: int
    body: list[Statement] = field(default_factory=list)


def nest(
    kernel: Kernel,
    order: Sequence[Iter] | None = None,
    kinds: Mapping[Iter, str] | None = None,
) -> tuple[Statement, ...]:
    """The loops of ``kernel``: outer iterators in ``order`` (default: as they stand), each of the
    kind given.

    Outer loops default to "parallel" (to "serial" where a scatter makes iterations depend on each
    other), inner ones to "serial".
    """
    outer = tuple(order) if order is not None else kernel.iters
    default = "serial" if any(_is_scatter(s) for s in kernel.stores) else "parallel"
    builder = Nest(kinds)
    for iterator in outer:
        builder.open(iterator, builder.kinds.get(iterator, default))
    for stage in kernel.stages:
        builder.stage(stage)
    return builder.close_all()


def _is_scatter(store: Store) -> bool:
    return bool(store.combine) and store.buffer.scope == "global"


def identity(function: str, dtype: DType) -> Lit:
    """The value that ``function`` leaves alone, in ``dtype``."""
    return Lit(identity_of(SCALARS[function], dtype), dtype)


class Nest:
    """Loops under construction: `open` and `close` them, `define` locals, have `values` computed,
    append statements.

    `nest` is the plain use; schedules that tile drive it themselves.
    """

    def __init__(self, kinds: Mapping[Iter, str] | None = None) -> None:
        self.kinds = dict(kinds or {})
        self.blocks = [_Block(None, "", 0)]
        self.depth_of: dict[Expr, int] = {}  # iterators and locals -> the block they belong to
        self.accumulators: dict[Buffer, Local] = {}
        self.rooms: set[Buffer] = set()  # rows that have memory
        self.floor = 0  # values read back from memory may not move above this block

    @property
    def depth_now(self) -> int:
        """How many loops are open."""
        return len(self.blocks) - 1

    @property
    def never(self) -> int:
        """The innermost open block above which nothing moves, or 0: a branch or a loop without
        iterations, since what it reads may be there for nobody else, or the loop of a grid, which
        is all that is launched.
        """
        fixed = ("when", "block")
        rare = (d for d, b in enumerate(self.blocks) if b.kind in fixed or _is_empty(b.iter))
        return max(rare, default=0)

    def open(self, iterator: Iter, kind: str, lanes: int = 0) -> None:
        """Begin a loop; what follows is its body."""
        self.blocks.append(_Block(iterator, kind, lanes))
        self.depth_of[iterator] = self.depth_now

    def append(self, statement: Statement) -> None:
        """Add a statement to the innermost open body."""
        self.blocks[-1].body.append(statement)

    def close(self, count: int = 1) -> None:
        """End the innermost open loops."""
        for _ in range(count):
            block = self.blocks.pop()
            assert block.iter is not None
            self.append(Loop(block.iter, block.kind, tuple(block.body), block.lanes))

    def branch(
        self, condition: Expr, chosen: Callable[[], None], other: Callable[[], None]
    ) -> None:
        """A `When`: ``chosen`` and ``other`` append its two bodies."""
        bodies = []
        for write in (chosen, other):
            self.blocks.append(_Block(None, "when", 0))
            write()
            bodies.append(tuple(self.blocks.pop().body))
        self.append(When(condition, *bodies))

    def close_all(self) -> tuple[Statement, ...]:
        """End every loop; goes out as the statements."""
        while len(self.blocks) > 1:
            self.close()
        return tuple(self.blocks[0].body)

    def define(self, value: Expr, depth: int) -> Local:
        """A new local in the open body at ``depth`` (0: outside all loops)."""
        local = Local(value.dtype)
        self.blocks[depth].body.append(Define(local, value))
        self.depth_of[local] = depth
        return local

    # Stages ---------------------------------------------------------------------------------------
    def stage(self, stage: Stage) -> None:
        self.floor = len(self.blocks) - 1
        for store in stage.stores:
            self.make_room(store)
        for iterator in stage.iters:
            self.open(iterator, self.kinds.get(iterator, "serial"))
        self.store(stage.stores)
        self.close(len(stage.iters))

    def store(self, stores: Sequence[Store]) -> None:
        """One point of a stage: all values, then all stores."""
        values = self.values([s.value for s in stores] + [i for s in stores for i in s.index])
        index = iter(values[len(stores) :])
        settled = self.settled(stores, values[: len(stores)])
        for store, value in zip(stores, settled, strict=True):
            place = tuple(next(index) for _ in store.index)
            self.put(store, place, value)

    def settled(self, stores: Sequence[Store], values: Sequence[Expr]) -> list[Expr]:
        """The values of ``stores``; those that read what an earlier store changes as locals."""
        written: set[Buffer] = set()
        found: list[Expr] = []
        for store, value in zip(stores, values, strict=True):
            late = any(isinstance(e, Load) and e.buffer in written for e in walk(value))
            found.append(self.define(value, self.depth_now) if late else value)
            written.add(store.buffer)
        return found

    def make_room(self, store: Store) -> None:
        """Row buffers: a local for one number, memory for a row."""
        buffer = store.buffer
        if buffer.scope != "row":
            return
        if buffer.shape and buffer not in self.rooms:
            self.rooms.add(buffer)
            self.append(Alloc(buffer))
        elif store.combine and not buffer.shape:
            start = identity(store.combine, buffer.type.dtype)
            self.accumulators[buffer] = self.define(start, len(self.blocks) - 1)

    def put(self, store: Store, index: tuple[Expr, ...], value: Expr) -> None:
        body = self.blocks[-1].body
        if store.buffer.scope != "row" or store.buffer.shape:
            body.append(Put(store.buffer, index, value, store.combine))
        elif store.combine:
            body.append(Accumulate(self.accumulators[store.buffer], store.combine, value))
        else:
            self.accumulators[store.buffer] = self.define(value, len(self.blocks) - 1)

    # Expressions ----------------------------------------------------------------------------------
    def values(self, roots: Sequence[Expr]) -> list[Expr]:
        """The roots with shared and loop-invariant parts turned into locals, and reductions into
        loops.
        """
        order, uses = evaluation_order(roots)
        done: dict[int, Expr] = {}
        depth: dict[int, int] = {}
        height: dict[int, int] = {}
        for e in order:
            depth[id(e)] = self.depth(e, depth)
            new = self.replaced(e, done, depth[id(e)])
            height[id(e)] = 1 + max((height[id(c)] for c in e.children if id(c) in done), default=0)
            if uses[id(e)] and is_work(e) and not isinstance(new, Local):
                outside = depth[id(e)] < len(self.blocks) - 1
                if uses[id(e)] > 1 or outside or height[id(e)] > TALL:
                    new = self.define(new, depth[id(e)])
            if isinstance(new, Local):
                height[id(e)] = 0
            done[id(e)] = new
        return [done[id(root)] for root in roots]

    def replaced(self, e: Expr, done: Mapping[int, Expr], depth: int) -> Expr:
        if isinstance(e, Reduce):
            return self.reduce(e, depth)
        if isinstance(e, Load) and e.buffer in self.accumulators:
            return self.accumulators[e.buffer]
        children = tuple(done[id(c)] for c in e.children)
        if all(a is b for a, b in zip(children, e.children, strict=True)):
            return e
        return rebuild(e, children)

    def depth(self, e: Expr, known: Mapping[int, int]) -> int:
        """The outermost block in which ``e`` can be computed."""
        if e in self.depth_of if isinstance(e, Iter | Local) else False:
            return self.depth_of[e]
        least = max(self.never, self.floor if isinstance(e, Load) else 0)
        if isinstance(e, Reduce):
            return self.depth_of_reduction(e)
        return max([least, *(known[id(c)] for c in e.children)])

    def depth_of_reduction(self, e: Reduce) -> int:
        parts = [*walk(e)]
        summed = {i for x in parts if isinstance(x, Reduce) for i in x.iters}
        inside = [x for x in parts if isinstance(x, Iter) and x not in summed]
        return max([self.never, self.floor, *(self.depth_of.get(x, 0) for x in inside)])

    def reduce(self, e: Reduce, depth: int) -> Local:
        """A loop nest that folds the body into an accumulator, in the block where its operands are
        known.
        """
        inner, self.blocks = self.blocks[depth + 1 :], self.blocks[: depth + 1]
        total = self.define(identity(e.function, e.dtype), depth)
        for iterator in e.iters:
            self.open(iterator, self.kinds.get(iterator, "serial"))
        (value,) = self.values([e.body])
        self.blocks[-1].body.append(Accumulate(total, e.function, value))
        for _ in e.iters:
            self.close()
        self.blocks += inner
        return total


def _is_empty(iterator: Iter | None) -> bool:
    return iterator is not None and iterator.extent == 0


def is_work(e: Expr) -> bool:
    """Whether ``e`` is worth a local: indices are not, address arithmetic is free."""
    if isinstance(e, Apply):
        return not is_index(e)
    return isinstance(e, Load | Select | Bounded)


def evaluation_order(roots: Sequence[Expr]) -> tuple[list[Expr], Counter[int]]:
    """The parts of ``roots`` in evaluation order, and how often each is used where it is surely
    evaluated.

    Bodies of reductions are left out: they get blocks of their own. Parts that only a branch of a
    `Select` uses count as unused, so they stay inside it.
    """
    order: list[Expr] = []
    uses: Counter[int] = Counter(id(root) for root in roots)
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        e, ready = stack.pop()
        if ready:
            order.append(e)
        elif id(e) not in seen:
            seen.add(id(e))
            stack.append((e, True))
            if not isinstance(e, Reduce):
                stack.extend((c, False) for c in reversed(e.children))
    for e in reversed(order):
        if uses[id(e)] and not isinstance(e, Reduce):
            sure = e.children[:1] if isinstance(e, Select) else e.children
            uses.update(id(c) for c in sure)
    return order, uses
