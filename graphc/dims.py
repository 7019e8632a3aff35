"""Named sizes and their algebra: ``batch``, ``2*n + 1``, ``(height - 4)//2``.

Comes in: names and ints. Goes out: canonical polynomials, so that equal sizes compare equal and
inference needs no solver. A separate file because it is pure algebra: nothing here knows about
tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral

from graphc.errors import UserError

Monomial = tuple["str | Quotient", ...]
"""A product of atoms, sorted by their text; () is the constant term."""


@dataclass(frozen=True)
class Quotient:
    """``dividend // divisor`` rounded down: an atom that the algebra cannot take apart."""

    dividend: Dim
    divisor: int

    def __str__(self) -> str:
        return f"({self.dividend})//{self.divisor}"


@dataclass(frozen=True)
class Dim:
    """A symbolic size: a polynomial with integer coefficients over names and quotients.

    ``terms`` is canonical (sorted, no zero coefficient), so equality is structural. Arithmetic
    gives an int when the names cancel: ``Dim.named("n") - Dim.named("n") == 0``.
    """

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def named(name: str) -> Dim:
        """The size called ``name``; raises `UserError` GC0104 when that is no identifier."""
        if not name.isidentifier():
            raise UserError(
                "GC0104", f"{name!r} cannot name a size", fix="use an identifier, e.g. 'batch'"
            )
        return Dim((((name,), 1),))

    def __add__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        total = dict(self.terms)
        for monomial, coefficient in _terms(other):
            total[monomial] = total.get(monomial, 0) + coefficient
        return _canonical(total)

    def __mul__(self, other: Size) -> Size:
        if not _is_size(other):
            return NotImplemented
        total: dict[Monomial, int] = {}
        for left, a in self.terms:
            for right, b in _terms(other):
                monomial = tuple(sorted(left + right, key=str))
                total[monomial] = total.get(monomial, 0) + a * b
        return _canonical(total)

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size) -> Size:
        return self + other * -1

    def __rsub__(self, other: Size) -> Size:
        return -self + other

    def __floordiv__(self, divisor: int) -> Size:
        if all(c % divisor == 0 for _, c in self.terms):
            return _canonical({m: c // divisor for m, c in self.terms})
        return Dim((((Quotient(self, divisor),), 1),))

    __radd__, __rmul__ = __add__, __mul__

    @property
    def names(self) -> frozenset[str]:
        """The names it depends on."""
        return frozenset(_names(self))

    def substitute(self, sizes: Mapping[str, int]) -> Size:
        """Replace the names found in ``sizes``; an int when none is left."""
        total: Size = 0
        for monomial, coefficient in self.terms:
            term: Size = coefficient
            for atom in monomial:
                term = term * _substitute_atom(atom, sizes)
            total = total + term
        return total

    def divide_exact(self, other: Size) -> Size | None:
        """``self / other`` when ``other`` is one product of numbers and names, and divides."""
        ((monomial, coefficient),) = _terms(other) if len(_terms(other)) == 1 else (((), 0),)
        quotient: dict[Monomial, int] = {}
        for atoms, c in self.terms:
            rest = list(atoms)
            missing = any(atoms.count(a) < monomial.count(a) for a in monomial)
            if coefficient == 0 or c % coefficient or missing:
                return None
            for atom in monomial:
                rest.remove(atom)
            quotient[tuple(rest)] = c // coefficient
        return _canonical(quotient)

    @property
    def linear(self) -> tuple[str, int, int] | None:
        """name, a and b when it is ``a*name + b``."""
        shift = dict(self.terms).get((), 0)
        rest = [(atoms, c) for atoms, c in self.terms if atoms]
        ((name, *others), factor) = rest[0]
        fits = len(rest) == 1 and not others and isinstance(name, str)
        return (str(name), factor, shift) if fits else None

    def solved(self, total: int) -> dict[str, int]:
        """Its name with the number that makes it ``total``; {} unless it is ``a*name + b``."""
        if self.linear is None:
            return {}
        name, factor, shift = self.linear
        number, remainder = divmod(total - shift, factor)
        return {name: number} if not remainder and number >= 0 else {}

    def __str__(self) -> str:
        return "+".join(_spell(m, c) for m, c in self.terms).replace("+-", "-")

    def __repr__(self) -> str:
        return str(self)


Size = int | Dim


def _is_size(value: object) -> bool:
    """Anything else, such as a tensor, may know by itself how to meet a size."""
    return isinstance(value, int | Dim | Integral)


def _terms(size: Size) -> tuple[tuple[Monomial, int], ...]:
    return size.terms if isinstance(size, Dim) else (((), int(size)),)


def _canonical(total: Mapping[Monomial, int]) -> Size:
    kept = {m: c for m, c in total.items() if c}
    if not kept or set(kept) == {()}:
        return kept.get((), 0)
    return Dim(tuple(sorted(kept.items(), key=lambda mc: (-len(mc[0]), [str(a) for a in mc[0]]))))


def _names(dim: Dim) -> Iterator[str]:
    for monomial, _ in dim.terms:
        for atom in monomial:
            yield from (atom,) if isinstance(atom, str) else _names(atom.dividend)


def _substitute_atom(atom: str | Quotient, sizes: Mapping[str, int]) -> Size:
    if isinstance(atom, Quotient):
        return atom.dividend.substitute(sizes) // atom.divisor
    return sizes.get(atom, Dim.named(atom))


def _spell(monomial: Monomial, coefficient: int) -> str:
    factors = [str(a) for a in monomial]
    if coefficient == -1 and factors:
        return "-" + "*".join(factors)
    return "*".join(([str(coefficient)] if coefficient != 1 or not factors else []) + factors)


def size(value: Size | str) -> Size:
    """A size from what a user writes: an int, a name or a `Dim`. Raises `UserError` GC0104."""
    if isinstance(value, str):
        return Dim.named(value)
    if isinstance(value, Dim):
        return value
    try:
        number = value.__index__()
    except AttributeError:
        number = -1
    if number < 0:
        raise UserError(
            "GC0104", f"{value!r} is not a size", fix="use an int >= 0 or a name such as 'batch'"
        )
    return number


def product(sizes: Iterable[Size]) -> Size:
    """The product of sizes; 1 for none."""
    total: Size = 1
    for s in sizes:
        total = total * s
    return total


def evaluate(value: Size, sizes: Mapping[str, int]) -> int:
    """The number a size stands for. Raises `UserError` GC0305 when ``sizes`` lacks a name."""
    number = value.substitute(sizes) if isinstance(value, Dim) else value
    if isinstance(number, Dim):
        raise UserError(
            "GC0305",
            f"the size {number} is not known here",
            why="code is generated for numbers; names get theirs from the arrays of the first call",
            fix="call the compiled function, or pass sizes={...} to compile ahead",
        )
    return number
