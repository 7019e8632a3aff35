"""From tensors to something that runs: `compile`, and `jit`, which calls Python for the graph.

Comes in: inputs, nested outputs, updates of parameters. Goes out: an `Executable` that takes and
returns NumPy arrays in the same nesting. A separate step because here the user's picture (names,
nests, forgotten inputs) becomes the compiler's: one checked `Graph`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from itertools import zip_longest
from typing import Any

import numpy as np

from graphc.compile import Executable
from graphc.errors import UserError
from graphc.frontends.dsl.leaves import input as make_input
from graphc.frontends.dsl.leaves import is_input
from graphc.frontends.dsl.manners import as_node, at_user_line, raw
from graphc.frontends.dsl.structure import Rebuild, flatten
from graphc.frontends.dsl.tensor import Tensor, Value, tensor
from graphc.graph import Graph, Node, brief, describe, toposort
from graphc.site import here

Updates = Mapping[Tensor, Value]


class Function(Executable):
    """An `Executable` that returns its results in the nesting in which the outputs were given."""

    def __init__(
        self,
        graph: Graph,
        backend: str,
        rebuild: Rebuild,
        *,
        sizes: Mapping[str, int] | None = None,
        name: str = "",
        passes: str | Sequence[str] = (),
        memory: int | None = None,
    ) -> None:
        super().__init__(graph, backend, sizes=sizes, passes=passes, memory=memory)
        self.rebuild, self.name = rebuild, name

    def __call__(self, *arrays: Any, **named: Any) -> Any:
        """Run it: arrays by place or by input name.

        Raises `UserError` GC0107, GC0302, GC0303, GC0304 (arguments), GC0306 (an index inside).
        """
        try:
            if named:
                arrays = self.arguments.by_position(arrays, named)
            outputs = self.attempt(*arrays)
            if outputs is None:
                outputs = self.prepare_and_run(arrays)
        except UserError as error:
            raise self.located(error) from None
        return self.rebuild(outputs)

    def later(self, *arrays: Any, **named: Any) -> Any:
        """Run it without waiting for the device: each result is a `graphc.Result`, which waits when
        somebody looks at it.

        Raises what a call raises; GC0306 comes when somebody looks.
        """
        try:
            results = super().later(*arrays, **named)
        except UserError as error:
            raise self.located(error) from None
        return self.rebuild(results)

    def located(self, error: UserError) -> UserError:
        """The error of a call, at the user's line and with the inputs."""
        return error.located(str(here()), [describe(x) for x in self.graph.inputs])

    def __repr__(self) -> str:
        inputs = ", ".join(map(brief, self.graph.inputs))
        return f"<{self.name or 'function'}({inputs}) on {self.backend}>"


@at_user_line
def compile(
    inputs: Iterable[Tensor],
    outputs: Any,
    updates: Updates | None = None,
    backend: str = "llvm",
    sizes: Mapping[str, int] | None = None,
    name: str = "",
    passes: str | Sequence[str] = (),
    memory: int | None = None,
) -> Function:
    """A function that runs the graph: arrays in, by place or by input name, arrays out.

    ``outputs`` is a tensor or nested tuples, lists and dicts of tensors; results come nested alike.
    ``updates`` maps parameters to their next values, which are stored after the outputs are
    computed; generators count on by themselves. ``backend`` is "numpy", "llvm", "cuda" or
    "cuda-sim". Code is generated at the first call for each set of named sizes, or now for
    ``sizes``. ``passes`` names optional passes beside the usual pipeline: with "autotune" the llvm
    backend measures tiles of contractions once on this host, and keeps the fastest. With ``memory``
    intermediate values take at most so many bytes: some, which ``ledger`` names, are computed again
    instead of being kept, with the same results up to rounding. Raises `UserError`: GC0301 (an
    input that is not listed), GC0302 (not an input), GC0101 and GC0102 (an update of another type),
    GC0402 and GC0403 (backends), GC0104 (a pass the backend lacks, too little memory).
    """
    leaves, rebuild = flatten(outputs)
    graph = graph_of(inputs, [tensor(y) for y in leaves], updates or {})
    options: dict[str, Any] = {"sizes": sizes, "passes": passes, "memory": memory}
    return Function(graph, backend, rebuild, name=name, **options)


def graph_of(inputs: Iterable[Tensor], outputs: Iterable[Tensor], updates: Updates) -> Graph:
    """The checked graph of flat ``outputs``: what `compile` compiles and drawings draw."""
    listed = _checked_inputs(inputs)
    results = tuple(y.node for y in outputs)
    pairs = tuple(_update(target, value) for target, value in updates.items())
    _all_listed(toposort((*results, *(new for _, new in pairs))), listed)
    return Graph(listed, results, pairs)


def inputs_of(outputs: Iterable[Tensor]) -> list[Tensor]:
    """The inputs that ``outputs`` depend on, in the order in which they were made."""
    found = [node for node in toposort(y.node for y in outputs) if is_input(node)]
    return [Tensor(node) for node in sorted(found, key=lambda node: getattr(node.op, "serial", 0))]


def _checked_inputs(inputs: Iterable[Tensor]) -> tuple[Node, ...]:
    listed = tuple(tensor(x).node for x in ([inputs] if isinstance(inputs, Tensor) else inputs))
    for node in listed:
        if not is_input(node):
            raise UserError(
                "GC0302",
                f"{brief(node)} is listed but is not an input",
                why="values are passed for inputs only; parameters keep theirs",
                fix="list only what gc.input made",
            )
    names = [node.op.label for node in listed]
    if double := {n for n in names if names.count(n) > 1}:
        raise UserError(
            "GC0302",
            f"two inputs are called {min(double)!r}",
            why="arguments can be passed by name",
            fix="give each input a name of its own, and list it once",
        )
    return listed


def _all_listed(order: Iterable[Node], listed: tuple[Node, ...]) -> None:
    missing = [node for node in order if is_input(node) and node not in listed]
    if missing:
        names = ", ".join(node.op.label for node in (*listed, *missing))
        raise UserError(
            "GC0301",
            f"the graph uses the input {missing[0].op.label!r}, which is not listed",
            why="every input needs a value at each call",
            fix=f"compile with inputs [{names}]",
        ).located(str(here()), [describe(node) for node in missing])


def _update(target: Tensor, value: Value) -> tuple[Node, Node]:
    """A parameter and its next value, of equal types."""
    node = tensor(target).node
    if node.op.storage is None:
        raise UserError(
            "GC0302",
            f"update of {brief(node)}, which is no parameter",
            why="only parameters are stored between calls",
            fix="make it with gc.param",
        )
    content = raw(value)
    new = content if isinstance(content, Node) else as_node(content, node.dtype)
    if new.type != node.type:
        same = new.shape == node.shape
        raise UserError(
            "GC0102" if same else "GC0101",
            f"update of {node.name}: {node.type} cannot become {new.type}",
            why="a parameter keeps its shape and dtype",
            fix=f"use .astype({node.dtype.name!r})" if same else "reshape or reduce the new value",
        )
    return node, new


class Jit:
    """A Python function that is traced and compiled once per signature of its arrays.

    NumPy arrays, also inside tuples, lists and dicts, become inputs; everything else is a fixed
    part of the program and must be hashable. Shapes and dtypes decide which compiled version runs.
    Called with tensors, it adds to their graph, as the plain function does.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        backend: str,
        passes: str | Sequence[str] = (),
        memory: int | None = None,
    ) -> None:
        self.function, self.backend = function, backend
        self.options: dict[str, Any] = {"backend": backend, "passes": passes, "memory": memory}
        self.versions: dict[Any, Function] = {}
        self._shortcut = Shortcut()
        self._signature = inspect.signature(function)
        update_wrapper(self, function)

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", "function")
        return f"<jit {name}{self._signature} on {self.backend}, {len(self.versions)} versions>"

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """As functions do, a jitted method passes on the object it is looked up on."""
        return self if owner is None else partial(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the version for these arguments, which the first of their kind trace and compile.

        Raises `UserError` GC0106 when the function decides by a tensor's value, GC0107 for an
        argument that is neither an array nor hashable.
        """
        if not kwargs and (outputs := self._shortcut.attempt(args)) is not None:
            return outputs
        version, arrays = self._version(args, kwargs)
        return version(*arrays)

    def later(self, *args: Any, **kwargs: Any) -> Any:
        """A call that does not wait for the device: see `Function.later`."""
        version, arrays = self._version(args, kwargs)
        return getattr(version, "later", version)(*arrays)

    def _version(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], Sequence[Any]]:
        """What runs these arguments, and those of them that it takes."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        leaves, rebuild = flatten(dict(bound.arguments))
        if any(isinstance(x, Tensor) and x.node.op.storage is None for x in leaves):
            whole = partial(self.function, **kwargs)  # part of a larger graph, compiled with it
            return whole, args
        arrays = [x for x in leaves if isinstance(x, np.ndarray)]
        key = (repr(rebuild(range(len(leaves)))), tuple(_signature_of(x) for x in leaves))
        if key not in self.versions:
            self.versions[key] = self._trace(bound, leaves, rebuild)
        version = self.versions[key]
        if not kwargs and all(a is b for a, b in zip_longest(args, leaves)):
            self._shortcut = Shortcut(version, args)
        return version, arrays

    def _trace(
        self, bound: inspect.BoundArguments, leaves: list[Any], rebuild: Rebuild
    ) -> Function:
        inputs = {
            k: make_input(name, x.shape, x.dtype)
            for k, (name, x) in enumerate(zip(_leaf_names(bound.arguments), leaves, strict=True))
            if isinstance(x, np.ndarray)
        }
        bound.arguments.update(rebuild([inputs.get(k, x) for k, x in enumerate(leaves)]))
        outputs = self.function(*bound.args, **bound.kwargs)
        name = getattr(self.function, "__name__", "")
        given = inputs.values()
        return compile(given, outputs, name=name, **self.options)


class Shortcut:
    """The version that the last call of plain arguments ran: no nests, names or defaults.

    The next call is likely to pass the same constants, and arrays of the same kind.
    """

    def __init__(self, version: Function | None = None, args: Sequence[Any] = ()) -> None:
        self.version = version
        self.constants = [(k, x) for k, x in enumerate(args) if not isinstance(x, np.ndarray)]
        self.places = [k for k, x in enumerate(args) if isinstance(x, np.ndarray)]

    def attempt(self, args: Sequence[Any]) -> Any:
        """The nested outputs of that version if ``args`` fit it; None if they must be looked at."""
        version = self.version
        if version is None:
            return None
        if self.constants:
            count = len(self.constants) + len(self.places)
            if len(args) != count or any(args[k] is not x for k, x in self.constants):
                return None
            args = [args[k] for k in self.places]
        try:
            outputs = version.attempt(*args)
        except UserError as error:
            raise version.located(error) from None
        return None if outputs is None else version.rebuild(outputs)


def jit(
    function: Callable[..., Any] | None = None,
    *,
    backend: str = "llvm",
    passes: str | Sequence[str] = (),
    memory: int | None = None,
) -> Jit | Callable[[Callable[..., Any]], Jit]:
    """Compile a Python function by tracing it: ``@gc.jit`` or ``@gc.jit(backend="numpy")``.

    See `Jit`, and `compile` for the options.
    """
    if function is not None:
        return Jit(function, backend, passes, memory)
    return lambda f: Jit(f, backend, passes, memory)


def _signature_of(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray):
        return leaf.shape, leaf.dtype.str
    try:
        hash(leaf)
    except TypeError:
        raise UserError(
            "GC0107",
            f"jit cannot take a {type(leaf).__name__}",
            why="arguments are arrays, or hashable constants of the program",
            fix="pass NumPy arrays, numbers or strings, also in tuples, lists and dicts",
        ) from None
    return type(leaf), leaf


def _leaf_names(arguments: Mapping[str, Any]) -> list[str]:
    """The argument's name for each leaf, numbered inside a nest."""
    names: list[str] = []
    for argument, value in arguments.items():
        count = len(flatten(value)[0])
        nested = isinstance(value, tuple | list | dict)
        names += [f"{argument}_{k}" for k in range(count)] if nested else [argument]
    return names
