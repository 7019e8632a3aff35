"""The table of ONNX operators: each is one Python function of tensors and attributes.

Comes in: functions, marked with `operator`. Goes out: the function for a node. A separate step
because the functions are the only place that knows an operator: everything about calling them
(versions, attributes, optional inputs) is read off their signatures.

The signature is the specification. Positional parameters are the inputs in ONNX's order; those
annotated `Known` arrive as NumPy arrays (or None), the others as tensors, sequences, or None where
an input is left out. Keyword parameters are the attributes, decoded: numbers, text, lists, arrays,
and `Body` for a subgraph. Several older versions of ONNX pass as an attribute what is an input
today; as a keyword fits a positional parameter too, one function serves both. A parameter called
``node`` receives the `Node`. `Measured` marks inputs that no training changes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from graphc.frontends.dsl.tensor import Tensor
from graphc.frontends.onnx.values import Value
from graphc.graph import Array

Known = Array
"""Annotates an input whose value must be known while the graph is built."""

KnownList = Known | Sequence[int]
"""The same for an input that older versions have as an attribute: an array or a list."""

Measured = Tensor
"""Annotates an input that is measured, not learned: as an initialiser it is no parameter to train,
as with the running mean of batch normalisation."""


class Body(Protocol):
    """A subgraph, ready to be called; what it uses from outside is bound already."""

    def __call__(self, *inputs: Value) -> Sequence[Any]:
        """The outputs, values."""
        ...

    @property
    def outside(self) -> Mapping[str, Value]:
        """What it uses from around it, by name."""
        ...

    def seeing(self, values: Mapping[str, Value]) -> Body:
        """The same with other values around it."""
        ...


DEFAULT_DOMAIN = ""
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Node:
    """What an operator may ask about its node beside inputs and attributes.

    ``version`` is that of the operator set, ``outputs`` the names of the results ("" for one that
    nobody wants), ``attributes`` what the model gives, ``around`` all values so far, by name.
    """

    operator: str
    name: str
    version: int
    outputs: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    around: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Operator:
    """A function with what its signature says: which inputs must be known or are measured, whether
    it wants the `Node`.
    """

    function: Callable[..., Any]
    signature: inspect.Signature
    known: frozenset[int]
    measured: frozenset[int]
    rest_known: bool
    takes_node: bool

    @staticmethod
    def of(function: Callable[..., Any]) -> Operator:
        """Reads the signature."""
        signature = inspect.signature(function)
        parameters = signature.parameters
        positional = [p for p in parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
        rest = [p for p in parameters.values() if p.kind == p.VAR_POSITIONAL]

        def annotated(word: str) -> frozenset[int]:
            return frozenset(k for k, p in enumerate(positional) if word in str(p.annotation))

        return Operator(
            function,
            signature,
            annotated("Known"),
            annotated("Measured"),
            any("Known" in str(p.annotation) for p in rest),
            "node" in parameters,
        )

    def wants_known(self, place: int) -> bool:
        """Whether the input at ``place`` must be known while the graph is built."""
        return place in self.known or self.rest_known

    def misfit(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> str:
        """Why the function cannot be called with these, or ""."""
        try:
            bound = self.signature.bind(*inputs, **named)
        except TypeError as error:
            return str(error)
        missing = [n for n, x in bound.arguments.items() if x is None and self._needs(n)]
        return f"{', '.join(missing)} must be given" if missing else ""

    def _needs(self, name: str) -> bool:
        parameter = self.signature.parameters[name]
        return parameter.default is parameter.empty and "None" not in str(parameter.annotation)


_OPERATORS: dict[tuple[str, str], dict[int, Operator]] = {}


def operator(
    *names: str, since: int = 1, domain: str = DEFAULT_DOMAIN
) -> Callable[[Function], Function]:
    """Marks the function that translates the operators ``names`` from operator set ``since`` on."""

    def register(function: Function) -> Function:
        entry = Operator.of(function)
        for name in names:
            _OPERATORS.setdefault((domain, name), {})[since] = entry
        return function

    return register


def find(domain: str, name: str, version: int) -> Operator | None:
    """The newest translation that is not newer than ``version``, or None."""
    versions = _OPERATORS.get((domain, name), {})
    fitting = [since for since in versions if since <= version]
    return versions[max(fitting)] if fitting else None


def supported() -> Iterable[tuple[str, str]]:
    """Domain and name of every operator in the table."""
    return _OPERATORS.keys()
