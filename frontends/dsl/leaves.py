"""Where values enter a graph: inputs, parameters, constants, and named sizes.

Comes in: names, shapes, arrays. Goes out: tensors without operands. A separate step because these
are the only tensors that exist before anything is computed.
"""

from __future__ import annotations

from typing import Any

from graphc.dims import Dim
from graphc.errors import UserError
from graphc.frontends.dsl import manners
from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, Value
from graphc.graph import Node
from graphc.ops.leaves import Parameter, Storage, new_input
from graphc.site import here
from graphc.types import TensorType
from graphc.types import dtype as dtype_of


@at_user_line
def input(name: str, shape: Any = (), dtype: Any = "float32") -> Tensor:
    """A tensor whose value is passed at every call, by place or by ``name``.

    ``shape`` holds ints and named sizes (``("batch", 784)``), which are equal wherever the name is.
    Raises `UserError` GC0104 (name or size), GC0105 (dtype).
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(
            "GC0104",
            f"{name!r} cannot name an input",
            why="inputs are passed by name, as Python's keyword arguments",
            fix="use an identifier, e.g. 'x'",
        )
    kind = TensorType(dtype_of(dtype), manners.shape_of(shape))
    return Tensor(new_input(name, kind))


@at_user_line
def param(
    value: Value, name: str | None = None, *, trainable: bool = True, dtype: Any = None
) -> Tensor:
    """A tensor that is stored between calls and changed by updates; ``value`` is copied in.

    ``name`` is the variable it is assigned to, unless given. float64 data becomes float32 unless
    ``dtype`` says otherwise. ``trainable`` is what optimisers look at. Raises GC0105, GC0107.
    """
    return parameter(value, name or here().variable or "p", trainable=trainable, dtype=dtype)


def parameter(
    value: Value, name: str, *, trainable: bool = True, dtype: Any = None, advances: bool = False
) -> Tensor:
    """`param` for code that names it; ``advances`` marks the state of a random generator."""
    content = manners.raw(value)
    if isinstance(content, Node):
        raise UserError(
            "GC0107",
            "the value of a parameter is part of a graph",
            why="a parameter starts with numbers, which a graph has only when it runs",
            fix="compute the start value with NumPy",
        )
    kind = dtype_of(dtype) if dtype is not None else manners.default_dtype(content)
    storage = Storage(content, kind)
    op = Parameter(name, TensorType(kind, storage.array.shape), storage, trainable, advances)
    return Tensor(op())


@at_user_line
def constant(value: Value, dtype: Any = None) -> Tensor:
    """A tensor with a fixed value. float64 data becomes float32 unless ``dtype`` says otherwise."""
    return Tensor(manners.as_node(value, dtype_of(dtype) if dtype is not None else None))


@at_user_line
def dim(name: str) -> Dim:
    """The size called ``name``, for shapes and size arithmetic: ``2 * gc.dim("n") + 1``."""
    return Dim.named(name)


def is_input(node: Node) -> bool:
    """Whether `input` made it."""
    return node.op.is_input


def value(parameter: Tensor) -> Any:
    """A copy of the array that a parameter holds now. Raises GC0107 for other tensors."""
    return _storage(parameter).peek().copy()


def assign(parameter: Tensor, value: Any) -> None:
    """Copy ``value`` into a parameter. Raises `UserError` GC0107, and GC0303 for another shape."""
    _storage(parameter).assign(value)


def _storage(parameter: Tensor) -> Storage:
    storage = manners.unwrap(parameter).op.storage
    if not isinstance(storage, Storage):
        raise UserError("GC0107", f"{parameter!r} is no parameter", fix="make it with gc.param")
    return storage
