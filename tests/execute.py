"""Runs a graph on each executor: outputs first, then the updated parameters, which are put back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fences import fenced
from graphc.backends import interpreter, llvm
from graphc.expr import Buffer, Load, walk
from graphc.graph import Array, Graph
from graphc.kernels.kernel import Call, Kernel, Program
from graphc.kernels.lower import lower
from graphc.loops.interpret import interpret
from graphc.loops.ir import Put, Statement, expressions, statements
from graphc.loops.nest import nest

Arrays = Sequence[Array]
Schedule = Callable[[Kernel], tuple[Statement, ...]]


@contextmanager
def restored(graph: Graph) -> Any:
    """The parameters of ``graph`` have their old values again afterwards."""
    before = [(p.op.storage, p.op.storage.array.copy()) for p in graph.parameters]
    try:
        yield
    finally:
        for storage, array in before:
            storage.array[...] = array


def outcome(graph: Graph, run: Callable[[Arrays], list[Array]], arrays: Arrays) -> list[Array]:
    """What one call returns and leaves behind."""
    with restored(graph), np.errstate(all="ignore"):
        outputs = run(arrays)
        return [*outputs, *(t.op.storage.array.copy() for t, _ in graph.updates)]


def interpreted(graph: Graph, arrays: Arrays = ()) -> list[Array]:
    """By NumPy, op by op: the oracle."""
    return outcome(graph, interpreter.build(graph).run, arrays)


def native(graph: Graph, arrays: Arrays = ()) -> list[Array]:
    """By the llvm backend, without passes."""
    with fenced():
        return outcome(graph, llvm.build(lower(graph)).run, arrays)


def looped(graph: Graph, arrays: Arrays = (), schedule: Schedule = nest) -> list[Array]:
    """By the plain-Python meaning of loops, in the order that ``schedule`` gives them."""
    program = lower(graph)
    return outcome(graph, lambda given: run_loops(program, given, schedule), arrays)


def run_loops(program: Program, arrays: Arrays, schedule: Schedule = nest) -> list[Array]:
    """Every buffer has an array of its own, filled with garbage."""
    memory: dict[Buffer, Any] = dict(zip(program.inputs, arrays, strict=True))
    for node, buffer in program.leaves:
        memory[buffer] = node.op.storage.array if node.op.storage else node.op.eval()
    for kernel in program.kernels:
        if kernel.call is not None:
            memory.update(called(kernel.call, memory))
            continue
        loops = schedule(kernel)
        for buffer in touched(loops):
            base = getattr(buffer, "base", None) or buffer
            memory.setdefault(base, garbage(base))
            if base is not buffer:
                memory[buffer] = Shifted(memory[base], buffer)
        interpret(loops, memory)
    return [memory[y] for y in program.outputs]


def called(call: Call, memory: Mapping[Buffer, Any]) -> dict[Buffer, Any]:
    """What a library makes of the operands in ``memory``."""
    places = [None if b is None else garbage(b) for b in call.results]
    fill = call.op.bound([interpreter.build(body) for body in call.op.bodies])
    fill([memory[x] for x in call.operands], places)
    return {b: place for b, place in zip(call.results, places, strict=True) if b is not None}


class Shifted:
    """The memory of a view: places count from where it begins."""

    def __init__(self, array: Array, view: Any) -> None:
        self.flat, self.view = array.reshape(-1), view

    def place(self, index: tuple[int, ...]) -> int:
        return self.view.start + int(np.ravel_multi_index(index, self.view.shape))

    def __getitem__(self, index: tuple[int, ...]) -> Any:
        return self.flat[self.place(index)]

    def __setitem__(self, index: tuple[int, ...], value: Any) -> None:
        self.flat[self.place(index)] = value


def touched(loops: tuple[Statement, ...]) -> set[Buffer]:
    """The buffers that loops use and do not allocate."""
    found = {s.buffer for s in statements(loops) if isinstance(s, Put)}
    for statement in statements(loops):
        found |= {e.buffer for e in walk(*expressions(statement)) if isinstance(e, Load)}
    return {b for b in found if b.scope in ("global", "scratch")}


def garbage(buffer: Buffer) -> Array:
    array = np.empty(buffer.shape, buffer.type.dtype.numpy)
    array.reshape(-1).view(np.uint8).fill(0x01 if array.dtype == bool else 0x55)
    return array
