"""The table of emitters: each writes one kind of operation as ONNX nodes.

Comes in: functions, marked with `emits`. Goes out: the function for a node. A separate step for the
same reason as `graphc.frontends.onnx.registry`, its counterpart: an operation is written in one
place, and nothing else knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from graphc.errors import UserError
from graphc.frontends.onnx.exporting.scope import Scope, Value
from graphc.graph import Node, Op

Emitter = Callable[[Scope, Any, Node], Value]
"""``emitter(scope, op, node)`` adds nodes to the scope and returns the value of ``node``."""

CallEmitter = Callable[[Scope, Any, Sequence[Node], Sequence[int]], dict[int, Value]]
"""``emitter(scope, op, operands, wanted)``: the values of the ``wanted`` results of a call."""

Function = TypeVar("Function", bound=Callable[..., Any])
_EMITTERS: dict[type[Op], Any] = {}


def emits(*classes: type[Op]) -> Callable[[Function], Function]:
    """Marks the function that writes the operations of ``classes``: an `Emitter`, or for those of
    kind "call" a `CallEmitter`.
    """

    def register(function: Function) -> Function:
        _EMITTERS.update(dict.fromkeys(classes, function))
        return function

    return register


def emitter(node: Node) -> Any:
    """The function that writes ``node``, or None."""
    return _EMITTERS.get(type(node.op))


def lacking(node: Node, why: str, fix: str = "") -> UserError:
    """ONNX has no words for ``node``."""
    return UserError("GC0505", f"{node.op} has no counterpart in ONNX", why=why, fix=fix)
