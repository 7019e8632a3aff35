"""`vmap`: a function of one element, applied to a whole stack at once.

Comes in: a Python function of tensors, and the axes to map it over. Goes out: a function of stacks.
A separate step because the function must be traced once, with stand-ins for its arguments, before
`graphc.batch` can give every operation a further axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

from graphc.batch import batched
from graphc.errors import UserError
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.shaping import moveaxis
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.graph import Node
from graphc.ops.leaves import new_input

Axes = int | None | Sequence[int | None]


def vmap(function: Callable[..., Any], in_axes: Axes = 0, out_axes: int = 0) -> Callable[..., Any]:
    """``function`` for every element along an axis of its arguments, all in one larger graph.

    ``in_axes`` is the axis of every argument, or a tuple with an axis, or None for an argument that
    is the same for all, per argument; an argument may be a nest of tensors. The results have the
    new axis at ``out_axes``. Operations become operations on larger tensors; `gc.map` runs one
    element after another instead. Gradients inside give one gradient per element. Random numbers
    and parameters inside are the same for all elements.

    Raises `UserError` when the result is called: GC0101 (axes of different sizes), GC0103 (a
    number), GC0104 (no such axis, nothing to map, an operation that cannot be vectorised), GC0302.
    """

    def mapped(*args: Any) -> Any:
        leaves, rebuild = flatten(args)
        stacks: dict[Node, Node] = {}
        filled = list(leaves)
        for place, axis in enumerate(_axes(args, in_axes)):
            if axis is not None:
                stack = _in_front(leaves[place], axis)
                element = new_input("element", stack.node.type.drop((0,)))
                stacks[element] = stack.node
                filled[place] = Tensor(element)
        size = _size([stack.shape[0] for stack in stacks.values()])
        results, rebuild_results = flatten(function(*rebuild(filled)))
        found = batched([tensor(y).node for y in results], stacks, size)
        return rebuild_results([moveaxis(Tensor(y), 0, out_axes) for y in found])

    return wraps(function)(at_user_line(mapped))


def _axes(args: Sequence[Any], in_axes: Axes) -> Iterator[int | None]:
    """The axis of each leaf of the arguments."""
    each = in_axes if isinstance(in_axes, Sequence) else [in_axes] * len(args)
    if len(each) != len(args):
        raise UserError(
            "GC0302",
            f"vmap: {len(args)} arguments, in_axes for {len(each)}",
            fix="name an axis, or None, for each argument",
        )
    for argument, axis in zip(args, each, strict=True):
        yield from [axis] * len(flatten(argument)[0])


def _in_front(argument: Any, axis: int) -> Tensor:
    """The argument with the mapped axis first."""
    value = tensor(argument)
    if not value.ndim:
        raise UserError(
            "GC0103",
            "vmap over a single number",
            why="a mapped argument has an axis that counts the elements",
            fix="pass None in in_axes for an argument that is the same for all",
        )
    return moveaxis(value, axis, 0)


def _size(sizes: Sequence[Any]) -> Any:
    if not sizes:
        raise UserError("GC0104", "vmap maps no argument", fix="give an axis for at least one")
    if any(size != sizes[0] for size in sizes):
        raise UserError(
            "GC0101",
            f"vmap over axes of {' and '.join(map(str, sizes))} elements",
            why="the arguments are stepped through together",
        )
    return sizes[0]
