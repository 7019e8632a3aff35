"""What emitters write with: values by name, and the list of ONNX nodes that makes them.

Comes in: operators applied to values. Goes out: `onnx.NodeProto`s in order, constants, names. A
separate step because ONNX broadcasts where graphc's graphs say so by operations of their own: a
value may have fewer elements than the tensor it stands for, and is stretched only for those who
need all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import onnx
from onnx import helper, numpy_helper

from graphc.arith import Arithmetic
from graphc.dims import Size
from graphc.errors import UserError
from graphc.frontends.onnx.dtypes import number_of
from graphc.frontends.onnx.exporting.functions import FORMULAS, OPERATORS, computing
from graphc.frontends.onnx.exporting.sizes import named_size
from graphc.graph import Array, Node
from graphc.types import BOOL, INT64, DType, TensorType

Shape = tuple[Size, ...]

OPERATOR_SET = 21
"""The version of ONNX's operators that is written: it has all that graphs need but those in
`LATER`, and whatever reads ONNX since 2024 knows it."""

LATER = {"BitCast": 26}
"""Operators that came later; a model that needs one has that version."""


@dataclass(frozen=True)
class Value(Arithmetic):
    """A value of the ONNX graph: arithmetic adds nodes, and broadcasts as NumPy does."""

    scope: Scope
    name: str
    dtype: DType
    shape: Shape

    def combine(self, function: str, *operands: Any) -> Self:
        scopes = [x.scope for x in operands if isinstance(x, Value)]
        found = max(scopes, key=lambda scope: scope.depth).apply(function, *operands)
        return found  # type: ignore[return-value]

    def cast(self, dtype: DType) -> Value:
        """Converted to ``dtype``; itself when it has it."""
        if self.dtype == dtype:
            return self
        return self.scope.add("Cast", self, like=replace(self, dtype=dtype), to=number_of(dtype))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_nonzero(self) -> bool:
        """Whether it is a constant without a zero."""
        array = self.scope.file.arrays.get(self.name)
        return array is not None and bool(np.all(array))


class File:
    """What all graphs of one model share: names, constants, and the version of the operators.

    ``parameters`` names leaves of the graph that are written, ``arrays`` are the small constants.
    """

    def __init__(self, parameters: Mapping[Node, str]) -> None:
        self.parameters = parameters
        self.names: set[str] = set()
        self.counts: dict[str, int] = {}
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.constants: dict[tuple[Any, ...], str] = {}
        self.arrays: dict[str, Array] = {}
        self.reshaped: dict[str, Value] = {}
        self.padded: dict[str, tuple[Value, tuple[int, ...], tuple[int, ...]]] = {}
        self.sizes: dict[Size, Value] = {}
        self.operator_set = OPERATOR_SET
        self.path: tuple[str, ...] = ()

    def fresh(self, base: str) -> str:
        """``base``, or, when it is taken, with the first number that is free."""
        name = base
        while name in self.names:
            self.counts[base] = self.counts.get(base, 0) + 1
            name = f"{base}_{self.counts[base]}"
        self.names.add(name)
        return name

    def initializer(self, array: Array, name: str) -> str:
        """A constant or parameter of the model."""
        found = self.fresh(name)
        self.initializers[found] = numpy_helper.from_array(np.asarray(array), found)
        return found


class Scope:
    """One ONNX graph: the model's, or the body of a loop or branch, which sees the one around it.

    ``values`` holds what each node is written as; ``thin`` gives it as it is, ``full`` in its whole
    shape.
    """

    def __init__(self, file: File, outer: Scope | None = None) -> None:
        self.file, self.outer = file, outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.nodes: list[onnx.NodeProto] = []
        self.values: dict[Node, Value] = {}
        self._stretched: dict[Value, Value] = {}

    # Nodes --------------------------------------------------------------------------------------
    def add(self, operator: str, *inputs: Value | None, like: Value, **attributes: Any) -> Value:
        """One node with one result, which has the type and shape of ``like``."""
        (found,) = self.several(operator, inputs, [(like.dtype, like.shape)], **attributes)
        return found

    def make(
        self, operator: str, *inputs: Value | None, dtype: DType, shape: Iterable[Size],
        **attributes: Any,
    ) -> Value:  # fmt: skip
        """One node with one result of a new type."""
        (found,) = self.several(operator, inputs, [(dtype, tuple(shape))], **attributes)
        return found

    def several(
        self,
        operator: str,
        inputs: Sequence[Value | None],
        types: Sequence[tuple[DType, Shape]],
        **attributes: Any,
    ) -> list[Value]:
        """One node with a result for each of ``types``."""
        file = self.file
        file.operator_set = max(file.operator_set, _since(operator))
        results = [
            Value(self, file.fresh(operator.lower()), dtype, shape) for dtype, shape in types
        ]
        self.nodes.append(
            helper.make_node(
                operator,
                ["" if x is None else x.name for x in inputs],
                [y.name for y in results],
                name="/".join(["", *file.path, results[0].name]),
                **attributes,
            )
        )
        return results

    def apply(self, function: str, *operands: Any) -> Value:
        """A scalar function of values and numbers, which take the type of their neighbours."""
        like = [x for x in operands if isinstance(x, Value)][-1]
        values = [x if isinstance(x, Value) else self.constant(x, like.dtype) for x in operands]
        formula = FORMULAS.get(function)
        if formula is not None and (found := formula(*values)) is not None:
            made: Value = found
            return made
        operator, attributes = OPERATORS[function]
        shape = broadcast(x.shape for x in values)
        wide = computing(operator, values[-1].dtype)
        chosen = values[:1] if function == "where" else []
        given = [*chosen, *(x.cast(wide) for x in values[len(chosen) :])]
        is_bool = function in _PREDICATES
        dtype = BOOL if is_bool else wide
        y = self.make(operator, *given, dtype=dtype, shape=shape, **attributes)
        return y if is_bool else y.cast(values[-1].dtype)

    def reduce(self, function: str, x: Value, axes: Sequence[int], *, keep: bool = False) -> Value:
        """``x`` folded by a scalar function over ``axes``."""
        operator = _REDUCTIONS[function]
        wide, gone = computing(operator, x.dtype), {a % x.rank for a in axes}
        kept = (n if a not in gone else 1 for a, n in enumerate(x.shape) if keep or a not in gone)
        y = self.make(
            operator, x.cast(wide), self.integers(axes), dtype=wide, shape=kept, keepdims=int(keep)
        )
        return y.cast(x.dtype)

    # Constants ----------------------------------------------------------------------------------
    def constant(self, value: Any, dtype: DType) -> Value:
        """A number or a small array; equal ones are stored once."""
        with np.errstate(all="ignore"):
            array = np.asarray(value).astype(dtype.numpy)
        key = (dtype.name, array.shape, array.tobytes())
        if key not in self.file.constants:
            self.file.constants[key] = name = self.file.initializer(array, "constant")
            self.file.arrays[name] = array
        return Value(self, self.file.constants[key], dtype, array.shape)

    def integers(self, values: Iterable[int]) -> Value:
        """A list of int64 numbers."""
        return self.constant([*values], INT64)

    # Shapes -------------------------------------------------------------------------------------
    def thin(self, node: Node) -> Value:
        """The value of ``node``, which may be of extent 1, or lack leading axes, where the node
        only repeats it.
        """
        return self.values[node]

    def full(self, node: Node) -> Value:
        """The value of ``node`` in its whole shape."""
        value = self.values[node]
        return value if value.shape == node.shape else self.stretched(value, node.shape)

    def ranked(self, node: Node) -> Value:
        """The value of ``node`` with all its axes, of which some may have extent 1."""
        value = self.values[node]
        return self.reshape(value, ((1,) * (len(node.shape) - value.rank)) + value.shape)

    def stretched(self, value: Value, shape: Shape) -> Value:
        """``value`` broadcast to ``shape``."""
        if 0 in shape and all(isinstance(n, int) for n in shape):
            return self.constant(np.zeros(TensorType(value.dtype, shape).static_shape), value.dtype)
        wide = replace(value, shape=shape)
        if wide not in self._stretched:
            given = value.cast(computing("Expand", value.dtype))
            like = replace(given, shape=shape)
            found = self.add("Expand", given, self.sizes(shape), like=like)
            self._stretched[wide] = found.cast(value.dtype)
        return self._stretched[wide]

    def reshape(self, value: Value, shape: Sequence[Size]) -> Value:
        """The same elements in another shape. What was reshaped before is taken from before."""
        value = self.file.reshaped.get(value.name, value)
        shape = tuple(shape)
        if value.shape == shape:
            return value
        found = self._reshaped(value, shape)
        self.file.reshaped[found.name] = value
        return found

    def _reshaped(self, value: Value, shape: Shape) -> Value:
        like = replace(value, shape=shape)
        for operator, short, long in (
            ("Unsqueeze", value.shape, shape),
            ("Squeeze", shape, value.shape),
        ):
            if (axes := _ones_between(short, long)) is not None:
                return self.add(operator, value, self.integers(axes), like=like)
        zero = {"allowzero": 1} if 0 in shape else {}
        open_axes = [n for n in shape if not isinstance(n, int)]
        if len(open_axes) == 1 and 0 not in shape:
            wanted = self.integers(n if isinstance(n, int) else -1 for n in shape)
        else:
            wanted = self.sizes(shape)
        return self.add("Reshape", value, wanted, like=like, **zero)

    def transpose(self, value: Value, axes: Sequence[int]) -> Value:
        """Axis k of the result is axis ``axes[k]`` of ``value``."""
        if tuple(axes) == tuple(range(value.rank)):
            return value
        like = replace(value, shape=tuple(value.shape[a] for a in axes))
        return self.add("Transpose", value, like=like, perm=list(axes))

    def concatenate(self, values: Sequence[Value], axis: int) -> Value:
        """``values`` one after another along ``axis``."""
        total: Size = sum((x.shape[axis] for x in values), 0)
        shape = (*values[0].shape[:axis], total, *values[0].shape[axis + 1 :])
        return self.add("Concat", *values, like=replace(values[0], shape=shape), axis=axis)

    def sizes(self, shape: Iterable[Size]) -> Value:
        """A shape as a value: a constant, or joined from the sizes of inputs."""
        parts: list[list[int] | Value] = []
        for size in shape:
            if not isinstance(size, int):
                parts.append(self.size(size))
            elif parts and isinstance(parts[-1], list):
                parts[-1].append(size)
            else:
                parts.append([size])
        values = [self.integers(p) if isinstance(p, list) else p for p in parts or [[]]]
        return values[0] if len(values) == 1 else self.concatenate(values, 0)

    def size(self, size: Size) -> Value:
        """A size as a list of one number: computed once, in the model's own graph."""
        if self.outer is not None:
            return self.outer.size(size)
        if isinstance(size, int):
            return self.integers([size])
        if size not in self.file.sizes:
            self.file.sizes[size] = named_size(self, size)
        return self.file.sizes[size]

    # Bodies -------------------------------------------------------------------------------------
    def inner(self) -> Scope:
        """A scope for the body of a loop or branch."""
        return Scope(self.file, self)

    def graph(
        self, name: str, inputs: Sequence[Value], outputs: Sequence[Value]
    ) -> onnx.GraphProto:
        """The nodes so far that ``outputs`` need. Each of these is the result of a node here."""
        listed = [*self._distinct(outputs)]
        needed = {y.name for y in listed}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if needed & {*node.output}:
                kept.append(node)
                needed |= {*uses(node)}
        return helper.make_graph(kept[::-1], name, [*map(info, inputs)], [*map(info, listed)])

    def _distinct(self, outputs: Sequence[Value]) -> Iterator[Value]:
        made = {name for node in self.nodes for name in node.output}
        for y in outputs:
            if y.name not in made:
                y = self.add("Identity", y, like=y)
            made.discard(y.name)
            yield y


def _since(operator: str) -> int:
    """The operator set that ``operator`` needs. Raises `UserError` GC0505 when it is too new."""
    needed = LATER.get(operator, OPERATOR_SET)
    if needed > onnx.defs.onnx_opset_version():
        raise UserError(
            "GC0505",
            f"{operator} came with operator set {needed}, which onnx {onnx.__version__} lacks",
            fix="pip install --upgrade onnx",
        )
    return needed


_PREDICATES = {
    *("equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf"),
    *("logical_and", "logical_or", "logical_xor", "logical_not"),
}
_REDUCTIONS = {
    "add": "ReduceSum", "multiply": "ReduceProd", "maximum": "ReduceMax", "minimum": "ReduceMin",
    "logical_or": "ReduceMax", "logical_and": "ReduceMin",
}  # fmt: skip


def uses(node: onnx.NodeProto) -> Iterator[str]:
    """The names that a node reads, in its subgraphs too."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield from one.input
        for attribute in one.attribute:
            if attribute.HasField("g"):
                waiting.extend(attribute.g.node)


def info(x: Value) -> onnx.ValueInfoProto:
    """A value's name and type, as graphs declare their inputs and outputs."""
    shape = [n if isinstance(n, int) else str(n) for n in x.shape]
    return helper.make_tensor_value_info(x.name, number_of(x.dtype), shape)


def broadcast(shapes: Iterable[Shape]) -> Shape:
    """The shape of values of ``shapes`` together: axes aligned at the end, extent 1 stretches."""
    found: list[Size] = []
    for shape in shapes:
        found[:0] = [1] * (len(shape) - len(found))
        for axis, size in enumerate(reversed(shape), 1):
            if found[-axis] == 1:
                found[-axis] = size
    return tuple(found)


def _ones_between(short: Shape, long: Shape) -> list[int] | None:
    """The axes of extent 1 that ``long`` has and ``short`` lacks; None unless that is all."""
    axes: list[int] = []
    rest = list(short)
    for axis, size in enumerate(long):
        if rest and rest[0] == size:
            rest.pop(0)
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return axes if not rest and len(axes) == len(long) - len(short) > 0 else None
