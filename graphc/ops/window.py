"""Windows that slide over the trailing axes: pooling, and the ops that its gradients need.

Comes in: a node [..., *S]. Goes out: one value per window [..., *P], or the spread of such values
over the elements that the windows cover. A separate file because pooling has no filters: it is a
sum or a choice, never a product. The cotangent of a maximum goes to its first place in the window.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, ClassVar

import numpy as np

from graphc.dims import Size
from graphc.errors import UserError
from graphc.expr import Apply, Bounded, Expr, Iter, Lit, Reduce, cast
from graphc.graph import Array, Node, Op, Read
from graphc.ops.convolution import window_count
from graphc.ops.guards import divisible, guarded, promised, within
from graphc.ops.movement import reshape
from graphc.ops.reduction import static, total
from graphc.ops.selection import crop
from graphc.scalars import SCALARS, Scalar, identity_of
from graphc.types import BOOL, INT32, INT64, TensorType, dtype
from graphc.types import Scalar as Number

MOST = 16
"""Elements that a kernel writes out at most, instead of looping over them."""

Ints = tuple[int, ...]
Key = tuple[Any, ...]
"""What NumPy takes between brackets."""


@dataclass(frozen=True)
class Windows:
    """Where the windows lie: number p begins at ``p*stride - low``, steps by ``dilation``."""

    sizes: Ints
    strides: Ints
    dilations: Ints
    low: Ints
    high: Ints

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def count(self) -> int:
        """The number of places in one window."""
        return math.prod(self.sizes)

    def points(self, shape: tuple[Size, ...]) -> tuple[Size, ...]:
        """``shape`` with its trailing axes exchanged for the numbers of windows along them."""
        lead = len(shape) - self.rank
        if lead < 0:
            raise UserError("GC0103", f"{self} over a tensor of shape {shape}")
        if any(amount < 0 for amount in (*self.low, *self.high)):
            raise UserError("GC0104", f"windows padded by {self.low} and {self.high}")
        padded = (a + n + b for n, a, b in zip(shape[lead:], self.low, self.high, strict=True))
        axes = zip(padded, self.sizes, self.strides, self.dilations, strict=True)
        return (*shape[:lead], *(window_count(*axis) for axis in axes))

    def padded(self, x: Array, value: Number) -> Array:
        """``x`` with ``value`` around its trailing axes."""
        if not any(self.low + self.high):
            return x
        lead = [(0, 0)] * (x.ndim - self.rank)
        around = [*lead, *zip(self.low, self.high, strict=True)]
        return np.pad(x, around, constant_values=value)

    def cropped(self, x: Array) -> Array:
        """The inverse of `padded`."""
        extents = x.shape[x.ndim - self.rank :]
        axes = zip(self.low, extents, self.high, strict=True)
        inside: Key = (..., *(slice(low, extent - high) for low, extent, high in axes))
        return x[inside]

    def taps(self, points: Ints) -> Iterator[tuple[int, Key]]:
        """Each place of a window: its row-major number, and the elements there of all windows."""
        counts = points[len(points) - self.rank :]
        for flat, place in enumerate(np.ndindex(*self.sizes)):
            axes = zip(place, self.dilations, counts, self.strides, strict=True)
            yield flat, (..., *(_every(k * d, n, s) for k, d, n, s in axes))

    def place(self, window: tuple[Expr, ...], tap: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """The element at place ``tap`` of a window, as an index that may lie outside."""
        axes = zip(window, self.strides, tap, self.dilations, self.low, strict=True)
        return tuple(p * s + k * d - low for p, s, k, d, low in axes)

    def number(self, tap: tuple[Expr, ...]) -> Expr:
        """The row-major number of a place."""
        flat: Expr = Lit(0, INT64)
        for k, size in zip(tap, self.sizes, strict=True):
            flat = flat * size + k
        return flat

    def __str__(self) -> str:
        return f"{self.sizes} step {self.strides}"


def _every(start: int, count: int, step: int) -> slice:
    return slice(start, start + (count - 1) * step + 1, step)


@dataclass(frozen=True)
class Window(Op):
    """The sum, maximum or minimum of every window; outside the tensor stands the identity."""

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    function: Scalar = field(repr=False)
    over: Windows

    @property
    def name(self) -> str:
        return f"window_{self.function.name}"

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype.kind == "bool":
            raise UserError("GC0102", f"{self.name} of bool", fix="cast to a number first")
        return x.with_shape(self.over.points(x.shape))

    def eval(self, x: Array) -> Array:
        """One axis after another: sums and extremes of boxes are separable."""
        over, points = self.over, static(self.over.points(x.shape))
        y = over.padded(x, identity_of(self.function, dtype(x.dtype)))
        for axis, (size, s, d) in enumerate(
            zip(over.sizes, over.strides, over.dilations, strict=True), x.ndim - over.rank
        ):
            before = (slice(None),) * axis
            taps = (y[(*before, _every(k * d, points[axis], s))] for k in range(size))
            y = reduce(self.function.numpy, taps)
        return np.array(y, x.dtype)

    def grad(self, g: Node, y: Node, x: Node) -> tuple[Node | None, ...]:
        if self.function is SCALARS["add"]:
            return (spread(self.over, x.shape, g),)
        return (spread(self.over, x.shape, g, WindowArg(self.over)(x, y)),)

    def at(self, index: tuple[Expr, ...], x: Read) -> Expr:
        lead, window = _split(index, self.over)
        tap = tuple(map(Iter, self.over.sizes))
        place = self.over.place(window, tap)
        nothing = identity_of(self.function, x.type.dtype)
        value = guarded(_inside(place, x.type), x(*lead, *_kept(place, x.type)), nothing)
        if self.function is SCALARS["add"]:
            return total(tap, value)
        return Reduce(self.function.name, tap, value)

    def cost(self, y: TensorType, *xs: TensorType) -> Size:
        return y.size * self.over.count


@dataclass(frozen=True)
class WindowArg(Op):
    """The place (int32, row-major in the window) of the first element of x that is y; nan is nan.

    y holds the extreme of each window of x. A window that sees no element has its last place.
    """

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    over: Windows

    @property
    def name(self) -> str:
        return "window_arg"

    def infer(self, x: TensorType, y: TensorType) -> TensorType:
        _check(self, y.shape, self.over.points(x.shape))
        return y.with_dtype(INT32)

    def eval(self, x: Array, y: Array) -> Array:
        padded, inside = self.over.padded(x, 0), self.over.padded(np.ones(x.shape, bool), False)
        found = np.full(y.shape, self.over.count - 1, np.int32)
        for flat, tap in reversed([*self.over.taps(y.shape)]):
            value = padded[tap]
            found[inside[tap] & ((value == y) | (value != value))] = flat
        return found

    def at(self, index: tuple[Expr, ...], x: Read, y: Read) -> Expr:
        lead, window = _split(index, self.over)
        tap = tuple(map(Iter, self.over.sizes))
        place = self.over.place(window, tap)
        value, last = x(*lead, *_kept(place, x.type)), self.over.count - 1
        hit: Expr = Apply("equal", (value, y(*index)), BOOL)
        if x.type.dtype.is_float:
            hit = Apply("logical_or", (hit, Apply("isnan", (value,), BOOL)), BOOL)
        place_in_window = cast(self.over.number(tap), INT32)
        number = Apply("where", (hit, place_in_window, Lit(last, INT32)), INT32)
        return Reduce("minimum", tap, guarded(_inside(place, x.type), number, last))

    def cost(self, y: TensorType, *xs: TensorType) -> Size:
        return y.size * self.over.count


@dataclass(frozen=True)
class WindowPick(Op):
    """The element of x [..., *S] that ``arg`` [..., *P] names in each window: [..., *P]."""

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    over: Windows

    @property
    def name(self) -> str:
        return "window_pick"

    def infer(self, x: TensorType, arg: TensorType) -> TensorType:
        _check(self, arg.shape, self.over.points(x.shape))
        return x.with_shape(arg.shape)

    def eval(self, x: Array, arg: Array) -> Array:
        padded, picked = self.over.padded(x, 0), np.zeros(arg.shape, x.dtype)
        for flat, tap in self.over.taps(arg.shape):
            np.copyto(picked, padded[tap], where=arg == flat)
        return picked

    def grad(self, g: Node, y: Node, x: Node, arg: Node) -> tuple[Node | None, ...]:
        return spread(self.over, x.shape, g, arg), None

    def at(self, index: tuple[Expr, ...], x: Read, arg: Read) -> Expr:
        lead, window = _split(index, self.over)
        rest: Expr = Bounded(cast(arg(*index), INT64), self.over.count, self)
        tap: list[Expr] = []
        for size in reversed(self.over.sizes):
            tap.append(rest % size)
            rest = rest // size
        place = self.over.place(window, tuple(reversed(tap)))
        return guarded(_inside(place, x.type), x(*lead, *_kept(place, x.type)), 0)


def spread(over: Windows, shape: tuple[Size, ...], g: Node, *arg: Node) -> Node:
    """`WindowSpread` as a tensor of ``shape``."""
    lead = len(shape) - over.rank
    dealt = WindowSpread(over, shape[lead:])(g, *arg)
    counts = (_parts(extent, step) for extent, step in zip(shape[lead:], over.strides, strict=True))
    sizes = (count * step for count, step in zip(counts, over.strides, strict=True))
    return crop(reshape(dealt, (*shape[:lead], *sizes)), (0,) * len(shape), shape)


def _parts(extent: Size, step: int) -> Size:
    return (extent + step - 1) // step


@dataclass(frozen=True)
class WindowSpread(Op):
    """The adjoint of a sum of windows (of g alone) or of `WindowPick` (of g and arg).

    g [..., *P] gives the sum, for each element of ``shape``, over the windows that cover it (and
    name it). Neighbours see different places of the windows, but those ``strides`` apart see the
    same; so element i*stride + r stands at [..., i, r], for each axis, with zeros behind the last.
    """

    kind: ClassVar[str] = "compute"
    stackable: ClassVar[bool] = True
    over: Windows
    shape: tuple[Size, ...]

    @property
    def name(self) -> str:
        return "window_spread"

    @property
    def unrolled(self) -> tuple[int, ...]:
        if math.prod(self.over.strides) > MOST:
            return ()
        return tuple(range(1 - 2 * self.over.rank, 0, 2))

    def infer(self, g: TensorType, *arg: TensorType) -> TensorType:
        lead = g.shape[: g.rank - self.over.rank]
        _check(self, g.shape, self.over.points((*lead, *self.shape)))
        if arg:
            _check(self, g.shape, arg[0].shape)
        axes = zip(self.shape, self.over.strides, strict=True)
        return g.with_shape((*lead, *(n for axis in axes for n in (_parts(*axis), axis[1]))))

    def eval(self, g: Array, *arg: Array) -> Array:
        shape = (*g.shape[: g.ndim - self.over.rank], *static(self.shape))
        found = self.over.padded(np.zeros(shape, g.dtype), 0)
        for flat, tap in self.over.taps(g.shape):
            found[tap] += np.where(arg[0] == flat, g, np.zeros((), g.dtype)) if arg else g
        found = self.over.cropped(found)
        dealt = self.infer(*(TensorType(dtype(a.dtype), a.shape) for a in (g, *arg))).static_shape
        behind = [
            (0, -n % step) for n, step in zip(static(self.shape), self.over.strides, strict=True)
        ]
        around = [(0, 0)] * (g.ndim - self.over.rank) + behind
        return np.pad(found, around).reshape(dealt)

    def grad(self, g: Node, y: Node, x: Node, *arg: Node) -> tuple[Node | None, ...]:
        lead = x.type.rank - self.over.rank
        sizes = tuple(a * b for a, b in zip(g.shape[lead::2], g.shape[lead + 1 :: 2], strict=True))
        shape = (*g.shape[:lead], *self.shape)
        whole = crop(reshape(g, (*g.shape[:lead], *sizes)), (0,) * len(shape), shape)
        if arg:
            return WindowPick(self.over)(whole, *arg), None
        return (Window(SCALARS["add"], self.over)(whole),)

    def at(self, index: tuple[Expr, ...], g: Read, *arg: Read) -> Expr:
        lead, rest = index[: -2 * self.over.rank], index[-2 * self.over.rank :]
        iters: list[Iter] = []
        guards: list[Expr] = []
        window: list[Expr] = []
        tap: list[Expr] = []
        axes = zip(rest[::2], rest[1::2], self.over.strides, self.over.low, strict=True)
        for axis, (part, remainder, step, low) in enumerate(axes):
            place = part * step + remainder
            p, k, needed = self._cover(axis, place + low, iters)
            guards += within(place, static(self.shape)[axis])
            guards += (*needed, *within(p, g.type.static_shape[len(lead) + axis]))
            window.append(p)
            tap.append(k)
        seen = _kept(tuple(window), g.type)
        value = g(*lead, *seen)
        if arg:
            number = cast(self.over.number(tuple(tap)), arg[0].type.dtype)
            named = Apply("equal", (arg[0](*lead, *seen), number), BOOL)
            value = Apply("where", (named, value, Lit(0, value.dtype)), value.dtype)
        return total(tuple(iters), guarded(guards, value, 0))

    def _cover(
        self, axis: int, place: Expr, iters: list[Iter]
    ) -> tuple[Expr, Expr, tuple[Expr, ...]]:
        """Window and place in it that may cover the padded ``place``, and when; adds its iterator.

        Undilated windows over a place are neighbours, so only size/stride of them are looked at.
        """
        size, s, d = self.over.sizes[axis], self.over.strides[axis], self.over.dilations[axis]
        extent = -(-size // s) if d == 1 else size
        step: Expr = Lit(0, INT64)
        if extent > 1:
            step = Iter(extent)
            iters.append(step)
        if d == 1:
            k = place % s + step * s
            return place // s - step, k, within(k, size)
        first = place - step * d
        return first // s, step, divisible(first, s)

    def cost(self, y: TensorType, *xs: TensorType) -> Size:
        return xs[0].size * self.over.count


def _split(index: tuple[Expr, ...], over: Windows) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """Leading and windowed part of an index."""
    lead = len(index) - over.rank
    return index[:lead], index[lead:]


def _inside(place: tuple[Expr, ...], x: TensorType) -> list[Expr]:
    """The conditions under which ``place`` lies in the trailing axes of x."""
    extents = x.static_shape[x.rank - len(place) :]
    return [g for i, n in zip(place, extents, strict=True) for g in within(i, n)]


def _kept(place: tuple[Expr, ...], x: TensorType) -> tuple[Expr, ...]:
    """``place``, promised to lie in the trailing axes of x: for reads behind `_inside`."""
    return promised(place, x.static_shape[x.rank - len(place) :])


def _check(op: Op, found: tuple[Size, ...], wanted: tuple[Size, ...]) -> None:
    if found != wanted:
        raise UserError("GC0101", f"{op.name}: windows of shape {found}, not {wanted}")
