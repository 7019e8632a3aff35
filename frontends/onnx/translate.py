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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx

from graphc.errors import CompilerBug, UserError
from graphc.frontends.dsl import constant
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx import registry
from graphc.frontends.onnx.dtypes import number_of
from graphc.frontends.onnx.narrow import handed_on, kept, kind_like, kind_of_array, marked
from graphc.frontends.onnx.reader import nodes_in, to_array
from graphc.frontends.onnx.support import lacking
from graphc.frontends.onnx.surroundings import Surroundings
from graphc.frontends.onnx.values import Value, is_symbolic, known
from graphc.graph import Node, toposort
from graphc.site import scope

UNFIT = (ArithmeticError, LookupError, MemoryError, RecursionError, ValueError)
"""What operators raise about values and sizes that their description excludes: nothing checks them
before."""
MISTAKEN = (AttributeError, TypeError)
"""What they raise about operands of wrong types or ranks, and where they are wrong themselves."""

LARGEST_FOLDED = 2**16
"""Elements of a constant that is computed while the graph is built."""


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
    return _computed(graph.node, [y.name for y in graph.output], environment, around)


def _computed(
    nodes: Iterable[onnx.NodeProto],
    wanted: Iterable[str],
    environment: dict[str, Value],
    around: Surroundings,
) -> list[Value]:
    """The values of the names ``wanted`` after ``nodes``, whose results join ``environment``."""
    for node in nodes:
        _run(node, environment, around)
    return [_looked_up(name, environment) for name in wanted]


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
    with _scopes(node), _located(node, inputs, around):
        found = _results(node, inputs, environment, around)
    found = handed_on(node.op_type, inputs, _folded(found, inputs))
    if len(found) < len([name for name in node.output if name]):
        raise UserError("GC0505", f"{node.op_type} gives {len(found)} results here")
    environment.update(zip(node.output, found, strict=False))


@contextlib.contextmanager
def _located(node: onnx.NodeProto, inputs: Sequence[Value], around: Surroundings) -> Iterator[None]:
    """Errors name the node. Types and ranks that the operator does not take are the model's fault,
    if ONNX's own inference says so too (GC0505), and else graphc's (`CompilerBug`)."""
    names = [str(x.node.type) for x in inputs if isinstance(x, Tensor)]
    label = node.name or ", ".join(node.output)
    place = f"node {label!r}: {node.op_type}({', '.join(names)})"
    try:
        yield
    except UserError as error:
        raise error.located(place) from None
    except (*UNFIT, *MISTAKEN) as error:
        refusal = _refusal(node, inputs, around)
        if isinstance(error, MISTAKEN) and not refusal:
            raise CompilerBug(f"{place} failed with {type(error).__name__}: {error}") from error
        raise _unfit(node.op_type, refusal or str(error)).located(place) from error


def _refusal(node: onnx.NodeProto, inputs: Sequence[Value], around: Surroundings) -> str:
    """What ONNX's inference of types and shapes has against this node, or ""."""
    if (schema := around.schema(node)) is None:
        return ""
    types = {name: _type_of(x) for name, x in zip(node.input, inputs, strict=True) if name}
    versions = [onnx.helper.make_opsetid(*entry) for entry in around.versions.items()]
    try:
        onnx.shape_inference.infer_node_outputs(schema, node, types, opset_imports=versions)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        return str(error)
    return ""


def _unfit(operator: str, why: str) -> UserError:
    return UserError(
        "GC0505",
        f"{operator} cannot be made of these inputs and attributes: {why}",
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
    if (entry := around.operator(node)) is not None:
        places = (node.op_type, node.name, around.version(node), tuple(node.output))
        return _called(entry, registry.Node(*places, attributes, environment), inputs)
    schema = around.schema(node)
    body = None if schema is None else _definition(schema, node, inputs)
    if body is None:
        raise lacking([node])
    return _expanded(body, inputs, {**_defaults(schema), **attributes}, around)


def _called(
    entry: registry.Operator, node: registry.Node, inputs: Sequence[Value]
) -> Sequence[Value]:
    """The operator's function on inputs of which some become arrays."""
    arguments = [
        known(x) if isinstance(x, Tensor) and entry.wants_known(k) else x
        for k, x in enumerate(inputs)
    ]
    named = {**node.attributes, **({"node": node} if entry.takes_node else {})}
    if misfit := entry.misfit(arguments, named):
        raise _unfit(node.operator, misfit)
    found = entry.function(*arguments, **named)
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
    defaults = {a.name: _decoded(a, {}, around) for a in function.attribute_proto}
    inside = around.inside(function, {**defaults, **attributes})
    environment: dict[str, Value] = dict.fromkeys(function.input)
    environment.update(zip(function.input, inputs, strict=False))
    return tuple(_computed(function.node, function.output, environment, inside))


def _definition(
    schema: Any, node: onnx.NodeProto, inputs: Sequence[Value]
) -> onnx.FunctionProto | None:
    """ONNX's definition of an operator by others, for inputs of these types, or None."""
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


def _defaults(schema: Any) -> dict[str, Any]:
    """The attributes of an operator that have a default in ONNX's schemas, decoded."""
    given = (a.default_value for a in schema.attributes.values() if a.default_value.name)
    return {a.name: _decoded(a, {}, Surroundings({}, {})) for a in given}


def _type_of(value: Value) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    if not isinstance(value, Tensor):
        return onnx.TypeProto(sequence_type={"elem_type": _type_of(value[0] if value else None)})
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
