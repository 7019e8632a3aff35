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

import numpy as np

from graphc.dims import Dim, Size
from graphc.errors import UserError
from graphc.graph import Array, Graph, describe, toposort
from graphc.kernels.kernel import Kernel, Program
from graphc.ops.leaves import Storage
from graphc.rewrite import Ledger
from graphc.runner import Runner, load_backend, optional_passes
from graphc.show.draw import Drawing, draw
from graphc.show.program import fusion_text, kernel_hulls, program_text
from graphc.show.text import graph_text
from graphc.stages import Stages, Watch, uncollected, with_advances
from graphc.types import TensorType, is_known


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
    if memory is not None and folder.TAKES != "program":
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
        self.names = [x.name for x in graph.inputs]
        self.types = [x.type for x in graph.inputs]
        self.dtypes = [t.dtype.numpy for t in self.types]
        Storage.users.add(self)
        self.symbols = sorted({name for t in self.types for name in _symbols(t)})
        self.last: Specialisation | None = None
        self.attempt: Callable[..., list[Array] | None] = _nothing_to_attempt
        if sizes is not None or not self.symbols:
            self.specialise(sizes or {})

    def __call__(self, *arrays: Any, **named: Any) -> list[Array]:
        if named:
            arrays = self._by_position(arrays, named)
        outputs = self.attempt(*arrays)
        return self.prepare_and_run(arrays) if outputs is None else outputs

    def prepare_and_run(self, arrays: Sequence[Any]) -> list[Array]:
        """A call whose arguments must be checked, and converted where that is safe."""
        if len(arrays) != len(self.names):
            raise self._misfit(len(arrays), self.names[len(arrays) :], [])
        dense = [self._dense(k, a) for k, a in enumerate(arrays)]
        runner = self._for_sizes(dense).runner
        self._point_to(runner)  # the next call is likely to be like this one
        return runner.run(dense)

    def _point_to(self, runner: Runner) -> None:
        """Let calls go to ``runner`` directly. One without memory of its own works on the arrays of
        the parameters: no device has newer numbers then, and none gets them unnoticed.
        """
        if Storage.loans and not runner.HAS_MEMORY:
            for storage in self.storages:
                storage.array  # noqa: B018  it comes back from a device
        self.attempt = runner.attempt

    @functools.cached_property
    def storages(self) -> list[Storage]:
        """Those of the graph's parameters."""
        return [p.op.storage for p in self.graph.parameters if p.op.storage is not None]

    def parameters_left(self) -> None:
        """Parameters went to a device: the next call must get its own back."""
        self.attempt = _nothing_to_attempt

    def specialise(self, sizes: Mapping[str, int]) -> Specialisation:
        """Compile for ``sizes`` now, ahead of the first call."""
        missing = [s for s in self.symbols if s not in sizes]
        if missing:
            raise UserError(
                "GC0305",
                f"no number for the size {missing[0]}",
                fix=f"pass sizes={{{missing[0]!r}: ...}}",
            )
        key = tuple(sizes[s] for s in self.symbols)
        if key not in self.specialisations:
            chosen = dict(zip(self.symbols, key, strict=True))
            self.specialisations[key] = build(
                self.graph, self.backend, chosen, self.watch, self.passes, self.memory
            )
        self.last = self.specialisations[key]
        self._point_to(self.last.runner)
        return self.last

    # Arguments ------------------------------------------------------------------------------------
    def _by_position(self, arrays: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
        rest = self.names[len(arrays) :]
        missing = [n for n in rest if n not in named]
        extra = [n for n in named if n not in rest]
        if missing or extra or len(arrays) > len(self.names):
            raise self._misfit(len(arrays), missing, extra)
        return (*arrays, *(named[n] for n in rest))

    def _misfit(self, places: int, missing: Sequence[str], extra: Sequence[str]) -> UserError:
        """What is wrong with a call that passes ``places`` arrays by place and others by name."""
        count = len(self.names)
        crowd = [f"{places} arrays are given for {count} inputs"] if places > count else []
        odd = [f"{n} is {'given twice' if n in self.names else 'no input'}" for n in extra]
        return UserError(
            "GC0302",
            "; ".join([*crowd, *(f"{n} is missing" for n in missing), *odd]),
            why=f"the inputs are: {', '.join(self.names) or 'none'}",
            fix="pass one array for each, by place or by name",
        )

    def _dense(self, position: int, value: Any) -> Array:
        """The argument as a dense array of the declared dtype; safe casts only."""
        wanted = self.dtypes[position]
        if type(value) is not np.ndarray:
            value = _array_of(value, wanted, self.names[position])
        if value.dtype != wanted:
            if not np.can_cast(value.dtype, wanted, "safe"):
                raise UserError(
                    "GC0304",
                    f"{self.names[position]} is {value.dtype}, expected {self.types[position]}",
                    why="graphc converts only where nothing can be lost",
                    fix=f"pass {self.names[position]}.astype({wanted.name!r})",
                )
            value = value.astype(wanted)
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)

    def _for_sizes(self, arrays: Sequence[Array]) -> Specialisation:
        given = zip(self.names, self.types, arrays, strict=True)
        open_shapes = [(n, t, a.shape) for n, t, a in given if a.shape != t.shape]
        sizes = learned([(t.shape, shape) for _, t, shape in open_shapes])
        for name, type_, shape in open_shapes:
            _check_shape(name, type_, shape, sizes)
        found = self.specialisations.get(tuple(sizes.get(s, -1) for s in self.symbols))
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
                f"not compiled yet: sizes {', '.join(self.symbols)} are unknown",
                fix=f"call it once, or compile with sizes={{{self.symbols[0]!r}: ...}}",
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

        On llvm that is "loops", "llvm" and "asm", of all kernels or of number ``kernel``. Raises
        `UserError` GC0104 for another level.
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
        dense = [self._dense(k, a) for k, a in enumerate(self._by_position(arrays, named))]
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
        """The median seconds of each kernel over ``repeats`` runs; updates are applied."""
        dense = [self._dense(k, a) for k, a in enumerate(self._by_position(arrays, {}))]
        runner = self._for_sizes(dense).runner
        self._point_to(runner)
        program = self.program
        seconds = runner.profile(dense, repeats)
        ops = [", ".join(n.op.name for n in k.nodes) for k in program.kernels]
        return list(zip(ops, seconds, strict=True))


def _nothing_to_attempt(*arrays: Any) -> None:
    """Stands for `Runner.attempt` before anything is compiled."""


def _array_of(value: Any, wanted: np.dtype[Any], name: str) -> Array:
    """An argument that is no array yet; Python's own numbers become ``wanted`` where they fit."""
    try:
        array = np.asarray(value)
    except UserError:  # a tensor has no value, and says so
        raise
    except (TypeError, ValueError) as error:  # NumPy does not know it, or rows differ in length
        raise _no_array(name, value, str(error)) from None
    if not is_known(array.dtype):
        raise _no_array(name, value, "arrays hold numbers or bools")
    plain = isinstance(value, bool | int | float | list | tuple)
    if not plain or not np.can_cast(array.dtype, wanted, "same_kind"):
        return array
    cast = array.astype(wanted)
    return array if wanted.kind in "iu" and (cast != array).any() else cast


def _no_array(name: str, value: Any, why: str) -> UserError:
    return UserError(
        "GC0107",
        f"{name} cannot be made of {type(value).__name__} {str(value)[:40]!r}",
        why=why,
        fix="pass a NumPy array, a number, or lists of numbers in rows of equal length",
    )


def _symbols(type_: TensorType) -> set[str]:
    return {n for s in type_.shape if isinstance(s, Dim) for n in s.names}


def learned(shapes: Sequence[tuple[tuple[Size, ...], tuple[int, ...]]]) -> dict[str, int]:
    """Numbers for the named sizes of declared shapes, from the shapes of the arrays."""
    sizes: dict[str, int] = {}
    for _ in range(2):  # a size made of several names waits for the others
        for declared, shape in shapes:
            for size, actual in zip(declared, shape, strict=False):
                rest = size.substitute(sizes) if isinstance(size, Dim) else actual
                if isinstance(rest, Dim):
                    sizes |= rest.solved(actual)
    return sizes


def _check_shape(
    name: str, type_: TensorType, shape: tuple[int, ...], sizes: dict[str, int]
) -> None:
    """Raises `UserError` GC0303 when an array does not fit its input, given the named sizes."""
    wanted = [s.substitute(sizes) if isinstance(s, Dim) else s for s in type_.shape]
    fits = len(wanted) == len(shape) and all(
        size == actual or (isinstance(size, Dim) and len(size.names) > 1)  # nobody can know
        for size, actual in zip(wanted, shape, strict=True)
    )
    if not fits:
        known = ", ".join(f"{k}={v}" for k, v in sizes.items())
        raise UserError(
            "GC0303",
            f"{name} has shape {shape}, expected {type_}" + (f" with {known}" if known else ""),
            fix="reshape the array, or declare the input with a named size",
        )


def _check_inputs(graph: Graph) -> None:
    listed = set(graph.inputs)
    for node in toposort(graph.roots):
        if node.op.is_input and node not in listed:
            raise UserError(
                "GC0301",
                f"the graph uses the input {node.name!r}, which was not listed",
                fix="add it to the list of inputs",
            ).located(str(node.site), [describe(node)])
