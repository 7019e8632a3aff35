"""`Tensor`: what a user computes with. A thin wrapper of a graph node with NumPy's manners.

Comes in: Python operators, methods, indices. Goes out: graph nodes, made at the user's line. A
separate step because nodes are strict (equal shapes and dtypes) and users should not have to be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from graphc.arith import Arithmetic
from graphc.dims import Size, product
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.autocast import multiplied
from graphc.frontends.dsl.indexing import index_node
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.products import matmul_nodes
from graphc.frontends.dsl.updating import At
from graphc.graph import Node, describe
from graphc.ops.elementwise import ELEMENTWISE, cast_to
from graphc.ops.leaves import constant
from graphc.ops.movement import reshape, transpose
from graphc.ops.reduction import ArgExtreme, expand, fold
from graphc.site import here
from graphc.types import BOOL, DType, dtype

Axis = int | Iterable[int] | None
Value = Any
"""A `Tensor`, a NumPy array, a Python number, or a list of numbers."""

_UFUNCS = {
    "absolute": "abs",
    "rint": "round",
    "invert": "bitwise_invert",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
}


def _no_value(tensor: Tensor, what: str, fix: str) -> NoReturn:
    node = tensor.node
    raise UserError(
        "GC0106",
        f"{what} asks for the value of {node.name or 'a tensor'}, which has none yet",
        why="a graph is built first and runs later, so Python cannot see the numbers",
        fix=fix,
    ).located(str(here()), [describe(node)])


@dataclass(frozen=True, eq=False)
class Tensor(Arithmetic):
    """A value of the graph: ``node`` with operators, methods and indexing as NumPy arrays have.

    Operands broadcast and promote (`graphc.frontends.dsl.manners` states the rules). ``==`` and
    ``!=`` compare elements; as a dictionary key a tensor is itself.
    """

    node: Node

    __hash__ = object.__hash__

    def combine(self, function: str, *operands: Any) -> Tensor:
        return apply(function, *operands)

    def __eq__(self, other: Any) -> Tensor:  # type: ignore[override]
        return apply("equal", self, other)

    def __ne__(self, other: Any) -> Tensor:  # type: ignore[override]
        return apply("not_equal", self, other)

    def __matmul__(self, other: Value) -> Tensor:
        return matmul(self, other)

    def __rmatmul__(self, other: Value) -> Tensor:
        return matmul(other, self)

    def __rlshift__(self, other: Value) -> Tensor:
        return apply("bitwise_left_shift", other, self)

    def __rrshift__(self, other: Value) -> Tensor:
        return apply("bitwise_right_shift", other, self)

    def __pos__(self) -> Tensor:
        return self

    @at_user_line
    def __getitem__(self, key: Any) -> Tensor:
        """NumPy's indexing by ints, slices, ``...``, None, and integer tensors or arrays."""
        return Tensor(index_node(self.node, key))

    @property
    def at(self) -> At[Tensor]:
        """The tensor with other values at some places: ``x.at[key].set(v)``, `add`, `multiply`,
        `max`, `min`, where ``x[key] = v`` and its kin would change an array in place.
        """
        return At(self.node, Tensor)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Tensor:
        """``np.exp(t)`` and ``array + t`` make graph nodes, as `gc.exp(t)` does."""
        name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
        if method == "__call__" and not options and name == "matmul":
            return matmul(*inputs)
        if method != "__call__" or options or name not in ELEMENTWISE:
            _no_value(self, f"np.{ufunc.__name__}", "use the function of graphc with this meaning")
        return apply(name, *inputs)

    def __array_function__(self, function: Any, *_: Any) -> NoReturn:
        """``np.mean(t)`` and the like want numbers; graphc has functions of the same names."""
        _no_value(self, f"np.{function.__name__}", f"use gc.{function.__name__}, if there is one")

    # What Python asks a value for -----------------------------------------------------------------
    def __bool__(self) -> bool:
        fix = (
            "use gc.where(condition, a, b) in place of if; gc.cond or gc.while_loop for whole parts"
        )
        _no_value(self, "a condition", fix)

    def __float__(self) -> float:
        _no_value(self, "float()", "compile the graph and call it; keep tensors in the graph")

    def __int__(self) -> int:
        _no_value(self, "int()", "compile the graph and call it; keep tensors in the graph")

    def __index__(self) -> int:
        _no_value(self, "an index or range()", "use gc.take or x[tensor] to pick by a tensor")

    def __complex__(self) -> complex:
        _no_value(self, "complex()", "compile the graph and call it")

    def __iter__(self) -> NoReturn:
        fix = "use gc.scan, or loop over range(n) and index x[i], or compute on whole tensors"
        _no_value(self, "a loop", fix)

    def __array__(self, *args: Any, **options: Any) -> NoReturn:
        _no_value(self, "NumPy", "use the functions of graphc, or compile the graph and call it")

    def __len__(self) -> int:
        if not self.shape or not isinstance(self.shape[0], int):
            _no_value(self, "len()", "use x.shape[0], which may be a named size")
        return int(self.shape[0])

    def __format__(self, how: str) -> str:
        return _no_value(self, "a format", "compile the graph and call it") if how else repr(self)

    def __repr__(self) -> str:
        name = f"{self.node.name}: " if self.node.name else ""
        op = self.node.op.name if self.node.op.kind == "leaf" else self.node.op
        return f"<{name}{self.node.type} = {op}>"

    # Types and shapes -----------------------------------------------------------------------------
    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes, ints or named."""
        return self.node.shape

    @property
    def dtype(self) -> DType:
        """The element type: ``x.dtype.name == "float32"``, ``x.dtype.numpy`` is NumPy's."""
        return self.node.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.node.type.rank

    @property
    def size(self) -> Size:
        """The number of elements."""
        return self.node.type.size

    @property
    def name(self) -> str:
        """The user's name for it, or ""."""
        return self.node.name

    @property
    @at_user_line
    def T(self) -> Tensor:
        """The transpose of a matrix; GC0103 for another number of axes."""
        if self.ndim != 2:
            raise UserError(
                "GC0103",
                f".T of a tensor with {self.ndim} axes",
                why="the array API defines .T for matrices only",
                fix="use .mT for stacks of matrices, or permute_dims for any order",
            )
        return Tensor(transpose(self.node, (1, 0)))

    @property
    @at_user_line
    def mT(self) -> Tensor:
        """The last two axes exchanged; GC0103 with fewer than two."""
        if self.ndim < 2:
            raise UserError(
                "GC0103", f".mT of a tensor with {self.ndim} axes", fix="add axes first"
            )
        front = tuple(range(self.ndim - 2))
        return Tensor(transpose(self.node, (*front, self.ndim - 1, self.ndim - 2)))

    @at_user_line
    def astype(self, to: Any) -> Tensor:
        """The values converted to another dtype; floats become integers by truncation."""
        return Tensor(cast_to(self.node, dtype(to)))

    @at_user_line
    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order; one size may be -1. Raises GC0101."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], Iterable) else shape
        wanted = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        return Tensor(reshape(self.node, manners.complete_shape(wanted, self.size)))

    @at_user_line
    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order, all reversed when none are named. Raises GC0104."""
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], Iterable) else axes
        wanted = manners.axes_of(order, self.ndim) if order else tuple(reversed(range(self.ndim)))
        return Tensor(transpose(self.node, wanted))

    def flatten(self) -> Tensor:
        """All elements in one axis."""
        return self.reshape(-1)

    # Reductions -----------------------------------------------------------------------------------
    def sum(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """The sum over ``axis`` (an int, several, or None for all), in the tensor's own dtype."""
        return reduction("add", self, axis, keepdims)

    def prod(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """The product over ``axis``."""
        return reduction("multiply", self, axis, keepdims)

    def max(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """The largest element over ``axis``; a nan wins."""
        return reduction("maximum", self, axis, keepdims)

    def min(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """The smallest element over ``axis``; a nan wins."""
        return reduction("minimum", self, axis, keepdims)

    def any(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Whether some element over ``axis`` is not zero."""
        return reduction("logical_or", self._truth(), axis, keepdims)

    def all(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """Whether every element over ``axis`` is not zero."""
        return reduction("logical_and", self._truth(), axis, keepdims)

    def _truth(self) -> Tensor:
        return self if self.dtype == BOOL else self != 0

    @at_user_line
    def mean(self, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        """The arithmetic mean over ``axis`` of a float tensor."""
        axes = manners.axes_of(axis, self.ndim)
        wide = self._wide()
        return (wide.sum(axes, keepdims=keepdims) / wide._count(axes)).astype(self.dtype)

    @at_user_line
    def var(self, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
        """The mean squared distance from the mean; divides by the count minus ``correction``."""
        axes = manners.axes_of(axis, self.ndim)
        wide = self._wide()
        distance = wide - spread(wide.mean(axes), wide, axes)
        total = (distance * distance).sum(axes, keepdims=keepdims)
        return (total / wide._count(axes, correction)).astype(self.dtype)

    def std(self, axis: Axis = None, *, correction: int = 0, keepdims: bool = False) -> Tensor:
        """The square root of `var`."""
        wide = self._wide().var(axis, correction=correction, keepdims=keepdims)
        return apply("sqrt", wide).astype(self.dtype)

    def _wide(self) -> Tensor:
        """Narrow floats as float32: float16 ends at 65504, and bfloat16 counts to 256."""
        return self.astype(self.dtype.computing)

    def _count(self, axes: tuple[int, ...], correction: int = 0) -> Tensor:
        count = product(self.shape[a] for a in axes) - correction
        return Tensor(constant(count, self.dtype))

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """The int64 position of the first largest element along ``axis``, or of all elements."""
        return arg_extreme(self, True, axis, keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        """The int64 position of the first smallest element along ``axis``, or of all elements."""
        return arg_extreme(self, False, axis, keepdims)


# The functions behind the methods -----------------------------------------------------------------
def tensor(value: Value) -> Tensor:
    """``value`` as a tensor: itself, or a constant. Raises `UserError` GC0107."""
    return value if isinstance(value, Tensor) else Tensor(manners.as_node(value))


@at_user_line
def apply(function: str, *operands: Value) -> Tensor:
    """A scalar function of broadcast, promoted operands. Raises GC0101, GC0102, GC0107."""
    if function == "where":
        choices = manners.align("where", *operands[1:])
        condition = manners.as_node(operands[0])
        return Tensor(ELEMENTWISE["where"](*manners.stretch("where", [condition, *choices])))
    return Tensor(ELEMENTWISE[function](*manners.align(function, *operands)))


@at_user_line
def reduction(function: str, x: Value, axis: Axis, keepdims: bool) -> Tensor:
    """Fold ``x`` over ``axis``; with ``keepdims`` the folded axes stay, with size 1."""
    node = tensor(x).node
    axes = manners.axes_of(axis, node.type.rank)
    return Tensor(_kept(fold(function, node, axes), node, axes, keepdims))


@at_user_line
def arg_extreme(x: Value, largest: bool, axis: int | None, keepdims: bool) -> Tensor:
    """The position of the extreme along ``axis``, or in the flattened tensor for None."""
    node = tensor(x).node
    if axis is None:
        found = ArgExtreme(largest, 0)(reshape(node, (node.type.size,)))
        return Tensor(_kept(found, node, tuple(range(node.type.rank)), keepdims))
    place = manners.axis_of(axis, node.type.rank)
    return Tensor(_kept(ArgExtreme(largest, place)(node), node, (place,), keepdims))


def spread(folded: Tensor, like: Tensor, axis: Axis) -> Tensor:
    """A reduction of ``like`` over ``axis``, repeated along the axes it lost."""
    return Tensor(expand(folded.node, like.shape, manners.axes_of(axis, like.ndim)))


def _kept(result: Node, x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    if not keepdims:
        return result
    return reshape(result, tuple(1 if a in axes else s for a, s in enumerate(x.shape)))


@at_user_line
def matmul(a: Value, b: Value, *, dtype: Any = None) -> Tensor:
    """NumPy's ``a @ b``: matrices in the last two axes, broadcast over the others; vectors too.

    Operands are cast to ``dtype`` if it is given, which the sums and the result have too: integers
    of 8 bits, say, are multiplied exactly with "int32". Raises `UserError` GC0101 (sizes), GC0102
    (dtypes), GC0103 (a 0-d operand).
    """
    if dtype is not None:
        a, b = tensor(a).astype(dtype), tensor(b).astype(dtype)
    return Tensor(multiplied(matmul_nodes, *manners.promoted(a, b)))
