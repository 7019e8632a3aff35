"""The forms that a graph takes on its way to code, each made when somebody asks for it.

Comes in: a graph, numbers for its named sizes. Goes out: the graph as written, optimised, prepared
for kernels, and the kernels. A separate step because a graph that was compiled before needs none of
them to run, and all of them to be looked at.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from graphc.graph import Graph, Node, specialise
from graphc.kernels.budget import lower_within
from graphc.kernels.kernel import Program
from graphc.kernels.lower import lower
from graphc.ops.leaves import Table
from graphc.passes import optimise, prepare, without_unread
from graphc.rewrite import Ledger

Watch = Callable[[str, Any], None]
WITHOUT_SCORES = "program without scores"
"""What a backend takes whose schedules compute scores of attention where they are read
(`graphc.kernels.scores`)."""


class Stages(Mapping[str, Any]):
    """The stages of one compilation by name, up to the last that its backend ``takes``.

    ``watch(stage, object)`` sees every stage and pass as it is made; ``seconds`` says how long each
    took. Temporaries of the kernels take at most ``memory`` bytes.
    """

    def __init__(
        self,
        graph: Graph,
        sizes: Mapping[str, int],
        takes: str,
        watch: Watch | None = None,
        memory: int | None = None,
    ) -> None:
        self.written, self.sizes, self.watch = graph, dict(sizes), watch
        self.seconds: dict[str, float] = {}
        self._ledger = Ledger()
        self._made: dict[str, Any] = {}
        self._makers: dict[str, Callable[[Any], Any]] = {
            "graph": lambda given: specialise(given, self.sizes),
            "optimised": lambda _: optimise(self.source, ledger=self._ledger, watch=watch),
        }
        if takes != "graph":
            saving, self._recomputing = memory is not None, takes == WITHOUT_SCORES
            self._makers["prepared"] = lambda given: prepare(
                given, self._ledger, saving=saving, recomputing=self._recomputing
            )
            self._makers["kernels"] = lambda given: self._lowered(given, memory)

    def _lowered(self, graph: Graph, memory: int | None) -> Program:
        again = self._recomputing
        if memory is None:
            return lower(graph, recomputing=again)
        return lower_within(graph, memory, self._ledger, recomputing=again)

    def __getitem__(self, wanted: str) -> Any:
        if wanted not in self._makers:
            raise KeyError(wanted)
        made: Any = self.written
        for name, make in self._makers.items():
            if name not in self._made:
                start = time.perf_counter()
                self._made[name] = make(made)
                self.record(name, self._made[name], time.perf_counter() - start)
            made = self._made[name]
            if name == wanted:
                break
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    @cached_property
    def source(self) -> Graph:
        """The graph that is compiled: the one that was written, without what nobody reads."""
        return without_unread(self["graph"], self._ledger)

    def record(self, name: str, made: Any, seconds: float) -> None:
        """Note how long a stage took, and show it to who watches."""
        self.seconds[name] = seconds
        if self.watch is not None:
            self.watch(name, made)

    @property
    def program(self) -> Program:
        """The kernels."""
        program: Program = self["kernels"]
        return program

    @property
    def ledger(self) -> Ledger:
        """Every rewrite."""
        _ = self["kernels" if "kernels" in self else "optimised"]
        return self._ledger


@contextmanager
def uncollected() -> Iterator[None]:
    """Nobody looks for garbage in cycles meanwhile: compiling makes many objects, most of which
    stay, and looking through them again and again takes a quarter of the time.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def with_advances(graph: Graph) -> Graph:
    """The graph with the implicit update of every random state it reads: its step grows by one per
    call.
    """
    updated = {t for t, _ in graph.updates}
    more: list[tuple[Node, Node]] = []
    for node in graph.parameters:
        if getattr(node.op, "advances", False) and node not in updated:
            step = Table.of([0, 0, 1, 0], node.dtype)()
            more.append((node, node + step))
    return Graph(graph.inputs, graph.outputs, (*graph.updates, *more)) if more else graph
