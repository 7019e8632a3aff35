"""Divided indices: an index that addresses take apart by ``//`` and ``%`` becomes two.

Comes in: a kernel. Goes out: the same kernel, whose addresses are sums of multiples of indices
again. A separate step because a reshape of a transposed tensor (the heads of attention, put side
by side) leaves ``k // 32`` and ``k % 32`` in an address, and a schedule can neither tile nor
vectorise along an index without a stride. Run as two loops of 4 and 32, both have one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from graphc.expr import Apply, Expr, Iter, Lit, Load, Reduce, Substitution, walk
from graphc.index import affine, bounds, is_index, linear
from graphc.kernels.kernel import Kernel, Stage, Store

SHORT = 8
"""Outside sums, a loop shorter than this fills no lanes: the division is kept."""


def without_divisions(kernel: Kernel) -> Kernel:
    """The kernel with every index split that is divided in an address, where the parts fit."""
    while (cut := next(_cuts(kernel), None)) is not None:
        kernel = _split(kernel, *cut)
    return kernel


def _cuts(kernel: Kernel) -> Iterator[tuple[Iter, int]]:
    """The indices to split, and how long the inner part is: whatever makes a division vanish."""
    roots = [e for s in kernel.stores for e in (*s.index, s.value)]
    parts = list(walk(*roots))
    least = 2 if any(isinstance(e, Reduce) for e in parts) else SHORT
    places = [i for e in parts if isinstance(e, Load) for i in e.index]
    places += [i for s in kernel.stores for i in s.index]
    for e in walk(*places):
        if isinstance(e, Apply) and e.function in ("floor_divide", "remainder") and is_index(e):
            yield from (cut for cut in _parts(e) if cut[1] >= least)


def _parts(division: Apply) -> Iterator[tuple[Iter, int]]:
    """How an index of ``x // n`` or ``x % n`` could be split so that nothing is left to divide."""
    x, divisor = division.args
    n = int(divisor.value) if isinstance(divisor, Lit) else 0
    for atom, factor in affine(x).terms:
        if not isinstance(atom, Iter) or factor <= 0 or n <= 0 or n % factor:
            continue
        inner = n // factor
        if inner < atom.extent and atom.extent % inner == 0 and _vanishes(x, n, atom, inner):
            yield atom, inner


def _vanishes(x: Expr, n: int, atom: Iter, inner: int) -> bool:
    """Whether what remains of ``x`` below ``n`` stays there when ``atom`` runs over ``inner``."""
    form = affine(x)
    rest = [(Iter(inner) if t is atom else t, c) for t, c in form.terms if t is atom or c % n]
    reach = bounds(linear(rest, form.constant % n))
    return reach is not None and reach[0] >= 0 and reach[1] < n


def _split(kernel: Kernel, old: Iter, inner: int) -> Kernel:
    """The kernel with ``old`` written ``slow * inner + fast``."""
    slow, fast = Iter(old.extent // inner), Iter(inner)
    new = linear([(slow, inner), (fast, 1)])

    def iters(of: tuple[Iter, ...]) -> tuple[Iter, ...]:
        return tuple(p for i in of for p in ((slow, fast) if i is old else (i,)))

    def replaced(e: Expr) -> Expr | None:
        if isinstance(e, Reduce) and old in e.iters:
            return Reduce(e.function, iters(e.iters), change(e.body))
        return new if e is old else None

    def store(s: Store) -> Store:
        return replace(s, index=tuple(map(change, s.index)), value=change(s.value))

    change = Substitution(replaced)
    stages = tuple(Stage(iters(s.iters), tuple(map(store, s.stores))) for s in kernel.stages)
    return Kernel(iters(kernel.iters), stages, kernel.nodes)
