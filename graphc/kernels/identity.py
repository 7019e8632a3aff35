"""The identity of a kernel: a text that two kernels share if one's code will do for the other.

Comes in: a kernel. Goes out: the text, and the buffers in the order in which it numbers them. A
separate step because it is taken before the kernel is scheduled: of the many equal kernels of a
network only the first is. Unlike the text of loops it is for machines: one line per expression,
shared ones once, so that it is never longer than the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphc.expr import (
    Affine,
    Apply,
    Bounded,
    Buffer,
    Expr,
    Iter,
    Lit,
    Load,
    Reduce,
    Select,
    walk,
)
from graphc.kernels.kernel import Kernel, Stage


def kernel_identity(
    kernel: Kernel, notes: Mapping[Buffer, object] | None = None
) -> tuple[str, tuple[Buffer, ...]]:
    """The text of ``kernel`` with everything numbered in order of appearance, and its buffers.

    ``notes`` are what else the code depends on, by buffer.
    """
    numbers = _Numbers()
    roots = [e for store in kernel.stores for e in (*store.index, store.value)]
    lines = [numbers.line(e) for e in walk(*roots)]
    lines.append(f"over {numbers.iters(kernel.iters)}")
    for stage in kernel.stages:
        lines += _stage(stage, numbers)
    for buffer, name in numbers.buffers.items():
        lines.append(f"{name} {buffer.scope} {buffer.type} {(notes or {}).get(buffer, '')}")
    return "\n".join(lines), tuple(numbers.buffers)


def _stage(stage: Stage, numbers: _Numbers) -> list[str]:
    stores = [
        f"{numbers.buffer(s.buffer)} {numbers.all(s.index)} {s.combine} {numbers.all((s.value,))}"
        for s in stage.stores
    ]
    return [f"stage {numbers.iters(stage.iters)}", *stores]


class _Numbers:
    """Names by order of appearance; an expression is named once its operands are."""

    def __init__(self) -> None:
        self.known: dict[int, str] = {}
        self.buffers: dict[Buffer, str] = {}
        self.indices: dict[Iter, str] = {}
        self.owners: dict[int, str] = {}

    def line(self, e: Expr) -> str:
        """The text of an expression, which has a name from now on."""
        text = _TEXTS[type(e)](self, e)
        self.known[id(e)] = f"e{len(self.known)}"
        return text

    def all(self, expressions: tuple[Expr, ...]) -> str:
        return " ".join([self.known[id(e)] for e in expressions])

    def buffer(self, buffer: Buffer) -> str:
        return self.buffers.setdefault(buffer, f"b{len(self.buffers)}")

    def iter(self, i: Iter) -> str:
        return self.indices.setdefault(i, f"i{len(self.indices)}<{i.extent}")

    def iters(self, iters: tuple[Iter, ...]) -> str:
        return " ".join(map(self.iter, iters))

    def owner(self, owner: object) -> str:
        """Checks of one owner report one fault, so equal kernels have owners alike."""
        if owner is None:
            return "sure"
        return self.owners.setdefault(id(owner), f"check{len(self.owners)}")


def _affine(numbers: _Numbers, e: Affine) -> str:
    terms = [f"{numbers.known[id(atom)]}*{c}" for atom, c in e.terms]
    return f"{' + '.join(terms)} + {e.constant}"


def _bounded(numbers: _Numbers, e: Bounded) -> str:
    return f"{numbers.owner(e.owner)} {numbers.known[id(e.index)]} < {e.extent}"


_TEXTS: dict[type[Expr], Callable[[_Numbers, Any], str]] = {
    Lit: lambda numbers, e: str(e),
    Iter: lambda numbers, e: numbers.iter(e),
    Affine: _affine,
    Load: lambda numbers, e: f"{numbers.buffer(e.buffer)}[{numbers.all(e.index)}]",
    Apply: lambda numbers, e: f"{e.function} {numbers.all(e.args)} {e.dtype.name}",
    Select: lambda numbers, e: f"select {numbers.all(e.children)}",
    Bounded: _bounded,
    Reduce: lambda numbers, e: f"{e.function} {numbers.iters(e.iters)} {numbers.all((e.body,))}",
}
