"""From a file to a checked ONNX model, in the format of `onnx.ModelProto`.

Comes in: a path, bytes, or a model. Goes out: the model, checked by ONNX's own checker, with all
weights inside. A separate step because the file may come from a stranger: what it claims is
verified before anything is translated, and files that it names must lie in its own folder.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from graphc.errors import UserError
from graphc.graph import Array

Key = tuple[str, str, str]
"""Domain, name and overload of a function."""
Source = str | os.PathLike[str] | bytes | onnx.ModelProto
LARGEST = 2**31 - 1
"""Bytes of a model file: the limit of the format (protobuf)."""
MOST_NODES = 2**20
"""Nodes that the functions of a model may unfold to."""
LARGEST_ARRAY = 2**34
"""Bytes of one array that a file may ask for; a few bytes of a file can claim any shape."""


def read(source: Source) -> onnx.ModelProto:
    """The checked model. Raises `UserError` GC0501 for what is no valid ONNX model."""
    if isinstance(source, onnx.ModelProto):
        return _checked(source, "the model")
    if isinstance(source, bytes):
        return _checked(_parsed(source, "the model"), "the model")
    path = Path(source)
    model = _parsed(_content(path), str(path))
    _load_external(model, path)
    return _checked(model, str(path))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST:
            raise _unreadable(str(path), "it is larger than 2 GiB, which no ONNX file may be")
        return path.read_bytes()
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be read: {error}") from error


def _parsed(content: bytes, name: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise _unreadable(name, f"{error}") from error
    return model


def _checked(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    _check_texts(model, name)
    _check_functions(model, name)
    for tensor in _tensors(model):
        _check_size(tensor, name)
    if not model.graph.output:
        raise _unreadable(name, "it has no results")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, DecodeError) as error:
        raise _unreadable(name, str(error).strip()) from error
    return model


def _unreadable(name: str, why: str) -> UserError:
    return UserError(
        "GC0501",
        f"{name} is no valid ONNX model",
        why=why,
        fix="export it anew; onnx.checker.check_model says the same in Python",
    )


def _check_texts(model: onnx.ModelProto, name: str) -> None:
    """The format demands UTF-8, and its parser hands on what is something else as bytes."""
    messages: list[Any] = [model]
    while messages:
        for field, value in messages.pop().ListFields():
            parts = [value] if isinstance(value, Message | str | bytes) else value
            if field.type == field.TYPE_MESSAGE:
                messages.extend(parts)
            elif field.type == field.TYPE_STRING and any(isinstance(x, bytes) for x in parts):
                raise _unreadable(name, f"the text of a field {field.name!r} is not UTF-8")


def _check_functions(model: onnx.ModelProto, name: str) -> None:
    """Functions that call each other unfold to a bounded number of nodes, so that a few bytes
    cannot ask for any number of them."""
    bodies = {(f.domain, f.name, f.overload): f for f in model.functions}
    calls = {key: [_called(node) for node in nodes_in(body)] for key, body in bodies.items()}
    within = {key: [each for each in found if each in bodies] for key, found in calls.items()}
    sizes: dict[Key, int] = {}
    try:
        for key in TopologicalSorter(within).static_order():
            sizes[key] = sum(sizes.get(each, 1) for each in calls[key])
    except CycleError as error:
        raise _unreadable(name, "one of its functions calls itself") from error
    total = sum(sizes.get(_called(node), 1) for node in nodes_in(model.graph))
    if total > MOST_NODES:
        raise _unreadable(name, f"its functions unfold to {total} nodes")


def _called(node: onnx.NodeProto) -> Key:
    return (node.domain, node.op_type, node.overload)


def nodes_in(graph: Any) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph or function, and those of the graphs inside them."""
    graphs = [graph]
    while graphs:
        for node in graphs.pop().node:
            yield node
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else attribute.graphs


# Arrays in the file -------------------------------------------------------------------------------
def to_array(tensor: onnx.TensorProto) -> Array:
    """The array in a TensorProto. Raises `UserError` GC0501 when its bytes do not fit its shape."""
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, KeyError) as error:
        raise _unreadable(f"the array {tensor.name!r}", str(error)) from error


def _check_size(tensor: onnx.TensorProto, name: str) -> None:
    if any(size < 0 for size in tensor.dims) or 8 * math.prod(tensor.dims) > LARGEST_ARRAY:
        raise _unreadable(name, f"the array {tensor.name!r} claims the shape {list(tensor.dims)}")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every array of the model: initialisers and attributes, also in subgraphs and functions."""
    graphs: list[Any] = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
        for attribute in (a for node in graph.node for a in node.attribute):
            graphs.extend([attribute.g] if attribute.HasField("g") else attribute.graphs)
            yield from ([attribute.t] if attribute.HasField("t") else attribute.tensors)


def _load_external(model: onnx.ModelProto, path: Path) -> None:
    """Take in the arrays that lie in other files, which must be in the folder of ``path``."""
    folder = path.resolve().parent
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _check_size(tensor, str(path))
            _check_inside(tensor, folder, path)
            try:
                onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
            except (onnx.checker.ValidationError, ValueError, OSError) as error:
                raise _unreadable(str(path), f"the array {tensor.name!r}: {error}") from error
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]


def _check_inside(tensor: onnx.TensorProto, folder: Path, path: Path) -> None:
    places = [entry.value for entry in tensor.external_data if entry.key == "location"]
    target = (folder / places[0]).resolve() if len(places) == 1 and places[0] else folder
    if folder not in target.parents or not target.is_file():
        raise _unreadable(
            str(path), f"the array {tensor.name!r} lies in {places}, not in a file beside the model"
        )
