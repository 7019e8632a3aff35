"""NumPy's manners for nodes: lifting of numbers and arrays, dtype promotion, broadcasting, axes.

Comes in: what a user writes beside a tensor. Goes out: nodes of one dtype and one shape, as the
strict core wants them. A separate step because the core must not guess, and a user must not count.

The dtype rules, all of them: tensors and arrays promote by the array API's table
(`graphc.types.promote`); a Python or NumPy *number* takes the dtype beside it; a float64 *array*
does so too when a float stands beside it, because NumPy makes float64 without being asked and one
such array would turn a whole float32 model into float64. Without a neighbour floats are float32.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from functools import reduce, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphc.dims import Dim, Size, product, size
from graphc.errors import UserError
from graphc.graph import Array, Node, describe
from graphc.ops.elementwise import cast_to
from graphc.ops.leaves import Table, constant
from graphc.ops.movement import broadcast_to
from graphc.site import here
from graphc.types import (
    BOOL,
    COMPLEX,
    FLOAT32,
    FLOAT64,
    INT64,
    DType,
    Scalar,
    dtype,
    is_known,
    promote,
    weak_dtype,
)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Shape = tuple[Size, ...]


def at_user_line(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Lets `UserError`s of ``function`` name the user's line and describe its tensor arguments."""

    @wraps(function)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return function(*args, **kwargs)
        except UserError as error:
            nodes = [unwrap(x) for x in (*args, *kwargs.values())]
            operands = [describe(x) for x in nodes if isinstance(x, Node)]
            raise error.located(str(here()), operands) from None

    return wrapped


def unwrap(value: Any) -> Any:
    """The node inside a tensor; anything else as it is."""
    return getattr(value, "node", value)


_NUMBERS = "tensors hold numbers or bools, in rows of equal length"


# Lifting ------------------------------------------------------------------------------------------
def raw(value: Any) -> Node | Array | bool | int | float | Dim:
    """A node, a NumPy array, a Python number or a named size. Raises GC0107 for others."""
    value = unwrap(value)
    if isinstance(value, Node | bool | int | float | Dim):
        return value
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.empty((), object)
    if not is_known(array.dtype):
        raise UserError(
            "GC0107",
            f"a tensor cannot be made of {type(value).__name__} {str(value)[:40]!r}",
            why=COMPLEX if array.dtype.kind == "c" else _NUMBERS,
            fix="pass a number, a NumPy array or a list of numbers",
        )
    return array.item() if isinstance(value, np.generic) else array


def is_weak(value: Any) -> bool:
    """Whether ``value`` takes the dtype of what stands beside it."""
    if isinstance(value, Node):
        return False
    return not isinstance(value, np.ndarray) or value.dtype == np.float64


def default_dtype(value: Any) -> DType:
    """The dtype of a value alone: float32, int64 or bool unless an array has its own."""
    if isinstance(value, Node):
        return value.dtype
    if isinstance(value, np.ndarray):
        return FLOAT32 if value.dtype == np.float64 else dtype(value.dtype)
    if isinstance(value, bool):
        return BOOL
    return INT64 if isinstance(value, int | Dim) else FLOAT32


def common_dtype(values: Sequence[Any]) -> DType:
    """The dtype in which ``values`` meet. Raises `UserError` GC0102."""
    strong = [default_dtype(v) for v in values if not is_weak(v)]
    weak = [v for v in values if is_weak(v)]
    if not strong:
        order = (BOOL, INT64, FLOAT32)
        return max((default_dtype(v) for v in weak), key=order.index)
    found = reduce(promote, strong)
    for value in weak:
        if not isinstance(value, np.ndarray):
            weak_dtype(value, found)
        elif not found.is_float:
            promote(found, FLOAT64)
    return found


def as_node(value: Any, wanted: DType | None = None) -> Node:
    """``value`` as a node of dtype ``wanted``, or of its own. Raises GC0102, GC0107."""
    value = raw(value)
    wanted = wanted or default_dtype(value)
    if isinstance(value, Node):
        return cast_to(value, wanted)
    if isinstance(value, np.ndarray) and value.ndim:
        return Table.of(value, wanted)()
    number = value.item() if isinstance(value, np.ndarray) else value
    return constant(_fitting(number, wanted), wanted)


def _fitting(number: Scalar | Dim, wanted: DType) -> Scalar | Dim:
    if not wanted.is_integer or isinstance(number, bool | Dim):
        return number
    limits = np.iinfo(wanted.name)
    if not limits.min <= number <= limits.max:
        raise UserError(
            "GC0102",
            f"{number} does not fit into {wanted.name}",
            why=f"{wanted.name} holds {limits.min} to {limits.max}",
            fix="cast the tensor to a wider dtype first",
        )
    return int(number)


# Broadcasting -------------------------------------------------------------------------------------
def broadcast_shapes(name: str, nodes: Sequence[Node]) -> Shape:
    """The shape all nodes stretch to: axes meet from the right, 1 gives way. Raises GC0101."""
    return reduce(lambda a, b: _meet(name, a, b, nodes), (x.shape for x in nodes), ())


def _meet(name: str, a: Shape, b: Shape, nodes: Sequence[Node]) -> Shape:
    rank = max(len(a), len(b))
    long_a, long_b = ((1,) * (rank - len(s)) + tuple(s) for s in (a, b))
    for axis, (m, n) in enumerate(zip(long_a, long_b, strict=True)):
        if m != n and 1 not in (m, n):
            types = " and ".join(str(x.type) for x in nodes)
            raise UserError(
                "GC0101",
                f"{name}: {types} do not fit: {m} against {n} at axis {axis - rank}",
                why="shapes are aligned at their last axis; sizes must be equal, or one of them 1",
                fix=_fix_for(m, n),
            )
    return tuple(n if m == 1 else m for m, n in zip(long_a, long_b, strict=True))


def _fix_for(m: Size, n: Size) -> str:
    if isinstance(m, Dim) or isinstance(n, Dim):
        return "sizes that are equal must have one name: declare both inputs with it"
    return "transpose or reshape one operand, or add an axis with x[:, None]"


def promoted(*operands: Any) -> tuple[Node, ...]:
    """Operands as nodes of one dtype. Raises `UserError` GC0102, GC0107."""
    values = [raw(x) for x in operands]
    wanted = common_dtype(values)
    return tuple(as_node(v, wanted) for v in values)


def align(name: str, *operands: Any) -> tuple[Node, ...]:
    """Operands as nodes of one dtype and one shape. Raises `UserError` GC0101, GC0102, GC0107."""
    return stretch(name, promoted(*operands))


def stretch(name: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Nodes broadcast to their common shape."""
    shape = broadcast_shapes(name, nodes)
    return tuple(broadcast_to(x, shape) for x in nodes)


# Axes and shapes ----------------------------------------------------------------------------------
def axis_of(axis: Any, rank: int) -> int:
    """An axis counted from the front. Raises `UserError` GC0104 when there is no such axis."""
    try:
        number = operator.index(axis)
    except TypeError:
        number = rank
    if not -rank <= number < rank:
        raise UserError(
            "GC0104",
            f"there is no axis {axis!r}",
            why=f"the tensor has {rank} axes" if rank else "a 0-d tensor has no axes",
            fix=f"use an axis from {-rank} to {rank - 1}" if rank else "leave the axis out",
        )
    return number % rank


def axes_of(axis: int | Iterable[int] | None, rank: int) -> tuple[int, ...]:
    """Axes counted from the front, in the order given; all of them for None. Raises GC0104."""
    if axis is None:
        return tuple(range(rank))
    axes = tuple(axis_of(a, rank) for a in (axis if isinstance(axis, Iterable) else (axis,)))
    if len(set(axes)) != len(axes):
        raise UserError("GC0104", f"axes {axes} name an axis twice", fix="name each axis once")
    return axes


def shape_of(shape: Any) -> Shape:
    """A shape from what a user writes: a size, or a sequence of ints, names and `Dim`s."""
    several = isinstance(shape, Iterable) and not isinstance(shape, str)
    return tuple(size(s) for s in (shape if several else (shape,)))


def complete_shape(shape: Sequence[Any], total: Size) -> Shape:
    """``shape`` with its one -1 replaced so that the sizes multiply to ``total``. Raises GC0101."""
    free = [a for a, s in enumerate(shape) if not isinstance(s, str | Dim) and s == -1]
    if not free:
        return shape_of(shape)
    known = shape_of(s for a, s in enumerate(shape) if a not in free)
    found = quotient(total, product(known)) if len(free) == 1 else None
    if found is None:
        raise UserError(
            "GC0101",
            f"reshape: no size for -1 in {tuple(shape)} gives {total} elements",
            why="one axis may be -1, and the others must divide the number of elements",
            fix="write every size, or only one -1",
        )
    return (*known[: free[0]], found, *known[free[0] :])


def quotient(total: Size, rest: Size) -> Size | None:
    """``total / rest``, None if it is no whole size or unknown."""
    if isinstance(total, Dim):
        return None if rest == 0 else total.divide_exact(rest)
    if isinstance(rest, Dim) or rest == 0 or total % rest:
        return None
    return total // rest
