"""`Module`: a layer or a model, that is, parameters and a way to use them.

Comes in: parameters and other modules as attributes, and a ``forward`` method. Goes out: graph
nodes in a name scope, parameters by dotted names, saved state. A separate step because every layer
has these manners and none should write them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from graphc.errors import UserError
from graphc.frontends.dsl import leaves
from graphc.frontends.dsl.random import Generator
from graphc.frontends.dsl.state import Arrays, read_state, write_state
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import brief
from graphc.site import scope
from graphc.types import BOOL, DType
from graphc.types import dtype as dtype_of


class Module:
    """Base of layers and models: assign parameters and modules to attributes, define ``forward``.

    Calling a module opens a scope with its name (the attribute that holds it, else its class) and
    runs ``forward``. ``training`` is what `Dropout` and batch normalisation look at; a graph keeps
    the mode in which it was built.
    """

    training = True
    scope_name = ""

    def __setattr__(self, name: str, value: Any) -> None:
        for part, module in _modules_in(name, value):
            if not module.scope_name:
                object.__setattr__(module, "scope_name", part)
        object.__setattr__(self, name, value)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The computation of the module: tensors in, tensors out."""
        raise NotImplementedError

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """`forward` inside the module's name scope."""
        with scope(self.scope_name or type(self).__name__.lower()):
            return self.forward(*inputs, **options)

    def __repr__(self) -> str:
        """The modules inside, one a line, each with its own parameters."""
        lines = []
        for path, module in self.named_modules():
            own = ", ".join(brief(p.node) for p in vars(module).values() if is_parameter(p))
            lines.append(f"  {path}: " * bool(path) + f"{type(module).__name__}({own})")
        return "\n".join(lines)

    # What is inside -------------------------------------------------------------------------------
    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all below it with their dotted names, as in ``features.0``."""
        stack: list[tuple[str, Module]] = [(prefix, self)]
        while stack:
            path, module = stack.pop()
            yield path, module
            stack.extend(reversed([(_dotted(path, n), m) for n, m in module._children()]))

    def _children(self) -> Iterator[tuple[str, Module]]:
        for name, value in vars(self).items():
            yield from _modules_in(name, value)

    def named_state(self) -> dict[str, Tensor]:
        """Every parameter by dotted name: weights, running statistics, states of generators."""
        found: dict[str, Tensor] = {}
        for path, module in self.named_modules():
            for name, value in vars(module).items():
                tensor = value.state if isinstance(value, Generator) else value
                if is_parameter(tensor):
                    found[_dotted(path, name)] = tensor
        return found

    def named_parameters(self) -> dict[str, Tensor]:
        """The trainable parameters by dotted name; a shared one under its first name."""
        trainable = {n: p for n, p in self.named_state().items() if is_trainable(p)}
        first = {id(p): n for n, p in reversed(trainable.items())}
        return {n: p for n, p in trainable.items() if first[id(p)] == n}

    def parameters(self) -> list[Tensor]:
        """The trainable parameters, each once."""
        return list(self.named_parameters().values())

    # State ----------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """A copy of every array in `named_state`."""
        return read_state(self.named_state())

    def load_state_dict(self, arrays: Arrays) -> None:
        """Copy saved arrays in. Raises `UserError` GC0502 when names, shapes or dtypes differ.

        Names and shapes are those of PyTorch's layers, so its checkpoints fit. They know no random
        generators: one whose state is missing keeps its own.
        """
        state = self.named_state()
        wanted = {n: p for n, p in state.items() if n in arrays or not _is_generator(p)}
        write_state(wanted, arrays)

    def astype(self, dtype: Any) -> Self:
        """All float parameters converted to another float dtype, in place, and their values.

        Build graphs and optimisers after it: those that exist keep the old parameters. Raises
        `UserError` GC0102 for no float, GC0107 where a module holds a tensor computed from others.
        """
        wanted = dtype_of(dtype)
        if not wanted.is_float:
            raise UserError("GC0102", f"parameters as {wanted.name}", fix="use a float dtype")
        modules = [module for _, module in self.named_modules()]
        for module in modules:
            _check_no_computed(module, wanted)
        converted: dict[Tensor, Tensor] = {}
        for module in modules:
            vars(module).pop("_recorded", None)
            for name, old in vars(module).items():
                if is_parameter(old) and old.dtype.is_float and old.dtype != wanted:
                    if old not in converted:
                        converted[old] = _as_dtype(old, wanted)
                    vars(module)[name] = converted[old]
        return self

    def train(self, mode: bool = True) -> Self:
        """Graphs built from now on are for training (or not, for ``mode=False``)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Graphs built from now on are for use: no dropout, running statistics as they are."""
        return self.train(False)

    def record(self, updates: dict[Tensor, Tensor]) -> None:
        """For ``forward``: the next values of parameters that this call of the module implies."""
        self._recorded = updates

    def updates(self) -> dict[Tensor, Tensor]:
        """What the last training call of every module recorded, to pass on as ``updates=``.

        These are the running statistics of batch normalisation: a step that leaves them out trains,
        but its model cannot be used in `eval` mode.
        """
        found: dict[Tensor, Tensor] = {}
        for _, module in self.named_modules():
            found.update(vars(module).get("_recorded", {}))
        return found


def is_parameter(value: Any) -> bool:
    """Whether `gc.param` or a layer made it, so that it holds an array between calls."""
    return isinstance(value, Tensor) and value.node.op.storage is not None


def _is_generator(parameter: Tensor) -> bool:
    """Whether it is the state of a random generator."""
    return bool(getattr(parameter.node.op, "advances", False))


def _as_dtype(parameter: Tensor, dtype: DType) -> Tensor:
    array = leaves.value(parameter).astype(dtype.numpy)
    trainable = is_trainable(parameter)
    return leaves.parameter(array, parameter.name, trainable=trainable, dtype=dtype)


def _check_no_computed(module: Module, wanted: DType) -> None:
    for name, held in vars(module).items():
        if isinstance(held, Tensor) and held.node.inputs and held.dtype not in (wanted, BOOL):
            raise UserError(
                "GC0107",
                f"{name} of {type(module).__name__} is computed from other tensors",
                why="it would go on to depend on the old parameters",
                fix="call astype before weight_norm and the like",
            )


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _modules_in(name: str, value: Any) -> Iterator[tuple[str, Module]]:
    """The modules that an attribute holds: itself, or those in a list, tuple or dict."""
    if isinstance(value, Module):
        yield name, value
    elif isinstance(value, list | tuple):
        yield from ((f"{name}.{k}", m) for k, m in enumerate(value) if isinstance(m, Module))
    elif isinstance(value, dict):
        yield from ((f"{name}.{k}", m) for k, m in value.items() if isinstance(m, Module))


def is_trainable(parameter: Tensor) -> bool:
    """Whether optimisers change it."""
    return bool(getattr(parameter.node.op, "trainable", False))


class Sequential(Module):
    """Modules (or functions of one tensor) applied one after another; named 0, 1, 2, ..."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers
        for place, layer in enumerate(layers):
            if isinstance(layer, Module):
                layer.scope_name = f"{place}_{type(layer).__name__.lower()}"

    def _children(self) -> Iterator[tuple[str, Module]]:
        return ((str(k), m) for k, m in enumerate(self.layers) if isinstance(m, Module))

    def forward(self, x: Any) -> Any:
        """``layers[-1](... layers[0](x))``."""
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, place: int) -> Any:
        return self.layers[place]
