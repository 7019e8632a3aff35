"""The index algebra: indices in a normal form, so that strides and equality need no search.

Comes in: iterators, ints and the operators + - * // %. Goes out: `Affine`, a sum of atoms with
integer coefficients; what the algebra cannot take apart stays an atom. A separate file because a
flat index that is divided into axes again (reshape) must cancel, and only indices may be reordered:
data keeps its order of evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    apply,
    depends_on,
    lift,
)
from graphc.types import INT64


def is_index(value: object) -> bool:
    """Whether the index algebra understands ``value``."""
    if isinstance(value, Lit):
        return value.dtype == INT64
    return isinstance(value, Iter | Affine | Bounded) or (
        isinstance(value, Apply)
        and value.function in ("floor_divide", "remainder")
        and is_index(value.args[0])
    )


def affine(index: Expr | int) -> Affine:
    """The normal form of an index."""
    if isinstance(index, Affine):
        return index
    if isinstance(index, int):
        return Affine((), index)
    if isinstance(index, Lit):
        return Affine((), int(index.value))
    return Affine(((index, 1),), 0)


def _simplest(terms: Mapping[Expr, int], constant: int) -> Expr:
    kept = {atom: c for atom, c in terms.items() if c}
    if not kept:
        return Lit(constant, INT64)
    if len(kept) == 1:
        ((atom, coefficient),) = kept.items()
        alone = constant == 0 and coefficient == 1
        return atom if alone else Affine(((atom, coefficient),), constant)
    whole = _recombined(kept)
    return Affine(tuple(kept.items()), constant) if whole is None else _add(whole, constant)


def _recombined(terms: Mapping[Expr, int]) -> Expr | None:
    """The sum with ``(x % n) * c + (x // n) * (n * c)`` written ``x * c``, if there is one."""
    for atom, c in terms.items():
        if isinstance(atom, Apply) and atom.function == "remainder":
            x, divisor = atom.args
            n = int(divisor.value) if isinstance(divisor, Lit) else 0
            if n <= 0:
                continue
            quotient = _divide(x, n, 0, "floor_divide")
            if terms.get(quotient) == n * c:
                rest = {t: k for t, k in terms.items() if t not in (atom, quotient)}
                return _add(_simplest(rest, 0), _multiply(x, c))
    return None


def linear(terms: Iterable[tuple[Expr | int, int]], constant: int = 0) -> Expr:
    """``constant`` and multiples of indices, added up."""
    total: dict[Expr, int] = {}
    for index, factor in terms:
        if isinstance(index, Iter):
            total[index] = total.get(index, 0) + factor
            continue
        form = affine(index)
        constant += form.constant * factor
        for atom, c in form.terms:
            total[atom] = total.get(atom, 0) + c * factor
    return _simplest(total, constant)


def _add(a: Expr | int, b: Expr | int) -> Expr:
    return linear([(a, 1), (b, 1)])


def _scale(a: Affine, by: int) -> Expr:
    return _simplest({atom: c * by for atom, c in a.terms}, a.constant * by)


def _multiply(a: Expr | int, b: Expr | int) -> Expr:
    if isinstance(a, Iter) and isinstance(b, int):
        return _simplest({a: b}, 0)
    left, right = affine(a), affine(b)
    if not right.terms:
        return _scale(left, right.constant)
    if not left.terms:
        return _scale(right, left.constant)
    return apply("multiply", lift(a, INT64), lift(b, INT64))


def bounds(index: Expr | int) -> tuple[int, int] | None:
    """The least and the greatest value of an index, or None when it depends on data."""
    form = affine(index)
    low = high = form.constant
    for atom, c in form.terms:
        reach = _atom_bounds(atom)
        if reach is None:
            return None
        ends = (c * reach[0], c * reach[1])
        low, high = low + min(ends), high + max(ends)
    return low, high


def _atom_bounds(atom: Expr) -> tuple[int, int] | None:
    if isinstance(atom, Iter | Bounded):
        return 0, max(atom.extent - 1, 0)
    if isinstance(atom, Apply) and isinstance(divisor := atom.args[-1], Lit):
        n = int(divisor.value)
        if atom.function == "remainder" and n > 0:
            return 0, n - 1
        inner = bounds(atom.args[0])
        if atom.function == "floor_divide" and inner is not None:
            return inner[0] // n, inner[1] // n
    return None


def _divide(a: Expr | int, b: Expr | int, keep: int, function: str) -> Expr:
    """Floor division (``keep`` 0) or its remainder (1), taken apart as far as bounds allow."""
    if isinstance(a, Iter) and isinstance(b, int) and 0 < a.extent <= b:
        return a if keep else Lit(0, INT64)
    index, divisor = affine(a), affine(b)
    n = divisor.constant
    if divisor.terms or n <= 0:
        return apply(function, lift(a, INT64), lift(b, INT64))
    # (n * whole + rest) // n = whole + rest // n, and the remainder is that of the rest
    whole = _simplest({t: c // n for t, c in index.terms if c % n == 0}, index.constant // n)
    rest = _simplest({t: c for t, c in index.terms if c % n}, index.constant % n)
    reach = bounds(rest)
    if reach is not None and reach[0] >= 0 and reach[1] < n:
        return rest if keep else whole
    if keep:
        return _applied("remainder", rest, n)
    return _add(whole, _applied("floor_divide", rest, n))


def _applied(function: str, x: Expr, n: int) -> Expr:
    """``x // n`` or ``x % n`` that bounds cannot decide; divisions of divisions become one."""
    if isinstance(x, Apply) and isinstance(x.args[-1], Lit):
        inner = int(x.args[-1].value)
        if x.function == function == "floor_divide" and inner > 0:
            return _divide(x.args[0], inner * n, 0, function)
        if x.function == function == "remainder" and inner % n == 0:
            return _divide(x.args[0], n, 1, function)
    return Apply(function, (x, Lit(n, INT64)), INT64)


_ALGEBRA: dict[str, Callable[..., Expr]] = {
    "add": _add,
    "subtract": lambda a, b: _add(a, _multiply(b, -1)),
    "negative": lambda a: _multiply(a, -1),
    "multiply": _multiply,
    "floor_divide": lambda a, b: _divide(a, b, 0, "floor_divide"),
    "remainder": lambda a, b: _divide(a, b, 1, "remainder"),
}


def combined(function: str, *operands: Any) -> Expr | None:
    """A function of indices and ints as an index; None when it is not one of the algebra."""
    if function not in _ALGEBRA:
        return None
    for x in operands:
        if not isinstance(x, int) and not is_index(x):
            return None
    return _ALGEBRA[function](*operands)


def stride(index: Expr, iterator: Iter) -> int | None:
    """How far ``index`` moves when ``iterator`` steps by one; None when that is not a constant."""
    form = affine(index)
    step = 0
    for atom, c in form.terms:
        if atom is iterator:
            step += c
        elif depends_on(atom, iterator):
            return None
    return step


def flat_index(buffer: Buffer, index: tuple[Expr, ...]) -> Expr:
    """The element offset of ``index`` in ``buffer``; a single index is an offset already."""
    if len(index) == 1:
        return index[0]
    return linear(zip(index, buffer.strides, strict=True))


class _Algebra:
    combined = staticmethod(combined)
    linear = staticmethod(linear)


Expr.algebra = _Algebra()
