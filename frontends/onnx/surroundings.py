"""What the nodes of a graph or function body may refer to: operator sets, functions, attributes.

Comes in: a model, or a function of it. Goes out: for a node the model's own function, the entry of
the table of operators, or ONNX's schema. A separate step because both the check that every operator
exists and the translation look nodes up, and must find the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import onnx

from graphc.errors import UserError
from graphc.frontends.onnx import registry
from graphc.frontends.onnx.reader import Key

STANDARD = ("", "ai.onnx")
"""The two names of the standard domain."""


@dataclass(frozen=True)
class Surroundings:
    """Of one graph or function body.

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
        functions = {_key(f, f.name): f for f in model.functions}
        return Surroundings(_versions(model.opset_import), functions)

    def inside(
        self, function: onnx.FunctionProto, attributes: Mapping[str, Any] | None = None
    ) -> Surroundings:
        """Those of the body of ``function``. Raises `UserError` GC0501 when it calls itself."""
        key = _key(function, function.name)
        if key in self.callers:
            raise UserError("GC0501", f"the function {function.name} calls itself")
        versions = _versions(function.opset_import) or self.versions
        return replace(
            self, versions=versions, attributes=attributes or {}, callers=(*self.callers, key)
        )

    def function(self, node: onnx.NodeProto) -> onnx.FunctionProto | None:
        """The model's own function that ``node`` calls, or None."""
        return self.functions.get(_key(node, node.op_type))

    def version(self, node: onnx.NodeProto) -> int:
        """The version of the operator set that ``node`` belongs to."""
        return self.versions.get(domain(node), 1)

    def operator(self, node: onnx.NodeProto) -> registry.Operator | None:
        """The entry of the table of operators, or None."""
        return registry.find(domain(node), node.op_type, self.version(node))

    def schema(self, node: onnx.NodeProto) -> Any:
        """ONNX's schema of the operator, an `onnx.defs.OpSchema`, or None."""
        place = (node.op_type, self.version(node), domain(node))
        return onnx.defs.get_schema(*place) if onnx.defs.has(*place) else None


def domain(proto: Any) -> str:
    """The domain of a node, function or operator set; the standard one is ""."""
    return "" if proto.domain in STANDARD else str(proto.domain)


def _key(proto: Any, name: str) -> Key:
    return (domain(proto), name, proto.overload)


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {domain(entry): entry.version for entry in imports}
