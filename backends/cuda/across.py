"""Scatters whose places no data decides, as sums of their own.

Comes in: a kernel that folds values into elements where its points meet: the gradient of a bias
beside that of the layer before it, of a norm's weights beside that of its input. Goes out: kernels
without such stores, to run one after another: the first leaves what is to be added up, the others
add it up in a fixed order. A separate step because a sum over outer points is a matter of all
blocks, and one that has a schedule already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from graphc.backends.cuda.stages import ONLY, number, point_of, size
from graphc.expr import Buffer, Iter, Load, Reduce, apply, walk
from graphc.index import stride
from graphc.kernels.kernel import Kernel, Stage, Store
from graphc.types import TensorType


def is_scatter(kernel: Kernel) -> bool:
    """Whether points of a kernel's space may meet in one element."""
    return any(map(adds, kernel.stores))


def adds(store: Store) -> bool:
    """Whether a store folds its value into what is in memory."""
    return bool(store.combine) and store.buffer.scope == "global"


def parts(store: Store, iterator: Iter) -> bool:
    """Whether different values of an index never meet: an axis of the buffer follows it alone."""
    for place in store.index:
        others = any(isinstance(e, Iter) and e is not iterator for e in walk(place))
        if stride(place, iterator) not in (0, None) and not others:
            return True
    return False


def is_across(store: Store) -> bool:
    """Whether it adds to places that no data decides, each of which has its own indices."""
    inside = [*walk(*store.index)]
    moved = [e for e in inside if isinstance(e, Iter)]
    return not any(isinstance(e, Load) for e in inside) and all(parts(store, i) for i in moved)


@dataclass(frozen=True)
class Sum:
    """What ``store`` adds up over ``outer`` points, at ``inner`` ones: it waits as ``value``."""

    store: Store
    value: Load
    outer: tuple[Iter, ...]
    inner: tuple[Iter, ...]

    @property
    def is_of_rows(self) -> bool:
        """Whether each inner point has a place of its own, which all outer points share."""
        return bool(self.inner) and not _moved(self.store, self.outer)

    def kernel(self) -> Kernel:
        """The kernel that adds up what waits."""
        return _sum(self.store, self.value, self.outer, self.inner)

    def of_parts(self, parts: Buffer) -> Kernel:
        """The kernel that adds up sums of some outer points each, which are rows of ``parts``."""
        count, length = parts.shape
        part = Iter(count)
        value = Load(parts, (part * length + point_of(self.inner),))
        return _sum(self.store, value, (part,), self.inner)


def separated(kernel: Kernel) -> tuple[Kernel, ...]:
    """The kernel and its sums over outer points; none if data decides where it adds."""
    stores = [s for s in kernel.stores if adds(s)]
    if not all(map(is_across, stores)):
        return ()
    turned = _turned(kernel, stores)
    if turned:
        return turned
    alone, sums = _split(kernel, again=False)
    return (alone, *(s.kernel() for s in sums))


def beside_rows(kernel: Kernel) -> tuple[Kernel, tuple[Sum, ...]] | None:
    """The kernel with its sums apart, if these are sums of rows."""
    if not all(is_across(s) for s in kernel.stores if adds(s)):
        return None
    alone, sums = _split(kernel, again=True)
    return (alone, sums) if sums and all(s.is_of_rows for s in sums) else None


def _moved(store: Store, iters: tuple[Iter, ...]) -> tuple[Iter, ...]:
    """The indices that the place of a store follows."""
    inside = {*walk(*store.index)}
    return tuple(i for i in iters if i in inside)


def _folded(store: Store, found: Load) -> Store:
    """Adds a sum to what is in memory."""
    value = apply(store.combine, Load(store.buffer, store.index), found)
    return Store(store.buffer, store.index, value)


def _turned(kernel: Kernel, stores: list[Store]) -> tuple[Kernel, ...]:
    """One kernel, if every sum is over the same indices: these become a stage, whose sums are
    numbers.
    """
    outer = _moved(stores[0], kernel.iters)
    reduces = any(isinstance(e, Reduce) for s in kernel.stores for e in walk(s.value))
    alike = all(_moved(s, kernel.iters) == outer for s in stores)
    if reduces or not alike or len(kernel.stages) > 1 or kernel.stages[0].iters:
        return ()
    sums = {s: number(s.value.dtype) for s in stores}
    stage = Stage(
        tuple(i for i in kernel.iters if i not in outer),
        tuple(
            replace(s, buffer=sums[s], index=ONLY) if s in sums else s
            for s in kernel.stages[0].stores
        ),
    )
    last = Stage((), tuple(_folded(s, Load(total, ONLY)) for s, total in sums.items()))
    return (Kernel(outer, (stage, last)),)


def _split(kernel: Kernel, again: bool) -> tuple[Kernel, tuple[Sum, ...]]:
    """The kernel with what it adds up stored in full, and the sums; values that are in memory
    anyway are stored ``again`` or read from there.
    """
    stages: list[Stage] = []
    sums: list[Sum] = []
    for stage in kernel.stages:
        stores: list[Store] = []
        for store in stage.stores:
            if adds(store):
                known = None if again else _stored(stage, store)
                if known is None:
                    known = _room(store, (*kernel.iters, *stage.iters))
                    stores.append(known)
                value = Load(known.buffer, known.index)
                sums.append(Sum(store, value, kernel.iters, stage.iters))
            else:
                stores.append(store)
        stages.append(replace(stage, stores=tuple(stores)))
    return replace(kernel, stages=tuple(s for s in stages if s.stores)), tuple(sums)


def _stored(stage: Stage, store: Store) -> Store | None:
    """A store of the same stage that leaves the same value in memory for certain."""
    whole = (
        s
        for s in stage.stores
        if s.value is store.value
        and not s.combine
        and s.buffer.scope == "global"
        and s.buffer.type.dtype == s.value.dtype
    )
    return next(whole, None)


def _room(store: Store, iters: tuple[Iter, ...]) -> Store:
    """The store of a value among those of all points."""
    room = Buffer(TensorType(store.value.dtype, (size(iters),)), "scratch")
    return Store(room, (point_of(iters),), store.value)


def _sum(store: Store, value: Load, outer: tuple[Iter, ...], inner: tuple[Iter, ...]) -> Kernel:
    """The kernel that adds up ``value`` over the indices that the place does not follow."""
    iters = (*outer, *inner)
    kept, total = _moved(store, iters), number(value.dtype)
    add = Store(total, ONLY, value, store.combine)
    stage = Stage(tuple(i for i in iters if i not in kept), (add,))
    return Kernel(kept, (stage, Stage((), (_folded(store, Load(total, ONLY)),))))
