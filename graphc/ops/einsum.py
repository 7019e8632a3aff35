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

from graphc.dims import Size, evaluate, product
from graphc.errors import UserError
from graphc.graph import Node
from graphc.ops.contraction import Contract
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import sum_over
from graphc.ops.selection import slice_axis

_ELLIPSIS = "..."


@dataclass(frozen=True)
class _Term:
    node: Node
    labels: str


def einsum(equation: str, *operands: Node) -> Node:
    """The sum of products that ``equation`` describes, as NumPy's einsum.

    ``...`` stands for leading axes that the operands share; they broadcast. A label that stands
    twice in one operand means its diagonal. Raises `UserError`: GC0104 (not an equation, or a label
    twice in the result), GC0302 (number of operands), GC0103 (axes), GC0101 (sizes).
    """
    inputs, out = _parsed(equation, operands)
    terms = _thin([_Term(x, labels) for x, labels in zip(operands, inputs, strict=True)])
    _check_sizes(equation, terms)
    terms = [_diagonal(term) for term in terms]
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
    if len(set(out)) != len(out):
        raise UserError(
            "GC0104",
            f"einsum {equation!r} repeats a label in the result",
            why="there is no value for what is not on the diagonal",
            fix="multiply by an identity matrix",
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


def _thin(terms: Sequence[_Term]) -> list[_Term]:
    """The terms without those axes of ``...`` that have size 1 here and another one elsewhere."""
    wide = {
        label
        for term in terms
        for label, size in zip(term.labels, term.node.shape, strict=True)
        if label in digits and size != 1
    }
    return [_without_ones(term, wide) for term in terms]


def _without_ones(term: _Term, labels: set[str]) -> _Term:
    kept = [
        (label, size)
        for label, size in zip(term.labels, term.node.shape, strict=True)
        if label not in labels or size != 1
    ]
    shape = tuple(size for _, size in kept)
    return _Term(reshape(term.node, shape), "".join(label for label, _ in kept))


def _diagonal(term: _Term) -> _Term:
    """The term with each label once: every (n + 1)-th element of two axes of size n as one."""
    while repeated := [x for x in term.labels if term.labels.count(x) > 1]:
        label = repeated[0]
        pair = tuple(a for a, x in enumerate(term.labels) if x == label)[:2]
        rest = tuple(a for a in range(len(term.labels)) if a not in pair)
        extent = evaluate(term.node.shape[pair[0]], {})
        turned = transpose(term.node, (*rest, *pair))
        lined = reshape(turned, (*turned.shape[:-2], extent * extent))
        chosen = slice_axis(lined, len(rest), 0, extent * extent, extent + 1)
        term = _Term(chosen, "".join(term.labels[a] for a in rest) + label)
    return term


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
