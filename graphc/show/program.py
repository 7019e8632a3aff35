"""Kernels as text: every kernel of a program with its stages, in the user's names.

Comes in: a program. Goes out: lines. A separate step from `text` because kernels speak of buffers
and indices, not of tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from graphc.expr import Buffer, Iter, Load, Reduce, Substitution
from graphc.graph import Node
from graphc.kernels.kernel import Call, Kernel, Program, Stage, Store
from graphc.loops.ir import Local
from graphc.loops.nest import evaluation_order, is_work
from graphc.loops.text import Names, bare, folded
from graphc.show.names import node_names


def buffer_names(program: Program) -> dict[Buffer, str]:
    """A name for every buffer: that of the node it holds, with ``%3`` spelled ``t3``."""
    names = node_names(program.graph.nodes)
    return {b: names[n].replace("%", "t") for b, n in program.owners.items() if n in names}


def kernel_hulls(program: Program) -> dict[Node, tuple[int, str]]:
    """For each computed node the number and the label of its kernel, as drawings want it."""
    return {
        node: (number, f"kernel {number}")
        for number, kernel in enumerate(program.kernels)
        for node in kernel.nodes
    }


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


def fusion_text(program: Program) -> str:
    """Every edge between kernels that fusion tried to remove, and why it could not; then what is
    written as a part of another tensor.
    """
    names = node_names(program.graph.nodes)
    home = {n: f"kernel {number}" for number, k in enumerate(program.kernels) for n in k.nodes}

    def spelled(node: Node) -> str:
        return f"{names[node].replace('%', 't')} = {node.op.name} ({home.get(node, 'no kernel')})"

    lines = [f"{spelled(r.producer)} -> {spelled(r.reader)}: {r.reason}" for r in program.refusals]
    lines = lines or ["nothing was refused"]
    lines += [f"{spelled(x)} lies in {spelled(y)}" for x, y in program.places.items()]
    return "\n".join(lines)


def kernel_text(kernel: Kernel, number: int = 0, given: Mapping[Buffer, str] | None = None) -> str:
    """One kernel: its outer indices, and the stores of each stage."""
    names = Names(given)
    ops = ", ".join(n.op.name for n in kernel.nodes)
    if kernel.call is not None:
        return f"kernel {number}: {ops}\n{_call(kernel.call, names)}"
    lines = [f"kernel {number}: {ops}", *_over(kernel.iters, names, "")]
    pad = "    " if kernel.iters else ""
    for stage in kernel.stages:
        lines += _over(stage.iters, names, pad)
        deep = pad + ("    " if stage.iters else "")
        lines += [deep + line for line in _stage(stage, names)]
    return "\n".join(lines)


def _call(call: Call, names: Names) -> str:
    """What a library does; ``_`` stands for a result that nobody reads."""
    results = ", ".join("_" if b is None else names.buffer(b) for b in call.results)
    return f"{results} = {call.op}({', '.join(map(names.buffer, call.operands))})"


def _stage(stage: Stage, names: Names) -> Iterator[str]:
    """The stores of one stage; what several of them use is named first."""
    order, uses = evaluation_order([s.value for s in stage.stores])
    known: dict[int, Local] = {}
    change = Substitution(lambda e: known.get(id(e)))
    for e in order:
        if uses[id(e)] > 1 and (is_work(e) or isinstance(e, Reduce)) and not isinstance(e, Load):
            local = Local(e.dtype)
            yield f"{names.local(local)} = {bare(change(e), names)}"
            known[id(e)] = local
            del change.done[id(e)]
    for store in stage.stores:
        yield _store(replace(store, value=change(store.value)), names)


def _over(iters: Sequence[Iter], names: Names, pad: str) -> list[str]:
    if not iters:
        return []
    return [pad + "for " + ", ".join(f"{names.iter(i)} < {i.extent}" for i in iters) + ":"]


def _store(store: Store, names: Names) -> str:
    index = ", ".join(bare(i, names) for i in store.index)
    place = f"{names.buffer(store.buffer)}[{index}]"
    return folded(place, store.combine, bare(store.value, names))
