"""Steps of a program that a library computes.

Comes in: a call, and the table of slots that a step is given. Goes out: the address of a function
like those that are generated, so that the driver runs both alike. A separate step because here
native code goes back to Python, and what fails there must come out at the end of the run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc.graph import Array, Graph
from graphc.kernels.kernel import Call
from graphc.ops.library import Run
from graphc.types import TensorType

FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
"""A kernel: the table of its slots, and the first and the last index of its part."""

Failed = Callable[[BaseException], None]


Signature = tuple[Any, tuple[TensorType, ...]]
"""An operation, without the number of a result, and the types of its operands."""


def library_calls(graph: Graph) -> list[Signature]:
    """The distinct calls of a graph, in order."""
    calls = (n for n in graph.nodes if n.op.kind == "call")
    return [*dict.fromkeys((n.op.family, tuple(x.type for x in n.inputs)) for n in calls)]


def signature(call: Call) -> Signature:
    """What is called."""
    return call.op, tuple(x.type for x in call.operands)


@dataclass(frozen=True)
class Library:
    """The calls of a graph: what each computes, and of which types."""

    signatures: tuple[Signature, ...] = ()
    functions: tuple[Callable[..., tuple[Array, ...]], ...] = ()


def library(graph: Graph, make: Callable[[Graph], Run]) -> Library:
    """The calls of a graph; ``make`` compiles the bodies of those that have any."""
    signatures = library_calls(graph)
    functions = (op.bound([make(body) for body in op.bodies]) for op, _ in signatures)
    return Library(tuple(signatures), tuple(functions))


def entry(library: Library, number: int, kept: Sequence[bool], failed: Failed) -> Any:
    """A call as a function for the driver; keep it as long as its address is in use.

    ``kept`` says which results have memory. What the library raises is given to ``failed``, as
    nothing can be raised through native code.
    """
    (op, operands), call = library.signatures[number], library.functions[number]
    results = [t if keep else None for t, keep in zip(op.results(*operands), kept, strict=True)]

    def run(table: int, low: int, high: int) -> None:
        try:
            slots = iter(_addresses(table, len(operands) + sum(r is not None for r in results)))
            arrays = [_array(next(slots), type_, writeable=False) for type_ in operands]
            for type_, value in zip(results, call(*arrays), strict=True):
                if type_ is not None:
                    _array(next(slots), type_)[...] = value
        except BaseException as error:  # Ctrl-C too
            failed(error)

    return FUNCTION(run)


def _addresses(table: int, count: int) -> Iterable[int]:
    """What the slots of a table point to; it holds their places."""
    places = (ctypes.c_int64 * count).from_address(table)
    return [ctypes.c_int64.from_address(place).value for place in places]


def _array(address: int, type_: TensorType, *, writeable: bool = True) -> Array:
    """The memory at an address as an array."""
    if not type_.bytes:
        return np.empty(type_.static_shape, type_.dtype.numpy)
    memory: Any = (ctypes.c_char * type_.bytes).from_address(address)
    found: Array = np.frombuffer(memory, type_.dtype.numpy).reshape(type_.static_shape)
    found.flags.writeable = writeable
    return found


def call_text(call: Call) -> str:
    """The call in one line, its memory numbered as that of loops is."""
    operands = ", ".join(f"b{k}" for k in range(len(call.operands)))
    count = len(call.operands)
    names = []
    for result in call.results:
        names.append("_" if result is None else f"b{count}")
        count += result is not None
    return f"{', '.join(names)} = {call.op}({operands})"
