"""From the nodes of an ONNX graph to tensors, one after another.

Comes in: a checked graph and the values of its inputs. Goes out: the values of its outputs. A
separate step because here everything about *calling* an operator is decided (which version, which
attributes, what a function or a subgraph sees), so that the operators themselves are plain
functions.

A node is looked up in this order: functions that the model brings along, the table of operators
(`graphc.frontends.onnx.registry`), the definition by other operators in ONNX's own schemas.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx

from graphc.errors import UserError
from graphc.frontends.dsl import constant
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx import registry
from graphc.frontends.onnx.dtypes import number_of
from graphc.frontends.onnx.narrow import handed_on, kept, kind_like, kind_of_array, marked
from graphc.frontends.onnx.reader import Key, nodes_in, to_array
from graphc.frontends.onnx.values import Value, is_symbolic, known
from graphc.graph import Node, toposort
from graphc.site import scope

STANDARD = ("", "ai.onnx")
"""The two names of the standard domain."""

UNFIT = (
    *(ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RecursionError, TypeError, ValueError),
)
"""What operators raise about inputs that their description excludes: ONNX's checker looks at types
and attributes of a model, not at ranks, sizes and values."""

LARGEST_FOLDED = 2**16
"""Elements of a constant that is computed while the graph is built."""


@dataclass(frozen=True)
class Surroundings:
    """What the nodes of one graph or function body may refer to.

    ``attributes`` are those of the call of the function that is being expanded, ``callers`` the
    functions around it.
    """

    versions: Mapping[str, int]
    functions: Mapping[Key, onnx.FunctionProto]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    callers: tuple[Key, ...] = ()

    @staticmethod
    def of(model: onnx.ModelProto) -> Surroundings:
        """Those of the main graph of ``model``."""
        functions = {(_domain(f), f.name, f.overload): f for f in model.functions}
        return Surroundings(_versions(model.opset_import), functions)

    def function(self, node: onnx.NodeProto) -> onnx.FunctionProto | None:
        """The model's own function that ``node`` calls, or None."""
        return self.functions.get((_domain(node), node.op_type, node.overload))

    def version(self, node: onnx.NodeProto) -> int:
        """The version of the operator set that ``node`` belongs to."""
        return self.versions.get(_domain(node), 1)


def _domain(proto: Any) -> str:
    return "" if proto.domain in STANDARD else str(proto.domain)


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {_domain(entry): entry.version for entry in imports}


# A graph ------------------------------------------------------------------------------------------
def translate(
    graph: onnx.GraphProto, values: Mapping[str, Value], around: Surroundings
) -> list[Value]:
    """The outputs of ``graph``, where ``values`` are its inputs and all it uses from outside.

    Raises `UserError` as the operators do, located at the node.
    """
    environment = dict(values)
    for initializer in graph.initializer:
        if initializer.name not in environment:
            environment[initializer.name] = literal(to_array(initializer))
    for node in graph.node:
        _run(node, environment, around)
    return [_looked_up(y.name, environment) for y in graph.output]


def literal(array: Any) -> Tensor:
    """A constant tensor with the array's own dtype, or the one that holds its values."""
    values = kept(array)
    found: Tensor = marked(constant(values, values.dtype), kind_of_array(array))
    return found


def _looked_up(name: str, environment: Mapping[str, Value]) -> Value:
    if name not in environment:
        raise UserError(
            "GC0501", f"the model uses {name!r}, which nothing computes", fix="export it anew"
        )
    return environment[name]


def _run(node: onnx.NodeProto, environment: dict[str, Value], around: Surroundings) -> None:
    """Add the results of ``node`` to ``environment``."""
    inputs = [_looked_up(name, environment) if name else None for name in node.input]
    try:
        with _scopes(node):
            found = _results(node, inputs, environment, around)
    except (UserError, *UNFIT) as error:
        names = [str(x.node.type) for x in inputs if isinstance(x, Tensor)]
        label = node.name or ", ".join(node.output)
        place = f"node {label!r}: {node.op_type}({', '.join(names)})"
        if isinstance(error, UserError):
            raise error.located(place) from None
        raise _unfit(node, error).located(place) from error
    found = handed_on(node.op_type, inputs, _folded(found, inputs))
    if len(found) < len([name for name in node.output if name]):
        raise UserError("GC0505", f"{node.op_type} gives {len(found)} results here")
    environment.update(zip(node.output, found, strict=False))


def _unfit(node: onnx.NodeProto, error: BaseException) -> UserError:
    return UserError(
        "GC0505",
        f"{node.op_type} cannot be made of these inputs and attributes: {error}",
        why="they are not what the operator takes, or this form of it is unknown here",
        fix="onnx.shape_inference.infer_shapes(model, strict_mode=True) checks a model's shapes",
    )


@contextlib.contextmanager
def _scopes(node: onnx.NodeProto) -> Iterator[None]:
    """The scopes that exporters write into names, as in ``/layer1/conv1/Conv``."""
    with contextlib.ExitStack() as stack:
        for part in node.name.strip("/").split("/")[:-1]:
            stack.enter_context(scope(part))
        yield


def _results(
    node: onnx.NodeProto,
    inputs: Sequence[Value],
    environment: Mapping[str, Value],
    around: Surroundings,
) -> Sequence[Value]:
    attributes = dict(_attributes(node, environment, around))
    if (own := around.function(node)) is not None:
        return _expanded(own, inputs, attributes, around)
    version = around.version(node)
    entry = registry.find(_domain(node), node.op_type, version)
    if entry is not None:
        wanted = tuple(node.output)
        view = registry.Node(node.op_type, node.name, version, wanted, attributes, environment)
        return _called(entry, view, inputs, attributes)
    body = _definition(node, version, inputs)
    if body is None:
        raise _lacking(Counter([f"{_domain(node) or 'ai.onnx'}:{node.op_type}"]), {})
    return _expanded(body, inputs, {**_defaults(node, version), **attributes}, around)


def _called(
    entry: registry.Operator,
    node: registry.Node,
    inputs: Sequence[Value],
    attributes: Mapping[str, Any],
) -> Sequence[Value]:
    """The operator's function on inputs of which some become arrays."""
    arguments = [
        known(x) if isinstance(x, Tensor) and (k in entry.known or entry.rest_known) else x
        for k, x in enumerate(inputs)
    ]
    extra = {"node": node} if entry.takes_node else {}
    try:
        found = entry.function(*arguments, **attributes, **extra)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise UserError("GC0505", f"{node.operator} here: {error}") from error
    return found if isinstance(found, tuple) else (found,)


# Attributes ---------------------------------------------------------------------------------------
def _attributes(
    node: onnx.NodeProto, environment: Mapping[str, Value], around: Surroundings
) -> Iterator[tuple[str, Any]]:
    for attribute in node.attribute:
        if not attribute.ref_attr_name:
            yield attribute.name, _decoded(attribute, environment, around)
        elif attribute.ref_attr_name in around.attributes:
            yield attribute.name, around.attributes[attribute.ref_attr_name]


def _decoded(
    attribute: onnx.AttributeProto, environment: Mapping[str, Value], around: Surroundings
) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.GraphProto):
        return Subgraph(value, environment, around)
    if isinstance(value, onnx.TensorProto):
        return to_array(value)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if not isinstance(value, int | float | str | onnx.TypeProto | onnx.SparseTensorProto):
        return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in value]
    return value


@dataclass(frozen=True)
class Subgraph:
    """A graph inside a node, with what is around it: a `registry.Body`."""

    graph: onnx.GraphProto
    environment: Mapping[str, Value]
    around: Surroundings

    def __call__(self, *inputs: Value) -> Sequence[Value]:
        """The outputs for ``inputs``."""
        names = [x.name for x in self.graph.input]
        given = dict(zip(names, inputs, strict=True))
        return translate(self.graph, {**self.environment, **given}, self.around)

    @property
    def outside(self) -> dict[str, Value]:
        """What it uses from around it, by name."""
        used = {name for node in nodes_in(self.graph) for name in node.input}
        used |= {y.name for y in self.graph.output}
        return {name: value for name, value in self.environment.items() if name in used}

    def seeing(self, values: Mapping[str, Value]) -> Subgraph:
        """The same with other values around it."""
        return replace(self, environment={**self.environment, **values})


# Functions ----------------------------------------------------------------------------------------
def _expanded(
    function: onnx.FunctionProto,
    inputs: Sequence[Value],
    attributes: Mapping[str, Any],
    around: Surroundings,
) -> Sequence[Value]:
    """The results of a function's body."""
    key = (_domain(function), function.name, function.overload)
    if key in around.callers:
        raise UserError("GC0501", f"the function {function.name} calls itself")
    defaults = {a.name: _decoded(a, {}, around) for a in function.attribute_proto}
    inside = replace(
        around,
        versions=_versions(function.opset_import) or around.versions,
        attributes={**defaults, **attributes},
        callers=(*around.callers, key),
    )
    environment: dict[str, Value] = dict.fromkeys(function.input)
    environment.update(zip(function.input, inputs, strict=False))
    for node in function.node:
        _run(node, environment, inside)
    return tuple(_looked_up(name, environment) for name in function.output)


def _definition(
    node: onnx.NodeProto, version: int, inputs: Sequence[Value]
) -> onnx.FunctionProto | None:
    """ONNX's definition of an operator by others, for inputs of these types, or None."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None
    if schema.has_function:
        own: onnx.FunctionProto = schema.function_body
        return own
    if not schema.has_context_dependent_function:
        return None
    types = [_type_of(x).SerializeToString() for x in inputs]
    text = schema.get_context_dependent_function(node.SerializeToString(), types)
    body = onnx.FunctionProto()
    body.ParseFromString(text)
    return body if body.node else None


def _defaults(node: onnx.NodeProto, version: int) -> dict[str, Any]:
    """The attributes of an operator that have a default in ONNX's schemas, decoded."""
    attributes = onnx.defs.get_schema(node.op_type, version, node.domain).attributes.values()
    given = (a.default_value for a in attributes if a.default_value.name)
    return {a.name: _decoded(a, {}, Surroundings({}, {})) for a in given}


def _type_of(value: Value) -> onnx.TypeProto:
    if not isinstance(value, Tensor):
        return onnx.TypeProto()
    shape = [s if isinstance(s, int) else str(s) for s in value.shape]
    return onnx.helper.make_tensor_type_proto(number_of(value.dtype), shape)


# Constants ----------------------------------------------------------------------------------------
def _folded(found: Sequence[Value], inputs: Sequence[Value]) -> Sequence[Value]:
    """Small results of constants alone as constants: ONNX computes shapes with nodes."""
    if all(x is None or (isinstance(x, Tensor) and _is_literal(x.node)) for x in inputs):
        return tuple(_value(y) if isinstance(y, Tensor) and _can_fold(y) else y for y in found)
    return found


def _value(y: Tensor) -> Tensor:
    """What ``y`` is, as a constant."""
    found: Tensor = marked(literal(known(y)), kind_like(y))
    return found


def _is_literal(node: Node) -> bool:
    outside = node.op.is_input or node.op.storage is not None
    return not node.inputs and not outside and not is_symbolic(node)


def _can_fold(y: Tensor) -> bool:
    if _is_literal(y.node) or not isinstance(y.size, int) or y.size > LARGEST_FOLDED:
        return False
    return all(_is_literal(x) for x in toposort([y.node]) if not x.inputs)


# What is lacking ----------------------------------------------------------------------------------
def check_supported(model: onnx.ModelProto) -> None:
    """Raises `UserError` GC0505 that names every operator graphc lacks, how often, and where."""
    counts: Counter[str] = Counter()
    places: dict[str, str] = {}
    around = Surroundings.of(model)
    for node, versions in _all_nodes(model):
        if not _is_supported(node, replace(around, versions=versions)):
            name = f"{_domain(node) or 'ai.onnx'}:{node.op_type}"
            counts[name] += 1
            places.setdefault(name, node.name or ", ".join(node.output))
    if counts:
        raise _lacking(counts, places)


def _is_supported(node: onnx.NodeProto, around: Surroundings) -> bool:
    if around.function(node) is not None:
        return True
    version = around.version(node)
    if registry.find(_domain(node), node.op_type, version) is not None:
        return True
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def _all_nodes(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, Mapping[str, int]]]:
    """Every node, also in subgraphs and functions, with the versions of its operator sets."""
    for graph, imports in [(model.graph, model), *((f, f) for f in model.functions)]:
        versions = _versions(imports.opset_import)
        yield from ((node, versions) for node in nodes_in(graph))


def _lacking(counts: Mapping[str, int], places: Mapping[str, str]) -> UserError:
    texts = [
        f"{name} ({count} nodes{f', first {places[name]!r}' if name in places else ''})"
        for name, count in sorted(counts.items())
    ]
    return UserError(
        "GC0505",
        f"the model uses operators that graphc lacks: {'; '.join(texts)}",
        why="each operator is translated by a function of its own",
        fix="add one with graphc.frontends.onnx.operator, or export the model without it",
    )
