"""From ``FILE.py:NAME`` or ``MODEL.onnx`` to a graph.

Comes in: the name of something in a user's file: a tensor, a nest of tensors, a compiled function,
or a Python function that returns tensors; or the file of a whole model. Goes out: a `Target`. A
separate step because every command of the command line begins with it, and it alone runs the user's
code.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from graphc.cli.model import SUFFIX, Model
from graphc.compile import Executable
from graphc.dims import Dim
from graphc.errors import UserError
from graphc.frontends import dsl
from graphc.frontends.dsl.function import graph_of, inputs_of
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Array, Graph, Node
from graphc.types import DTYPES

TYPE = re.compile(r"(\w+)\[(.*)\]")
"""A type as graphs print it: ``f32[batch,784]``."""


@dataclass(frozen=True)
class Target:
    """What a command works on: the graph called ``name``.

    ``results`` names its outputs where a file does so; ``arrays`` are values of inputs that are
    known already.
    """

    name: str
    graph: Graph
    results: tuple[str, ...] = ()
    arrays: Mapping[str, Array] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        """The named sizes of the inputs."""
        shapes = (size for x in self.graph.inputs for size in x.shape)
        return sorted({name for size in shapes if isinstance(size, Dim) for name in size.names})

    def named(self, names: Iterable[str]) -> list[Node]:
        """The inputs and parameters called so; "params" are all that can be trained."""
        found: dict[Node, None] = {}
        for name in names:
            found.update(dict.fromkeys(self._matching(name)))
        return list(found)

    def _matching(self, name: str) -> list[Node]:
        leaves = [n for n in self.graph.nodes if n in self.graph.inputs or n.op.storage]
        chosen = [n for n in leaves if n.name == name]
        if name == "params":
            chosen = [n for n in leaves if getattr(n.op, "trainable", False)]
        if not chosen:
            known = ", ".join(dict.fromkeys(n.name for n in leaves if n.dtype.is_float))
            raise _unfound(f"{self.name} has no input or parameter {name!r}", f"use {known}")
        return chosen


def _unfound(what: str, fix: str) -> UserError:
    why = "a target is MODEL.onnx, or FILE.py:NAME for tensors or a function that returns them"
    return UserError("GC0503", what, why=why, fix=fix)


def find_target(
    spec: str,
    declared: Mapping[str, str] | None = None,
    arrays: Mapping[str | int, Array] | None = None,
) -> Target:
    """The target that ``spec`` names. The user's file is imported, so its code runs.

    ``declared`` gives types to the arguments of a function, e.g. ``{"x": "f32[batch,784]"}``; an
    annotation of this form does so too. ``arrays`` are values of inputs, by name or by place.
    Raises `UserError` GC0503, GC0302 (an input that is not there), and of models what `read_model`
    does.
    """
    if spec.endswith(SUFFIX):
        return _model(Path(spec), declared or {}, arrays or {})
    file, colon, name = spec.rpartition(":")
    if not colon or not file or not name:
        raise _unfound(f"{spec!r} names no target", "write e.g. graphc show model.py:loss")
    graph = _graph_of(_attribute(_module(Path(file)), name), name, declared or {})
    return Target(name, graph, arrays=_by_name([x.name for x in graph.inputs], arrays or {}))


def _by_name(names: Sequence[str], arrays: Mapping[str | int, Array]) -> dict[str, Array]:
    """The arrays by the names of inputs, of which there are these."""
    known: dict[str | int, str] = {**dict(enumerate(names)), **{name: name for name in names}}
    unknown = [key for key in arrays if key not in known]
    if unknown:
        wanted = repr(unknown[0]) if isinstance(unknown[0], str) else f"number {unknown[0] + 1}"
        listed = ", ".join(names) or "none"
        raise UserError("GC0302", f"there is no input {wanted}", fix=f"inputs: {listed}")
    return {known[key]: array for key, array in arrays.items()}


# A model's file -----------------------------------------------------------------------------------
def _model(path: Path, declared: Mapping[str, str], arrays: Mapping[str | int, Array]) -> Target:
    if declared:
        raise _unfound(f"{path} declares the types of its inputs itself", "leave out --input")
    if not path.is_file():
        raise _unfound(f"there is no file {path}", "check the path")
    model = Model(path)
    given = _by_name(model.names, arrays)
    inputs, results = model.tensors(given)
    graph = graph_of(list(inputs.values()), results.values(), {})
    rest = {x.name: given[name] for name, x in inputs.items() if name in given}
    return Target(path.stem, graph, tuple(results), rest)


# The user's file ----------------------------------------------------------------------------------
def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise _unfound(f"there is no file {path}", "check the path")
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_target"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise _unfound(f"{path} is no Python file", "give a file that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except Exception as error:
        raise _broken(path, error) from error
    return module


def _broken(path: Path, error: Exception) -> UserError:
    """The user's file does not run: say so at the deepest of its own lines."""
    what = f"{path} does not run: {type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if Path(f.filename) == path.resolve()]
    where = f"{own[-1].filename}:{own[-1].lineno}\n    {own[-1].line}" if own else ""
    return _unfound(what, "run the file with Python first").located(where)


def _attribute(module: ModuleType, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            raise _unfound(f"{module.__name__} has no {name!r}", _names_fix(module))
        value = getattr(value, part)
    return value


def _names_fix(module: ModuleType) -> str:
    fitting = [n for n, v in vars(module).items() if isinstance(v, Tensor | Executable)]
    return f"use one of {', '.join(fitting)}" if fitting else "give the result a name in the file"


# What a name may stand for ------------------------------------------------------------------------
def _graph_of(value: Any, name: str, declared: Mapping[str, str]) -> Graph:
    if isinstance(value, Executable):
        return value.graph
    traced = getattr(value, "function", value)  # what @gc.jit wraps
    if not isinstance(value, Tensor) and inspect.isroutine(traced):
        value = traced(**_arguments(traced, name, declared))
    leaves, _ = flatten(value)
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    if not tensors or len(tensors) < len(leaves):
        kind = type(value).__name__
        raise _unfound(f"{name} is a {kind}, not tensors", "name a tensor that was computed")
    return graph_of(inputs_of(tensors), tensors, {})


def _arguments(
    function: Callable[..., Any], name: str, declared: Mapping[str, str]
) -> dict[str, Tensor]:
    """An input for each argument of ``function`` that has a type; others need a default."""
    found: dict[str, Tensor] = {}
    for parameter in inspect.signature(function).parameters.values():
        text = declared.get(parameter.name, parameter.annotation)
        if isinstance(text, str) and TYPE.fullmatch(text):
            found[parameter.name] = _typed_input(parameter.name, text)
        elif parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD:
            raise _unfound(
                f"the argument {parameter.name} of {name} has no type",
                f"add --input {parameter.name}=f32[batch,784], or annotate it with such a text",
            )
    return found


def _typed_input(name: str, text: str) -> Tensor:
    match = TYPE.fullmatch(text)
    assert match is not None, "callers have matched"
    short = {d.short: d.name for d in DTYPES.values()}
    sizes = [s.strip() for s in match[2].split(",") if s.strip()]
    shape = [int(s) if s.isdigit() else s for s in sizes]
    return dsl.input(name, shape, short.get(match[1], match[1]))
