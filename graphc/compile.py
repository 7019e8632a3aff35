"""The whole flow in one place: from a graph to something that can be called.

Comes in: a graph, the name of a backend. Goes out: an `Executable`. Read `build` from top to
bottom: it is the compiler.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.arguments import Arguments
from graphc.dlpack import Borrowed
from graphc.errors import UserError
from graphc.graph import Array, Graph, describe, toposort
from graphc.kernels.kernel import Kernel, Program
from graphc.ops.leaves import Storage
from graphc.results import Result
from graphc.rewrite import Ledger
from graphc.runner import Runner, load_backend, optional_passes
from graphc.show.draw import Drawing, draw
from graphc.show.program import fusion_text, kernel_hulls, program_text
from graphc.show.text import graph_text
from graphc.stages import Stages, Watch, uncollected, with_advances


@dataclass(frozen=True)
class Specialisation:
    """The executable for one set of sizes: the stages of its compilation, and what runs it."""

    stages: Stages
    runner: Runner

    @property
    def sizes(self) -> dict[str, int]:
        return self.stages.sizes

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took that was made."""
        return self.stages.seconds

    @property
    def ledger(self) -> Ledger:
        return self.stages.ledger


def build(
    graph: Graph,
    backend: str,
    sizes: Mapping[str, int],
    watch: Watch | None = None,
    passes: Sequence[str] = (),
    memory: int | None = None,
) -> Specialisation:
    """Compile ``graph`` for numbers in place of its named sizes, or recall it: what was compiled
    before is kept. ``watch(stage, object)`` sees every stage, so that all of them are made;
    ``passes`` are those of the backend that somebody asked for; temporaries take at most ``memory``
    bytes. Raises `UserError` GC0104 when they take more, or the backend plans no memory.
    """
    folder = load_backend(backend)
    if memory is not None and folder.TAKES == "graph":
        raise UserError(
            "GC0104", f"the {backend} backend plans no memory", fix="use backend='llvm'"
        )
    with uncollected():
        return _build(folder, graph, sizes, watch, passes, memory)


def _build(
    folder: Any,
    graph: Graph,
    sizes: Mapping[str, int],
    watch: Watch | None,
    passes: Sequence[str],
    memory: int | None,
) -> Specialisation:
    stages = Stages(graph, sizes, folder.TAKES, watch, memory)
    source = stages.source
    if folder.TAKES == "graph":
        optimised = stages["optimised"]
        return _timed(stages, lambda: folder.build(optimised))
    if watch is None:
        start = time.perf_counter()
        runner = folder.recall(source, lambda: stages.program, passes, memory)
        if runner is not None:
            stages.record("executable", runner, time.perf_counter() - start)
            return Specialisation(stages, runner)
    program = stages.program
    return _timed(stages, lambda: folder.build(program, source, passes, memory))


def _timed(stages: Stages, make: Callable[[], Runner]) -> Specialisation:
    """The last stage."""
    start = time.perf_counter()
    runner = make()
    stages.record("executable", runner, time.perf_counter() - start)
    return Specialisation(stages, runner)


class Executable:
    """A compiled graph: call it with arrays, by position or by input name; returns a list of
    arrays.

    Named sizes get their numbers from the arrays; each new set of sizes is compiled once and kept.
    Updates are written into the parameters at the end of each call. ``passes`` names optional
    passes of the backend, which run beside the usual ones; temporaries take at most ``memory``
    bytes.
    """

    def __init__(
        self,
        graph: Graph,
        backend: str = "llvm",
        *,
        sizes: Mapping[str, int] | None = None,
        watch: Watch | None = None,
        passes: str | Sequence[str] = (),
        memory: int | None = None,
    ) -> None:
        self.passes, self.memory = optional_passes(backend, passes), memory
        _check_inputs(graph)
        self.graph, self.backend, self.watch = with_advances(graph), backend, watch
        self.specialisations: dict[tuple[int, ...], Specialisation] = {}
        self.arguments = Arguments(graph.inputs, load_backend(backend).place)
        Storage.users.add(self)
        self.last: Specialisation | None = None
        self.attempt: Callable[..., list[Array] | None] = _nothing_to_attempt
        self.attempt_later: Callable[..., list[Result] | None] = _nothing_to_attempt
        if sizes is not None or not self.arguments.symbols:
            self.specialise(sizes or {})

    def __call__(self, *arrays: Any, **named: Any) -> list[Array]:
        if named:
            arrays = self.arguments.by_position(arrays, named)
        outputs = self.attempt(*arrays)
        return self.prepare_and_run(arrays) if outputs is None else outputs

    def prepare_and_run(self, arrays: Sequence[Any]) -> list[Array]:
        """A call whose arguments must be checked, and converted where that is safe."""
        runner, dense = self._prepared(arrays)
        return runner.run(dense)

    def later(self, *arrays: Any, **named: Any) -> list[Result]:
        """A call that returns before a device has run it: its results wait when they are looked at.
        Backends of the host have run it.

        What goes wrong on the device is raised by whoever looks at a result first, of this call or
        of a later one. Arguments in the device's memory must not change before then.
        """
        if named:
            arrays = self.arguments.by_position(arrays, named)
        results = self.attempt_later(*arrays)
        if results is None:
            runner, dense = self._prepared(arrays)
            results = runner.later(dense)
        return results

    def _prepared(self, arrays: Sequence[Any]) -> tuple[Runner, list[Array | Borrowed]]:
        """What runs these arguments, and they themselves, checked and converted."""
        dense = self.arguments.dense(arrays)
        runner = self._for_sizes(dense).runner
        self._point_to(runner)  # the next call is likely to be like this one
        return runner, dense

    def _point_to(self, runner: Runner) -> None:
        """Let calls go to ``runner`` directly. One without memory of its own works on the arrays of
        the parameters: no device has newer numbers then, and none gets them unnoticed.
        """
        if Storage.loans and not runner.HAS_MEMORY:
            for storage in self.storages:
                storage.array  # noqa: B018  it comes back from a device
        self.attempt, self.attempt_later = runner.attempt, runner.attempt_later

    @functools.cached_property
    def storages(self) -> list[Storage]:
        """Those of the graph's parameters."""
        return [p.op.storage for p in self.graph.parameters if p.op.storage is not None]

    def parameters_left(self) -> None:
        """Parameters went to a device: the next call must get its own back."""
        self.attempt = self.attempt_later = _nothing_to_attempt

    def specialise(self, sizes: Mapping[str, int]) -> Specialisation:
        """Compile for ``sizes`` now, ahead of the first call."""
        missing = [s for s in self.arguments.symbols if s not in sizes]
        if missing:
            raise UserError(
                "GC0305",
                f"no number for the size {missing[0]}",
                fix=f"pass sizes={{{missing[0]!r}: ...}}",
            )
        key = tuple(sizes[s] for s in self.arguments.symbols)
        if key not in self.specialisations:
            chosen = dict(zip(self.arguments.symbols, key, strict=True))
            self.specialisations[key] = build(
                self.graph, self.backend, chosen, self.watch, self.passes, self.memory
            )
        self.last = self.specialisations[key]
        self._point_to(self.last.runner)
        return self.last

    def _for_sizes(self, arrays: Sequence[Array | Borrowed]) -> Specialisation:
        sizes = self.arguments.sizes(arrays)
        found = self.specialisations.get(tuple(sizes.get(s, -1) for s in self.arguments.symbols))
        return found if found is not None else self.specialise(sizes)

    # Looking inside -------------------------------------------------------------------------------
    @property
    def compiled(self) -> Specialisation:
        """The latest specialisation. Raises `UserError` GC0305 before the first call of a graph
        with named sizes.
        """
        if self.last is None:
            raise UserError(
                "GC0305",
                f"not compiled yet: sizes {', '.join(self.arguments.symbols)} are unknown",
                fix=f"call it once, or compile with sizes={{{self.arguments.symbols[0]!r}: ...}}",
            )
        return self.last

    @property
    def stages(self) -> Stages:
        """The stages of the latest compilation by name: graph, optimised, prepared, kernels."""
        return self.compiled.stages

    @property
    def program(self) -> Program:
        """The kernels and buffers of the latest compilation. Raises `UserError` GC0104 on numpy."""
        if "kernels" not in self.stages:
            raise UserError(
                "GC0104", f"the {self.backend} backend makes no kernels", fix="use backend='llvm'"
            )
        return self.stages.program

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels of the latest compilation."""
        return self.program.kernels

    @property
    def ledger(self) -> Ledger:
        """Every rewrite of the latest compilation."""
        return self.compiled.ledger

    def source(self, level: str, kernel: int | None = None) -> str:
        """The latest compilation as text: "graph", "optimised", "kernels", "fusion" (why edges
        between kernels were not fused), and what the backend has.

        On llvm that is "loops", "llvm" and "asm", on cuda and cuda-sim "loops", "cuda", "ptx",
        "sass" and "usage" (registers, shared memory), of all kernels or of number ``kernel``.
        Raises `UserError` GC0104 for another level.
        """
        if level in ("graph", "optimised"):
            return graph_text(self.stages[level])
        if level == "kernels":
            return program_text(self.program)
        if level == "fusion":
            return fusion_text(self.program)
        runner = self.compiled.runner
        if level not in runner.TEXTS:
            known = ", ".join(("graph", "optimised", "kernels", "fusion", *runner.TEXTS))
            raise UserError("GC0104", f"no text called {level!r}", fix=f"use one of {known}")
        return runner.source(level, kernel)

    def find_nan(self, *arrays: Any, **named: Any) -> None:
        """Run the graph as written, operation by operation, and stop at the first nan; nothing is
        updated.

        Raises `UserError` GC0307 at the line of the operation that made a nan out of none.
        """
        dense = self.arguments.hosted(self.arguments.by_position(arrays, named))
        load_backend("numpy").find_nan(self._for_sizes(dense).stages["graph"], dense)

    def draw(self, *, kernels: bool = True, **options: Any) -> Drawing:
        """The latest compilation's graph, as it runs: optimised, its fused kernels as hulls.

        ``options`` are those of `graphc.draw`. Raises `UserError` GC0305 before the first call of a
        graph with named sizes.
        """
        if kernels and "kernels" in self.stages:
            program = self.program
            return draw(program.graph, kernels=kernel_hulls(program), **options)
        return draw(self.stages["optimised"], **options)

    def profile(self, *arrays: Any, repeats: int = 10) -> list[tuple[str, float]]:
        """The median seconds of each kernel over ``repeats`` runs; updates are applied. On a GPU,
        kernels that share a launch share its time in proportion to their elements.
        """
        if repeats < 1:
            raise UserError("GC0104", f"{repeats} runs have no median", fix="use repeats=1 or more")
        runner, dense = self._prepared(arrays)
        program = self.program
        seconds = runner.profile(dense, repeats)
        ops = [", ".join(n.op.name for n in k.nodes) for k in program.kernels]
        return list(zip(ops, seconds, strict=True))


def _nothing_to_attempt(*arrays: Any) -> None:
    """Stands for `Runner.attempt` before anything is compiled."""


def _check_inputs(graph: Graph) -> None:
    listed = set(graph.inputs)
    for node in toposort(graph.roots):
        if node.op.is_input and node not in listed:
            raise UserError(
                "GC0301",
                f"the graph uses the input {node.name!r}, which was not listed",
                fix="add it to the list of inputs",
            ).located(str(node.site), [describe(node)])
