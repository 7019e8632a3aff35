"""Kernels that make weights of inner products and add up by them: attention, there and back.

Comes in: a kernel. Goes out: its walks over the other places, with what each of them folds or
mixes; nothing where the kernel is of another form. A separate step because it is a question of
dependence alone: what can be known in the same walk.

Each row (a query) meets all places of an index that is walked over (the keys). Their inner products
are never stored: weights are made of them, and are folded into numbers of the row (``Fold``) or
multiply the rows of another factor (``Mix``).

A sum whose terms depend on a maximum ``m`` of the same walk only by a factor ``exp(x - m)`` needs
no walk of its own: with a new maximum the sum so far is multiplied by ``exp(old - new)``. Numbers
that divide every term of a sum divide the sum instead (Milakov and Gimelshein, "Online normalizer
calculation for softmax", 2018; Dao et al., "FlashAttention", 2022). So a weight that is rounded is
rounded before that division, not after it: an error of the same relative size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from graphc.backends.cuda.stages import free, size, staged
from graphc.expr import Apply, Buffer, Expr, Iter, Lit, Load, Reduce, Select, Substitution, walk
from graphc.kernels.kernel import Kernel, Stage, Store


@dataclass(frozen=True)
class Inner:
    """The sum of ``row`` times ``walked``: a number for each row and each place of a walk."""

    total: Reduce
    row: Expr
    walked: Expr


@dataclass(frozen=True)
class Fold:
    """``value`` of all places, folded into a number of the row. One that is ``scaled`` has the
    running maximum of its walk in it.
    """

    number: Buffer
    function: str
    value: Expr
    scaled: bool = False


@dataclass(frozen=True)
class Mix:
    """``total`` is the sum of ``weight`` times ``factor`` over all places, for each of ``columns``;
    ``stores`` are what becomes of it. Where the columns are too many at once, it is those from
    ``first`` on, ``width`` in all.
    """

    columns: tuple[Iter, ...]
    total: Reduce
    weight: Expr
    factor: Expr
    stores: tuple[Store, ...]
    first: int = 0
    width: int = 0
    scaled: bool = False


@dataclass
class Walk:
    """What one walk finds, and the numbers and stores that follow from it, once for a row.
    ``running`` is the maximum that its scaled sums are made with.
    """

    folds: list[Fold] = field(default_factory=list)
    mixes: list[Mix] = field(default_factory=list)
    after: list[Store] = field(default_factory=list)
    running: Buffer | None = None

    @property
    def values(self) -> list[Expr]:
        """What is computed at every place."""
        return [*(f.value for f in self.folds), *(m.weight for m in self.mixes)]

    @property
    def found(self) -> set[Buffer]:
        """The numbers that are known only when it ends."""
        return {f.number for f in self.folds} | {s.buffer for s in self.after}


@dataclass(frozen=True)
class Scores:
    """A kernel as ``walks`` over ``walked``, for every row of every batch; ``inner`` products occur
    in them.
    """

    batch: tuple[Iter, ...]
    rows: tuple[Iter, ...]
    walked: Iter
    inner: tuple[Inner, ...]
    walks: tuple[Walk, ...]

    def inner_of(self, walk_: Walk) -> list[Inner]:
        """The products that a walk needs."""
        parts = {id(e) for e in walk(*walk_.values)}
        return [x for x in self.inner if id(x.total) in parts]


# Recognition --------------------------------------------------------------------------------------
def find_scores(kernel: Kernel) -> Scores | None:
    """The walks of a flat kernel without scatters; None if it is of another form."""
    extents = {i.extent for i in _walked(kernel)}
    if len(extents) != 1 or not _is_apart(kernel) or not all(i.extent for i in _inside(kernel)):
        return None
    walked = Iter(min(extents))
    kernel = _canonical(staged(kernel), walked)
    parts = [_items(stage, walked) for stage in kernel.stages]
    inner = _inner([*{id(e): e for e in _nested(kernel)}.values()], walked)
    if not inner or any(part is None for part in parts):
        return None
    walks = _walks([item for part in parts for item in part or ()], walked)
    factors = [*(x.walked for x in inner), *(m.factor for w in walks for m in w.mixes)]
    moved = set[Iter]().union(*map(free, factors))
    batch, rows = (
        tuple(i for i in kernel.iters if (i in moved) is moving) for moving in (True, False)
    )
    found = Scores(batch, rows, walked, tuple(inner), tuple(walks))
    return found if rows and _are_plain(kernel, found) else None


def _walked(kernel: Kernel) -> set[Iter]:
    """The indices that are walked over: those of inner products, and of stages that fold."""
    found = {i for stage in kernel.stages for i in stage.iters if _is_fold(stage)}
    for total in _nested(kernel):
        found |= free(total)
    return found - set(kernel.iters)


def _inside(kernel: Kernel) -> list[Iter]:
    """The indices of stages and of sums."""
    sums = (e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduce))
    parts = [*(stage.iters for stage in kernel.stages), *(e.iters for e in sums)]
    return [i for iters in parts for i in iters]


def _is_fold(stage: Stage) -> bool:
    return all(s.combine and s.buffer.scope == "row" for s in stage.stores)


def _nested(kernel: Kernel) -> list[Reduce]:
    """Sums that something beside the outer indices moves, and that have no sums inside."""
    outer = set(kernel.iters)
    sums = (e for e in walk(*(s.value for s in kernel.stores)) if isinstance(e, Reduce))
    return [
        e
        for e in sums
        if not any(isinstance(x, Reduce) for x in walk(e.body)) and not outer.issuperset(free(e))
    ]


def _is_apart(kernel: Kernel) -> bool:
    """Whether it reads nothing that it writes outside, and all numbers of a row are single ones."""
    rows = [b for b in {s.buffer for s in kernel.stores} if b.scope == "row"]
    scopes = {s.buffer.scope for s in kernel.stores} <= {"row", "global"}
    read, written = (
        {getattr(b, "base", None) or b for b in buffers}
        for buffers in (kernel.read, kernel.written)
    )
    return scopes and not read & written and not any(b.shape for b in rows)


def _canonical(kernel: Kernel, walked: Iter) -> Kernel:
    """Equal sums as one expression: all walks by one index, and all inner products by the same."""
    known: dict[tuple[int, int], Iter] = {}
    new: dict[Expr, Iter] = dict.fromkeys(_walked(kernel), walked)
    for total in _nested(kernel):
        for place, i in enumerate(total.iters):
            new[i] = known.setdefault((place, i.extent), Iter(i.extent))
    change = _Renamed(new)
    stages = []
    for stage in kernel.stages:
        stores = (
            replace(s, index=tuple(map(change, s.index)), value=change(s.value))
            for s in stage.stores
        )
        stages.append(Stage(tuple(new.get(i, i) for i in stage.iters), tuple(stores)))
    return replace(kernel, stages=tuple(stages))


class _Renamed(Substitution):
    """Other indices, also those of sums; equal parts become one expression."""

    def __init__(self, new: dict[Expr, Iter]) -> None:
        super().__init__(lambda e: new.get(e) if isinstance(e, Iter) else None)
        self.new, self.known = new, dict[tuple[object, ...], Expr]()

    def _exchanged(self, part: Expr) -> Expr:
        made = super()._exchanged(part)
        of: tuple[object, ...] = (made,)
        match made:
            case Reduce(function, iters, body):
                iters = tuple(self.new.get(i, i) for i in iters)
                made = Reduce(function, iters, body)
                of = (function, iters)
            case Apply(function, _, dtype):
                of = (function, dtype)
            case Load(buffer, index):
                return self.known.setdefault((Load, buffer, index), made)
            case Select():
                of = ()
        return self.known.setdefault((type(made), *of, *map(id, made.children)), made)


# Parts --------------------------------------------------------------------------------------------
Item = Fold | Mix | Store


def _items(stage: Stage, walked: Iter) -> list[Item] | None:
    """What a stage does; None for what no walk does."""
    if not stage.iters:
        plain = not any(s.combine or _sums(s.value) for s in stage.stores)
        return list(stage.stores) if plain else None
    if _is_fold(stage):
        alone = stage.iters == (walked,)
        return [Fold(s.buffer, s.combine, s.value) for s in stage.stores] if alone else None
    mix = _mix(stage, walked)
    return [mix] if mix is not None else None


def _sums(*values: Expr) -> list[Reduce]:
    """All sums."""
    return [e for e in walk(*values) if isinstance(e, Reduce)]


def _mix(stage: Stage, walked: Iter) -> Mix | None:
    """The sum of weighted factors that a stage stores."""
    stores, columns = stage.stores, stage.iters
    totals = [e for e in _sums(*(s.value for s in stores)) if e.iters == (walked,)]
    if len(totals) != 1 or any(s.combine or s.buffer.scope != "global" for s in stores):
        return None
    (total,) = totals
    product = _factors(total, set(columns))
    if product is None or any(_sums(substituted(s.value, total)) for s in stores):
        return None
    if any(walked in free(substituted(s.value, total)) for s in stores):
        return None
    return Mix(columns, total, *product, stores, width=size(columns))


def substituted(e: Expr, total: Reduce) -> Expr:
    """``e`` with zero for a sum."""
    zero = Lit(0.0, total.dtype)
    return Substitution(lambda part: zero if part is total else None)(e)


def _factors(total: Reduce, moving: set[Iter]) -> tuple[Expr, Expr] | None:
    """Both factors of a sum of products of floats; the second one alone depends on ``moving``."""
    body, dtype = total.body, total.dtype
    if total.function != "add" or not (dtype.is_float and dtype.bits >= 32):
        return None
    if not isinstance(body, Apply) or body.function != "multiply":
        return None
    first, second = body.args
    moved = [bool(free(e) & moving) for e in (first, second)]
    if moved == [True, False]:
        first, second = second, first
    return (first, second) if sum(moved) == 1 else None


def _inner(sums: Sequence[Reduce], walked: Iter) -> list[Inner] | None:
    """The inner products; None where one is none."""
    found = [(total, _factors(total, {walked})) for total in sums]
    if any(product is None for _, product in found):
        return None
    return [Inner(total, *product) for total, product in found if product is not None]


def _numbers(kernel: Kernel) -> set[Buffer]:
    return {s.buffer for s in kernel.stores if s.buffer.scope == "row"}


def reads(e: Expr, numbers: Iterable[Buffer]) -> set[Buffer]:
    """Those of the numbers that a value is made of."""
    wanted = set(numbers)
    return {x.buffer for x in walk(e) if isinstance(x, Load) and x.buffer in wanted}


def _are_plain(kernel: Kernel, scores: Scores) -> bool:
    """Whether factors are made of what is outside, those that are walked over by no row, and
    weights of inner products and of nothing that only columns move.
    """
    numbers, inner = _numbers(kernel), {id(x.total) for x in scores.inner}
    known = {*scores.batch, *scores.rows, scores.walked}
    mixes = [m for w in scores.walks for m in w.mixes]
    moving = [x.walked for x in scores.inner] + [m.factor for m in mixes]
    factors = moving + [x.row for x in scores.inner]
    values = [e for w in scores.walks for e in w.values]
    after = [s.value for w in scores.walks for s in w.after]
    return (
        not any(_sums(e) or reads(e, numbers) for e in factors)
        and not any(free(e) & set(scores.rows) for e in moving)
        and all(free(e) <= known for e in values)
        and all(scores.walked not in free(e) for e in after)
        and all(id(e) in inner for e in _sums(*values))
    )


# Walks --------------------------------------------------------------------------------------------
def _walks(items: Iterable[Item], walked: Iter) -> list[Walk]:
    """As few walks as the items allow, in order."""
    found = [Walk()]
    for item in items:
        now = found[-1]
        if isinstance(item, Store):
            now.after.append(item)
            continue
        value = item.value if isinstance(item, Fold) else item.weight
        if not reads(value, now.found):
            changed: Fold | Mix | None = item
        else:
            changed = _scaled(item, now, walked)
        if changed is None:
            found.append(now := Walk())
            changed = item
        if isinstance(changed, Fold):
            now.folds.append(changed)
        else:
            now.mixes.append(changed)
    return found


def _scaled(item: Fold | Mix, now: Walk, walked: Iter) -> Fold | Mix | None:
    """The item so that it can be found in the same walk as the maximum that it is made with."""
    value = item.value if isinstance(item, Fold) else item.weight
    maxima = [f.number for f in now.folds if f.function == "maximum" and not f.scaled]
    if len(maxima) != 1 or (isinstance(item, Fold) and item.function != "add"):
        return None
    form = _Form(maxima[0], now.found, walked)
    value_ = form.of(value)
    if value_ is None or (isinstance(item, Fold) and form.divisors):
        return None
    now.running = maxima[0]
    if isinstance(item, Fold):
        return replace(item, value=value_, scaled=True)
    total: Expr = item.total
    for divisor in form.divisors:
        total = Apply("divide", (total, divisor), total.dtype)
    change = Substitution(lambda e: total if e is item.total else None)
    stores = tuple(replace(s, value=change(s.value)) for s in item.stores)
    return replace(item, weight=value_, stores=stores, scaled=True)


class _Form:
    """Takes apart what has a factor ``exp(x - m)``, and else nothing that a walk finds; numbers
    that divide it are ``divisors``.
    """

    def __init__(self, maximum: Buffer, found: set[Buffer], walked: Iter) -> None:
        self.maximum, self.found, self.walked = maximum, found, walked
        self.divisors: list[Expr] = []

    def of(self, e: Expr) -> Expr | None:
        """``e`` without the divisors; None where it is of another form."""
        match e:
            case Apply("exp", (Apply("subtract", (x, Load(buffer, _))),)):
                return e if buffer is self.maximum and not reads(x, self.found) else None
            case Apply("divide", (value, divisor)):
                return self._divided(e, value, divisor)
            case Apply("multiply", (a, b)):
                return self._multiplied(e, a, b)
            case Apply("cast", (value,), dtype) if dtype.is_float:
                return self._again(e, self.of(value))
            case Apply("where", (condition, chosen, Lit(0) as rest)):
                inner = None if reads(condition, self.found) else self.of(chosen)
                return self._again(e, condition, inner, rest)
            case Select(condition, chosen, Lit(0)) if not reads(condition, self.found):
                inner = self.of(chosen)
                return None if inner is None else Select(condition, inner, e.other)
        return None

    def _again(self, e: Apply, *args: Expr | None) -> Expr | None:
        if any(x is None for x in args):
            return None
        return Apply(e.function, tuple(x for x in args if x is not None), e.dtype)

    def _divided(self, e: Apply, value: Expr, divisor: Expr) -> Expr | None:
        if not reads(divisor, self.found):
            return self._again(e, self.of(value), divisor)
        if self.walked in free(divisor):
            return None
        inner = self.of(value)
        self.divisors.append(divisor)
        return inner

    def _multiplied(self, e: Apply, a: Expr, b: Expr) -> Expr | None:
        if not reads(b, self.found):
            return self._again(e, self.of(a), b)
        return self._again(e, a, self.of(b)) if not reads(a, self.found) else None
