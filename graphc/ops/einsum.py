"""Einstein summation of any number of tensors, as a function: pairwise contractions, then sums.

Comes in: an equation such as ``"bij,bjk->bik"`` and nodes. Goes out: a node made of `Contract`,
`Fold` and `Transpose`, so that it needs no rules of its own. A separate file because the order of
the contractions is a choice: the pair with the smallest result comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from string import digits

from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.graph import Node
from graphc.ops.contraction import Contract
from graphc.ops.movement import transpose
from graphc.ops.reduction import sum_over

_ELLIPSIS = "..."


@dataclass(frozen=True)
class _Term:
    node: Node
    labels: str


def einsum(equation: str, *operands: Node) -> Node:
    """The sum of products that ``equation`` describes, as NumPy's einsum.

    ``...`` stands for leading axes that the operands share (they are not stretched). Raises
    `UserError`: GC0104 (not an equation, or a label twice in one operand), GC0302 (number of
    operands), GC0103 (axes), GC0101 (sizes).
    """
    inputs, out = _parsed(equation, operands)
    terms = [_Term(x, labels) for x, labels in zip(operands, inputs, strict=True)]
    _check_sizes(equation, terms)
    while len(terms) > 1:
        i, j = _cheapest_pair(terms, out)
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        needed = out if not rest else out + "".join(term.labels for term in rest)
        terms = [*rest, _contract(terms[i], terms[j], needed, last=not rest)]
    (last,) = terms
    final = _sum_to(last, out)
    return transpose(final.node, tuple(final.labels.index(label) for label in out))


def _parsed(equation: str, operands: Sequence[Node]) -> tuple[list[str], str]:
    """One label per axis of each operand, and of the result."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    letters = set(left + out) - set(",.")
    if len(terms) != len(operands):
        raise UserError("GC0302", f"einsum {equation!r} of {len(operands)} operands")
    if not all(map(str.isalpha, letters)) or "." in (left + out).replace(_ELLIPSIS, ""):
        raise UserError("GC0104", f"einsum: {equation!r} is no equation", fix="e.g. 'ij,jk->ik'")
    terms, extra = _without_ellipses(equation, terms, operands)
    if not arrow:
        once = (x for x in letters if "".join(terms).count(x) == 1)
        out = extra + "".join(sorted(once))
    out = out.replace(_ELLIPSIS, extra)
    _check_labels(equation, terms, out)
    return terms, out


def _without_ellipses(
    equation: str, terms: Sequence[str], operands: Sequence[Node]
) -> tuple[list[str], str]:
    """The terms with digits for the axes that ``...`` stands for, and those digits."""
    hidden = []
    for term, x in zip(terms, operands, strict=True):
        hidden.append(x.type.rank - len(term.replace(_ELLIPSIS, "")))
        if hidden[-1] < 0 or (hidden[-1] > 0 and _ELLIPSIS not in term):
            raise UserError("GC0103", f"einsum: {x.type} for the axes {term!r} of {equation!r}")
    extra = digits[: max(hidden)]
    new = (extra[len(extra) - count :] for count in hidden)
    return [term.replace(_ELLIPSIS, text) for term, text in zip(terms, new, strict=True)], extra


def _check_labels(equation: str, terms: Sequence[str], out: str) -> None:
    if any(len(set(labels)) != len(labels) for labels in (*terms, out)):
        raise UserError(
            "GC0104",
            f"einsum {equation!r} repeats a label within one tensor",
            why="diagonals and traces are not contractions",
            fix="take the diagonal first, or multiply by an identity matrix and sum",
        )
    if unknown := set(out) - set("".join(terms)):
        raise UserError("GC0104", f"einsum {equation!r}: {sorted(unknown)} is in no operand")


def _check_sizes(equation: str, terms: Sequence[_Term]) -> None:
    sizes: dict[str, Size] = {}
    for term in terms:
        for label, size in zip(term.labels, term.node.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise UserError(
                    "GC0101",
                    f"einsum {equation!r}: {label!r} is {sizes[label]} and {size}",
                    why="an axis with one label has one size",
                )


def _cheapest_pair(terms: Sequence[_Term], out: str) -> tuple[int, int]:
    """The pair whose product is smallest; the first one while sizes are only names."""
    sizes: dict[str, Size] = {}
    for term in terms:
        sizes.update(zip(term.labels, term.node.shape, strict=True))

    def result_size(pair: tuple[int, int]) -> int:
        others = [t.labels for k, t in enumerate(terms) if k not in pair]
        needed = set(out).union(*others)
        both = set(terms[pair[0]].labels + terms[pair[1]].labels)
        size = product(sizes[label] for label in both & needed)
        return size if isinstance(size, int) else 0

    return min(combinations(range(len(terms)), 2), key=result_size)


def _contract(a: _Term, b: _Term, needed: str, *, last: bool) -> _Term:
    """The product of two terms, summed over the labels that nobody needs any more."""
    a, b = _sum_to(a, needed + b.labels), _sum_to(b, needed + a.labels)
    both = dict.fromkeys(needed if last else a.labels + b.labels)
    kept = "".join(x for x in both if x in needed and x in a.labels + b.labels)
    number = {label: k for k, label in enumerate(dict.fromkeys(a.labels + b.labels))}
    left, right, out = (tuple(number[x] for x in text) for text in (a.labels, b.labels, kept))
    return _Term(Contract(left, right, out)(a.node, b.node), kept)


def _sum_to(term: _Term, needed: str) -> _Term:
    """The term without the labels that are not needed."""
    gone = tuple(axis for axis, label in enumerate(term.labels) if label not in needed)
    kept = "".join(label for label in term.labels if label in needed)
    return _Term(sum_over(term.node, gone), kept)
