"""From ``FILE.py:NAME`` to a graph.

Comes in: the name of something in a user's file: a tensor, a nest of tensors, a compiled function,
or a Python function that returns tensors. Goes out: a `Target`. A separate step because every
command of the command line begins with it, and it alone runs the user's code.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from graphc.compile import Executable
from graphc.dims import Dim
from graphc.errors import UserError
from graphc.frontends import dsl
from graphc.frontends.dsl.function import graph_of
from graphc.frontends.dsl.structure import flatten
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Graph, Node, toposort
from graphc.types import DTYPES

TYPE = re.compile(r"(\w+)\[(.*)\]")
"""A type as graphs print it: ``f32[batch,784]``."""


@dataclass(frozen=True)
class Target:
    """What a command works on: the graph called ``name``."""

    name: str
    graph: Graph

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
    why = "a target is FILE.py:NAME, and NAME stands for tensors or a function that returns them"
    return UserError("GC0503", what, why=why, fix=fix)


def find_target(spec: str, declared: Mapping[str, str] | None = None) -> Target:
    """The target that ``spec`` names. The user's file is imported, so its code runs.

    ``declared`` gives types to the arguments of a function, e.g. ``{"x": "f32[batch,784]"}``; an
    annotation of this form does so too. Raises `UserError` GC0503.
    """
    file, colon, name = spec.rpartition(":")
    if not colon or not file or not name:
        raise _unfound(f"{spec!r} names no target", "write e.g. graphc show model.py:loss")
    return Target(name, _graph_of(_attribute(_module(Path(file)), name), name, declared or {}))


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
    return graph_of(_inputs(tensors), tensors, {})


def _inputs(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs below ``outputs`` in the order in which they were made."""
    nodes = [n for n in toposort(y.node for y in outputs) if n.op.kind == "leaf"]
    inputs = [n for n in nodes if n.op.storage is None and n.op.label]
    return [Tensor(n) for n in sorted(inputs, key=lambda n: getattr(n.op, "serial", 0))]


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
