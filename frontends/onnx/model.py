"""An ONNX model as a module of graphc: weights become parameters, calls add to a graph.

Comes in: a file. Goes out: a `Model`, which can be called with tensors (to extend, differentiate,
fine-tune and compile it like any layer) or run on arrays. A separate step because a model's shapes
are known only when it is called: that is when its nodes are translated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from graphc.dims import Dim, Size
from graphc.errors import UserError
from graphc.frontends.dsl import compile
from graphc.frontends.dsl import input as make_input
from graphc.frontends.dsl.function import Function
from graphc.frontends.dsl.leaves import parameter
from graphc.frontends.dsl.structure import Rebuild, flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.nn.module import Module
from graphc.frontends.onnx.narrow import Kind, holder, kept, kind_of, marked, shown
from graphc.frontends.onnx.reader import Source, nodes_in, read, to_array
from graphc.frontends.onnx.support import check_supported
from graphc.frontends.onnx.surroundings import Surroundings
from graphc.frontends.onnx.translate import literal, translate
from graphc.frontends.onnx.values import Undecided, Value
from graphc.graph import Array
from graphc.types import DType, is_known
from graphc.types import dtype as dtype_named


@dataclass(frozen=True)
class Declared:
    """An input as the model declares it; ``kind`` is None where it is a sequence or optional, and
    ``shape`` where the rank is open.
    """

    name: str
    kind: Kind | None
    shape: tuple[Size, ...] | None

    @property
    def dtype(self) -> DType | None:
        """The dtype of a tensor for it."""
        return None if self.kind is None else holder(self.kind)

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ",".join(map(str, self.shape))
        return f"{self.name}: {self.dtype or 'sequence or optional'}[{shape}]"


@dataclass(frozen=True)
class Version:
    """A program for inputs of some shapes: ``fixed`` are the places of those whose values are part
    of it, ``present`` says which results are not None, ``rebuild`` nests them.
    """

    function: Function
    fixed: tuple[int, ...]
    present: Sequence[bool]
    rebuild: Rebuild

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """The results for all inputs, in the order of the translation."""
        rest = [x for k, x in enumerate(leaves) if x is not None and k not in self.fixed]
        found = iter(self.function(*rest))
        results: list[Any] = self.rebuild([next(found) if y else None for y in self.present])
        return results


def load(source: Source, *, trainable: bool = True) -> Model:
    """The model in an ONNX file (also as bytes or as an `onnx.ModelProto`), operator sets 7 and up.

    Float weights become parameters, which optimisers change and ``state_dict`` lists under their
    names in the file; the running means and variances of batch normalisation, which are measured
    and not learned, are listed but not changed. Other initialisers become constants. With
    ``trainable=False`` all of them do, and what depends on them alone, such as transformed filters,
    is computed once.
    Raises `UserError`: GC0501 (no valid model, or one that names files outside its folder), GC0505
    (operators or types that graphc lacks, all of them at once).
    """
    model = read(source)
    check_supported(model)
    return Model(model, trainable=trainable)


class Model(Module):
    """What `load` returns.

    ``inputs`` are the declared inputs, ``outputs`` the names of the results. Called with tensors
    (or arrays, whose values are then part of the program) it returns its results as tensors: one,
    or a tuple. Numbers of 2 to 8 bits are in tensors of a dtype that holds them (`narrow`), and in
    the arrays of `run` as they are stored. ``proto`` is the model without its weights.
    """

    def __init__(self, proto: onnx.ModelProto, *, trainable: bool = True) -> None:
        self.proto = _without_weights(proto)
        self.scope_name = _identifier(proto.graph.name or "model")
        self._around = Surroundings.of(self.proto)
        self._weights: dict[str, Tensor] = {}
        self._constants: dict[str, Tensor] = {}
        decisive, measured = _kept_from_training(self.proto.graph, self._around)
        for initializer in proto.graph.initializer:
            name, array = initializer.name, to_array(initializer)
            if trainable and array.size > 1 and _is_float(array) and name not in decisive:
                self._weights[name] = parameter(
                    array, name, dtype=array.dtype, trainable=name not in measured
                )
            else:
                self._constants[name] = literal(array)
        initial = {**self._weights, **self._constants}
        self.inputs = [_declared(x) for x in proto.graph.input if x.name not in initial]
        self.outputs = [y.name for y in proto.graph.output]
        self._kinds = [_declared(y).kind for y in proto.graph.output]
        self._versions: dict[Any, Version] = {}
        self._fixed: dict[Any, tuple[int, ...]] = {}

    def named_state(self) -> dict[str, Tensor]:
        """The weights, also those that no training changes, by their names in the file."""
        return dict(self._weights)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The results for ``inputs``: tensors or arrays, by place or by name.

        Raises `UserError`: GC0106 where a shape depends on the value of an input that is a tensor,
        GC0302 for missing or extra inputs, GC0303 and GC0304 for shapes and dtypes that the model
        does not take, and what the operators raise.
        """
        given = dict(zip([x.name for x in self.inputs], inputs, strict=False)) | named
        self._check_names(len(inputs), given)
        values: dict[str, Value] = {**self._constants, **self._weights}
        values |= {name: _lifted(value) for name, value in given.items()}
        self._check_types(values)
        values |= {x.name: marked(values[x.name], x.kind) for x in self.inputs}
        found = translate(self.proto.graph, values, self._around)
        return found[0] if len(found) == 1 else tuple(found)

    def run(self, *arrays: Any, backend: str = "llvm", **named: Any) -> list[Any]:
        """The results for arrays (lists of arrays for sequences, None for what is left out).

        The model is translated and compiled once for all shapes and dtypes that meet it. An input
        whose value decides the shape of a result is fixed in the program: another value compiles
        another one. Raises `UserError` as `forward` and `graphc.compile` do.
        """
        given = dict(zip([x.name for x in self.inputs], arrays, strict=False)) | named
        self._check_names(len(arrays), given)
        leaves, rebuild = flatten(given)
        leaves = [x if x is None else kept(np.asarray(x)) for x in leaves]
        kinds = (backend, repr(rebuild(range(len(leaves)))), *map(_kind, leaves))
        fixed = self._fixed.get(kinds, ())
        version = self._versions.get((kinds, *(leaves[k].tobytes() for k in fixed)))
        if version is None:
            version = self._compiled(leaves, rebuild, backend, fixed)
            self._fixed[kinds] = version.fixed
            self._versions[kinds, *(leaves[k].tobytes() for k in version.fixed)] = version
        return [shown(y, kind) for y, kind in zip(version(leaves), self._kinds, strict=True)]

    def compile(
        self, backend: str = "llvm", *, sizes: Mapping[str, int] | None = None, **fixed: Any
    ) -> Function:
        """One function for all sizes that the model leaves open, which keep their names.

        ``sizes`` gives some of them numbers, ``fixed`` gives whole inputs values. Raises
        `UserError` as `forward` and `graphc.compile` do, and GC0103 for an input of open rank.
        """
        given = zip(self.inputs, self.symbolic_inputs(sizes or {}), strict=True)
        tensors = {declared.name: x for declared, x in given if declared.name not in fixed}
        return compile(
            list(tensors.values()), self._listed(self(**tensors, **fixed)), backend=backend
        )

    # Parts --------------------------------------------------------------------------------------
    def symbolic_inputs(self, sizes: Mapping[str, int]) -> list[Tensor]:
        """A tensor for each declared input; named sizes stay unless ``sizes`` has them."""
        return [_symbolic(x, sizes) for x in self.inputs]

    def _listed(self, found: Any) -> list[Any]:
        return list(found) if len(self.outputs) > 1 else [found]

    def _compiled(
        self, leaves: Sequence[Any], rebuild: Rebuild, backend: str, known: Sequence[int]
    ) -> Version:
        """A program with fixed values for the inputs at ``known``, and for those that need them."""
        fixed = set(known)
        while True:
            tensors = [
                x if x is None or k in fixed else make_input(f"x{k}", x.shape, x.dtype)
                for k, x in enumerate(leaves)
            ]
            place = {x.node: k for k, x in enumerate(tensors) if isinstance(x, Tensor)}
            try:
                found = self._listed(self(**rebuild(tensors)))
            except Undecided as error:
                fixed.update(place[node] for node in error.inputs)
                continue
            results, nested = flatten(found)
            listed = [x for x in tensors if isinstance(x, Tensor)]
            function = compile(listed, [y for y in results if y is not None], backend=backend)
            present = [y is not None for y in results]
            return Version(function, tuple(sorted(fixed)), present, nested)

    def _check_names(self, count: int, given: Mapping[str, Any]) -> None:
        names = [x.name for x in self.inputs]
        wrong = [n for n in names if n not in given] + [n for n in given if n not in names]
        if wrong or count > len(names):
            raise UserError(
                "GC0302",
                f"the model takes {len(names)} inputs, and {count or len(given)} do not fit them",
                why=f"missing or unknown: {', '.join(wrong)}" if wrong else "",
                fix=f"pass {', '.join(map(str, self.inputs))}",
            )

    def _check_types(self, values: Mapping[str, Value]) -> None:
        sizes: dict[str, Size] = {}
        for declared in self.inputs:
            value = values[declared.name]
            if isinstance(value, Tensor) and declared.dtype is not None:
                _check_type(declared, value, sizes)


def _check_type(declared: Declared, value: Tensor, sizes: dict[str, Size]) -> None:
    """Raises GC0303, GC0304 unless ``value`` is what the model takes; ``sizes`` are those known."""
    if value.dtype != declared.dtype:
        raise UserError(
            "GC0304",
            f"the model takes {declared}, not {value.dtype.name}",
            fix=f"use .astype({declared.dtype.name if declared.dtype else ''!r})",
        )
    if declared.shape is None:
        return
    wanted = [_expected(s, n, sizes) for s, n in zip(declared.shape, value.shape, strict=False)]
    if len(declared.shape) != len(value.shape) or any(
        isinstance(n, int) and w != n for w, n in zip(wanted, value.shape, strict=True)
    ):
        raise UserError(
            "GC0303",
            f"the model takes {declared}, not {value.node.type}",
            why="a size that has a name is equal wherever the name is",
        )


def _expected(declared: Size, found: Size, sizes: dict[str, Size]) -> Size:
    if isinstance(declared, int):
        return declared
    return sizes.setdefault(str(declared), found)


def _declared(info: onnx.ValueInfoProto) -> Declared:
    if not info.type.HasField("tensor_type"):
        return Declared(info.name, None, None)
    kind = info.type.tensor_type
    elements = kind_of(kind.elem_type)
    if not kind.HasField("shape"):
        return Declared(info.name, elements, None)
    sizes = (_size(d, f"{info.name}_{axis}") for axis, d in enumerate(kind.shape.dim))
    return Declared(info.name, elements, tuple(sizes))


def _size(dimension: Any, default: str) -> Size:
    if dimension.HasField("dim_value"):
        return int(dimension.dim_value)
    return Dim.named(_identifier(dimension.dim_param or default))


def _symbolic(declared: Declared, sizes: Mapping[str, int]) -> Tensor:
    if declared.shape is None or declared.dtype is None:
        raise UserError(
            "GC0103",
            f"{declared} has no rank to compile for",
            fix="call the model with a tensor of the shape you want, or use run",
        )
    shape = [s.substitute(sizes) if isinstance(s, Dim) else s for s in declared.shape]
    return make_input(_identifier(declared.name), shape, declared.dtype)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without initialisers, which parameters and constants hold; the whole can then go."""
    graph = model.graph
    return onnx.ModelProto(
        graph=onnx.GraphProto(
            name=graph.name, node=graph.node, input=graph.input, output=graph.output
        ),
        opset_import=model.opset_import,
        functions=model.functions,
    )


def _kept_from_training(
    graph: onnx.GraphProto, around: Surroundings
) -> tuple[frozenset[str], frozenset[str]]:
    """The names whose values decide how the graph is built, and those of measured inputs."""
    uses = [
        (name, place, entry)
        for node in nodes_in(graph)
        if (entry := around.operator(node)) is not None
        for place, name in enumerate(node.input)
    ]
    decisive = frozenset(name for name, place, entry in uses if entry.wants_known(place))
    return decisive, frozenset(name for name, place, entry in uses if place in entry.measured)


def _is_float(array: Array) -> bool:
    return is_known(array.dtype) and dtype_named(array.dtype).is_float


def _lifted(value: Any) -> Value:
    """A call's argument as the translation wants it: arrays become constants."""
    if value is None or isinstance(value, Tensor):
        return value
    if isinstance(value, list | tuple):
        return [_lifted(x) for x in value]
    return literal(np.asarray(value))


def _kind(leaf: Any) -> Any:
    return None if leaf is None else (leaf.shape, leaf.dtype.name)


def _identifier(name: str) -> str:
    """``name`` as Python's keyword arguments and graphc's sizes need it."""
    found = re.sub(r"\W", "_", name)
    return found if found.isidentifier() else f"_{found}"
