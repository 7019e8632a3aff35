"""``graphc run FILE.py:NAME`` or ``MODEL.onnx``: compile a graph and call it once.

Comes in: a target, a backend, sizes, perhaps ``.npy`` files for inputs. Goes out: each output with
its type and first values, and the times; arrays in a ``.npz`` file on request. Inputs without a
file are drawn at random: standard normal floats, integers and bools from {0, 1}.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphc.cli.options import add_backend, add_sizes, add_target, sizes_of, target_of
from graphc.cli.screen import Screen, duration
from graphc.compile import Executable
from graphc.errors import UserError
from graphc.graph import Array, Graph
from graphc.runner import load_backend
from graphc.types import TensorType


def add(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser("run", help="compile a graph and call it once")
    add_target(parser)
    add_sizes(parser)
    add_backend(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE.npz", help="keep the results")
    parser.add_argument("--full", action="store_true", help="print whole arrays")
    parser.add_argument(
        "--sanitize",
        choices=["race", "address"],
        help="name the lines of kernels that race, or leave their memory (with backend cuda-sim)",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace, screen: Screen) -> int:
    """Compile, call, print."""
    if options.sanitize:
        return _watched(options, screen)
    target = target_of(options)
    sizes = sizes_of(options, target, screen)
    start = time.perf_counter()
    step = Executable(target.graph, options.backend, sizes=sizes)
    compiled = time.perf_counter()
    arrays = inputs_for(target.graph, sizes, options.seed, target.arrays)
    called = time.perf_counter()
    outputs = step(*arrays)
    done = time.perf_counter()
    names = target.results or output_names(target.graph, target.name)
    for name, node, array in zip(names, target.graph.outputs, outputs, strict=True):
        screen.say(f"{name}: {node.type.substitute(sizes)}")
        screen.say(_shown(array, options.full))
    screen.say(
        f"\n{options.backend}: compiled in {duration(compiled - start)}, "
        f"first call {duration(done - called)}"
    )
    if options.output is not None:
        _write(options.output, dict(zip(names, outputs, strict=True)))
        screen.say(f"written: {options.output}")
    return 0


def _watched(options: argparse.Namespace, screen: Screen) -> int:
    """The same command in a process that watches over the kernels, and what it found there."""
    sanitized = getattr(load_backend(options.backend), "sanitized", None)
    if sanitized is None:
        raise UserError(
            "GC0104",
            f"the {options.backend} backend cannot watch over its kernels",
            why="--sanitize is for kernels that a C++ compiler compiles",
            fix="use --backend cuda-sim",
        )
    outcome = sanitized(options.sanitize, _arguments(options))
    screen.say(outcome.output.rstrip())
    for finding in outcome.findings:
        screen.say(f"\n{finding}")
    screen.say(f"\n{options.sanitize}: {len(outcome.findings) or 'nothing'} found")
    return outcome.status or int(bool(outcome.findings))


def _arguments(options: argparse.Namespace) -> list[str]:
    """The command line of these options, without what watches."""
    pairs = [("--backend", options.backend), ("--seed", options.seed), ("-o", options.output)]
    pairs += [("--input", x) for x in options.input] + [("--size", x) for x in options.size]
    told = [f"{word}" for pair in pairs if pair[1] is not None for word in pair]
    return ["run", options.target, *told, *(["--full"] if options.full else [])]


def output_names(graph: Graph, target: str) -> list[str]:
    """A distinct name for each output: the user's, else the target's, numbered where needed."""
    names = [node.name or target for node in graph.outputs]
    return [f"{n}_{k}" if names.count(n) > 1 else n for k, n in enumerate(names)]


def inputs_for(
    graph: Graph, sizes: Mapping[str, int], seed: int, given: Mapping[str, Array] | None = None
) -> list[Array]:
    """An array for every input of ``graph``, random unless ``given``."""
    rng = np.random.default_rng(seed)
    arrays = [random_array(x.type.substitute(sizes), rng) for x in graph.inputs]
    pairs = zip(graph.inputs, arrays, strict=True)
    return [(given or {}).get(x.name, array) for x, array in pairs]


def random_array(type_: TensorType, rng: np.random.Generator) -> Array:
    """Standard normal floats, or integers and bools from {0, 1}, which are valid class labels."""
    if type_.dtype.is_float:
        return rng.standard_normal(type_.static_shape).astype(type_.dtype.numpy)
    return rng.integers(0, 2, type_.static_shape).astype(type_.dtype.numpy)


def _shown(array: Array, full: bool) -> str:
    threshold = array.size + 1 if full else 100
    return np.array2string(np.asarray(array), precision=6, threshold=threshold, edgeitems=3)


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    try:
        np.savez(path, **dict(arrays))  # type: ignore[arg-type]
    except OSError as error:
        raise UserError("GC0501", f"{path} cannot be written: {error}") from error
