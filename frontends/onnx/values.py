"""What travels between the nodes of an ONNX model while it is translated.

Comes in: tensors. Goes out: their values, where these are known while the graph is built. A
separate step because ONNX computes shapes, axes and paddings with the same nodes as data, and a
static graph must know them before it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.errors import UserError
from graphc.frontends.dsl import compile
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Array, Node, brief, toposort

Value = Tensor | Sequence[Any] | None
"""A tensor, a sequence of values, or nothing (an optional input or output that is left out)."""


class Undecided(UserError):
    """A value is needed while the graph is built, and depends on ``inputs``, which have none."""

    def __init__(self, inputs: Sequence[Node]) -> None:
        names = ", ".join(repr(x.name) for x in inputs)
        self.inputs = tuple(inputs)
        super().__init__(
            "GC0106",
            f"a shape, axis or option depends on the values of {names}",
            why="the graph is static: what decides the size of a result is fixed when it is built",
            fix="pass NumPy arrays for these inputs when the model is called with tensors",
        )


def undecided_inputs(nodes: Iterable[Node]) -> list[Node]:
    """The inputs on which ``nodes`` depend."""
    return [x for x in toposort(nodes) if x.op.is_input]


def known(tensor: Tensor) -> Array:
    """The value of ``tensor``: an array, of dtype object where named sizes are in it.

    Raises `Undecided` when it depends on an input, `UserError` GC0305 when a named size must be a
    number.
    """
    order = toposort([tensor.node])
    if inputs := [x for x in order if x.op.is_input]:
        raise Undecided(inputs)
    if any(is_symbolic(x) for x in order):
        return _with_sizes(order)
    found: Array = compile([], tensor, backend="numpy")()
    return found


def integers(value: Array | Sequence[int]) -> list[Any]:
    """The numbers in a known input, or in the attribute that it was in older versions: ints, and
    `Dim`s where named sizes are among them.
    """
    return list(np.asarray(value).reshape(-1).tolist())


def is_symbolic(node: Node) -> bool:
    """Whether a named size enters a graph here, as a number."""
    return node.op.number is not None and not isinstance(node.op.number, bool | int | float)


def is_of_sizes(tensor: Tensor) -> bool:
    """Whether ``tensor`` is computed from named sizes and constants alone."""
    order = toposort([tensor.node])
    outside = any(x.op.is_input or x.op.storage is not None for x in order)
    return not outside and any(is_symbolic(x) for x in order)


_ROUNDING = ("cast", "floor", "ceil", "round", "trunc")
"""What leaves whole numbers as they are."""


def _with_sizes(order: Sequence[Node]) -> Array:
    """The value of the last node, where arithmetic on named sizes is that of `graphc.dims`."""
    values: dict[Node, Array] = {}
    for node in order:
        arrays = [values[x] for x in node.inputs]
        if node.op.kind == "pointwise" and any(x.dtype == object for x in arrays):
            arrays = [_whole(x).astype(object) for x in arrays]
        if is_symbolic(node):
            values[node] = np.array(node.op.number, object)
        elif node.op.name in _ROUNDING and arrays[0].dtype == object:
            values[node] = arrays[0]
        else:
            values[node] = _evaluated(node, arrays)
    return values[order[-1]]


def _whole(array: Array) -> Array:
    """Floats that stand beside named sizes as the ints they are."""
    is_whole = array.dtype.kind == "f" and bool((array == np.trunc(array)).all())
    return array.astype(np.int64) if is_whole else array


def _evaluated(node: Node, arrays: Sequence[Array]) -> Array:
    try:
        found = node.op.eval(*arrays)
    except (TypeError, ValueError) as error:
        raise UserError(
            "GC0305",
            f"{brief(node)} needs the number behind a named size",
            why=f"sizes can be added, multiplied, joined and picked from, no more: {error}",
            fix="give the sizes numbers, e.g. model.compile(sizes={'batch': 1})",
        ) from error
    return found if isinstance(found, np.ndarray) else np.array(found, object)
