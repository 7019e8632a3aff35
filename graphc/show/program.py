"""Kernels as text: every kernel of a program with its stages, in the user's names.

Comes in: a program. Goes out: lines. A separate step from `text` because kernels speak of buffers
and indices, not of tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.expr import Buffer, Iter
from graphc.kernels.kernel import Kernel, Program, Store
from graphc.loops.text import Names, expression
from graphc.show.names import node_names


def buffer_names(program: Program) -> dict[Buffer, str]:
    """A name for every buffer: that of the node it holds, with ``%3`` spelled ``t3``."""
    names = node_names(program.graph.nodes)
    return {b: names[n].replace("%", "t") for b, n in program.owners.items() if n in names}


def program_text(program: Program) -> str:
    """All kernels in order, then the memory plan in one line."""
    given = buffer_names(program)
    texts = [kernel_text(k, number, given) for number, k in enumerate(program.kernels)]
    plan = program.plan
    memory = (
        f"memory: {len(plan.offsets)} temporaries of {plan.total_bytes:,} bytes "
        f"in an arena of {plan.arena_bytes:,} (at most {plan.peak_bytes:,} live at once)"
    )
    return "\n\n".join([*texts, memory])


def kernel_text(kernel: Kernel, number: int = 0, given: Mapping[Buffer, str] | None = None) -> str:
    """One kernel: its outer indices, and the stores of each stage."""
    names = Names(given)
    ops = ", ".join(n.op.name for n in kernel.nodes)
    lines = [f"kernel {number}: {ops}", *_over(kernel.iters, names, "")]
    pad = "    " if kernel.iters else ""
    for stage in kernel.stages:
        lines += _over(stage.iters, names, pad)
        deep = pad + ("    " if stage.iters else "")
        lines += [deep + _store(s, names) for s in stage.stores]
    return "\n".join(lines)


def _over(iters: Sequence[Iter], names: Names, pad: str) -> list[str]:
    if not iters:
        return []
    return [pad + "for " + ", ".join(f"{names.iter(i)} < {i.extent}" for i in iters) + ":"]


def _store(store: Store, names: Names) -> str:
    index = ", ".join(expression(i, names) for i in store.index)
    place = f"{names.buffer(store.buffer)}[{index}]"
    value = expression(store.value, names)
    return f"{place} {store.combine}= {value}" if store.combine else f"{place} = {value}"
