"""Values for rules: awkward numbers of every dtype, the plain evaluation of nodes, comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from graphc import precision
from graphc.graph import Array, Graph, Node, toposort
from graphc.ops.leaves import Input
from graphc.types import DType, TensorType, dtype

MODERATE = [0.3, -0.7, 1.0, -1.0, 2.5, -3.25, 7.0, 0.02]


def leaf(name: str, shape: Sequence[int], kind: str | DType = "float32") -> Node:
    """A fresh input."""
    return Input(name, TensorType(dtype(kind), tuple(shape)))()


def evaluate(roots: Sequence[Node], values: Mapping[Node, Array]) -> list[Array]:
    """The plain meaning of nodes: `Op.eval`, operands first."""
    known: dict[Node, Array] = dict(values)
    for node in toposort(roots):
        if node.op.storage is not None:
            known.setdefault(node, node.op.storage.array)
        elif node not in known:
            known[node] = precision.evaluate(node, [known[x] for x in node.inputs])
    return [np.asarray(known[root]) for root in roots]


def run(graph: Graph, *arrays: Array) -> list[Array]:
    """The outputs, then the new values of updated parameters."""
    return evaluate(graph.roots, dict(zip(graph.inputs, arrays, strict=True)))


def specials(kind: DType, *, extreme: bool = True, infinite: bool = True) -> Array:
    """Awkward values of a dtype; ``extreme`` adds denormals and the largest, the ends of ints."""
    if kind.kind == "bool":
        return np.array([False, True, True, False])
    if not kind.is_float:
        ends = np.iinfo(kind.numpy)
        low = [] if kind.kind == "uint" else [-1, -3]
        far = [ends.min, ends.min + 1, ends.max] if extreme else []
        return np.array([0, 1, 2, 5, *low, *far], kind.numpy)
    ends = kind.limits
    wide = [ends.smallest_subnormal, -ends.tiny, ends.max, -ends.max / 3, 90.0, -105.0]
    endless = [np.inf, -np.inf, np.nan]
    chosen = [0.0, -0.0, *MODERATE, *(wide if extreme else []), *(endless if infinite else [])]
    return np.array(chosen, kind.numpy)


def same(a: Array, b: Array, *, signed_zero: bool) -> bool:
    """Equal in every element, all nan being one value; 0.0 and -0.0 differ if ``signed_zero``."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not np.array_equal(a, b, equal_nan=dtype(a.dtype).is_float):
        return False
    numbers = np.isnan(a) if dtype(a.dtype).is_float else np.zeros(a.shape, bool)
    return (
        not signed_zero
        or np.array_equal(np.signbit(a) | numbers, np.signbit(b) | numbers)
        or dtype(a.dtype).kind in ("bool", "uint")
    )
