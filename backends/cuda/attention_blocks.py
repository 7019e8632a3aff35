"""What a block of attention has: its rows, and what comes near of all factors.

Comes in: a plan (`attention_tiles`). Goes out: the place of every row, the parts of factors in
shared memory, and values by the indices of loops. A separate step because all walks of a block
share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from graphc.backends.cuda.attention import Inner, Mix, Walk
from graphc.backends.cuda.attention_teams import ONLY, ZERO, Side, team
from graphc.backends.cuda.attention_tiles import Plan, deep, padded
from graphc.backends.cuda.factors import TRUE, Factor, factor, within
from graphc.backends.cuda.matrices import count
from graphc.backends.cuda.points import unravelled
from graphc.expr import (
    Apply,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Reduce,
    Substitution,
    substitute,
    walk,
)
from graphc.index import bounds, linear, stride
from graphc.loops.ir import Alloc, Loop, Put, Statement, When
from graphc.loops.nest import Nest
from graphc.types import DType, TensorType

Known = Mapping[Expr, Expr]


@dataclass(frozen=True)
class Near:
    """What a step of a walk has in shared memory: factors of the inner ``products``, those that are
    ``mixed``, and ``lines`` of one number for each place.
    """

    products: Mapping[Expr, Side]
    mixed: Sequence[Side]
    lines: Mapping[Expr, Buffer]

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        sides = [*self.products.values(), *self.mixed]
        return tuple(dict.fromkeys([*(s.room for s in sides), *self.lines.values()]))


class Block:
    """The rows from ``first`` on, of one matrix of the batch. Its walks leave ``numbers`` of rows
    in registers.
    """

    def __init__(self, plan_: Plan) -> None:
        self.plan, self.scores, self.tile = plan_, plan_.scores, plan_.tile
        self.team = team(plan_)
        tiles = -(-count(self.scores.rows) // self.tile.rows)
        self.block = Iter(count(self.scores.batch) * tiles)
        self.batch = unravelled(self.block // tiles, self.scores.batch, 1, ONLY)
        self.first = self.block % tiles * self.tile.rows
        self.own = self.team.warp * self.tile.height + self.team.row
        self.row: Expr = self.first + self.own
        self.inside = within([(self.row, count(self.scores.rows))])
        self.sides: dict[object, Side] = {}
        self.rooms: dict[tuple[int, DType], Buffer] = {}
        self.lines: dict[Expr, Buffer] = {}
        self.rows = {x.total: self._side_of(x, False) for x in self.scores.inner}
        self.numbers: dict[Buffer, Buffer] = {}
        self.walks = self._quick()
        self.kept = self._kept()

    @property
    def slot(self) -> tuple[Expr, ...]:
        """Where registers have a number of a row."""
        return (self.team.thread, self.team.slot)

    @property
    def ends(self) -> dict[Iter, tuple[Expr, Expr]]:
        """The first and the last value of each index of the rows, at most."""
        rows, size = self.scores.rows, self.tile.rows
        found: dict[Iter, tuple[Expr, Expr]] = {i: (ZERO, ZERO + (i.extent - 1)) for i in rows}
        if count(rows[:-1]) == 1 or rows[-1].extent % size == 0:
            first = self.first % rows[-1].extent if count(rows[:-1]) > 1 else self.first
            found[rows[-1]] = (first, first + (size - 1))
        return found

    # What comes near ------------------------------------------------------------------------------
    def near(self, walk_: Walk) -> Near:
        """What a walk brings near."""
        found = self.scores.inner_of(walk_)
        products: dict[Expr, Side] = {x.total: self._side_of(x, True) for x in found}
        mixed = [self._side_of_mix(mix, found) for mix in walk_.mixes]
        lines = {
            value: self.lines.setdefault(value, self._line(value))
            for value in self._alone(walk_.values)
            if self.scores.walked in _indices(value)
        }
        return Near(products, mixed, lines)

    def _line(self, value: Expr) -> Buffer:
        dtype = value.buffer.type.dtype if isinstance(value, Load) else value.dtype
        return Buffer(TensorType(dtype, (self.tile.places,)), "shared")

    def weights(self, number: int, dtype: DType) -> Buffer:
        """Shared memory for the weights of a walk's sum of that number."""
        return self.rooms.setdefault((number, dtype), self.team.weights(dtype))

    def _side_of(self, x: Inner, walked: bool) -> Side:
        """A factor of an inner product: of places, or of rows."""
        extent = self.tile.places if walked else self.tile.rows
        value, outer = (x.walked, self._walked) if walked else (x.row, self.scores.rows)
        made = self._factor(value, outer, x.total.iters, x.total)
        return self._side(made, (extent, deep(x.total.iters)), False, 0)

    def _side_of_mix(self, mix: Mix, products: Sequence[Inner]) -> Side:
        """The factor that weights multiply; it may be that of an inner product."""
        value, columns = mix.factor, mix.columns
        for x in products:
            if _renamed(value, columns, x.total.iters) == x.walked:
                value, columns = x.walked, x.total.iters
        made = self._factor(value, self._walked, columns, mix.total)
        shape = (self.tile.places, padded(mix.width, self.plan))
        return self._side(made, shape, not self.plan.narrow, mix.first)

    def _side(self, of: Factor, shape: tuple[int, int], across: bool, first: int) -> Side:
        key = (of, shape, across, first)
        if key not in self.sides:
            self.sides[key] = self.team.side(of, shape, across)
        return self.sides[key]

    @property
    def _walked(self) -> tuple[Iter, ...]:
        return (self.scores.walked,)

    def _factor(
        self, value: Expr, outer: tuple[Iter, ...], inner: tuple[Iter, ...], total: Expr
    ) -> Factor:
        rest = (*self.scores.batch, *self.scores.rows)
        made = factor(value, self.plan.dtype_of(total), outer, inner, rest)
        indices = (*outer, *inner, *rest)
        loads = [e for e in walk(value) if isinstance(e, Load)]
        even = all(stride(x.index[0], i) is not None for x in loads for i in indices)
        return made if even else Factor(value, made.dtype, outer, inner, False, 1)

    # Numbers of rows and places -------------------------------------------------------------------
    def _quick(self) -> tuple[Walk, ...]:
        """The walks with products where numbers of rows or places divide: a division for each of
        them is enough. Its rounding is one more error of half a unit in the last place.
        """
        change = _Quick(self._is_along_one)
        return tuple(
            Walk(
                [replace(f, value=change(f.value)) for f in w.folds],
                [replace(m, weight=change(m.weight)) for m in w.mixes],
                w.after,
                w.running,
            )
            for w in self.scores.walks
        )

    def _alone(self, values: Sequence[Expr]) -> list[Expr]:
        """Loads of weights that either rows or places move, and that may be made at any time; and
        what divides by them.
        """
        outside = [
            substitute(v, lambda e: zero(e) if isinstance(e, Reduce) else None) for v in values
        ]
        divisions = [e for e in walk(*outside) if _is_reciprocal(e)]
        rest = [substitute(v, lambda e: zero(e) if e in divisions else None) for v in outside]
        loads = (e for e in walk(*rest) if isinstance(e, Load))
        found = dict.fromkeys([*divisions, *(x for x in loads if self._is_along_one(x))])
        return [*found]

    def _is_along_one(self, load: Load) -> bool:
        if load.buffer.scope != "global":
            return False
        indices, reach = _indices(load), bounds(load.index[0])
        inside = reach is not None and reach[0] >= 0 and reach[1] < math.prod(load.buffer.shape)
        plain = not any(isinstance(e, Load) for e in walk(*load.index))
        by_rows = bool(indices & set(self.scores.rows))
        return inside and plain and not (by_rows and self.scores.walked in indices)

    def fill_line(self, alone: Expr, room: Buffer, first: Expr) -> Statement:
        """A number for each place of a step."""
        threads, walked = min(self.tile.places, self.tile.threads), self.scores.walked
        thread, turn = Iter(threads), Iter(-(-self.tile.places // threads))
        own = linear([(turn, threads), (thread, 1)])
        known = {**self.batch, walked: first + own}
        value = substitute(alone, lambda e: known.get(e) if isinstance(e, Iter) else None)
        inside = within([(first + own, walked.extent)])
        put, none = Put(room, (own,), value), Put(room, (own,), zero(value))
        body = put if inside == TRUE else When(inside, (put,), (none,))
        return Loop(thread, "thread", (Loop(turn, "unroll", (body,)),))

    def _kept(self) -> dict[Expr, Buffer]:
        """What only rows move, and the registers that keep it."""
        alone = self._alone([e for w in self.walks for e in w.values])
        return {
            x: self.team.numbers(x.dtype) for x in alone if self.scores.walked not in _indices(x)
        }

    def keep(self, nest: Nest) -> None:
        """What only rows move comes near."""
        for buffer in self.kept.values():
            nest.append(Alloc(buffer))
        if not self.kept:
            return
        change = self.placed(None, {}, {})
        found = {buffer: change(load) for load, buffer in self.kept.items()}
        self.open(nest)
        opened = self.open_rows(nest)

        def put(values: Mapping[Buffer, Expr]) -> None:
            for buffer, value in values.items():
                nest.append(Put(buffer, self.slot, value))

        zeros: dict[Buffer, Expr] = {buffer: zero(value) for buffer, value in found.items()}
        self.guarded(nest, self.inside, partial(put, found), partial(put, zeros))
        nest.close(opened + 2)

    # Loops ----------------------------------------------------------------------------------------
    def open(self, nest: Nest) -> None:
        """What every lane of every warp does."""
        nest.open(self.team.warp, "warp")
        self.open_lanes(nest)

    def open_lanes(self, nest: Nest) -> None:
        """What every lane of a warp does."""
        nest.open(self.team.lane, "lane")
        nest.floor = nest.depth_now

    def open_rows(self, nest: Nest) -> int:
        """Loops over the rows of a lane; goes out as how many."""
        for i in self.team.row_loops:
            nest.open(i, "unroll")
        return len(self.team.row_loops)

    def guarded(
        self, nest: Nest, inside: Expr, write: Callable[[], None], other: Callable[[], None]
    ) -> None:
        """What ``write`` appends, or ``other`` where it is not ``inside``."""
        if inside == TRUE:
            write()
        else:
            nest.branch(inside, write, other)

    def placed(
        self, place: Expr | None, known: Known, numbers: Mapping[Buffer, Buffer]
    ) -> Substitution:
        """Makes values those at a row and a ``place``: ``known`` parts exchanged, ``numbers`` of
        the row in registers.
        """
        indices = {**self.batch, **unravelled(self.row, self.scores.rows, 1, ONLY)}
        if place is not None:
            indices[self.scores.walked] = place

        def at(e: Expr) -> Expr | None:
            if (isinstance(e, Iter | Load | Reduce) or _is_reciprocal(e)) and e in known:
                return known[e]
            if isinstance(e, Load) and e.buffer in numbers:
                return Load(numbers[e.buffer], self.slot)
            return indices.get(e) if isinstance(e, Iter) else None

        return Substitution(at)


class _Quick(Substitution):
    """Multiplies by the reciprocals of loads that are along one side only."""

    def __init__(self, is_along_one: Callable[[Load], bool]) -> None:
        super().__init__(lambda e: e if isinstance(e, Reduce) else None)
        self.is_along_one = is_along_one

    def _exchanged(self, part: Expr) -> Expr:
        made = super()._exchanged(part)
        match made:
            case Apply("divide", (value, Load() as divisor), dtype):
                if not dtype.is_float or not self.is_along_one(divisor):
                    return made
                reciprocal = Apply("divide", (Lit(1.0, dtype), divisor), dtype)
                return Apply("multiply", (value, reciprocal), dtype)
        return made


def _is_reciprocal(e: Expr) -> bool:
    """What `_Quick` makes of a divisor."""
    match e:
        case Apply("divide", (Lit(1.0), Load())):
            return True
    return False


def _indices(value: Expr) -> set[Iter]:
    return {e for e in walk(value) if isinstance(e, Iter)}


def _renamed(value: Expr, old: Sequence[Iter], new: Sequence[Iter]) -> Expr | None:
    """A value by other indices of the same extents."""
    if [i.extent for i in old] != [i.extent for i in new]:
        return None
    places = dict(zip(old, new, strict=True))
    return substitute(value, lambda e: places.get(e) if isinstance(e, Iter) else None)


def zero(value: Expr) -> Lit:
    """Zero in the dtype of a value."""
    if value.dtype.kind == "bool":
        return Lit(False, value.dtype)
    return Lit(0.0 if value.dtype.is_float else 0, value.dtype)
