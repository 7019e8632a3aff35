"""Scalar expressions over indices: the language of op meanings, kernels and loops.

Comes in: iterators and buffers. Goes out: immutable expressions that compare by structure. It is a
language of its own because kernels and loops share it, so substituting one index into another is
the whole of fusion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from graphc.arith import Arithmetic
from graphc.errors import CompilerBug
from graphc.scalars import SCALARS
from graphc.types import BOOL, INT64, DType, Scalar, TensorType, weak_dtype


class Algebra(Protocol):
    """What `graphc.index` knows of indices."""

    def combined(self, function: str, *operands: Any) -> Expr | None:
        """A scalar function of indices in normal form; None when it has none."""

    def linear(self, terms: Iterable[tuple[Expr, int]], constant: int) -> Expr:
        """A sum of multiples of indices in normal form."""


class Expr(Arithmetic):
    """A scalar value of type ``dtype``; an immutable tree, or a shared one."""

    __slots__ = ()

    if TYPE_CHECKING:  # a subclass holds it or computes it

        @property
        def dtype(self) -> DType:
            """The type of the value."""

    algebra: ClassVar[Algebra | None] = None
    """What operators do to indices; set by `graphc.index`, which is made of expressions itself."""

    def combine(self, function: str, *operands: Any) -> Self:
        if Expr.algebra is None:
            raise CompilerBug("graphc.index was not imported, so indices have no algebra")
        index = Expr.algebra.combined(function, *operands)
        return index if index is not None else apply(function, *operands)  # type: ignore[return-value]

    @property
    def children(self) -> tuple[Expr, ...]:
        """The expressions it is made of, in order."""
        return ()


@dataclass(frozen=True)
class Lit(Expr):
    """A number."""

    value: Scalar
    dtype: DType

    def __eq__(self, other: object) -> bool:
        # 0.0 is not -0.0, and nan equals itself: compare how they are written
        if not isinstance(other, Lit) or self.dtype != other.dtype:
            return False
        return repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(self.value) if self.value == self.value else 0  # a nan has the hash of its id

    def __str__(self) -> str:
        return f"{self.value!r}:{self.dtype.short}"


@dataclass(frozen=True, eq=False)
class Iter(Expr):
    """An index that runs over 0 .. extent-1. It has no name: printers number it by position."""

    extent: int
    dtype: DType = INT64


@dataclass(frozen=True)
class Affine(Expr):
    """``sum(coefficient * atom) + constant``; an atom is what the algebra leaves whole."""

    terms: tuple[tuple[Expr, int], ...]
    constant: int
    dtype: DType = INT64

    def __eq__(self, other: object) -> bool:
        """Sums are equal in any order, which is kept so that code comes out the same each time."""
        return isinstance(other, Affine) and (self.constant, frozenset(self.terms)) == (
            other.constant,
            frozenset(other.terms),
        )

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.constant, frozenset(self.terms)))

    @cached_property
    def children(self) -> tuple[Expr, ...]:
        return tuple([atom for atom, _ in self.terms])


@dataclass(frozen=True, eq=False)
class Buffer:
    """A dense row-major array that kernels read and write. Compared by identity.

    ``scope`` says where it lives: "global" (an input, parameter, output or the arena), "row"
    (scratch of one thread, valid for one point of a kernel's outer space), "register" or "shared"
    (inside loops).
    """

    type: TensorType
    scope: str = "global"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.static_shape

    @property
    def strides(self) -> tuple[int, ...]:
        """Elements between neighbours, per axis."""
        out, step = [], 1
        for extent in reversed(self.shape):
            out.append(step)
            step *= extent
        return tuple(reversed(out))


@dataclass(frozen=True)
class Load(Expr):
    """The element of ``buffer`` at ``index``, in the dtype in which it is computed: narrow floats
    are float32 outside of memory, and stores round them again.
    """

    buffer: Buffer
    index: tuple[Expr, ...]

    @property
    def dtype(self) -> DType:
        return self.buffer.type.dtype.computing

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.index


@dataclass(frozen=True)
class Apply(Expr):
    """A scalar function of `SCALARS`, or "cast" / "bitcast" (whose target is ``dtype``)."""

    function: str
    args: tuple[Expr, ...]
    dtype: DType

    @property
    def children(self) -> tuple[Expr, ...]:
        return self.args


@dataclass(frozen=True)
class Select(Expr):
    """``chosen`` where ``condition`` holds, else ``other``.

    The branch not taken is not evaluated, so a condition can guard a load.
    """

    condition: Expr
    chosen: Expr
    other: Expr

    @property
    def dtype(self) -> DType:
        return self.chosen.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.condition, self.chosen, self.other)


@dataclass(frozen=True)
class Bounded(Expr):
    """An index that data decides, checked against ``0 <= index < extent``.

    A miss is a fault reported at ``owner``, whatever the reporter needs to name the op and its
    source line. No owner means that a guard around the expression ensures the bounds: nothing is
    checked, and lowering unwraps it once the index algebra has used it.
    """

    index: Expr
    extent: int
    owner: object = None
    dtype: DType = INT64

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bounded):
            return False
        return (self.index, self.extent) == (other.index, other.extent)

    def __hash__(self) -> int:
        return hash((self.index, self.extent))

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.index,)


@dataclass(frozen=True)
class Reduce(Expr):
    """``body`` combined over all values of ``iters`` by ``function``, a scalar with an identity."""

    function: str
    iters: tuple[Iter, ...]
    body: Expr

    @property
    def dtype(self) -> DType:
        return self.body.dtype

    @property
    def children(self) -> tuple[Expr, ...]:
        return (self.body,)


def lift(value: Expr | Scalar, dtype: DType) -> Expr:
    """A number as an expression of ``dtype``; an expression unchanged."""
    return value if isinstance(value, Expr) else Lit(value, dtype)


def apply(function: str, *operands: Expr | Scalar) -> Expr:
    """A scalar function of expressions and numbers (which take their neighbours' dtype)."""
    known = [x.dtype for x in operands if isinstance(x, Expr)]
    reference = known[-1]  # the condition of where comes first
    args = tuple(x if isinstance(x, Expr) else Lit(x, weak_dtype(x, reference)) for x in operands)
    result = BOOL if SCALARS[function].result == "bool" else args[-1].dtype
    return Apply(function, args, result)


def cast(value: Expr, dtype: DType) -> Expr:
    """``value`` converted to ``dtype``; unchanged when it has it already. For a narrow float it is
    rounded to it, and computed with as float32.
    """
    if value.dtype == dtype:
        return value
    converted = Apply("cast", (value,), dtype)
    return Apply("cast", (converted,), dtype.computing) if dtype.is_narrow else converted


def stored(value: Expr, dtype: DType) -> Expr:
    """A value as ``dtype`` stores it: narrow floats rounded, everything else as it is."""
    if not dtype.is_narrow or value.dtype == dtype:
        return value
    if isinstance(value, Apply) and value.function == "cast" and value.args[0].dtype == dtype:
        return value.args[0]  # it was rounded to just that
    return Apply("cast", (value,), dtype)


# Walks --------------------------------------------------------------------------------------------
def walk(*roots: Expr) -> Iterator[Expr]:
    """Every expression below ``roots``, shared ones once, operands before their users."""
    seen: set[int] = set()
    stack: list[Expr | None] = [*reversed(roots)]
    waiting: list[Expr] = []  # for their operands; None on the stack says that these are done
    while stack:
        expr = stack.pop()
        if expr is None:
            yield waiting.pop()
        elif id(expr) not in seen:
            seen.add(id(expr))
            children = expr.children
            if children:
                waiting.append(expr)
                stack.append(None)
                stack.extend(children[::-1])
            else:
                yield expr


def depends_on(expr: Expr, iterator: Iter) -> bool:
    """Whether ``iterator`` occurs in ``expr``."""
    return expr is iterator or any(depends_on(child, iterator) for child in expr.children)


def rebuild(expr: Expr, children: tuple[Expr, ...]) -> Expr:
    """``expr`` with other operands; index forms are normalised again."""
    if isinstance(expr, Affine):
        assert Expr.algebra is not None
        factors = (c for _, c in expr.terms)
        return Expr.algebra.linear(zip(children, factors, strict=True), expr.constant)
    if isinstance(expr, Load):
        return Load(expr.buffer, children)
    if isinstance(expr, Apply):
        if expr.function in ("floor_divide", "remainder"):  # may be an index
            return children[0].combine(expr.function, *children)
        return Apply(expr.function, children, expr.dtype)
    if isinstance(expr, Select):
        return Select(*children)
    if isinstance(expr, Bounded):
        return Bounded(children[0], expr.extent, expr.owner)
    if isinstance(expr, Reduce):
        return Reduce(expr.function, expr.iters, children[0])
    raise CompilerBug(f"{type(expr).__name__} has no operands to replace")


class Substitution:
    """Exchanges the parts of expressions for which ``replace`` gives another.

    Applied to several expressions, it keeps shared what they share.
    """

    def __init__(self, replace: Callable[[Expr], Expr | None]) -> None:
        self.replace = replace
        self.done: dict[int, tuple[Expr, Expr]] = {}  # the original too, so that its id stays taken

    def __call__(self, expr: Expr) -> Expr:
        done = self.done
        stack: list[Expr | None] = [expr]
        waiting: list[Expr] = []  # as in `walk`
        while stack:
            part = stack.pop()
            if part is None:
                part = waiting.pop()
                done[id(part)] = (part, self._exchanged(part))
            elif id(part) not in done:
                children = part.children
                if children:
                    waiting.append(part)
                    stack.append(None)
                    stack.extend(children[::-1])
                else:
                    done[id(part)] = (part, self._exchanged(part))
        return done[id(expr)][1]

    def _exchanged(self, part: Expr) -> Expr:
        new = self.replace(part)
        if new is not None:
            return new
        old = part.children
        children = tuple([self.done[id(c)][1] for c in old])
        return part if all(map(is_, children, old)) else rebuild(part, children)


class Sharing(Substitution):
    """Makes equal functions of the same operands one expression, so that they are computed once."""

    def __init__(self) -> None:
        super().__init__(self._known)
        self.known: dict[tuple[object, ...], Expr] = {}

    def _exchanged(self, part: Expr) -> Expr:
        new = super()._exchanged(part)
        if not isinstance(new, Apply):
            return self.known.setdefault((new,), new) if isinstance(new, Lit) else new
        key = (new.function, new.dtype, *map(id, new.args))
        return self.known.setdefault(key, new)

    def _known(self, part: Expr) -> Expr | None:
        return None


def substitute(expr: Expr, replace: Callable[[Expr], Expr | None]) -> Expr:
    """One expression with the parts exchanged for which ``replace`` gives another."""
    return Substitution(replace)(expr)
