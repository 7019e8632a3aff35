"""What the demonstration tells about a compiled training step.

Comes in: a `Training`. Goes out: the passes, the check against NumPy, times on both backends, the
hottest kernels; a drawing and the code of the hottest kernel as files. A separate step because it
is the same for every model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from graphc.cli.pipeline import print_pipeline, run_pipeline
from graphc.cli.screen import Screen, duration
from graphc.compile import Executable
from graphc.frontends.dsl.function import Function
from graphc.frontends.dsl.tensor import Tensor
from graphc.graph import Array, Graph
from graphc.show.draw import draw

REPEATS, SECONDS = 50, 3.0
"""A step is timed so many times, or for so many seconds, whichever ends first."""
CODE = {"loops": "loops.txt", "llvm": "ll", "asm": "s"}
"""Levels of code and how their files end."""


@dataclass(frozen=True)
class Training:
    """A compiled training step with an example of its arguments."""

    name: str
    title: str
    loss: Tensor
    parameters: list[Tensor]
    step: Function
    batch: tuple[Array, ...]


def report(screen: Screen, training: Training, out: Path) -> None:
    """Print all that can be told about the step and write its files into ``out``."""
    step = training.step
    screen.heading("passes: the training step, from the graph as written to the optimised one")
    print_pipeline(screen, run_pipeline(step.graph, step.compiled.sizes))
    screen.say(f"compile time: {_compile_time(step)}")
    oracle = Executable(step.graph, "numpy", sizes=step.compiled.sizes)
    screen.heading("one step on both backends, from the same parameters")
    gap = _agreement(training, oracle)
    screen.say(f"largest difference between {step.backend} and numpy: {gap}")
    _time(screen, training, oracle)
    if step.backend != "numpy":
        _kernels(screen, training, out)
    drawing = draw(training.loss, training.parameters, title=training.title)
    screen.say(f"drawing: {drawing.save(out / f'{training.name}.svg')}")


def _compile_time(step: Function) -> str:
    """Each stage of the step's compilation with its time; kernels found on disk cost little."""
    seconds = step.compiled.seconds
    parts = ", ".join(f"{stage} {duration(t)}" for stage, t in seconds.items())
    return f"{duration(sum(seconds.values()))} ({parts})"


@contextmanager
def restored(graph: Graph) -> Iterator[None]:
    """Afterwards every parameter has the value it had before."""
    saved = [(n.op.storage, n.op.storage.array.copy()) for n in graph.parameters]
    try:
        yield
    finally:
        for storage, array in saved:
            storage.assign(array)


def _agreement(training: Training, oracle: Executable) -> str:
    """The largest difference of any output or new parameter after one step, and where."""
    names = ["loss", *(p.name for p in training.step.graph.parameters)]
    first, second = (_after_step(f, training) for f in (training.step, oracle))
    gaps = [float(np.max(np.abs(a - b), initial=0)) for a, b in zip(first, second, strict=True)]
    worst = int(np.argmax(gaps))
    return f"{gaps[worst]:.2g} (in {names[worst]})"


def _after_step(function: Executable, training: Training) -> list[Any]:
    """The loss and every parameter after one step, as float64."""
    graph = training.step.graph
    with restored(graph):
        loss = function(*training.batch)
        arrays = [loss, *(n.op.storage.array for n in graph.parameters)]
        return [np.array(a, np.float64).squeeze() for a in arrays]


def _time(screen: Screen, training: Training, oracle: Executable) -> None:
    functions: dict[str, Executable] = {training.step.backend: training.step, "numpy": oracle}
    with restored(training.step.graph):
        times = {name: median_seconds(f, training.batch) for name, f in functions.items()}
    slowest = max(times.values())
    rows = [(name, duration(t), f"{slowest / t:.1f}x") for name, t in times.items()]
    screen.table(("backend", ">median of a step", ">speed"), rows)


def median_seconds(function: Executable, arrays: tuple[Array, ...]) -> float:
    """The median time of a call, after two calls that warm up."""
    for _ in range(2):
        function(*arrays)
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < REPEATS and (time.perf_counter() < end or len(times) < 3):
        start = time.perf_counter()
        function(*arrays)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def _kernels(screen: Screen, training: Training, out: Path) -> None:
    """The table of the slowest kernels, and all texts of the slowest."""
    step = training.step
    with restored(step.graph):
        profile = step.profile(*training.batch, repeats=5)
    total = sum(seconds for _, seconds in profile)
    order = sorted(range(len(profile)), key=lambda k: -profile[k][1])
    screen.heading(f"the slowest of {len(profile)} kernels")
    rows = [
        (k, duration(profile[k][1]), f"{profile[k][1] / total:.0%}", _short(profile[k][0]))
        for k in order[:5]
    ]
    screen.table((">kernel", ">time", ">share", "operations"), rows)
    hottest = order[0]
    screen.say(_cropped(step.source("loops", hottest)))
    for level, ending in CODE.items():
        path = out / f"{training.name}-kernel{hottest}.{ending}"
        path.write_text(step.source(level, hottest) + "\n", "utf-8")
        screen.say(f"{level}: {path}")


def _cropped(text: str, lines: int = 24, columns: int = 100) -> str:
    """The beginning of a text, line by line."""
    found = text.splitlines()
    kept = [line if len(line) <= columns else f"{line[: columns - 4]} ..." for line in found]
    more = [f"... {len(found) - lines} more lines"] if len(found) > lines else []
    return "\n".join([*kept[:lines], *more])


def _short(operations: str, limit: int = 60) -> str:
    return operations if len(operations) <= limit else operations[: limit - 4] + " ..."
